//! How often the log may speak of what strangers do: whoever can send packets must not be able to fill it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// One more line after so long.
const EVERY: Duration = Duration::from_secs(10);
/// Lines at once, after a time without any.
const BURST: u32 = 6;

/// An allowance of lines: six at once, then one in ten seconds, for the whole process.
#[derive(Debug, Default)]
pub(in crate::connection) struct Allowance(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    /// When all of it is there again; `None`: it always was.
    whole_at: Option<Instant>,
    /// What was not said since the last line.
    unsaid: u64,
}

impl Allowance {
    /// Whether one line may be said now, and of how many before it nothing was said.
    pub(in crate::connection) fn take(&self, now: Instant) -> Option<u64> {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let whole_at = spent.whole_at.map_or(now, |at| at.max(now)) + EVERY;
        if whole_at.saturating_duration_since(now) > EVERY * BURST {
            spent.unsaid = spent.unsaid.saturating_add(1);
            return None;
        }
        spent.whole_at = Some(whole_at);
        Some(std::mem::take(&mut spent.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_flood_gets_its_burst_and_then_a_line_in_ten_seconds_that_counts_the_rest() {
        let (allowance, start) = (Allowance::default(), clock::now());
        let said: Vec<_> = (0..30_000)
            .filter_map(|tick| {
                let unsaid = allowance.take(start + Duration::from_millis(tick))?;
                Some((tick, unsaid))
            })
            .collect();
        let burst = (0..u64::from(BURST)).map(|tick| (tick, 0));
        assert_eq!(said, burst.chain([(10_000, 9_994), (20_000, 9_999)]).collect::<Vec<_>>());
    }

    #[test]
    fn quiet_brings_the_burst_back() {
        let (allowance, start) = (Allowance::default(), clock::now());
        while allowance.take(start).is_some() {}
        let later = start + EVERY * BURST;
        assert_eq!(allowance.take(later), Some(1));
        assert_eq!((1..).take_while(|_| allowance.take(later).is_some()).count(), BURST as usize - 1);
    }
}
