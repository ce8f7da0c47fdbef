//! The time in which a node that was told to stop ends, and what has which part of it.
//!
//! ```text
//!  told to stop ── calls end, devices are given up, flows are relayed ──┬── the sink writes what it has ──┬── ports, threads ── end
//!  0                                                            end − 5 s                         end − 1 s
//! ```
//!
//! What one part leaves over the next has. Of a grace of less than 10 s the last half is kept for the sink, and a fifth of that for
//! the end.

use std::time::{Duration, Instant};

/// What is kept for the sink, and for the end of the process.
const SINK: Duration = Duration::from_secs(5);
/// The part of it that is kept for the end: one in so many.
const END: u32 = 5;

/// `node.drain_grace`, from the moment at which the node was told to stop.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    begun: Instant,
    whole: Duration,
}

impl Grace {
    /// It begins.
    #[must_use]
    pub fn begin(now: Instant, whole: Duration) -> Self {
        Self { begun: now, whole }
    }

    /// What calls have to end in: they may take half of what the devices have.
    #[must_use]
    pub fn for_calls(&self, now: Instant) -> Duration {
        self.for_devices(now) / 2
    }

    /// What is left for giving devices up and relaying what still comes for them.
    #[must_use]
    pub fn for_devices(&self, now: Instant) -> Duration {
        self.left(now).saturating_sub(self.reserve())
    }

    /// What is left for the sink.
    #[must_use]
    pub fn for_sink(&self, now: Instant) -> Duration {
        self.left(now).saturating_sub(self.reserve() / END)
    }

    fn reserve(&self) -> Duration {
        SINK.min(self.whole / 2)
    }

    fn left(&self, now: Instant) -> Duration {
        self.whole.saturating_sub(now.saturating_duration_since(self.begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn all_parts_together_take_no_longer_than_the_grace_and_the_sink_has_its_own() {
        let begun = clock::now();
        for (whole, calls, reserve) in [(30, 0.0, 5.0), (30, 5.0, 5.0), (10, 2.0, 5.0), (4, 1.0, 2.0)] {
            let grace = Grace::begin(begun, Duration::from_secs(whole));
            let calls = begun + Duration::from_secs_f64(calls);
            let given_up = calls + grace.for_devices(calls);
            let end = begun + Duration::from_secs(whole);
            assert_eq!(end - given_up, Duration::from_secs_f64(reserve), "{whole} s");
            let flushed = given_up + grace.for_sink(given_up);
            assert_eq!(end - flushed, Duration::from_secs_f64(reserve / 5.0), "{whole} s");
        }
    }

    #[test]
    fn the_sink_has_what_devices_did_not_need() {
        let begun = clock::now();
        let grace = Grace::begin(begun, Duration::from_secs(30));
        assert_eq!(grace.for_sink(begun + Duration::from_secs(2)), Duration::from_secs(27));
    }

    #[test]
    fn calls_leave_the_devices_as_much_as_they_take() {
        let begun = clock::now();
        let grace = Grace::begin(begun, Duration::from_secs(10));
        let calls = grace.for_calls(begun);
        assert_eq!((calls, grace.for_devices(begun + calls)), (Duration::from_millis(2_500), calls));
    }

    #[test]
    fn when_it_is_over_nothing_is_waited_for() {
        let begun = clock::now();
        let late = begun + Duration::from_secs(31);
        let grace = Grace::begin(begun, Duration::from_secs(30));
        assert_eq!((grace.for_devices(late), grace.for_sink(late)), (Duration::ZERO, Duration::ZERO));
        let none = Grace::begin(begun, Duration::ZERO);
        assert_eq!((none.for_devices(begun), none.for_sink(begun)), (Duration::ZERO, Duration::ZERO));
    }
}
