//! Reading the due index without passing over what was removed from it.
//!
//! A log-structured tree keeps a marker for every removed entry until it is compacted. Deadlines move all the time,
//! so the beginning of the index is mostly such markers; [`DueFloor`] remembers before which time there is nothing.

use std::sync::{Mutex, PoisonError};

/// The time before which no device is due.
#[derive(Debug)]
pub(super) struct DueFloor {
    floor: Mutex<Floor>,
    /// Held while the index is read from its beginning.
    reading: Mutex<()>,
}

#[derive(Debug)]
struct Floor {
    at: u64,
    /// The earliest time put in since the current reading began.
    put_since: u64,
}

impl Default for DueFloor {
    fn default() -> Self {
        Self { floor: Mutex::new(Floor { at: 0, put_since: u64::MAX }), reading: Mutex::new(()) }
    }
}

impl DueFloor {
    /// A batch that put this time into the index has been written. To be called after the write: before it, a
    /// reading that does not see the entry yet could raise the floor over it.
    pub(super) fn lower(&self, at: u64) {
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        floor.at = floor.at.min(at);
        floor.put_since = floor.put_since.min(at);
    }

    /// Reads the index: `read` is given where to begin, and tells the first time that it found or else the time up
    /// to which there was none.
    pub(super) fn read<T, E>(&self, read: impl FnOnce(u64) -> Result<(T, u64), E>) -> Result<T, E> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let from = {
            let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
            floor.put_since = u64::MAX;
            floor.at
        };
        let (answer, first) = read(from)?;
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        floor.at = first.min(floor.put_since);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_rises_to_the_first_entry_and_falls_to_an_earlier_one() {
        let floor = DueFloor::default();
        let from = |first| floor.read(|from| Ok::<_, ()>((from, first))).unwrap();
        assert_eq!(from(50), 0);
        assert_eq!(from(50), 50);
        floor.lower(20);
        assert_eq!(from(20), 20);
    }

    #[test]
    fn an_entry_put_in_during_a_reading_is_not_passed_over() {
        let floor = DueFloor::default();
        floor
            .read(|_| {
                floor.lower(30);
                Ok::<_, ()>(((), 50))
            })
            .unwrap();
        assert_eq!(floor.read(|from| Ok::<_, ()>((from, 50))), Ok(30));
    }
}
