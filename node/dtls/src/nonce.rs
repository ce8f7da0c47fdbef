//! Explicit nonces that never repeat under any key: `second (32) ‖ lane (12) ‖ counter (20)`.
//!
//! Uniqueness rests on the lane, which one shard of one process holds at a time, and on a pair (second, lane) being
//! opened once: not on a session's state, nor on a store that may forget a write.

use thiserror::Error;

const COUNTER_BITS: u32 = 20;
/// How many nonces one second of a lane gives.
pub const PER_SECOND: u32 = 1 << COUNTER_BITS;
/// Lanes are numbered below this.
pub const LANES: u16 = 1 << 12;

/// No nonce is left: the next second lies above what the lane is held for. Nothing may be sealed until
/// [`NonceSource::extend`] was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no nonce left below second {until}")]
pub struct Exhausted {
    /// The last second that the lane is held for.
    pub until: u32,
}

/// The one source of a shard's nonces, for all its sessions. It can't be cloned, and gives each value once.
#[derive(Debug)]
pub struct NonceSource {
    lane: u16,
    /// The pair that is open; before the first nonce, the last second that some earlier holder may have opened.
    second: u32,
    /// The next counter of that pair; [`PER_SECOND`] when it is used up.
    counter: u32,
    until: u32,
}

impl NonceSource {
    /// A source for a lane just taken. Seconds are Unix time by the cluster's clock. Only seconds above `after` are
    /// opened (pass the later of the previous holder's `until` and, where that isn't known, the own clock), none above
    /// `until` (acknowledged by the store).
    ///
    /// # Panics
    /// If `lane` is not below [`LANES`].
    pub fn new(lane: u16, after: u32, until: u32) -> Self {
        assert!(lane < LANES, "invariant: lanes have 12 bits");
        Self { lane, second: after, counter: PER_SECOND, until }
    }

    /// The next nonce. `clock_second` may stand still or step back: an opened pair is used up first, and the next
    /// is max(clock, last second + 1).
    pub fn next(&mut self, clock_second: u32) -> Result<[u8; 8], Exhausted> {
        if self.counter == PER_SECOND {
            let exhausted = Exhausted { until: self.until };
            let second = self.second.checked_add(1).ok_or(exhausted)?.max(clock_second);
            if second > self.until {
                return Err(exhausted);
            }
            (self.second, self.counter) = (second, 0);
        }
        let low = u32::from(self.lane) << COUNTER_BITS | self.counter;
        self.counter += 1;
        Ok((u64::from(self.second) << 32 | u64::from(low)).to_be_bytes())
    }

    /// Leaves out so many nonces of the open pair, or all that it still has: a gap is always safe.
    pub fn leave_out(&mut self, count: u32) {
        self.counter = self.counter.saturating_add(count).min(PER_SECOND);
    }

    /// The store has acknowledged the lane up to this second; a lower one changes nothing.
    pub fn extend(&mut self, until: u32) {
        self.until = self.until.max(until);
    }

    /// The last second that may be opened.
    pub fn until(&self) -> u32 {
        self.until
    }

    /// The lane, for the log.
    pub fn lane(&self) -> u16 {
        self.lane
    }

