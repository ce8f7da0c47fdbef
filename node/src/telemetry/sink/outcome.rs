//! What became of records: counted, and logged when it changes.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{SinkError, SpoolStatus};
use crate::{
    clock,
    metrics::{self, labels::RecordOutcome},
};

/// Without a failure for so long, the end of failing is told.
const QUIET: Duration = Duration::from_secs(1);

/// Records that wait, and none made durable for so long: the sink is stalled.
const STALLED: Duration = Duration::from_secs(5);

/// The metrics of a sink, and whether it fails at the moment.
#[derive(Debug)]
pub(super) struct Outcomes {
    opened: Instant,
    /// When a record was last made durable, in milliseconds from `opened` on.
    durable: AtomicU64,
    metrics: metrics::Sink,
    failing: AtomicBool,
    /// When it failed last, while it does.
    failed: Mutex<Option<Instant>>,
}

impl Default for Outcomes {
    fn default() -> Outcomes {
        Outcomes {
            opened: clock::now(),
            durable: AtomicU64::new(0),
            metrics: metrics::Sink::default(),
            failing: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }
}

impl Outcomes {
    /// Whether the last record was made durable some seconds ago, though others wait.
    pub(super) fn is_stalled(&self, waiting: bool) -> bool {
        let durable = self.opened + Duration::from_millis(self.durable.load(Ordering::Relaxed));
        waiting && clock::now().saturating_duration_since(durable) >= STALLED
    }

    fn made_durable(&self) {
        let since = clock::now().saturating_duration_since(self.opened);
        self.durable.store(since.as_millis() as u64, Ordering::Relaxed);
    }

    /// Counts records. The first failure and the end of it are logged, not each.
    pub(super) fn count(&self, records: usize, result: &Result<(), SinkError>) {
        let outcome = match result {
            Ok(()) => RecordOutcome::Written,
            Err(SinkError::QueueFull { .. } | SinkError::SpoolFull { .. }) => RecordOutcome::QueueFull,
            Err(_) => RecordOutcome::Failed,
        };
        self.metrics.records[outcome].increment(records as u64);
        if result.is_ok() {
            self.made_durable();
        }
        match result {
            Ok(()) if self.failing.load(Ordering::Relaxed) => {
                // A full queue that empties takes one record and refuses the next.
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.is_some_and(|at| clock::now().duration_since(at) >= QUIET) {
                    *failed = None;
                    self.failing.store(false, Ordering::Relaxed);
                    tracing::info!("the telemetry sink takes records again");
                }
            }
            Ok(()) => {}
            Err(error) => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.replace(clock::now()).is_none() {
                    tracing::error!(%error, "the telemetry sink takes no records");
                }
                self.failing.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Counts records that were acknowledged from the spool.
    pub(super) fn spooled(&self, records: usize) {
        // A round without any says nothing of the sink's health.
        if records == 0 {
            return;
        }
        self.made_durable();
        self.metrics.records[RecordOutcome::Spooled].increment(records as u64);
    }

    /// Counts a record that became a dead letter.
    pub(super) fn buried(&self) {
        self.metrics.records[RecordOutcome::DeadLetter].increment(1);
    }

    /// Shows what the spool holds.
    pub(super) fn spool(&self, status: &SpoolStatus) {
        self.metrics.spool_records.set(status.records as f64);
        self.metrics.spool_bytes.set(status.bytes as f64);
    }

    /// Measures one write.
    pub(super) fn time<T>(&self, write: impl FnOnce() -> T) -> T {
        let start = clock::now();
        let out = write();
        self.metrics.write_seconds.record(clock::now().duration_since(start).as_secs_f64());
        out
    }

    /// Shows how many bytes wait.
    pub(super) fn queued(&self, bytes: u64) {
        self.metrics.queue_bytes.set(bytes as f64);
    }
}
