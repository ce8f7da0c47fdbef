//! What librdkafka has: with each message it hands one of these back.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{Entry, queue_of};
use crate::{
    clock,
    config::KafkaValues,
    telemetry::{Record, sink::kafka::delivery::Pending},
};

/// A message on its way.
pub(in crate::telemetry::sink::kafka) enum Flight {
    /// Of a publish.
    Live(Live),
    /// From the spool.
    Drained(Entry),
    /// For a topic that nobody waits for.
    Copy,
}

/// A message that a device may wait for.
pub(in crate::telemetry::sink::kafka) struct Live {
    /// Its publish.
    pub(in crate::telemetry::sink::kafka) pending: Arc<Pending>,
    /// Where there is a spool.
    pub(in crate::telemetry::sink::kafka) watched: Option<Box<Watched>>,
}

/// What the spool needs of a message when its budget is over.
pub(in crate::telemetry::sink::kafka) struct Watched {
    /// It as it was published.
    pub(in crate::telemetry::sink::kafka) record: Record,
    /// Where it goes.
    pub(in crate::telemetry::sink::kafka) topic: Arc<str>,
    /// The form of its value.
    pub(in crate::telemetry::sink::kafka) values: KafkaValues,
    /// Its queue.
    pub(in crate::telemetry::sink::kafka) queue: u8,
    /// When it was sent.
    pub(in crate::telemetry::sink::kafka) since: Instant,
    place: Mutex<Place>,
}

/// How far such a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::telemetry::sink::kafka) enum Place {
    /// librdkafka alone has it.
    Sent,
    /// It is being written to the spool, and librdkafka has it.
    Writing,
    /// The spool has it, and librdkafka.
    Spooled(Entry),
    /// librdkafka gave it up while it was being written.
    GivenUp,
    /// Kafka has it, or never will.
    Settled,
}

impl Watched {
    /// Of a record that is about to be sent.
    pub(in crate::telemetry::sink::kafka) fn new(
        record: &Record,
        topic: &Arc<str>,
        values: KafkaValues,
    ) -> Watched {
        Watched {
            record: record.clone(),
            topic: Arc::clone(topic),
            values,
            queue: queue_of(record.device),
            since: clock::now(),
            place: Mutex::new(Place::Sent),
        }
    }

    /// Its place, held.
    pub(in crate::telemetry::sink::kafka) fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
