//! The models of each device's objects, shared between devices that registered the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use godwit_lwm2m::{
    model::{ModelSet, ModelSets},
    registration::ObjectList,
};

use crate::{models::Models, profile::Profile};

/// One [`ModelSets`] for each profile in use.
#[derive(Debug)]
pub struct SharedSets {
    models: Arc<Models>,
    by_profile: Mutex<HashMap<Arc<str>, ModelSets>>,
}

impl SharedSets {
    /// Sets of these models.
    pub fn new(models: Arc<Models>) -> Self {
        Self { models, by_profile: Mutex::default() }
    }

    /// The models of a device's objects. Takes a lock, so it is for registrations and activations, not for every
    /// datagram.
    pub fn set(&self, profile: &Profile, objects: &ObjectList) -> Arc<ModelSet> {
        let mut sets = self.by_profile.lock().unwrap_or_else(PoisonError::into_inner);
        sets.entry(profile.name().clone())
            .or_insert_with(|| ModelSets::new(self.models.registry(profile.name())))
            .share(objects.versions())
    }

    /// Forgets all sets after models have changed; devices keep theirs until they ask anew.
    pub fn refresh(&self) {
        self.by_profile.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
