//! The only reader of time.
//!
//! Cores take `now` as an argument; a shard reads the clock once per turn and hands the same [`Reading`] to everything
//! that happens in that turn.

use std::{
    sync::{PoisonError, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

mod store_time;

pub use store_time::StoreTime;

/// The monotonic clock. It stands still while the machine is suspended, so a deadline that must outlive the process
/// is stored as Unix milliseconds, never as an `Instant`.
#[must_use]
pub fn now() -> Instant {
    #[cfg(test)]
    if let Some(at) = simulated::at() {
        return at.now;
    }
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    Instant::now()
}

/// Milliseconds since the Unix epoch: by the clock that the nodes of a cluster share, once this one [`follow`]s it; else by the
/// machine's.
#[must_use]
pub fn unix_ms() -> u64 {
    #[cfg(test)]
    if let Some(at) = simulated::at() {
        return at.unix_ms;
    }
    shared_ms().unwrap_or_else(wall_ms)
}

/// The clock that the nodes of a cluster share; `None`: none is followed.
static SHARED: RwLock<Option<StoreTime>> = RwLock::new(None);

/// From now on Unix time is what the store's clock says, as it is carried here. The machine's clock may be wrong, and may be
/// stepped; deadlines and nonces of all nodes go by one.
pub fn follow(time: StoreTime) {
    *SHARED.write().unwrap_or_else(PoisonError::into_inner) = Some(time);
}

/// The clock that is followed, Unix milliseconds.
#[must_use]
pub fn shared_ms() -> Option<u64> {
    let shared = *SHARED.read().unwrap_or_else(PoisonError::into_inner);
    shared.map(|time| time.unix_ms(boot()))
}

/// Milliseconds since the Unix epoch by the machine's clock; 0 where it stands before it.
#[must_use]
pub fn wall_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The clock that also counts while the machine is suspended (CLOCK_BOOTTIME): for what the cluster's times rest on.
#[must_use]
pub fn boot() -> Boot {
    use nix::time::{ClockId, clock_gettime};
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    Boot(since)
}

/// A reading of CLOCK_BOOTTIME. It is never stepped, and says nothing on another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Boot(Duration);

impl Boot {
    /// The moment so long after the machine's start.
    #[must_use]
    pub const fn from_start(span: Duration) -> Self {
        Self(span)
    }

    /// How long it is after `earlier`; zero if it isn't.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Boot {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// Both clocks at once: a correspondence between monotonic and stored time.
#[must_use]
pub fn read() -> Reading {
    Reading { now: now(), unix_ms: unix_ms() }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The monotonic clock.
    pub now: Instant,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl Reading {
    /// The Unix time of a monotonic moment, saturating at the epoch and at the far end.
    #[must_use]
    pub fn unix_ms_at(&self, at: Instant) -> u64 {
        match at.checked_duration_since(self.now) {
            Some(ahead) => self.unix_ms.saturating_add(millis(ahead)),
            None => self.unix_ms.saturating_sub(millis(self.now.duration_since(at))),
        }
    }

    /// The monotonic moment of a stored deadline. One that has passed is `now`: what is overdue is due at once.
    #[must_use]
    pub fn instant_at(&self, unix_ms: u64) -> Instant {
        let ahead = Duration::from_millis(unix_ms.saturating_sub(self.unix_ms)).min(FAR);
        self.now + ahead
    }
}

/// Ten years: no timer waits longer, and `Instant` arithmetic cannot overflow.
const FAR: Duration = Duration::from_hours(10 * 365 * 24);

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Clocks that stand where a test has set them, for its thread.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;

    use super::Reading;

    thread_local! {
        static AT: Cell<Option<Reading>> = const { Cell::new(None) };
    }

    pub(super) fn at() -> Option<Reading> {
        AT.get()
    }

    /// From now on this is what the clocks say; `None`: what they really say.
    pub(crate) fn set(reading: Option<Reading>) {
        AT.set(reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Reading {
        Reading { now: now() + Duration::from_secs(100), unix_ms: 1_000_000 }
    }

    #[test]
    fn a_later_moment_maps_there_and_back() {
        let r = reading();
        let later = r.now + Duration::from_millis(1500);
        assert_eq!(r.unix_ms_at(later), 1_001_500);
        assert_eq!(r.instant_at(1_001_500), later);
    }

    #[test]
    fn an_earlier_moment_maps_to_an_earlier_unix_time() {
        let r = reading();
        assert_eq!(r.unix_ms_at(r.now - Duration::from_millis(250)), 999_750);
    }

    #[test]
    fn the_boot_clock_goes_on_and_saturates() {
        let (first, later) = (boot(), boot());
        assert!(first > Boot::default() && later >= first);
        assert_eq!(first.since(first + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!((first + Duration::from_secs(1)).since(first), Duration::from_secs(1));
    }

    #[test]
    fn an_overdue_deadline_is_due_now() {
        let r = reading();
        assert_eq!(r.instant_at(0), r.now);
    }

    #[test]
    fn a_deadline_at_the_end_of_time_does_not_overflow() {
        let r = reading();
        assert_eq!(r.instant_at(u64::MAX), r.now + FAR);
    }
}
