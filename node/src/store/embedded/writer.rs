//! The one thread that writes.
//!
//! ```text
//! submit → inbox → batch: run each request on the view of the batch → one commit → answers
//! ```
//! While one batch is being committed the next one gathers, so the cost of a sync is shared by all that wait.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    device::{self, DueList},
    due::DueFloor,
    engine::{Engine, Table},
    txn::Txn,
};
use crate::store::{Counts, StoreError, StoreFuture};

/// Requests of one batch at most: what bounds the wait of its first.
const BATCH: usize = 512;
/// Tombstones cleared away with one batch.
const SWEEP: usize = 256;
/// How often tombstones are looked for, and how long an idle writer sleeps at most.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How many times in a row there must be nothing to do before memory is given back, and how often that is tried: what is
/// written out needs a moment.
const IDLE: std::ops::Range<u32> = 5..15;
/// Where the counters lie in [`Table::Meta`].
const COUNTS: &[u8] = b"counts";

/// The wall clock, Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A request: runs on the batch's view, and later gives the answer that it is told the commit's outcome for.
struct Job {
    run: Box<dyn FnOnce(&mut Txn<'_>) -> Answer + Send>,
    durable: Durable,
}

/// Whether a request survives a power loss once it is answered, and not only the death of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durable {
    /// It need not.
    No,
    /// Where the store is set to sync at all.
    AsSet,
    /// However the store is set.
    Always,
}

#[derive(Default)]
struct Inbox {
    jobs: Vec<Job>,
    /// The writer sleeps and wants to be woken: that costs 10 to 38 µs, so it is done only then.
    sleeping: bool,
    closed: bool,
}

/// What requests and the writer share.
pub(super) struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    limit: usize,
    counts: Mutex<Counts>,
    pub(super) due_floor: DueFloor,
}

/// The writer's handle; dropping it waits until all that was submitted is written.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `sync`: batches survive a power loss too. `limit`: requests that may wait.
    pub(super) fn start(
        engine: Arc<dyn Engine>,
        clock: Clock,
        sync: bool,
        limit: usize,
    ) -> Result<Self, StoreError> {
        let counts = read_counts(&*engine)?;
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            wake: Condvar::new(),
            limit,
            counts: Mutex::new(counts),
            due_floor: DueFloor::default(),
        });
        let state = State {
            shared: Arc::clone(&shared),
            engine,
            clock,
            sync,
            counts,
            swept_at: 0,
            sweep_floor: 0,
            behind: false,
            idle: 0,
        };
        let thread = thread::Builder::new().name("store".into()).spawn(move || state.run());
        let thread = thread.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Hands a request in.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        durable: Durable,
        request: impl FnOnce(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<T> {
        let (sender, receiver) = oneshot::channel();
        let run = Box::new(move |txn: &mut Txn<'_>| -> Answer {
            let result = request(txn);
            txn.close(result.is_ok());
            Box::new(move |outcome| {
                // The caller may have stopped waiting.
                sender.send(outcome.and(result)).ok();
            })
        });
        match self.shared.push(Job { run, durable }) {
            Ok(()) => Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(ended())) }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Shared {
    /// The counters as of the last batch.
    pub(super) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) -> Result<(), StoreError> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.closed {
            return Err(ended());
        }
        if inbox.jobs.len() >= self.limit {
            return Err(StoreError::Overloaded);
        }
        inbox.jobs.push(job);
        if std::mem::take(&mut inbox.sleeping) {
            drop(inbox);
            self.wake.notify_one();
        }
        Ok(())
    }

    fn close(&self) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.wake.notify_one();
    }

    /// Takes all that waits; `None` once closed and empty. Waits at most `patience` for something.
    fn take(&self, patience: Duration) -> Option<Vec<Job>> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.jobs.is_empty() && !inbox.closed {
            inbox.sleeping = true;
            (inbox, _) = self.wake.wait_timeout(inbox, patience).unwrap_or_else(PoisonError::into_inner);
            inbox.sleeping = false;
        }
        if inbox.jobs.is_empty() && inbox.closed { None } else { Some(std::mem::take(&mut inbox.jobs)) }
    }
}

