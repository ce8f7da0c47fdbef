//! One heap of deadlines per shard, in place of one runtime timer per actor.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use slab::Slab;
use tokio::sync::Notify;

/// Names one actor's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerKey(u32);

/// Deadlines with a resolution of one millisecond, one per actor. `T` says whom to tell.
///
/// Moving a deadline further away touches no heap: the entry that is there fires, finds that nothing is due, and
/// is put back. An actor whose deadline moves with every datagram so costs one heap operation per period.
#[derive(Debug)]
pub struct Timers<T> {
    origin: Instant,
    slots: RefCell<Slab<Slot<T>>>,
    heap: RefCell<BinaryHeap<Reverse<(u64, u32)>>>,
    /// What the driver sleeps towards, in milliseconds since `origin`.
    sleeping_until: Cell<u64>,
    earlier: Notify,
}

#[derive(Debug)]
struct Slot<T> {
    target: T,
    armed: u64,
    queued: u64,
}

const NEVER: u64 = u64::MAX;

impl<T: Copy> Timers<T> {
    /// No deadlines yet. `origin` is any moment not after the first use.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            slots: RefCell::default(),
            heap: RefCell::default(),
            sleeping_until: Cell::new(0),
            earlier: Notify::new(),
        }
    }

    /// Adds an actor without a deadline.
    pub fn insert(&self, target: T) -> TimerKey {
        let slot = Slot { target, armed: NEVER, queued: NEVER };
        TimerKey(u32::try_from(self.slots.borrow_mut().insert(slot)).expect("fewer than 2^32 actors"))
    }

    /// Takes an actor out.
    pub fn remove(&self, key: TimerKey) {
        self.slots.borrow_mut().try_remove(key.0 as usize);
    }

    /// Sets the actor's one deadline, or none.
    pub fn arm(&self, key: TimerKey, at: Option<Instant>) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(key.0 as usize) else { return };
        slot.armed = at.map_or(NEVER, |at| self.tick(at));
        if slot.armed < slot.queued {
            slot.queued = slot.armed;
            self.heap.borrow_mut().push(Reverse((slot.armed, key.0)));
            if slot.armed < self.sleeping_until.get() {
                self.earlier.notify_one();
            }
        }
    }

    /// The next actor whose deadline has passed; its deadline is taken back.
    pub fn pop_due(&self, now: Instant) -> Option<T> {
        let tick = u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(NEVER);
        let mut slots = self.slots.borrow_mut();
        let mut heap = self.heap.borrow_mut();
        while let Some(&Reverse((at, key))) = heap.peek() {
            if at > tick {
                return None;
            }
            heap.pop();
            // An entry of an actor that is gone, or one that an earlier deadline has overtaken.
            let Some(slot) = slots.get_mut(key as usize).filter(|slot| slot.queued == at) else { continue };
            if slot.armed <= tick {
                slot.armed = NEVER;
                slot.queued = NEVER;
                return Some(slot.target);
            }
            slot.queued = slot.armed;
            if slot.armed != NEVER {
                heap.push(Reverse((slot.armed, key)));
            }
        }
        None
    }

    /// Ends when a deadline may be due. Cancel-safe.
    pub async fn due(&self) {
        loop {
            let next = self.heap.borrow().peek().map_or(NEVER, |&Reverse((at, _))| at);
            self.sleeping_until.set(next);
            if next == NEVER {
                self.earlier.notified().await;
                continue;
            }
            let at = self.origin + Duration::from_millis(next);
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {
                    self.sleeping_until.set(0);
                    return;
                }
                () = self.earlier.notified() => {}
            }
        }
    }

    /// The first whole millisecond not before `at`, so that nothing fires early.
    fn tick(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(NEVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn timers() -> (Instant, Timers<u32>) {
        let origin = clock::now();
        (origin, Timers::new(origin))
    }

    fn due(timers: &Timers<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| timers.pop_due(now)).collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn deadlines_fire_in_order_once_and_not_early() {
        let (start, timers) = timers();
        for (target, seconds) in [(1, 3), (2, 1), (3, 2)] {
            timers.arm(timers.insert(target), Some(start + SECOND * seconds));
        }
        assert_eq!(due(&timers, start + SECOND - Duration::from_micros(1)), [0; 0]);
        assert_eq!(due(&timers, start + SECOND * 2), [2, 3]);
        assert_eq!(due(&timers, start + SECOND * 10), [1]);
        assert_eq!(due(&timers, start + SECOND * 20), [0; 0]);
    }

    #[test]
    fn a_deadline_that_moves_away_fires_at_its_new_time_only() {
        let (start, timers) = timers();
        let key = timers.insert(7);
        for seconds in 1..100 {
            timers.arm(key, Some(start + SECOND * seconds));
        }
        assert_eq!(timers.heap.borrow().len(), 1, "moving away is free");
        assert_eq!(due(&timers, start + SECOND * 98), [0; 0]);
        assert_eq!(due(&timers, start + SECOND * 99), [7]);
    }

    #[test]
    fn a_deadline_that_moves_closer_fires_at_its_new_time_only() {
        let (start, timers) = timers();
        let key = timers.insert(7);
        timers.arm(key, Some(start + SECOND * 50));
        timers.arm(key, Some(start + SECOND * 5));
        assert_eq!(due(&timers, start + SECOND * 5), [7]);
        assert_eq!(due(&timers, start + SECOND * 50), [0; 0]);
    }

    #[test]
    fn a_disarmed_or_removed_actor_hears_nothing() {
        let (start, timers) = timers();
        let (disarmed, removed) = (timers.insert(1), timers.insert(2));
        timers.arm(disarmed, Some(start + SECOND));
        timers.arm(removed, Some(start + SECOND));
        timers.arm(disarmed, None);
        timers.remove(removed);
        let successor = timers.insert(3);
        assert_eq!(successor, removed, "the slot is used again");
        timers.arm(successor, Some(start + SECOND * 2));
        assert_eq!(due(&timers, start + SECOND), [0; 0]);
        assert_eq!(due(&timers, start + SECOND * 2), [3]);
    }

    #[test]
    fn the_sleeper_is_woken_by_an_earlier_deadline() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (start, timers) = timers();
        let key = timers.insert(1);
        timers.arm(key, Some(start + SECOND * 3600));
        runtime.block_on(async {
            tokio::join!(timers.due(), async { timers.arm(key, Some(start)) });
        });
        assert_eq!(due(&timers, clock::now()), [1]);
    }
}
