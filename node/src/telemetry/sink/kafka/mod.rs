//! The `kafka` sink: a record is acknowledged once all in-sync replicas have it, or with a spool the disk.
//!
//! ```text
//!  shard ─ publish ─► message ─► librdkafka's queue ─► brokers
//!    ▲        └─ not in time ─► spool ─┘                  │
//!    └── Completions ◄─ delivery ◄─ report of each message┘
//!                          └─ never deliverable ─► dead letters
//! ```
//!
//! The producer is idempotent and never gives up: what Kafka can't take now waits, up to `sink.queue`, and beyond it
//! publishes are refused, so that devices repeat. What Kafka will never take (too large, no such topic, not
//! authorised) goes to a file of dead letters, counts as safe there, and stops no other topic.

mod client;
mod dead_letters;
mod delivery;
mod message;
mod producer;
mod spool;
mod topics;

pub(crate) use client::refusal;
pub(crate) use topics::is_topic_prefix;

use std::{
    fs, io,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::OwnedHeaders,
    producer::BaseRecord,
};

use self::{
    dead_letters::{DeadLetters, Letter},
    delivery::{Pending, Reports},
    producer::{Producer, breakdowns},
    spool::{Flight, Live, Spool, Watched, queue_of},
    topics::Topics,
};
use super::{Completions, Publish, Sink, SinkError, SpoolStatus, Ticket};
use crate::{
    config::{self, KafkaValues},
    telemetry::Record,
};

/// See the module.
pub struct KafkaSink {
    producer: Arc<Producer>,
    topics: Topics,
    values: KafkaValues,
    /// `sink.queue`.
    limit: u64,
    spool: Option<Spooling>,
}

struct Spooling {
    spool: Arc<Spool>,
    budget: Duration,
    worker: Option<JoinHandle<()>>,
}

impl KafkaSink {
    /// Begins to connect; brokers that can't be reached are tried for as long as the node runs. `queue` bounds what
    /// waits for them, in bytes. Dead letters and spool go to folders in `data_dir`.
    ///
    /// # Errors
    /// `InvalidInput` for a setting that librdkafka refuses, by its name, and for a spool that holds something and would not
    /// be used; those of the file system for the folders.
    pub fn open(
        settings: &config::Kafka,
        queue: u64,
        data_dir: &Path,
        completions: Arc<dyn Completions>,
    ) -> io::Result<KafkaSink> {
        let topics = Topics::new(settings);
        let dead_letters = DeadLetters::open(&data_dir.join(&settings.dead_letters))?;
        let config = client::configure(settings)?;
        let opened = open_spool(settings, queue, &data_dir.join(&settings.spool.dir))?;
        let (spool, worker) = opened.unzip();
        let (tell, broken) = breakdowns();
        let reports = Arc::new(Reports::new(completions, dead_letters, spool.clone(), tell));
        let producer = Producer::open(config.clone(), reports, broken)?;
        topics::prepare(config, settings, &topics)?;
        let spool = match spool.zip(worker) {
            Some((spool, worker)) => {
                let producer = Arc::clone(&producer);
                let worker =
                    thread::Builder::new().name("spool".into()).spawn(move || worker.run(&producer))?;
                Some(Spooling { spool, budget: settings.spool.budget, worker: Some(worker) })
            }
            None => None,
        };
        Ok(KafkaSink { producer, topics, values: settings.values, limit: queue, spool })
    }

    fn reports(&self) -> &Reports {
        self.producer.reports()
    }

    /// Hands records to librdkafka, which keeps them until its brokers have them.
    fn send_all(&self, records: &[Record], ticket: Ticket) -> Publish {
        let reports = self.reports();
        let messages: usize = records.iter().map(|record| self.topics.of(record).count()).sum();
        // One more than there are messages, so that no report ends it before all were handed on.
        let pending = Arc::new(Pending::new(ticket, messages + 1));
        for (record, topic) in self.messages(records) {
            if let Some(ended) = self.send(record, topic, &pending) {
                if let Err(error) = &ended {
                    reports.outcomes.count(1, &Err(error.clone()));
                }
                pending.end(ended);
            }
        }
        reports.outcomes.queued(reports.queued());
        match pending.end(Ok(())) {
            Some(Ok(())) => Publish::Durable,
            Some(Err(error)) => Publish::Refused(error),
            None => Publish::Pending,
        }
    }