struct State {
    shared: Arc<Shared>,
    engine: Arc<dyn Engine>,
    clock: Clock,
    sync: bool,
    counts: Counts,
    swept_at: u64,
    /// No tombstone is due before.
    sweep_floor: u64,
    /// More tombstones are due than one batch clears away.
    behind: bool,
    /// How many times in a row there was nothing to do.
    idle: u32,
}

impl State {
    fn run(mut self) {
        // Whatever ends this thread, nobody shall wait for it.
        let _closed = CloseOnDrop(Arc::clone(&self.shared));
        loop {
            let patience = if self.behind { Duration::ZERO } else { SWEEP_EVERY };
            let Some(jobs) = self.shared.take(patience) else { return };
            self.idle = if jobs.is_empty() && !self.behind { self.idle.saturating_add(1) } else { 0 };
            if IDLE.contains(&self.idle)
                && let Err(error) = self.engine.settle()
            {
                tracing::warn!(%error, "the state store can't give memory back");
            }
            let mut jobs = jobs.into_iter();
            loop {
                let batch: Vec<Job> = jobs.by_ref().take(BATCH).collect();
                let last = batch.len() < BATCH;
                self.commit(batch);
                if last {
                    break;
                }
            }
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let engine = Arc::clone(&self.engine);
        let mut txn = Txn::new(&*engine, (self.clock)(), self.counts);
        let mut durable = Durable::No;
        self.sweep(&mut txn);
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            durable = durable.max(job.durable);
            answers.push((job.run)(&mut txn));
        }
        let outcome = self.write(txn, durable == Durable::Always || (durable == Durable::AsSet && self.sync));
        for answer in answers {
            answer(outcome.clone());
        }
    }

    fn write(&mut self, mut txn: Txn<'_>, sync: bool) -> Result<(), StoreError> {
        let counts = txn.counts;
        if counts != self.counts {
            let bytes = [counts.provisioned.to_be_bytes(), counts.registered.to_be_bytes()].concat();
            txn.put(Table::Meta, COUNTS.to_vec(), bytes);
            txn.close(true);
        }
        let [due, sweep] = txn.earliest;
        let labels = std::mem::take(&mut txn.labels);
        let writes = txn.into_writes();
        if !writes.is_empty() {
            crate::failpoint::hit("store.before_commit", &labels);
            self.engine.write(writes, sync).inspect_err(|error| {
                tracing::error!(%error, "the state store can't write");
            })?;
            crate::failpoint::hit("store.after_commit", &labels);
        }
        self.counts = counts;
        *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        self.sweep_floor = self.sweep_floor.min(sweep);
        self.shared.due_floor.lower(due);
        Ok(())
    }

    /// Clears away what is over, about once per second, or with every batch while it is behind.
    fn sweep(&mut self, txn: &mut Txn<'_>) {
        if !self.behind && txn.now.abs_diff(self.swept_at) < SWEEP_EVERY.as_millis() as u64 {
            return;
        }
        self.swept_at = txn.now;
        let due = match device::due(&*self.engine, DueList::Sweep, self.sweep_floor, txn.now, None, SWEEP) {
            Ok(due) => due,
            Err(error) => return tracing::error!(%error, "the state store can't be searched for tombstones"),
        };
        let mut cleared = 0;
        for entry in &due {
            let swept = device::sweep(txn, entry.device);
            txn.close(swept.is_ok());
            match swept {
                Ok(()) => cleared += 1,
                Err(error) => {
                    tracing::error!(%error, device = %entry.device, "a tombstone can't be cleared away");
                }
            }
        }
        self.behind = due.len() == SWEEP && cleared > 0;
        self.sweep_floor =
            due.last().filter(|_| self.behind).map_or(txn.now.saturating_add(1), |last| last.at);
    }
}

struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
        self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner).jobs.clear();
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("its writer has ended".into())
}

fn read_counts(engine: &dyn Engine) -> Result<Counts, StoreError> {
    let Some(bytes) = engine.get(Table::Meta, COUNTS)? else { return Ok(Counts::default()) };
    let halves =
        bytes.split_first_chunk::<8>().and_then(|(first, rest)| Some((*first, rest.try_into().ok()?)));
    let (provisioned, registered) = halves.ok_or(StoreError::Unreadable { what: "counter", version: 0 })?;
    Ok(Counts { provisioned: u64::from_be_bytes(provisioned), registered: u64::from_be_bytes(registered) })
}
