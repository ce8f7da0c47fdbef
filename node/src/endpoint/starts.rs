//! How many devices a shard asks at once for what their profile wants.
//!
//! A register that is answered leads to requests of the node's own: attributes, reads, observations. A node that is behind
//! would add to its load with each of them: the device's answer waits behind other registers or is dropped with them, and
//! the request is sent again, up to four times. So only [`Starts`]' bound of devices is asked at a time, and the others
//! wait in the order in which they came. Who was registered is served meanwhile, notifications and commands included.
//!
//! ```text
//!  enter ─► Start ──── dropped: the request has ended, in whatever way ──┐
//!    └─► wait ─► next ◄──────────────────────────────────────────────────┘
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::Gauge;
use tokio::sync::Notify;

use crate::shard::ActorKey;

/// The devices of one shard that are asked, and those that wait for it. Only mailboxes, which take nothing else, want it
/// to be shared among threads.
#[derive(Debug)]
pub(super) struct Starts {
    bound: usize,
    state: Mutex<State>,
    /// Somebody waits, and there may be room.
    room: Notify,
    /// Of how many wait.
    gauge: Gauge,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    waiting: VecDeque<ActorKey>,
}

/// A device's place among those that are asked, given up when dropped.
#[derive(Debug)]
pub(super) struct Start(Arc<Starts>);

impl Starts {
    /// Asks no more than `bound` devices at a time. How many wait goes to `gauge`.
    pub(super) fn new(bound: usize, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { bound, state: Mutex::default(), room: Notify::new(), gauge })
    }

    /// A place, if one is free and nobody waits for it.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Start> {
        let mut state = self.state();
        if state.waiting.is_empty() { self.take(&mut state) } else { None }
    }

    /// Puts a device at the end of those that wait. One that has gone when its turn comes is passed over.
    pub(super) fn wait(&self, key: ActorKey) {
        self.state().waiting.push_back(key);
        self.gauge.increment(1.0);
        self.room.notify_one();
    }

    /// The next that waits, with its place, as soon as there is one. Cancel-safe.
    pub(super) async fn next(self: &Arc<Self>) -> (ActorKey, Start) {
        loop {
            if let Some(next) = self.take_next() {
                return next;
            }
            self.room.notified().await;
        }
    }

    fn take_next(self: &Arc<Self>) -> Option<(ActorKey, Start)> {
        let mut state = self.state();
        let key = *state.waiting.front()?;
        let start = self.take(&mut state)?;
        state.waiting.pop_front();
        if state.waiting.is_empty() {
            // The room that a million took is not kept.
            state.waiting = VecDeque::new();
        }
        self.gauge.decrement(1.0);
        Some((key, start))
    }

    fn take(self: &Arc<Self>, state: &mut State) -> Option<Start> {
        (state.open < self.bound).then(|| {
            state.open += 1;
            Start(self.clone())
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        if !state.waiting.is_empty() {
            self.0.room.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> ActorKey {
        ActorKey { index, generation: 0 }
    }

    fn next(starts: &Arc<Starts>) -> Option<(u32, Start)> {
        starts.take_next().map(|(key, start)| (key.index, start))
    }

    #[test]
    fn those_beyond_the_bound_have_their_turn_in_order() {
        let starts = Starts::new(2, Gauge::noop());
        let (first, second) = (starts.enter().unwrap(), starts.enter().unwrap());
        assert!(starts.enter().is_none());
        starts.wait(key(3));
        starts.wait(key(4));
        assert!(next(&starts).is_none());
        drop(first);
        assert!(starts.enter().is_none(), "a newcomer does not overtake those that wait");
        let (turn, third) = next(&starts).unwrap();
        assert_eq!(turn, 3);
        assert!(next(&starts).is_none());
        drop((second, third));
        assert_eq!(next(&starts).unwrap().0, 4);
        assert!(starts.enter().is_some());
    }

    #[tokio::test]
    async fn a_place_that_becomes_free_wakes_whoever_hands_it_on() {
        let starts = Starts::new(1, Gauge::noop());
        let held = starts.enter().unwrap();
        starts.wait(key(1));
        let ((woken, _start), ()) = tokio::join!(starts.next(), async { drop(held) });
        assert_eq!(woken, key(1));
    }
}