    /// Hands on what nobody waits for. What librdkafka's queue has no room for is dropped and counted.
    fn send_copies(&self, records: &[Record]) {
        let reports = self.reports();
        for record in records {
            for topic in self.topics.copies(record) {
                let full = reports.queued() >= self.limit;
                let sent = if full { Err(self.full()) } else { self.send_copy(record, topic) };
                if let Err(error) = sent {
                    reports.outcomes.count(1, &Err(error));
                }
            }
        }
    }

    fn send_copy(&self, record: &Record, topic: &Arc<str>) -> Result<(), SinkError> {
        let payload = message::payload(record, self.values);
        let weight = message::weight(record.endpoint.len(), payload.len());
        let message = BaseRecord::with_opaque_to(topic, Arc::new(Flight::Copy))
            .key(&*record.endpoint)
            .payload(&payload)
            .headers(message::headers(record, self.values));
        self.reports().add(weight);
        self.producer.send(message).map_err(|(error, _)| {
            self.reports().take(weight);
            SinkError::Kafka(delivery::code_of(&error))
        })
    }

    /// Hands one record on. `None`: a report will come.
    fn send(
        &self,
        record: &Record,
        topic: &Arc<str>,
        pending: &Arc<Pending>,
    ) -> Option<Result<(), SinkError>> {
        let reports = self.reports();
        let payload = message::payload(record, self.values);
        let weight = message::weight(record.endpoint.len(), payload.len());
        let watched = self.spool.as_ref().map(|_| Box::new(Watched::new(record, topic, self.values)));
        let flight = Arc::new(Flight::Live(Live { pending: Arc::clone(pending), watched }));
        let message = BaseRecord::with_opaque_to(topic, Arc::clone(&flight))
            .key(&*record.endpoint)
            .payload(&payload)
            .headers(message::headers(record, self.values));
        reports.add(weight);
        let Err((error, message)) = self.producer.send(message) else {
            if let Some(spooling) = &self.spool {
                spooling.spool.watch(flight);
            }
            return None;
        };
        reports.take(weight);
        Some(match error {
            KafkaError::MessageProduction(code) if delivery::is_permanent(code) => reports.bury(&Letter {
                reason: code,
                topic: message.topic,
                key: record.endpoint.as_bytes(),
                headers: message.headers.as_ref().map(OwnedHeaders::as_borrowed),
                payload: &payload,
            }),
            KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => Err(self.full()),
            error => Err(SinkError::Kafka(delivery::code_of(&error))),
        })
    }

    /// Hands records to the spool, behind those of their device that wait there.
    fn spool_all(&self, spool: &Spool, records: &[Record], ticket: Ticket) -> Publish {
        let stored = |(record, topic): (_, &Arc<str>)| message::stored(record, topic, self.values);
        let messages: Vec<_> = self.messages(records).map(stored).collect();
        let pending = Arc::new(Pending::new(ticket, messages.len()));
        match spool.push(queue_of(records[0].device), messages, &pending) {
            Ok(()) => Publish::Pending,
            Err(error) => self.refuse(records.len(), error),
        }
    }

    /// Each record with each of its topics.
    fn messages<'a>(&'a self, records: &'a [Record]) -> impl Iterator<Item = (&'a Record, &'a Arc<str>)> {
        records.iter().flat_map(|record| self.topics.of(record).map(move |topic| (record, topic)))
    }

    fn refuse(&self, records: usize, error: SinkError) -> Publish {
        self.reports().outcomes.count(records, &Err(error.clone()));
        Publish::Refused(error)
    }

    fn full(&self) -> SinkError {
        SinkError::QueueFull { queued: self.reports().queued(), limit: self.limit }
    }
}

/// What a spool's folder holds, which no process may have.
///
/// # Errors
/// Those of the file system, and `ResourceBusy` where a process has it.
pub fn spooled(dir: &Path) -> io::Result<SpoolStatus> {
    let settings = config::Spool::default();
    Spool::open(dir, &settings, 0).map(|(spool, _)| spool.status())
}

