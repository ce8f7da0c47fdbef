//! Which topic takes which records, and whether the topics are there and safe.

use std::{io, sync::Arc, thread, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
};

use crate::{
    config,
    telemetry::{Record, RecordKind},
};

/// How long the brokers may take to answer one request about topics.
const WITHIN: Duration = Duration::from_secs(30);

/// librdkafka's default of `message.max.bytes`.
const MESSAGE_MAX: u64 = 1_000_000;

/// Names of the topics, and what is for which.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    telemetry: Arc<str>,
    attributes: Arc<str>,
    events: Arc<str>,
    operations: Arc<str>,
    /// Where `sink.kafka.raw` is on.
    raw: Option<Arc<str>>,
    routes: Vec<Route>,
}

#[derive(Debug, Clone)]
struct Route {
    topic: Arc<str>,
    profile: Option<Box<str>>,
    object: Option<u16>,
    required: bool,
}

impl Route {
    fn takes(&self, record: &Record) -> bool {
        record.values().is_some()
            && self.profile.as_deref().is_none_or(|profile| *profile == *record.profile)
            && self
                .object
                .is_none_or(|object| record.paths().any(|path| path.segments().first() == Some(&object)))
    }
}

impl Topics {
    /// `<prefix>telemetry` and so on, and the routes.
    pub(super) fn new(settings: &config::Kafka) -> Topics {
        let of = |kind: RecordKind| format!("{}{}", settings.topic_prefix, kind.name()).into();
        let routes = settings.routes.iter().map(|route| Route {
            topic: route.topic.as_str().into(),
            profile: route.profile.as_deref().map(Into::into),
            object: route.object,
            required: route.required,
        });
        Topics {
            telemetry: of(RecordKind::Telemetry),
            attributes: of(RecordKind::Attributes),
            events: of(RecordKind::Events),
            operations: of(RecordKind::Operations),
            raw: settings.raw.then(|| of(RecordKind::Raw)),
            routes: routes.collect(),
        }
    }

