//! What becomes of messages on their way to the brokers: reports, errors and librdkafka's own log.

use std::{
    mem,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::SyncSender,
    },
};

use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedHeaders, OwnedHeaders},
    producer::{DeliveryResult, NoCustomPartitioner, ProducerContext},
};

use super::{
    client,
    dead_letters::{DeadLetters, Letter},
    message,
    spool::{Entry, Flight, Place, Spool},
};
use crate::{
    metrics::{self, labels::KafkaSetting},
    telemetry::{Completion, Completions, SinkError, Ticket, sink::outcome::Outcomes},
};

/// One publish whose records are on their way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    left: AtomicUsize,
    /// Of the first record that failed.
    error: OnceLock<SinkError>,
}

impl Pending {
    /// Ends with the `ends`th [`end`](Self::end).
    pub(super) fn new(ticket: Ticket, ends: usize) -> Pending {
        Pending { ticket, left: AtomicUsize::new(ends), error: OnceLock::new() }
    }

    /// Notes one end; the last one has the result of all.
    pub(super) fn end(&self, result: Result<(), SinkError>) -> Option<Result<(), SinkError>> {
        if let Err(error) = result {
            // Only the first one is told.
            _ = self.error.set(error);
        }
        let last = self.left.fetch_sub(1, Ordering::AcqRel) == 1;
        last.then(|| self.error.get().cloned().map_or(Ok(()), Err))
    }
}

/// What librdkafka calls back, from its own threads.
pub(super) struct Context(pub(super) Arc<Reports>);

/// A message that librdkafka gave up together with its producer.
pub(super) struct Stranded {
    pub(super) topic: String,
    pub(super) key: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) headers: Option<OwnedHeaders>,
    pub(super) flight: Arc<Flight>,
}

/// What becomes of messages, whichever producer has them.
pub(super) struct Reports {
    completions: Arc<dyn Completions>,
    dead_letters: DeadLetters,
    pub(super) outcomes: Outcomes,
    metrics: metrics::Kafka,
    /// Bytes that wait for brokers.
    queued: AtomicU64,
    /// The error that was logged last; none again once a message was delivered. librdkafka repeats itself every second.
    complaint: Mutex<Option<RDKafkaErrorCode>>,
    spool: Option<Arc<Spool>>,
    /// Hears that the producer has ended.
    broken: SyncSender<()>,
    /// What it had, in its order.
    stranded: Mutex<Vec<Stranded>>,
}

impl Reports {
    pub(super) fn new(
        completions: Arc<dyn Completions>,
        dead_letters: DeadLetters,
        spool: Option<Arc<Spool>>,
        broken: SyncSender<()>,
    ) -> Reports {
        Reports {
            broken,
            stranded: Mutex::default(),
            completions,
            dead_letters,
            outcomes: Outcomes::default(),
            metrics: metrics::Kafka::default(),
            queued: AtomicU64::new(0),
            complaint: Mutex::new(None),
            spool,
        }
    }

    /// The producer takes nothing more.
    pub(super) fn broken(&self) {
        // Full: it was told already. Closed: the process ends.
        _ = self.broken.try_send(());
    }

    /// What the producer had that has ended.
    pub(super) fn stranded(&self) -> Vec<Stranded> {
        mem::take(&mut *self.stranded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A message that no producer takes any more.
    pub(super) fn not_sent(&self, flight: &Flight, error: &KafkaError) {
        self.end(flight, Err(SinkError::Kafka(code_of(error))));
    }

    /// Tells a shard of publishes that ended.
    pub(super) fn complete(&self, shard: u16, completions: Vec<Completion>) {
        self.completions.complete(shard, completions);
    }

    /// Bytes that wait for brokers.
    pub(super) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, weight: u64) {
        self.queued.fetch_add(weight, Ordering::Relaxed);
    }

    pub(super) fn take(&self, weight: u64) {
        self.queued.fetch_sub(weight, Ordering::Relaxed);
    }

    fn count(&self, code: RDKafkaErrorCode) {
        self.metrics.errors[client::setting_of(code)].increment(1);
    }

    /// Keeps a message that Kafka will never take.
    pub(super) fn bury(&self, letter: &Letter<'_>) -> Result<(), SinkError> {
        self.count(letter.reason);
        let advice = advice(letter.reason);
        tracing::error!(
            topic = letter.topic, reason = %letter.reason, advice, "a record can't be delivered and is kept as a dead letter",
        );
        let kept = self.dead_letters.keep(letter).map_err(|error| SinkError::from(&error));
        if kept.is_ok() {
            self.outcomes.buried();
        }
        kept
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = code_of(&error);
        self.0.count(code);
        if code == RDKafkaErrorCode::Fatal {
            self.0.broken();
        }
        let earlier = self.0.complaint.lock().unwrap_or_else(PoisonError::into_inner).replace(code);
        if earlier != Some(code) {
            client::complain(code, reason);
        }
    }
}

impl ProducerContext<NoCustomPartitioner> for Context {
    type DeliveryOpaque = Arc<Flight>;

