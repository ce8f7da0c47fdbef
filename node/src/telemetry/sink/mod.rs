//! Where records go: the acknowledgement of a device's message waits for it.

mod file;
pub(crate) mod kafka;
mod outcome;
mod queue;
mod segments;
mod stdout;

use std::{io, path::Path, sync::Arc, time::Duration};

pub use file::FileSink;
pub use kafka::{KafkaSink, spooled};
pub use stdout::StdoutSink;

use rdkafka::error::RDKafkaErrorCode;

use super::{Record, Tail};
use crate::config;

/// Opens the sink that the configuration names. A relative folder is below `data_dir`.
///
/// # Errors
/// Those of [`FileSink::open`], [`KafkaSink::open`] and [`StdoutSink::open`].
pub fn open(
    settings: &config::Sink,
    data_dir: &Path,
    completions: Arc<dyn Completions>,
) -> io::Result<Arc<dyn Sink>> {
    Ok(match settings.kind {
        config::SinkKind::Stdout => Arc::new(StdoutSink::open(settings.queue)?),
        config::SinkKind::File => {
            let dir = data_dir.join(&settings.file.dir);
            Arc::new(FileSink::open(&dir, &settings.file, settings.queue, completions)?)
        }
        config::SinkKind::Kafka => {
            Arc::new(KafkaSink::open(&settings.kafka, settings.queue, data_dir, completions)?)
        }
    })
}

/// Takes records. Called by every shard, from within its turn, so that nothing here may block on a device, a peer or
/// another thread; a local write(2) is the most that it does.
pub trait Sink: Send + Sync + 'static {
    /// Takes the records of one effect, all or none. In the order of the calls of one thread they come out.
    ///
    /// After [`Publish::Pending`] the sink completes the ticket exactly once. A process that ends completes nothing.
    fn publish(&self, records: &[Record], ticket: Ticket) -> Publish;

    /// Takes what one turn of a shard brought about, and says in turn what became of each as [`publish`](Sink::publish)
    /// would. A sink that writes within the call writes once for all of it.
    fn publish_turn(&self, turn: &[Publication], ended: &mut dyn FnMut(&Publication, Publish)) {
        for publication in turn {
            ended(publication, self.publish(&publication.records, publication.ticket));
        }
    }

    /// Whether what it has taken survives `kill -9`.
    fn is_durable(&self) -> bool;

    /// Whether records wait and none has come through for some seconds: what else is brought will wait too. One that says so
    /// tries by itself until it is over.
    fn is_stalled(&self) -> bool {
        false
    }

    /// What lies in its spool; `None` where it has none.
    fn spool(&self) -> Option<SpoolStatus> {
        None
    }

    /// Waits until all that was taken is out, for a node that stops; blocks the caller. Says whether it is.
    fn flush(&self, within: Duration) -> bool;
}

/// How full a spool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolStatus {
    /// Records that were acknowledged and are not out yet.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes that there may be: `sink.kafka.spool.limit`.
    pub limit: u64,
}

/// The records of one effect, and what waits for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// All or none of them are taken.
    pub records: Vec<Record>,
    /// See there.
    pub ticket: Ticket,
}

/// What became of a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Publish {
    /// It is as safe as this sink makes it: acknowledge.
    Durable,
    /// The ticket will be completed.
    Pending,
    /// Nothing was taken: no acknowledgement, so that the device repeats.
    Refused(SinkError),
}

/// Names the effect that waits for a publish. Plain data: a sink only hands it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The shard to tell.
    pub shard: u16,
    /// The actor in that shard.
    pub key: u32,
    /// Which life of the actor, so that a completion for an earlier one is recognised.
    pub activation: u32,
    /// The effect in that actor.
    pub effect: u32,
}

/// The end of a pending publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Of the publish.
    pub ticket: Ticket,
    /// Durable, or why not: then nothing of it was kept.
    pub result: Result<(), SinkError>,
}

/// Takes completions back to the shards.
pub trait Completions: Send + Sync + 'static {
    /// Tells a shard of publishes that ended. Called from the sink's thread with as many at once as ended together,
    /// because waking a shard costs more than what is told.
    fn complete(&self, shard: u16, completions: Vec<Completion>);
}

/// Why records were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// More waits than `sink.queue` allows.
    #[error("{queued} bytes wait for the sink already, `sink.queue` is {limit}")]
    QueueFull {
        /// Bytes that wait.
        queued: u64,
        /// `sink.queue`.
        limit: u64,
    },
    /// The file system has no room, or a quota or file size limit is reached.
    #[error("no space left for telemetry ({0})")]
    NoSpace(io::ErrorKind),
    /// The file can't be written.
    #[error("telemetry can't be written: {0}")]
    Io(io::ErrorKind),
    /// The spool holds as much as it may.
    #[error("{bytes} bytes are in the spool already, `sink.kafka.spool.limit` is {limit}")]
    SpoolFull {
        /// Bytes in it.
        bytes: u64,
        /// `sink.kafka.spool.limit`.
        limit: u64,
    },
    /// Kafka did not take it.
    #[error("kafka: {0}")]
    Kafka(RDKafkaErrorCode),
    /// The sink has been closed.
    #[error("the sink is closed")]
    Closed,
}

impl From<&io::Error> for SinkError {
    fn from(error: &io::Error) -> SinkError {
        match error.kind() {
            kind @ (io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge) => SinkError::NoSpace(kind),
            kind => SinkError::Io(kind),
        }
    }
}

/// What endpoints publish to: the sink, and the tail that shows what it takes.
#[derive(Clone)]
pub struct Outlet {
    sink: Arc<dyn Sink>,
    tail: Tail,
}

impl Outlet {
    /// An outlet to this sink.
    pub fn new(sink: Arc<dyn Sink>) -> Outlet {
        Outlet { sink, tail: Tail::default() }
    }

    /// See [`Sink::publish_turn`]. What is not refused is shown to the tail at once, also while it is pending.
    pub fn publish_turn(&self, turn: &[Publication], mut ended: impl FnMut(Ticket, Publish)) {
        self.sink.publish_turn(turn, &mut |publication, publish| {
            if !matches!(publish, Publish::Refused(_)) {
                self.tail.show(&publication.records);
            }
            ended(publication.ticket, publish);
        });
    }

    /// The tail.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The sink.
    pub fn sink(&self) -> &dyn Sink {
        &*self.sink
    }

    /// The sink, for whoever outlives this.
    pub fn shared_sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.sink)
    }
}
