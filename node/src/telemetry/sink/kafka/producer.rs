//! librdkafka's producer, and another in its place when it gives itself up.
//!
//! An idempotent producer that has lost track of what a broker has ends with a fatal error and takes nothing more. What it had not
//! brought out goes to a new one, in its order and before anything else; what a broker has already comes twice, under one `ce_id`.

use std::{
    io, mem,
    sync::{
        Arc, PoisonError, RwLock, TryLockError,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::ToBytes,
    producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer},
};

use super::{
    client::refused,
    delivery::{Context, Reports, Stranded},
    message,
    spool::Flight,
};

/// With a thread that serves its reports.
type Client = ThreadedProducer<Context>;

type Message<'a, K, P> = BaseRecord<'a, K, P, Arc<Flight>>;

/// How long the reports of what a producer had may take. They are made here, without brokers.
const REPORTS: Duration = Duration::from_secs(5);

/// Between two new producers: what ends one may last.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Producer {
    config: ClientConfig,
    reports: Arc<Reports>,
    client: RwLock<Client>,
}

impl Producer {
    /// Begins to connect. `broken` hears of a producer that has ended.
    ///
    /// # Errors
    /// Where librdkafka refuses the configuration, or no thread can be started.
    pub(super) fn open(
        config: ClientConfig,
        reports: Arc<Reports>,
        broken: Receiver<()>,
    ) -> io::Result<Arc<Producer>> {
        let client = create(&config, &reports).map_err(refused)?;
        let producer = Arc::new(Producer { config, reports, client: RwLock::new(client) });
        let weak = Arc::downgrade(&producer);
        thread::Builder::new().name("kafka-producer".into()).spawn(move || {
            while broken.recv().is_ok() {
                let Some(producer) = weak.upgrade() else { return };
                producer.replace(&broken);
                drop(producer);
                thread::sleep(PAUSE);
            }
        })?;
        Ok(producer)
    }

    /// What its messages become.
    pub(super) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Hands a message on; a report will come.
    ///
    /// # Errors
    /// With the message: librdkafka's, and `Fatal` while one producer takes another's place.
    pub(super) fn send<'a, K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
        &self,
        message: Message<'a, K, P>,
    ) -> Result<(), (KafkaError, Message<'a, K, P>)> {
        let sent = match self.client.try_read() {
            Ok(client) => client.send(message),
            Err(TryLockError::Poisoned(client)) => client.into_inner().send(message),
            Err(TryLockError::WouldBlock) => {
                return Err((KafkaError::MessageProduction(RDKafkaErrorCode::Fatal), message));
            }
        };
        if let Err((KafkaError::MessageProduction(RDKafkaErrorCode::Fatal), _)) = &sent {
            self.reports.broken();
        }
        sent
    }

    /// Waits until all is out; says whether it is.
    pub(super) fn flush(&self, within: Duration) -> bool {
        self.client.read().unwrap_or_else(PoisonError::into_inner).flush(within).is_ok()
    }

    /// Puts a new producer in the place of one that has ended. Nothing is taken meanwhile, so that nothing overtakes.
    fn replace(&self, broken: &Receiver<()>) {
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = match create(&self.config, &self.reports) {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::error!(%error, "kafka: no new producer can be made");
                return self.reports.broken();
            }
        };
        let ended = mem::replace(&mut *client, fresh);
        ended.purge(PurgeConfig::default().queue().inflight());
        // What has no report by then is reported when it is dropped.
        _ = ended.flush(REPORTS);
        drop(ended);
        while broken.try_recv().is_ok() {}
        let stranded = self.reports.stranded();
        tracing::warn!(
            messages = stranded.len(),
            "kafka: a new producer goes on in place of one that had a fatal error"
        );
        for message in stranded {
            self.send_again(&client, message);
        }
    }

    fn send_again(&self, client: &Client, message: Stranded) {
        let Stranded { topic, key, payload, headers, flight } = message;
        let weight = message::weight(key.len(), payload.len());
        let mut again =
            BaseRecord::with_opaque_to(&topic, flight).key(key.as_slice()).payload(payload.as_slice());
        if let Some(headers) = headers {
            again = again.headers(headers);
        }
        self.reports.add(weight);
        if let Err((error, message)) = client.send(again) {
            self.reports.take(weight);
            self.reports.not_sent(&message.delivery_opaque, &error);
        }
    }
}

