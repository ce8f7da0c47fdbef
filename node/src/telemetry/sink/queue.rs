//! Encoded records on their way from the shards to a writer thread.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{SinkError, Ticket};
use crate::clock;

/// A buffer larger than this is given back to the allocator once it is written.
const KEPT: usize = 1 << 20;

/// A bounded queue. All that waits becomes one batch, so that the writer catches up however slow one write is.
#[derive(Debug)]
pub(super) struct Queue {
    limit: u64,
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    /// Bytes of the batch that is being written.
    writing: u64,
    /// Whether the writer sleeps: waking it costs a shard 10 to 38 µs, so it is only done then.
    idle: bool,
    closed: bool,
}

/// What is written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Whole lines.
    pub(super) bytes: Vec<u8>,
    /// Each publish: where its bytes end, how many records it has, and its ticket.
    pub(super) publishes: Vec<(usize, usize, Ticket)>,
}

impl Batch {
    /// What was added to `bytes` since the last call is one publish.
    pub(super) fn close(&mut self, records: usize, ticket: Ticket) {
        self.publishes.push((self.bytes.len(), records, ticket));
    }

    /// Empties it. It keeps its memory unless that has grown large.
    pub(super) fn clear(&mut self) {
        if self.bytes.capacity() > KEPT {
            *self = Batch::default();
        }
        self.bytes.clear();
        self.publishes.clear();
    }
}

impl Queue {
    /// Takes `limit` bytes, those being written included.
    pub(super) fn new(limit: u64) -> Queue {
        Queue { limit, state: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new() }
    }

    /// Adds the lines of one publish. Never waits for the writer.
    pub(super) fn push(&self, lines: &[u8], records: usize, ticket: Ticket) -> Result<(), SinkError> {
        let mut state = self.lock();
        if state.closed {
            return Err(SinkError::Closed);
        }
        let queued = state.queued();
        if queued + lines.len() as u64 > self.limit {
            return Err(SinkError::QueueFull { queued, limit: self.limit });
        }
        state.waiting.bytes.extend_from_slice(lines);
        state.waiting.close(records, ticket);
        if std::mem::take(&mut state.idle) {
            drop(state);
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for what to write next. `written` is the batch before, whose buffers are used again. `None`: the queue
    /// is closed and empty.
    pub(super) fn take(&self, mut written: Batch) -> Option<Batch> {
        written.clear();
        let mut state = self.lock();
        state.writing = 0;
        if state.waiting.publishes.is_empty() {
            self.emptied.notify_all();
        }
        while state.waiting.publishes.is_empty() {
            if state.closed {
                return None;
            }
            state.idle = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        state.writing = state.waiting.bytes.len() as u64;
        Some(std::mem::replace(&mut state.waiting, written))
    }

    /// Bytes that wait or are being written.
    pub(super) fn queued(&self) -> u64 {
        self.lock().queued()
    }

    /// Waits until all is written; says whether it is.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let until = clock::now() + within;
        let mut state = self.lock();
        while state.queued() > 0 {
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return false;
            }
            state = self.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Refuses what comes from now on.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queued(&self) -> u64 {
        self.waiting.bytes.len() as u64 + self.writing
    }
}
