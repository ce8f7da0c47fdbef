//! The profiles of this process: one [`Profile`] for all its devices, as the store has it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{Profile, ProfileError, builtin};
use crate::endpoint::handle::BoxFuture;
use godwit_proto::v1;

/// Where profiles are kept.
pub trait ProfileSource: Send + Sync + 'static {
    /// The stored profile of this name, without "profiles/"; `None` if there is none. The text says why the
    /// store could not answer.
    fn load(&self, name: &str) -> BoxFuture<Result<Option<v1::Profile>, String>>;
}

/// Why a profile could not be had.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// No profile of this name, neither stored nor built in.
    #[error("there is no profile {0:?}")]
    Unknown(String),
    /// What the store has is no valid profile.
    #[error("the stored profile {name:?} is invalid: {error}")]
    Invalid {
        /// The profile.
        name: String,
        /// What is wrong with it.
        error: ProfileError,
    },
    /// The store did not answer.
    #[error("the store is unavailable: {0}")]
    Store(String),
}

/// What a reload found.
#[derive(Debug, Clone, PartialEq)]
pub struct Reloaded {
    /// The profile that devices had until now; `None` if it was not in use here.
    pub old: Option<Arc<Profile>>,
    /// The profile from now on; `None` if it was deleted.
    pub new: Option<Arc<Profile>>,
}

/// A cache of all profiles in use, shared by all shards.
pub struct ProfileRegistry {
    source: Box<dyn ProfileSource>,
    cache: RwLock<HashMap<Arc<str>, Arc<Profile>>>,
}

impl ProfileRegistry {
    /// An empty cache over a source.
    pub fn new(source: impl ProfileSource) -> ProfileRegistry {
        ProfileRegistry { source: Box::new(source), cache: RwLock::default() }
    }

    /// The profile, if it was loaded before: what a datagram's path may ask. Costs a read lock.
    pub fn cached(&self, name: &str) -> Option<Arc<Profile>> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The profile, loaded if need be. A stored one goes before the built-in one of that name.
    ///
    /// # Errors
    /// See [`LoadError`]; an error is not cached.
    pub async fn profile(&self, name: &str) -> Result<Arc<Profile>, LoadError> {
        if let Some(profile) = self.cached(name) {
            return Ok(profile);
        }
        self.reload(name).await?.new.ok_or_else(|| LoadError::Unknown(name.to_owned()))
    }

    /// Reads the profile again, after a change. Devices keep what they have until they are given `new`.
    ///
    /// # Errors
    /// See [`LoadError`]; what was cached stays.
    pub async fn reload(&self, name: &str) -> Result<Reloaded, LoadError> {
        let stored = self.source.load(name).await.map_err(LoadError::Store)?;
        let loaded = match stored {
            Some(stored) => Some(Arc::new(
                Profile::try_from(stored)
                    .map_err(|error| LoadError::Invalid { name: name.to_owned(), error })?,
            )),
            None => builtin(name),
        };
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        let old = cache.get(name).cloned();
        let new = match (&old, loaded) {
            // Two loads may end in the other order; a revision never counts down while a profile exists.
            (Some(old), Some(loaded)) if old.revision() > loaded.revision() && loaded.revision() > 0 => {
                Some(Arc::clone(old))
            }
            (Some(old), Some(loaded)) if **old == *loaded => Some(Arc::clone(old)),
            (_, loaded) => loaded,
        };
        match &new {
            Some(profile) => cache.insert(Arc::clone(profile.name()), Arc::clone(profile)),
            None => cache.remove(name),
        };
        Ok(Reloaded { old, new })
    }
}
