//! Requests for one device take effect in the order of the calls: each waits for the one before it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot;

use crate::identity::DeviceId;

const SHARDS: usize = 64;

/// Who comes after whom, for the devices for which something is under way.
pub(super) struct Turns {
    shards: [Mutex<HashMap<DeviceId, Last>>; SHARDS],
}

/// The last in a device's queue.
struct Last {
    number: u64,
    ended: oneshot::Receiver<()>,
}

/// A place in a device's queue. Dropping it lets the next one go.
pub(super) struct Turn {
    turns: Arc<Turns>,
    device: DeviceId,
    number: u64,
    before: Option<oneshot::Receiver<()>>,
    _ended: oneshot::Sender<()>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Turns {
    /// Queues up.
    pub(super) fn take(self: &Arc<Self>, device: DeviceId) -> Turn {
        let (sender, ended) = oneshot::channel();
        let mut shard = self.shard(device).lock().unwrap_or_else(PoisonError::into_inner);
        let before = shard.remove(&device);
        let number = before.as_ref().map_or(0, |last| last.number + 1);
        shard.insert(device, Last { number, ended });
        let before = before.map(|last| last.ended);
        Turn { turns: Arc::clone(self), device, number, before, _ended: sender }
    }

    fn shard(&self, device: DeviceId) -> &Mutex<HashMap<DeviceId, Last>> {
        &self.shards[usize::from(device.as_bytes()[9]) % SHARDS]
    }
}

impl Turn {
    /// Waits until all before it have ended.
    pub(super) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            // It says nothing: it is dropped when the turn ends.
            before.await.ok();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut shard = self.turns.shard(self.device).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.get(&self.device).is_some_and(|last| last.number == self.number) {
            shard.remove(&self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_for_the_one_before_it_and_nothing_remains() {
        let turns = Arc::new(Turns::default());
        let (one, other) = (DeviceId::of("one"), DeviceId::of("other"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut first = turns.take(one);
        let mut second = turns.take(one);
        let mut apart = turns.take(other);
        runtime.block_on(async {
            first.come().await;
            apart.come().await;
            let waits = futures_util::future::poll_immediate(second.come()).await;
            assert_eq!(waits, None);
        });
        let mut third = turns.take(one);
        drop(first);
        drop(apart);
        runtime.block_on(second.come());
        drop(second);
        runtime.block_on(third.come());
        drop(third);
        assert!(turns.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