    /// How many nonces the open pair still holds; what is left when the store can't be reached.
    pub fn left(&self) -> u32 {
        PER_SECOND - self.counter
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const NOW: u32 = 1_800_000_000;

    fn parts(nonce: [u8; 8]) -> (u32, u32, u32) {
        let value = u64::from_be_bytes(nonce);
        ((value >> 32) as u32, (value >> 20) as u32 & 0xfff, value as u32 & 0xf_ffff)
    }

    fn use_up(source: &mut NonceSource, clock: u32) {
        while source.left() > 0 {
            source.next(clock).unwrap();
        }
    }

    #[test]
    fn a_nonce_is_second_lane_and_counter() {
        let mut source = NonceSource::new(0xabc, 0, NOW + 30);
        assert_eq!(parts(source.next(NOW).unwrap()), (NOW, 0xabc, 0));
        // The pair stays open however far the clock goes: opening is what needs an acknowledged second.
        assert_eq!(parts(source.next(NOW + 20).unwrap()), (NOW, 0xabc, 1));
    }

    #[test]
    fn a_clock_an_hour_back_opens_the_next_second_not_an_old_one() {
        let mut source = NonceSource::new(1, 0, NOW + 30);
        source.next(NOW).unwrap();
        use_up(&mut source, NOW - 3600);
        assert_eq!(parts(source.next(NOW - 3600).unwrap()), (NOW + 1, 1, 0));
    }

    #[test]
    fn a_used_up_counter_opens_the_clocks_second() {
        let mut source = NonceSource::new(1, 0, NOW + 30);
        source.next(NOW).unwrap();
        use_up(&mut source, NOW);
        assert_eq!(parts(source.next(NOW).unwrap()), (NOW + 1, 1, 0));
        use_up(&mut source, NOW);
        assert_eq!(parts(source.next(NOW + 9).unwrap()), (NOW + 9, 1, 0));
    }

    #[test]
    fn a_holder_cut_off_uses_up_its_pair_then_stops_until_extended() {
        let mut source = NonceSource::new(1, 0, NOW);
        source.next(NOW).unwrap();
        assert_eq!(source.left(), PER_SECOND - 1);
        use_up(&mut source, NOW + 100);
        assert_eq!(source.next(NOW), Err(Exhausted { until: NOW }));
        assert_eq!(source.next(NOW + 100), Err(Exhausted { until: NOW }));
        source.extend(NOW - 5);
        assert_eq!(source.until(), NOW);
        source.extend(NOW + 1);
        assert_eq!(parts(source.next(NOW).unwrap()), (NOW + 1, 1, 0));
    }

    #[test]
    fn a_new_holder_opens_above_its_predecessors_until() {
        let mut source = NonceSource::new(1, NOW + 30, NOW + 60);
        assert_eq!(parts(source.next(NOW).unwrap()), (NOW + 31, 1, 0));
        assert!(NonceSource::new(1, NOW + 30, NOW + 30).next(NOW).is_err());
    }

    #[test]
    fn what_is_left_out_is_never_given() {
        let mut source = NonceSource::new(1, 0, NOW + 30);
        source.next(NOW).unwrap();
        source.leave_out(5);
        assert_eq!(parts(source.next(NOW).unwrap()), (NOW, 1, 6));
        source.leave_out(u32::MAX);
        assert_eq!(source.left(), 0);
        assert_eq!(parts(source.next(NOW).unwrap()), (NOW + 1, 1, 0));
    }

    #[test]
    fn the_last_second_of_time_ends_the_source() {
        let mut source = NonceSource::new(1, u32::MAX, u32::MAX);
        assert_eq!(source.next(NOW), Err(Exhausted { until: u32::MAX }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Holders of one lane in turn, each with clocks that jump either way and leases that are extended at odd
        /// times; the counter is shortened by skipping through the middle of each pair.
        #[test]
        fn no_nonce_ever_repeats(
            holders in prop::collection::vec(
                (0u32..50, prop::collection::vec((-4000i64..4000, 0u32..40, any::<bool>()), 1..60)),
                1..6,
            ),
        ) {
            let mut seen = HashSet::new();
            let mut until = NOW;
            for (lease, steps) in holders {
                let mut source = NonceSource::new(7, until, until + lease);
                for (jump, extension, skip) in steps {
                    if skip {
                        source.counter = source.counter.max(PER_SECOND - 2);
                    }
                    let clock = (i64::from(NOW) + jump) as u32;
                    if let Ok(nonce) = source.next(clock) {
                        prop_assert!(seen.insert(nonce), "repeated {:?}", parts(nonce));
                        prop_assert!(parts(nonce).0 <= source.until());
                    }
                    source.extend(clock + extension);
                }
                until = source.until();
            }
        }
    }
}