    /// The topics that must have a record: those of the required routes that take it, else that of its kind.
    pub(super) fn of<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = &'a Arc<str>> {
        let routed = self.routed(record, true);
        let usual = match record.kind() {
            RecordKind::Telemetry => &self.telemetry,
            RecordKind::Attributes => &self.attributes,
            RecordKind::Events => &self.events,
            RecordKind::Operations => &self.operations,
            RecordKind::Raw => return routed.chain(self.raw.as_ref()),
        };
        let usual = self.routed(record, true).next().is_none().then_some(usual);
        routed.chain(usual)
    }

    /// The topics that get it too, and that nobody waits for.
    pub(super) fn copies<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = &'a Arc<str>> {
        self.routed(record, false)
    }

    fn routed<'a>(&'a self, record: &'a Record, required: bool) -> impl Iterator<Item = &'a Arc<str>> {
        let routes = self.routes.iter().filter(move |route| route.required == required);
        routes.filter(|route| route.takes(record)).map(|route| &route.topic)
    }

    /// Each once.
    fn all(&self) -> Vec<&str> {
        let usual = [&self.telemetry, &self.attributes, &self.events, &self.operations];
        let routed = self.routes.iter().map(|route| &route.topic);
        let mut all: Vec<&str> =
            usual.into_iter().chain(&self.raw).chain(routed).map(|topic| &**topic).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Whether names of topics may begin so. Kafka takes up to 249 of these characters.
pub(crate) fn is_topic_prefix(text: &str) -> bool {
    text.len() <= 200 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Makes the topics, where `sink.kafka.create_topics` asks for it, and looks how safe they are: on a thread of its own, since
/// brokers may be away. Their state is told in the log.
///
/// # Errors
/// When no thread can be started, or librdkafka refuses the client.
pub(super) fn prepare(client: ClientConfig, settings: &config::Kafka, topics: &Topics) -> io::Result<()> {
    let largest = client.get("message.max.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(MESSAGE_MAX);
    let admin: AdminClient<DefaultClientContext> = client.create().map_err(super::client::refused)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (topics, wanted) = (topics.clone(), settings.create_topics.then(|| settings.topics.clone()));
    thread::Builder::new().name("kafka-topics".into()).spawn(move || {
        runtime.block_on(async {
            if let Some(wanted) = &wanted {
                create(&admin, &topics, wanted).await;
            }
            inspect(&admin, &topics, largest).await;
        });
    })?;
    Ok(())
}

async fn create(admin: &AdminClient<DefaultClientContext>, topics: &Topics, wanted: &config::KafkaTopics) {
    let retention = wanted.retention.as_millis().to_string();
    let new: Vec<NewTopic<'_>> = topics
        .all()
        .into_iter()
        .map(|name| {
            let replication = TopicReplication::Fixed(wanted.replication.into());
            let topic = NewTopic::new(name, wanted.partitions.into(), replication);
            let topic = topic.set("retention.ms", &retention);
            // One replica may be away without a stop, none without a record.
            if wanted.replication > 2 { topic.set("min.insync.replicas", "2") } else { topic }
        })
        .collect();
    match admin.create_topics(&new, &options()).await {
        Ok(results) => {
            for (name, code) in results.into_iter().filter_map(Result::err) {
                if code != RDKafkaErrorCode::TopicAlreadyExists {
                    tracing::error!(topic = name, %code, "kafka: a topic can't be made (sink.kafka.create_topics)");
                }
            }
        }
        Err(error) => tracing::error!(%error, "kafka: topics can't be made (sink.kafka.create_topics)"),
    }
}

/// Warns of topics whose acknowledged records one broker's death can lose, and of those that take less than `largest`
/// bytes in a message.
async fn inspect(admin: &AdminClient<DefaultClientContext>, topics: &Topics, largest: u64) {
    let names = topics.all();
    let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let described = match admin.describe_configs(&resources, &options()).await {
        Ok(described) => described,
        Err(error) => return tracing::warn!(%error, "kafka: the topics' settings can't be read"),
    };
    for (name, described) in names.into_iter().zip(described) {
        match described {
            Ok(topic) => {
                let value = |name| topic.get(name).and_then(|entry| entry.value.as_deref());
                if value("min.insync.replicas") == Some("1") {
                    tracing::warn!(
                        topic = name,
                        "kafka: min.insync.replicas is 1: one broker's death may lose records"
                    );
                }
                let taken = value("max.message.bytes").and_then(|bytes| bytes.parse().ok());
                if let Some(taken) = taken.filter(|taken: &u64| *taken < largest) {
                    tracing::warn!(
                        topic = name,
                        taken,
                        largest,
                        "kafka: the topic's max.message.bytes is smaller than sink.kafka.settings.message.max.bytes: \
                         larger records become dead letters",
                    );
                }
            }
            Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                tracing::warn!(topic = name, "kafka: no such topic; brokers may make it at the first record");
            }
            Err(code) => tracing::warn!(topic = name, %code, "kafka: a topic's settings can't be read"),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(WITHIN)).operation_timeout(Some(WITHIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Data, Values, record::tests::record};

    fn route(topic: &str, profile: Option<&str>, object: Option<u16>) -> config::Route {
        config::Route { topic: topic.into(), profile: profile.map(Into::into), object, required: true }
    }

    #[test]
    fn values_go_to_every_route_that_is_for_them_and_events_to_none() {
        let topics = Topics::new(&config::Kafka {
            routes: vec![
                route("a", Some("demo"), None),
                route("b", Some("other"), None),
                config::Route { required: false, ..route("copy", None, None) },
            ],
            ..config::Kafka::default()
        });
        let of = |record: &Record| topics.of(record).map(ToString::to_string).collect::<Vec<_>>();
        let event = record();
        let values = Record { data: Data::Telemetry(Values { ts: 0, values: Vec::new() }), ..record() };
        let other = Record { profile: "none".into(), ..values.clone() };
        assert_eq!(of(&event), ["godwit.events"]);
        assert_eq!(of(&values), ["a"]);
        assert_eq!(of(&other), ["godwit.telemetry"], "a copy takes nothing away");
        let copies = |record: &Record| topics.copies(record).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((copies(&values), copies(&event)), (vec!["copy".to_owned()], Vec::new()));
        let wanted =
            ["a", "b", "copy", "godwit.attributes", "godwit.events", "godwit.operations", "godwit.telemetry"];
        assert_eq!(topics.all(), wanted);
    }
}
