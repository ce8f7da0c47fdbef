//! Which shard of this process holds a device.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{identity::DeviceId, shard::ShardId};

const STRIPES: usize = 64;

/// Devices with a live endpoint, or one that is being activated, in this process. A device has one place only:
/// whoever wants it elsewhere must first have it released.
#[derive(Debug)]
pub struct Directory {
    stripes: Box<[Mutex<HashMap<DeviceId, ShardId>>]>,
}

impl Default for Directory {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect() }
    }
}

impl Directory {
    /// Where a device is.
    pub fn find(&self, device: DeviceId) -> Option<ShardId> {
        self.stripe(device).lock().unwrap_or_else(PoisonError::into_inner).get(&device).copied()
    }

    /// All devices, at some moment of the call each.
    pub fn devices(&self) -> Vec<DeviceId> {
        let of = |stripe: &Mutex<HashMap<DeviceId, ShardId>>| {
            stripe.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect::<Vec<_>>()
        };
        self.stripes.iter().flat_map(of).collect()
    }

    /// Takes a device for a shard, for as long as the reservation lives. `Err`: the shard that holds it.
    pub fn reserve(self: &Arc<Self>, device: DeviceId, shard: ShardId) -> Result<Reservation, ShardId> {
        match self.stripe(device).lock().unwrap_or_else(PoisonError::into_inner).entry(device) {
            Entry::Occupied(held) => Err(*held.get()),
            Entry::Vacant(free) => {
                free.insert(shard);
                Ok(Reservation { directory: self.clone(), device })
            }
        }
    }

    fn stripe(&self, device: DeviceId) -> &Mutex<HashMap<DeviceId, ShardId>> {
        &self.stripes[usize::from(device.as_bytes()[0]) % STRIPES]
    }
}

/// A device's place in the [`Directory`], given up when dropped.
#[derive(Debug)]
pub struct Reservation {
    directory: Arc<Directory>,
    device: DeviceId,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let stripe = self.directory.stripe(self.device);
        stripe.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_at_one_shard_until_its_reservation_ends() {
        let directory = Arc::new(Directory::default());
        let device = DeviceId::of("a");
        let reservation = directory.reserve(device, 1).unwrap();
        assert_eq!(directory.reserve(device, 0).unwrap_err(), 1);
        assert_eq!(directory.find(device), Some(1));
        drop(reservation);
        assert_eq!(directory.find(device), None);
        assert!(directory.reserve(device, 0).is_ok());
    }
}
