//! How often a device is told that something is due.
//!
//! What is due is normally done at once, and gone from the store by the next sweep. What stays (an expiry whose event the
//! sink refuses, say) would have its device activated by every sweep, as long as that lasts: the pauses double.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::store::Due;

/// The first pause; that of a sweep.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// What was told of, as long as it stays due.
#[derive(Debug, Default)]
pub(crate) struct Reminders {
    told: HashMap<Due, Told>,
    sweep: u64,
}

#[derive(Debug)]
struct Told {
    next: Instant,
    pause: Duration,
    /// The sweep that met it last.
    sweep: u64,
}

impl Reminders {
    /// Whether to tell the device now. Ask once per sweep for each thing that is due.
    pub(crate) fn is_due(&mut self, now: Instant, due: Due) -> bool {
        let told = self.told.entry(due).or_insert(Told { next: now, pause: SHORTEST, sweep: 0 });
        told.sweep = self.sweep;
        if now < told.next {
            return false;
        }
        told.next = now + told.pause;
        told.pause = (told.pause * 2).min(LONGEST);
        true
    }

    /// Ends a sweep that has met everything that is due: what it has not met is done.
    pub(crate) fn end_sweep(&mut self) {
        let sweep = self.sweep;
        self.told.retain(|_, told| told.sweep == sweep);
        self.sweep += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, identity::DeviceId};

    /// The seconds, of so many, in which a sweep tells of it.
    fn told(reminders: &mut Reminders, start: Instant, seconds: u64, due: Due) -> Vec<u64> {
        let told = (0..seconds).filter(|second| {
            let told = reminders.is_due(start + Duration::from_secs(*second), due);
            reminders.end_sweep();
            told
        });
        told.collect()
    }

    #[test]
    fn what_stays_due_is_told_of_ever_more_rarely() {
        let mut reminders = Reminders::default();
        let due = Due { at: 7, device: DeviceId::of("a") };
        let told = told(&mut reminders, clock::now(), 300, due);
        assert_eq!(told, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
    }

    #[test]
    fn what_was_done_is_forgotten_and_told_of_at_once_when_it_comes_again() {
        let mut reminders = Reminders::default();
        let (start, due) = (clock::now(), Due { at: 7, device: DeviceId::of("a") });
        assert_eq!(told(&mut reminders, start, 10, due), [0, 1, 3, 7]);
        reminders.end_sweep();
        assert!(reminders.told.is_empty());
        assert_eq!(told(&mut reminders, start, 2, due), [0, 1]);
        let other = Due { at: 8, ..due };
        assert_eq!(told(&mut reminders, start, 2, other), [0, 1]);
    }
}
