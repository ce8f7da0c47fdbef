//! The time of a run.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the run began.
pub(crate) type Micros = u64;

/// One second.
pub(crate) const SECOND: Micros = 1_000_000;

/// The only reader of the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The wall clock at `start`, in ns since the epoch.
    epoch: u64,
}

impl Clock {
    /// Starts a run.
    pub(crate) fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), epoch: epoch.as_nanos() as u64 }
    }

    pub(crate) fn now(&self) -> Micros {
        self.start.elapsed().as_micros() as Micros
    }

    /// A point of the run as the system counts time.
    pub(crate) fn instant(&self, at: Micros) -> Instant {
        self.start + Duration::from_micros(at)
    }

    /// A kernel's timestamp on the run's scale; `now` where the wall clock was set meanwhile.
    pub(crate) fn arrival(&self, nanos: Option<u64>, now: Micros) -> Micros {
        let arrival = nanos.and_then(|nanos| nanos.checked_sub(self.epoch)).map(|nanos| nanos / 1000);
        arrival.filter(|&at| at <= now && now - at < SECOND).unwrap_or(now)
    }

    /// A point of the run as ms since the epoch.
    pub(crate) fn wall_ms(&self, at: Micros) -> u64 {
        self.epoch / 1_000_000 + at / 1000
    }
}

/// A duration as the run counts it.
pub(crate) fn micros(duration: Duration) -> Micros {
    duration.as_micros() as Micros
}