/// The spool, where it is wanted.
fn open_spool(
    settings: &config::Kafka,
    queue: u64,
    dir: &Path,
) -> io::Result<Option<(Arc<Spool>, spool::Worker)>> {
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("sink.kafka.spool.dir {}: {error}", dir.display()))
    };
    if settings.ack_after == config::AckAfter::Kafka && !fs::exists(dir).map_err(failed)? {
        return Ok(None);
    }
    let opened = Spool::open(dir, &settings.spool, queue).map_err(failed)?;
    if settings.ack_after == config::AckAfter::Spool {
        return Ok(Some(opened));
    }
    match opened.0.status().records {
        0 => Ok(None),
        records => {
            let reason = format!(
                "{records} records were acknowledged and are not in Kafka yet: \
                 run `godwit spool drain`, or set sink.kafka.ack_after = \"spool\""
            );
            Err(failed(io::Error::new(io::ErrorKind::InvalidInput, reason)))
        }
    }
}

impl Sink for KafkaSink {
    /// Of several records of which one is refused, the others may come out: the device's repetition brings them again,
    /// under the same identity.
    fn publish(&self, records: &[Record], ticket: Ticket) -> Publish {
        let Some(first) = records.first() else { return Publish::Durable };
        let full = self.reports().queued() >= self.limit;
        let publish = match &self.spool {
            // All of one device, so of one queue.
            Some(spooling) if full || spooling.spool.holds(queue_of(first.device)) => {
                self.spool_all(&spooling.spool, records, ticket)
            }
            None if full => self.refuse(records.len(), self.full()),
            _ => self.send_all(records, ticket),
        };
        if !matches!(publish, Publish::Refused(_)) {
            self.send_copies(records);
        }
        publish
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn is_stalled(&self) -> bool {
        self.reports().outcomes.is_stalled(self.reports().queued() > 0)
    }

    fn spool(&self) -> Option<SpoolStatus> {
        self.spool.as_ref().map(|spooling| spooling.spool.status())
    }

    /// With a spool, what Kafka does not take within the budget goes there.
    fn flush(&self, within: Duration) -> bool {
        match &self.spool {
            Some(Spooling { spool, budget, .. }) => {
                // What it does not bring out is sealed.
                self.producer.flush(within.min(*budget));
                spool.seal(within.saturating_sub(*budget))
            }
            None => self.producer.flush(within),
        }
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        if let Some(Spooling { spool, worker, .. }) = &mut self.spool {
            spool.close();
            if let Some(worker) = worker.take() {
                // An error says that the worker panicked, which has been reported.
                _ = worker.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        telemetry::{Completion, RecordId, record::tests::record},
    };

    struct Nobody;

    impl Completions for Nobody {
        fn complete(&self, _: u16, _: Vec<Completion>) {}
    }

    #[test]
    fn a_full_spool_is_a_stalled_sink() {
        let dir = std::env::temp_dir().join(format!("godwit-stalled-{}", std::process::id()));
        let settings = config::Kafka {
            // Nobody listens there.
            brokers: vec!["127.0.0.1:1".to_owned()],
            ack_after: config::AckAfter::Spool,
            spool: config::Spool {
                limit: 4096,
                budget: Duration::from_millis(50),
                ..config::Spool::default()
            },
            ..config::Kafka::default()
        };
        let sink = KafkaSink::open(&settings, 1 << 20, &dir, Arc::new(Nobody)).unwrap();
        let mut number = 0;
        let mut publish = || {
            number += 1;
            let record = Record { id: RecordId { ordinal: number, ..record().id }, ..record() };
            sink.publish(&[record], Ticket { shard: 0, key: 0, activation: 0, effect: number })
        };
        let until = clock::now() + Duration::from_secs(60);
        while !matches!(publish(), Publish::Refused(SinkError::SpoolFull { .. })) {
            assert!(clock::now() < until, "the spool has no bound");
            thread::sleep(Duration::from_millis(5));
        }
        while !sink.is_stalled() {
            assert!(clock::now() < until, "nobody is told that nothing comes through");
            thread::sleep(Duration::from_millis(20));
        }
        drop(sink);
        fs::remove_dir_all(&dir).unwrap();
    }
}