fn create(config: &ClientConfig, reports: &Arc<Reports>) -> KafkaResult<Client> {
    config.create_with_context(Context(Arc::clone(reports)))
}

/// By which a producer is told of as broken: once is enough.
pub(super) fn breakdowns() -> (mpsc::SyncSender<()>, Receiver<()>) {
    mpsc::sync_channel(1)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex, time::Instant};

    use rdkafka::{
        consumer::{BaseConsumer, Consumer},
        message::{Headers as _, Message as _},
        mocking::MockCluster,
        types::{RDKafkaApiKey, RDKafkaRespErr},
    };

    use crate::{
        clock, config,
        telemetry::{
            Completion, Completions, Publish, Record, Sink, SinkError, Ticket, record::tests::record,
            sink::KafkaSink,
        },
    };

    #[derive(Default)]
    struct Ended(Mutex<HashMap<u32, Result<(), SinkError>>>);

    impl Completions for Ended {
        fn complete(&self, _: u16, completions: Vec<Completion>) {
            for Completion { ticket, result } in completions {
                assert!(self.0.lock().unwrap().insert(ticket.effect, result).is_none(), "ended once");
            }
        }
    }

    fn soon(what: &str, mut is: impl FnMut() -> bool) {
        let until = clock::now() + std::time::Duration::from_secs(60);
        while !is() {
            assert!(clock::now() < until, "never came: {what}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// `ce_id`s of a topic's first partition in their order.
    fn read(servers: &str, until: usize) -> Vec<String> {
        let consumer: BaseConsumer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", "g")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        consumer.subscribe(&["godwit.events"]).unwrap();
        let deadline: Instant = clock::now() + std::time::Duration::from_secs(60);
        let mut ids = Vec::new();
        while ids.len() < until && clock::now() < deadline {
            let Some(Ok(message)) = consumer.poll(std::time::Duration::from_millis(200)) else { continue };
            let id = message.headers().unwrap().iter().find(|header| header.key == "ce_id").unwrap();
            ids.push(String::from_utf8(id.value.unwrap().to_vec()).unwrap());
        }
        ids
    }

    #[test]
    fn a_fatal_error_ends_a_producer_and_nothing_else() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("godwit.events", 1, 1).unwrap();
        let servers = cluster.bootstrap_servers();
        let dir = std::env::temp_dir().join(format!("godwit-fatal-{}", std::process::id()));
        let settings = config::Kafka { brokers: vec![servers.clone()], ..config::Kafka::default() };
        let ended = std::sync::Arc::new(Ended::default());
        let sink = KafkaSink::open(&settings, 1 << 20, &dir, ended.clone()).unwrap();
        let mut sent = Vec::new();
        let mut publish = |number: u32| {
            let record =
                Record { id: crate::telemetry::RecordId { ordinal: number, ..record().id }, ..record() };
            let ticket = Ticket { shard: 0, key: 0, activation: 0, effect: number };
            soon("room", || {
                !matches!(sink.publish(std::slice::from_ref(&record), ticket), Publish::Refused(_))
            });
            sent.push(record.id.to_string());
        };
        let count = |so_far: usize| soon("reports", || ended.0.lock().unwrap().len() == so_far);
        publish(0);
        count(1);
        // The producer takes what the broker says for a sign that they disagree on what it has.
        let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER];
        cluster.request_errors(RDKafkaApiKey::Produce, &errors);
        (1..50).for_each(&mut publish);
        count(50);
        (50..60).for_each(&mut publish);
        count(60);
        assert!(ended.0.lock().unwrap().values().all(Result::is_ok));
        assert_eq!(read(&servers, 60), sent, "in their order");
        drop(sink);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