    fn delivery(&self, report: &DeliveryResult<'_>, flight: Arc<Flight>) {
        self.0.take_report(report, flight);
    }
}

impl Reports {
    fn take_report(&self, report: &DeliveryResult<'_>, flight: Arc<Flight>) {
        let message = match report {
            Ok(message) | Err((_, message)) => message,
        };
        let (key, payload) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
        self.take(message::weight(key.len(), payload.len()));
        let result = match report {
            Ok(_) => {
                crate::failpoint::hit("kafka.delivered", &[message.topic()]);
                if self.complaint.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
                    tracing::info!("kafka: records are delivered again");
                }
                self.outcomes.count(1, &Ok(()));
                Ok(())
            }
            Err((error, _)) => match code_of(error) {
                code if ends_producer(code) => {
                    let stranded = Stranded {
                        topic: message.topic().to_owned(),
                        key: key.to_vec(),
                        payload: payload.to_vec(),
                        headers: message.headers().map(BorrowedHeaders::detach),
                        flight,
                    };
                    self.stranded.lock().unwrap_or_else(PoisonError::into_inner).push(stranded);
                    return self.broken();
                }
                code if is_permanent(code) => self.bury(&Letter {
                    reason: code,
                    topic: message.topic(),
                    key,
                    headers: message.headers(),
                    payload,
                }),
                code => Err(SinkError::Kafka(code)),
            },
        };
        self.outcomes.queued(self.queued());
        self.end(&flight, result);
    }

    /// What a report means for who waits, and for the spool's entry.
    fn end(&self, flight: &Flight, result: Result<(), SinkError>) {
        let live = match flight {
            Flight::Drained(entry) => return self.spooled(*entry, true, result.is_ok()),
            Flight::Copy => {
                if result.is_err() {
                    self.outcomes.count(1, &result);
                }
                return;
            }
            Flight::Live(live) => live,
        };
        if let Some(watched) = &live.watched {
            let mut place = watched.place();
            match *place {
                Place::Spooled(entry) => {
                    drop(place);
                    return self.spooled(entry, false, result.is_ok());
                }
                Place::Writing if result.is_err() => {
                    *place = Place::GivenUp;
                    return;
                }
                _ => *place = Place::Settled,
            }
        }
        if let Err(error) = &result {
            self.outcomes.count(1, &Err(error.clone()));
        }
        if let Some(result) = live.pending.end(result) {
            let ticket = live.pending.ticket;
            self.complete(ticket.shard, vec![Completion { ticket, result }]);
        }
    }

    fn spooled(&self, entry: Entry, drained: bool, settled: bool) {
        let Some(spool) = &self.spool else { return };
        if settled { spool.settled(entry, drained) } else { spool.again(entry, drained) }
    }
}

/// Whether the producer has lost track of what a broker has, or was emptied because of that: its messages are another's.
fn ends_producer(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Fatal
            | Code::PurgeQueue
            | Code::PurgeInflight
            | Code::OutOfOrderSequenceNumber
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::UnknownProducerId
            | Code::ProducerFenced
    )
}

/// Whether the same message will never be taken, however often it is tried.
pub(super) fn is_permanent(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTopic
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::PolicyViolation
    )
}

/// What to change.
fn advice(code: RDKafkaErrorCode) -> &'static str {
    match client::setting_of(code) {
        KafkaSetting::MessageSize => {
            "raise the topic's max.message.bytes and sink.kafka.settings.\"message.max.bytes\""
        }
        KafkaSetting::Username => "let the user of sink.kafka.username write to this topic",
        KafkaSetting::Topic => {
            "create the topic, set sink.kafka.create_topics, or correct sink.kafka.topic_prefix"
        }
        _ => "see the log of the broker",
    }
}

/// The code within an error.
pub(super) fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: Ticket = Ticket { shard: 0, key: 0, activation: 0, effect: 0 };

    #[test]
    fn the_last_end_has_the_first_error() {
        let full = SinkError::QueueFull { queued: 2, limit: 1 };
        let pending = Pending::new(TICKET, 4);
        assert_eq!(pending.end(Ok(())), None);
        assert_eq!(pending.end(Err(full.clone())), None);
        assert_eq!(pending.end(Err(SinkError::Closed)), None);
        assert_eq!(pending.end(Ok(())), Some(Err(full)));
        assert_eq!(Pending::new(TICKET, 1).end(Ok(())), Some(Ok(())));
    }
}
