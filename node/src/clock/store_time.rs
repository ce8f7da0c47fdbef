//! The store's clock: read at each heartbeat, carried in between by CLOCK_BOOTTIME, slewed and never stepped.

use std::time::Duration;

use super::Boot;

/// The clock gains or loses at most one in so many while it is corrected: 100 ms per heartbeat of 2 s.
const SLEW: i128 = 20;
/// What it is off by is made up for within so many heartbeats' time, if [`SLEW`] allows.
const MAKE_UP: Duration = Duration::from_secs(2);
const MICROS: i128 = 1_000;

/// The time by which lanes, deadlines and terms go, as this node carries it. It never goes back, whatever the store or
/// the wall clock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreTime {
    anchor: Boot,
    /// Unix time at the anchor, in microseconds.
    unix_us: i128,
    /// What is still to be made up for, and at most so much per microsecond of ours.
    error_us: i128,
}

impl StoreTime {
    /// The first reading: the store said `unix_ms` in answer to what was sent at `sent` and came back at `now`.
    #[must_use]
    pub fn new(sent: Boot, now: Boot, unix_ms: u64) -> Self {
        Self { anchor: now, unix_us: measured(sent, now, unix_ms), error_us: 0 }
    }

    /// A later reading. The difference is made up for slowly.
    pub fn handle_reading(&mut self, sent: Boot, now: Boot, unix_ms: u64) {
        let carried = self.unix_us(now);
        self.error_us = measured(sent, now, unix_ms) - carried;
        (self.anchor, self.unix_us) = (now, carried);
    }

    /// Unix time in milliseconds.
    #[must_use]
    pub fn unix_ms(&self, now: Boot) -> u64 {
        u64::try_from(self.unix_us(now) / MICROS).unwrap_or(0)
    }

    /// Unix time in seconds, for nonces.
    #[must_use]
    pub fn second(&self, now: Boot) -> u32 {
        u32::try_from(self.unix_ms(now) / 1_000).unwrap_or(u32::MAX)
    }

    /// How far the store's clock was ahead of the carried one at the last reading, in milliseconds.
    #[must_use]
    pub fn error_ms(&self) -> i64 {
        i64::try_from(self.error_us / MICROS).unwrap_or(i64::MAX)
    }

    fn unix_us(&self, now: Boot) -> i128 {
        let elapsed = micros(now.since(self.anchor));
        let most = elapsed / SLEW;
        let wanted = self.error_us * elapsed.min(micros(MAKE_UP)) / micros(MAKE_UP);
        self.unix_us + elapsed + wanted.clamp(-most, most)
    }
}

/// The store read its clock somewhere between; half way is never wrong by more than half of the way.
fn measured(sent: Boot, now: Boot, unix_ms: u64) -> i128 {
    i128::from(unix_ms) * MICROS + micros(now.since(sent)) / 2
}

fn micros(span: Duration) -> i128 {
    i128::try_from(span.as_micros()).unwrap_or(i128::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: u64 = 1_800_000_000_000;

    fn at(ms: u64) -> Boot {
        Boot::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn it_goes_on_between_heartbeats_from_half_way_of_the_answer() {
        let time = StoreTime::new(at(1_000), at(1_200), UNIX);
        assert_eq!([time.unix_ms(at(1_200)), time.unix_ms(at(5_200))], [UNIX + 100, UNIX + 4_100]);
        assert_eq!(time.second(at(5_200)), ((UNIX + 4_100) / 1_000) as u32);
    }

    #[test]
    fn a_small_difference_is_made_up_for_by_the_next_heartbeat() {
        let mut time = StoreTime::new(at(0), at(0), UNIX);
        time.handle_reading(at(2_000), at(2_000), UNIX + 2_050);
        assert_eq!(time.error_ms(), 50);
        assert_eq!(time.unix_ms(at(2_000)), UNIX + 2_000);
        assert_eq!(time.unix_ms(at(4_000)), UNIX + 4_050);
        assert_eq!(time.unix_ms(at(9_000)), UNIX + 9_050);
    }

    #[test]
    fn a_store_that_steps_an_hour_either_way_moves_it_slowly_and_never_back() {
        for step in [-3_600_000_i64, 3_600_000] {
            let mut time = StoreTime::new(at(0), at(0), UNIX);
            let mut before = UNIX;
            for beat in 1..200_u64 {
                let now = at(beat * 2_000);
                time.handle_reading(now, now, UNIX.saturating_add_signed(step) + beat * 2_000);
                for ms in [0, 1, 700, 1_999] {
                    let unix = time.unix_ms(at(beat * 2_000 + ms));
                    assert!(unix >= before && unix - before <= 2_100, "{unix} after {before}");
                    before = unix;
                }
            }
            let made_up = before as i64 - (UNIX + 399_999) as i64;
            assert_eq!(made_up.signum(), step.signum());
            assert!((15_000..=20_000).contains(&made_up.abs()), "{made_up}");
        }
    }
}
