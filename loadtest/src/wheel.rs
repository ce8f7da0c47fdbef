//! Deadlines of a fleet: one wheel instead of a timer per device.

use crate::clock::Micros;

/// Width of a slot; a deadline fires up to this much late.
const SLOT: Micros = 16_384;
const SLOTS: usize = 4096;

/// For what a deadline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The acknowledgement should have come.
    Retransmit,
    /// The separate answer should have come.
    GiveUp,
    /// A refused device may register again.
    Retry,
}

/// A deadline of one exchange; stale when the device's exchange is another by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) device: u32,
    pub(crate) mid: u16,
    pub(crate) purpose: Purpose,
    /// Slot number since the start; beyond the wheel's round of 67 s it comes by more than once.
    slot: u32,
}

/// A hashed wheel. Arming is a push; a deadline that is no longer wanted costs nothing until its slot comes.
pub(crate) struct Wheel {
    slots: Vec<Vec<Entry>>,
    /// The next slot to come.
    next: u32,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], next: 0 }
    }

    pub(crate) fn arm(&mut self, at: Micros, device: u32, mid: u16, purpose: Purpose) {
        let slot = ((at / SLOT + 1) as u32).max(self.next);
        self.slots[slot as usize % SLOTS].push(Entry { device, mid, purpose, slot });
    }

    /// Moves what is due by `now` into `due`.
    pub(crate) fn advance(&mut self, now: Micros, due: &mut Vec<Entry>) {
        while u64::from(self.next) * SLOT <= now {
            let (this, slot) = (self.next, &mut self.slots[self.next as usize % SLOTS]);
            slot.retain(|entry| {
                let later = entry.slot > this;
                if !later {
                    due.push(*entry);
                }
                later
            });
            // A burst's capacity isn't kept: most slots stay nearly empty.
            if slot.is_empty() && slot.capacity() > 1024 {
                *slot = Vec::new();
            }
            self.next += 1;
        }
    }

    /// When [`Wheel::advance`] should be called next.
    pub(crate) fn next_slot(&self) -> Micros {
        u64::from(self.next) * SLOT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_fires_once_and_never_early() {
        let mut wheel = Wheel::new();
        let deadlines = [0, 1, 5_000, 2_000_000, 48_000_000, 93_000_000, 400_000_000];
        for (device, &at) in deadlines.iter().enumerate() {
            wheel.arm(at, device as u32, 7, Purpose::Retransmit);
        }
        let (mut now, mut fired) = (0, Vec::new());
        while now < 500_000_000 {
            let mut due = Vec::new();
            wheel.advance(now, &mut due);
            for entry in due {
                let at = deadlines[entry.device as usize];
                assert!(now >= at && now < at + 2 * SLOT + 10_000, "{at} fired at {now}");
                fired.push(entry.device);
            }
            now += 10_000;
        }
        assert_eq!(fired, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_turn() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        wheel.advance(10_000_000, &mut due);
        wheel.arm(3, 1, 1, Purpose::Retry);
        wheel.advance(10_000_000 + SLOT, &mut due);
        assert_eq!(due.len(), 1);
    }
}
