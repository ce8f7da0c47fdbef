//! Which received record numbers are fresh: the sliding window of RFC 6347 §4.1.2.6.

/// How many numbers below the highest accepted one can still be told apart.
pub const WINDOW: u64 = 64;

/// The last 64 record numbers of one epoch; 16 bytes, a plain value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayWindow {
    /// One above the highest accepted number; 0 before the first.
    floor: u64,
    /// Bit i: number `floor - 1 - i` has been accepted.
    bits: u64,
}

impl ReplayWindow {
    /// Nothing accepted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stored window. Whatever the store gave, the highest number below `floor` counts as seen.
    pub fn from_parts(floor: u64, bits: u64) -> Self {
        Self { floor, bits: if floor == 0 { 0 } else { bits | 1 } }
    }

    /// The window after a loss of its exact bits: nothing below `floor` is accepted any more.
    pub fn closed_below(floor: u64) -> Self {
        Self::from_parts(floor, u64::MAX)
    }

    /// One above the highest accepted number; 0 if none was.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Bit i tells whether number `floor - 1 - i` was accepted.
    pub fn bits(&self) -> u64 {
        self.bits
    }

    /// Whether a record may be opened: neither seen nor older than the window. Changes nothing.
    pub fn fresh(&self, number: u64) -> bool {
        match self.age(number) {
            None => true,
            Some(age) => age < WINDOW && self.bits >> age & 1 == 0,
        }
    }

    /// Marks an *authenticated* record's number; `Some(newest)` tells whether it is above every earlier one,
    /// `None` that it was not fresh and must be dropped.
    pub fn accept(&mut self, number: u64) -> Option<bool> {
        if !self.fresh(number) {
            return None;
        }
        match self.age(number) {
            None => {
                let step = number - self.floor + 1;
                self.bits = if step < WINDOW { self.bits << step | 1 } else { 1 };
                self.floor = number + 1;
                Some(true)
            }
            Some(age) => {
                self.bits |= 1 << age;
                Some(false)
            }
        }
    }

    /// How far below the highest accepted number this one is.
    fn age(&self, number: u64) -> Option<u64> {
        self.floor.checked_sub(1)?.checked_sub(number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_number_may_be_zero_and_counts_once() {
        let mut window = ReplayWindow::new();
        assert_eq!(window.accept(0), Some(true));
        assert_eq!(window.accept(0), None);
    }

    #[test]
    fn the_oldest_of_64_numbers_is_still_told_apart() {
        let mut window = ReplayWindow::new();
        assert_eq!(window.accept(100), Some(true));
        assert_eq!(window.accept(37), Some(false));
        assert_eq!(window.accept(37), None);
        assert_eq!(window.accept(36), None);
    }

    #[test]
    fn a_far_step_forgets_and_refuses_what_is_behind() {
        let mut window = ReplayWindow::new();
        window.accept(5);
        assert_eq!(window.accept(1 << 40), Some(true));
        assert!(!window.fresh(6));
        assert!(window.fresh((1 << 40) - 63));
    }

    #[test]
    fn a_window_closed_below_its_floor_takes_only_newer_numbers() {
        let mut window = ReplayWindow::closed_below(10);
        assert!((0..10).all(|number| !window.fresh(number)));
        assert_eq!(window.accept(12), Some(true));
        assert_eq!(window.accept(11), Some(false));
    }

    proptest! {
        #[test]
        fn no_number_is_ever_accepted_twice(numbers in prop::collection::vec(0u64..300, 1..400)) {
            let mut window = ReplayWindow::new();
            let mut seen = HashSet::new();
            for number in numbers {
                let highest = seen.iter().max().copied();
                let expected = match highest {
                    None => Some(true),
                    Some(highest) if number > highest => Some(true),
                    Some(highest) if seen.contains(&number) || highest - number >= WINDOW => None,
                    Some(_) => Some(false),
                };
                prop_assert_eq!(window.accept(number), expected);
                if expected.is_some() {
                    seen.insert(number);
                }
                prop_assert_eq!(ReplayWindow::from_parts(window.floor(), window.bits()), window);
            }
        }
    }
}
