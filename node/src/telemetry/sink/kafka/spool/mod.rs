//! The spool: a journal of records that devices were told are accepted and that Kafka does not have yet.
//!
//! ```text
//!  publish ─┬─ queue empty ──► librdkafka ──────────► Kafka ─ report within the budget ─► acknowledge
//!           │                     ▲  └ watched: no report within the budget ──┐
//!           │                     │ drained, in order                         ▼
//!           └─ queue not empty ──►└──────────────────────── disk, fsync ─► acknowledge
//!                                                             ▲ report: taken out
//! ```
//!
//! There are 64 queues, by device. While a device's queue holds anything its records go straight there, behind the others, so
//! that they reach Kafka in their order; after a restart what the disk has goes out before anything new. A record that
//! librdkafka has already when its budget is over is not sent twice: its entry is there for a restart only.

mod disk;
mod flight;
mod worker;

use std::{
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use self::disk::{Disk, QUEUES};
pub(super) use self::{
    disk::Slot,
    flight::{Flight, Live, Place, Watched},
    worker::Worker,
};
use crate::{
    clock, config,
    identity::DeviceId,
    telemetry::sink::{SinkError, SpoolStatus},
};

/// What shards, reports and the worker share.
pub(super) struct Spool {
    limit: u64,
    budget: Duration,
    /// `sink.queue`, for what waits for the disk.
    waiting: u64,
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
    /// Bytes of entries that were sent and have no report yet.
    sent: AtomicU64,
}

#[derive(Default)]
struct State {
    /// What each queue holds, with what waits for the disk.
    holds: Vec<u64>,
    records: u64,
    bytes: u64,
    incoming: Vec<Incoming>,
    incoming_bytes: u64,
    /// Sent without an entry, oldest first.
    flights: Vec<Arc<Flight>>,
    settled: Vec<Entry>,
    again: Vec<Slot>,
    /// Whether the worker sleeps.
    idle: bool,
    /// Whether the disk gets all that is on its way, for a node that stops.
    sealing: bool,
    /// Whether the worker is writing.
    busy: bool,
    closed: bool,
}

/// A record for the disk.
struct Incoming {
    queue: u8,
    message: Vec<u8>,
    pending: Arc<super::delivery::Pending>,
}

/// An entry and its share of the spool's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) slot: Slot,
    pub(super) bytes: u64,
}

/// The queue of a device's records.
pub(super) fn queue_of(device: DeviceId) -> u8 {
    // The last byte: the first ones choose the shard.
    device.as_bytes()[device.as_bytes().len() - 1] % QUEUES as u8
}

impl Spool {
    /// Opens the folder and reads what it holds. The worker that comes with it must be run.
    ///
    /// # Errors
    /// Those of the file system, and `ResourceBusy` where another process has the folder.
    pub(super) fn open(dir: &Path, settings: &config::Spool, queue: u64) -> io::Result<(Arc<Spool>, Worker)> {
        let mut disk = Disk::open(dir)?;
        let extents = disk.survey()?;
        let state = State {
            holds: extents.iter().map(|extent| extent.records).collect(),
            records: extents.iter().map(|extent| extent.records).sum(),
            bytes: extents.iter().map(|extent| extent.bytes).sum(),
            ..State::default()
        };
        if state.records > 0 {
            tracing::info!(
                records = state.records,
                bytes = state.bytes,
                "the spool is sent before anything new"
            );
        }
        let spool = Arc::new(Spool {
            limit: settings.limit,
            budget: settings.budget,
            waiting: queue,
            state: Mutex::new(state),
            filled: Condvar::new(),
            written: Condvar::new(),
            sent: AtomicU64::new(0),
        });
        let worker = Worker::new(Arc::clone(&spool), disk, &extents);
        Ok((spool, worker))
    }

    /// Whether a device's records must go through the spool now, behind others.
    pub(super) fn holds(&self, queue: u8) -> bool {
        self.lock().holds[usize::from(queue)] > 0
    }

    /// Takes the encoded records of one publish for the disk, all or none. `pending` gets an end for each.
    ///
    /// # Errors
    /// `SpoolFull`, or `QueueFull` where the disk is too slow.
    pub(super) fn push(
        &self,
        queue: u8,
        messages: Vec<Vec<u8>>,
        pending: &Arc<super::delivery::Pending>,
    ) -> Result<(), SinkError> {
        let bytes = messages.iter().map(|message| message.len() as u64).sum();
        let mut state = self.lock();
        if state.incoming_bytes + bytes > self.waiting {
            return Err(SinkError::QueueFull { queued: state.incoming_bytes, limit: self.waiting });
        }
        self.reserve(&mut state, queue, messages.len() as u64, bytes)?;
        state.incoming_bytes += bytes;
        let pending = || Arc::clone(pending);
        state.incoming.extend(messages.into_iter().map(|message| Incoming {
            queue,
            message,
            pending: pending(),
        }));
        self.wake(state);
        Ok(())
    }

    /// Remembers what was given to librdkafka, for when its budget is over.
    pub(super) fn watch(&self, flight: Arc<Flight>) {
        self.lock().flights.push(flight);
    }

    /// Kafka has it, or never will: its entry goes.
    pub(super) fn settled(&self, entry: Entry, drained: bool) {
        if drained {
            self.sent.fetch_sub(entry.bytes, Ordering::Relaxed);
        }
        let mut state = self.lock();
        state.settled.push(entry);
        self.wake(state);
    }

    /// librdkafka gave an entry up: it is to be sent again.
    pub(super) fn again(&self, entry: Entry, drained: bool) {
        if drained {
            self.sent.fetch_sub(entry.bytes, Ordering::Relaxed);
        }
        // Not at once: what made it fail may last.
        self.lock().again.push(entry.slot);
    }

    /// Entries, their bytes and how many there may be.
    pub(super) fn status(&self) -> SpoolStatus {
        let state = self.lock();
        SpoolStatus { records: state.records, bytes: state.bytes, limit: self.limit }
    }

    /// Brings all that has no report yet to the disk; says whether it is there.
    pub(super) fn seal(&self, within: Duration) -> bool {
        let until = clock::now() + within;
        let mut state = self.lock();
        state.sealing = true;
        self.filled.notify_one();
        // What the disk has no room for stays in `flights`.
        while !state.flights.is_empty() || !state.incoming.is_empty() || state.busy {
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return false;
            }
            state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Ends the worker.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn reserve(&self, state: &mut State, queue: u8, records: u64, bytes: u64) -> Result<(), SinkError> {
        if state.bytes + bytes > self.limit {
            return Err(SinkError::SpoolFull { bytes: state.bytes, limit: self.limit });
        }
        state.holds[usize::from(queue)] += records;
        state.records += records;
        state.bytes += bytes;
        Ok(())
    }

    fn release(state: &mut State, queue: u8, bytes: u64) {
        state.holds[usize::from(queue)] -= 1;
        state.records -= 1;
        state.bytes -= bytes;
    }

    fn wake(&self, state: MutexGuard<'_, State>) {
        let idle = state.idle;
        drop(state);
        if idle {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
