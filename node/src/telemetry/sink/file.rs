//! The `file` sink: newline-delimited JSON in rotating files, one record per line.
//!
//! With `fsync = none` what a shard's turn publishes is one write(2) at its end; what the kernel took survives `kill -9`.
//! With `fsync = group` a writer thread appends all that waits, syncs once and completes the tickets: power loss is survived
//! too, and the slower the disk, the larger the groups.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Completion, Completions, Publication, Publish, Sink, SinkError, Ticket,
    outcome::Outcomes,
    queue::{Batch, Queue},
    segments::{Rotation, Segments},
};
use crate::{
    config,
    telemetry::{Record, encode},
};

/// See the module.
#[derive(Debug)]
pub struct FileSink {
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    Inline { segments: Mutex<Segments>, outcomes: Outcomes },
    Group { queue: Arc<Queue>, outcomes: Arc<Outcomes>, writer: Option<JoinHandle<()>> },
}

impl FileSink {
    /// Opens the files in `dir`. `queue` bounds what waits for a sync, in bytes.
    ///
    /// # Errors
    /// Those of the file system, and `ResourceBusy` where another process writes there.
    pub fn open(
        dir: &Path,
        settings: &config::FileSink,
        queue: u64,
        completions: Arc<dyn Completions>,
    ) -> io::Result<FileSink> {
        let group = settings.fsync == config::Fsync::Group;
        let rotation = Rotation { size: settings.rotate_size, keep: settings.keep, sync: group };
        let (segments, torn) = Segments::open(dir, rotation)?;
        if torn {
            tracing::warn!(
                dir = %dir.display(),
                "the last telemetry record was written in part before the node stopped; its line was closed",
            );
        }
        let mode = if group {
            let queue = Arc::new(Queue::new(queue));
            let outcomes = Arc::new(Outcomes::default());
            let writer = GroupWriter {
                queue: Arc::clone(&queue),
                outcomes: Arc::clone(&outcomes),
                segments,
                completions,
            };
            let writer = thread::Builder::new().name("sink".into()).spawn(|| writer.run())?;
            Mode::Group { queue, outcomes, writer: Some(writer) }
        } else {
            Mode::Inline { segments: Mutex::new(segments), outcomes: Outcomes::default() }
        };
        Ok(FileSink { mode })
    }
}

impl Sink for FileSink {
    fn publish(&self, records: &[Record], ticket: Ticket) -> Publish {
        with_lines(records, |lines| match &self.mode {
            Mode::Inline { segments, outcomes } => {
                let mut segments = segments.lock().unwrap_or_else(PoisonError::into_inner);
                let result =
                    outcomes.time(|| segments.append(lines)).map_err(|error| SinkError::from(&error));
                outcomes.count(records.len(), &result);
                result.map_or_else(Publish::Refused, |()| Publish::Durable)
            }
            Mode::Group { queue, outcomes, .. } => {
                let result = queue.push(lines, records.len(), ticket);
                outcomes.queued(queue.queued());
                match result {
                    Ok(()) => Publish::Pending,
                    Err(error) => {
                        outcomes.count(records.len(), &Err(error.clone()));
                        Publish::Refused(error)
                    }
                }
            }
        })
    }

    fn publish_turn(&self, turn: &[Publication], ended: &mut dyn FnMut(&Publication, Publish)) {
        thread_local! {
            static BATCH: RefCell<Batch> = RefCell::default();
        }
        let Mode::Inline { segments, outcomes } = &self.mode else {
            return turn.iter().for_each(|publication| {
                ended(publication, self.publish(&publication.records, publication.ticket));
            });
        };
        let done = BATCH.with_borrow_mut(|batch| {
            batch.clear();
            for Publication { records, ticket } in turn {
                records.iter().for_each(|record| encode(record, &mut batch.bytes));
                batch.close(records.len(), *ticket);
            }
            let mut segments = segments.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes.time(|| append(&mut segments, batch))
        });
        for (index, publication) in turn.iter().enumerate() {
            let result = done.of(index);
            outcomes.count(publication.records.len(), &result);
            ended(publication, result.map_or_else(Publish::Refused, |()| Publish::Durable));
        }
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn flush(&self, within: Duration) -> bool {
        match &self.mode {
            Mode::Inline { .. } => true,
            Mode::Group { queue, .. } => queue.flush(within),
        }
    }
}

impl Drop for FileSink {
    /// Writes what waits.
    fn drop(&mut self) {
        if let Mode::Group { queue, writer, .. } = &mut self.mode {
            queue.close();
            if let Some(writer) = writer.take() {
                // An error says that the writer panicked, which has been reported.
                _ = writer.join();
            }
        }
    }
}

/// Encodes records into this thread's buffer.
pub(super) fn with_lines<T>(records: &[Record], work: impl FnOnce(&[u8]) -> T) -> T {
    const KEPT: usize = 1 << 20;
    thread_local! {
        static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    LINES.with_borrow_mut(|lines| {
        lines.clear();
        for record in records {
            encode(record, lines);
        }
        let out = work(lines);
        if lines.capacity() > KEPT {
            *lines = Vec::new();
        }
        out
    })
}

struct GroupWriter {
    queue: Arc<Queue>,
    outcomes: Arc<Outcomes>,
    segments: Segments,
    completions: Arc<dyn Completions>,
}

impl GroupWriter {
    fn run(mut self) {
        let mut batch = Batch::default();
        loop {
            self.outcomes.queued(self.queue.queued());
            let Some(next) = self.queue.take(batch) else { return };
            batch = next;
            let done = self.write(&batch);
            let mut shards: BTreeMap<u16, Vec<Completion>> = BTreeMap::new();
            for (index, (_, records, ticket)) in batch.publishes.iter().enumerate() {
                let result = done.of(index);
                self.outcomes.count(*records, &result);
                shards.entry(ticket.shard).or_default().push(Completion { ticket: *ticket, result });
            }
            for (shard, completions) in shards {
                self.completions.complete(shard, completions);
            }
        }
    }

    /// Appends and syncs a batch.
    fn write(&mut self, batch: &Batch) -> Written {
        let Self { segments, outcomes, .. } = self;
        outcomes.time(|| {
            let written = append(segments, batch);
            if written.publishes > 0
                && let Err(error) = segments.sync()
            {
                // The kernel may have dropped what it could not write: none of it is safe.
                return Written { publishes: 0, rest: Err(SinkError::from(&error)) };
            }
            written
        })
    }
}

/// Appends a batch, parted where a file is full.
fn append(segments: &mut Segments, batch: &Batch) -> Written {
    let mut written = Written { publishes: 0, rest: Ok(()) };
    let mut start = 0;
    while written.publishes < batch.publishes.len() {
        let room = start as u64 + segments.room().min(u64::from(u32::MAX));
        let left = &batch.publishes[written.publishes..];
        let fitting = left.iter().take_while(|(end, ..)| *end as u64 <= room).count().max(1);
        let end = left[fitting - 1].0;
        if let Err(error) = segments.append(&batch.bytes[start..end]) {
            written.rest = Err(SinkError::from(&error));
            break;
        }
        start = end;
        written.publishes += fitting;
    }
    written
}

/// What became of a batch: so many publishes are written, the rest failed.
struct Written {
    publishes: usize,
    rest: Result<(), SinkError>,
}

impl Written {
    fn of(&self, publish: usize) -> Result<(), SinkError> {
        if publish < self.publishes { Ok(()) } else { self.rest.clone() }
    }
}
