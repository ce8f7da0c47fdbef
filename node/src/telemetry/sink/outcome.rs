//! What became of records: counted, and logged when it changes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::SinkError;
use crate::{
    clock,
    metrics::{self, labels::RecordOutcome},
};

/// The metrics of a sink, and whether it fails at the moment.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    metrics: metrics::Sink,
    failing: AtomicBool,
}

impl Outcomes {
    /// Counts records. The first failure and the end of it are logged, not each.
    pub(super) fn count(&self, records: usize, result: &Result<(), SinkError>) {
        let outcome = match result {
            Ok(()) => RecordOutcome::Written,
            Err(SinkError::QueueFull { .. }) => RecordOutcome::QueueFull,
            Err(_) => RecordOutcome::Failed,
        };
        self.metrics.records[outcome].increment(records as u64);
        if self.failing.load(Ordering::Relaxed) == result.is_err() {
            return;
        }
        self.failing.store(result.is_err(), Ordering::Relaxed);
        match result {
            Ok(()) => tracing::info!("the telemetry sink takes records again"),
            Err(error) => tracing::error!(%error, "the telemetry sink takes no records"),
        }
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
