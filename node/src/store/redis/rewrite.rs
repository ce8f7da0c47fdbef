//! Writes again what a Redis forgot that failed over, or came back from an older copy.

use futures_util::{StreamExt, stream};

use super::{Device, RedisStore, change::Changes};
use crate::{
    identity::DeviceId,
    store::{Rewritten, StoreError},
};

/// Devices that are under way at a time: Redis is to serve others meanwhile.
const AT_ONCE: usize = 64;

/// How one device ended.
enum Outcome {
    Written,
    Refused,
    Failed,
}

impl RedisStore {
    pub(super) async fn rewrite_all(&self) -> Result<Rewritten, StoreError> {
        let mut all = Rewritten { provisions: self.provision_again().await?, ..Rewritten::default() };
        let devices = self.0.recent().devices();
        let mut outcomes =
            stream::iter(devices).map(|device| self.rewrite_one(device)).buffer_unordered(AT_ONCE);
        while let Some(outcome) = outcomes.next().await {
            match outcome? {
                Outcome::Written => all.devices += 1,
                Outcome::Refused => all.refused += 1,
                Outcome::Failed => all.failed += 1,
            }
        }
        Ok(all)
    }

    /// In the device's turn: what was under way before has been remembered, or was never acknowledged.
    fn rewrite_one(&self, device: DeviceId) -> crate::store::StoreFuture<Outcome> {
        self.run_for(device, true, |device| async move { device.rewrite().await })
    }
}

impl Device {
    async fn rewrite(&self) -> Result<Outcome, StoreError> {
        let remembered = || self.shared.recent().again(self.id);
        let (Some(again), Some(once_more)) = (remembered(), remembered()) else {
            return Ok(Outcome::Refused);
        };
        let fence = again.fence.clone();
        let stored = self.read().await?.map(|stored| stored.record);
        // What leads to the record may lie elsewhere, and have been forgotten where the record was not.
        self.shared.set_unsure(self.id, true);
        let mut tries =
            [again.over(stored.as_ref()), once_more.instead_of_sessions(stored.as_ref())].into_iter();
        while let Some(Some(changes)) = tries.next() {
            match self.commit(&fence, &Changes::of(&changes)?).await {
                Ok(()) => return Ok(Outcome::Written),
                Err(StoreError::Refused(_)) => break,
                Err(StoreError::Invalid { .. }) => {}
                Err(error @ (StoreError::Unavailable(_) | StoreError::Overloaded)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, device = %self.id, "what Redis forgot of a device can't be written again");
                    return Ok(Outcome::Failed);
                }
            }
        }
        let refused = self.read().await?.is_some_and(|stored| !fence.outranks(&stored.record.header));
        if refused {
            self.shared.recent().drop_device(self.id);
        }
        Ok(if refused { Outcome::Refused } else { Outcome::Failed })
    }
}
