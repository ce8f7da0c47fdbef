//! The profiles of this process: one [`Profile`] for all its devices, as the store has it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{Profile, ProfileError, builtin};
use futures_util::future::BoxFuture;
use godwit_proto::v1;

/// Where profiles are kept.
pub trait ProfileSource: Send + Sync + 'static {
    /// The stored profile of this name, without "profiles/"; `None` if there is none. The text says why the
    /// store could not answer.
    fn load(&self, name: &str) -> BoxFuture<'static, Result<Option<v1::Profile>, String>>;
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

    /// The names of all profiles that were loaded.
    pub fn names(&self) -> Vec<String> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        cache.keys().map(ToString::to_string).collect()
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::profile::DEFAULT;

    /// What the store has at the moment, and how often it was asked.
    #[derive(Clone, Default)]
    struct Stored {
        profile: Arc<Mutex<Option<v1::Profile>>>,
        asked: Arc<AtomicUsize>,
    }

    impl ProfileSource for Stored {
        fn load(&self, name: &str) -> BoxFuture<'static, Result<Option<v1::Profile>, String>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let found = self.profile.lock().unwrap().clone().filter(|profile| profile.name == name);
            Box::pin(async { Ok(found) })
        }
    }

    impl Stored {
        fn put(&self, name: &str, revision: u64, observe: &str) {
            let observe = vec![observe.to_owned()];
            let profile = v1::Profile { name: name.into(), revision, observe, ..v1::Profile::default() };
            *self.profile.lock().unwrap() = Some(profile);
        }
    }

    #[tokio::test]
    async fn a_profile_is_loaded_once_and_shared() {
        let stored = Stored::default();
        stored.put("meter", 1, "/3/0/9");
        let registry = ProfileRegistry::new(stored.clone());
        assert_eq!(registry.cached("meter"), None);
        let first = registry.profile("meter").await.unwrap();
        let second = registry.profile("meter").await.unwrap();
        assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first, &registry.cached("meter").unwrap()));
        assert_eq!(stored.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_reload_gives_old_and_new() {
        let stored = Stored::default();
        let registry = ProfileRegistry::new(stored.clone());
        let built_in = registry.profile(DEFAULT).await.unwrap();
        stored.put(DEFAULT, 1, "/3/0/9");
        let reloaded = registry.reload(DEFAULT).await.unwrap();
        assert_eq!(reloaded.old, Some(built_in.clone()));
        assert_eq!(reloaded.new.unwrap().revision(), 1);
        *stored.profile.lock().unwrap() = None;
        let reloaded = registry.reload(DEFAULT).await.unwrap();
        assert_eq!(reloaded.new, Some(built_in), "the built-in profile is there again");
    }

    #[tokio::test]
    async fn an_older_revision_that_arrives_late_is_not_taken() {
        let stored = Stored::default();
        let registry = ProfileRegistry::new(stored.clone());
        stored.put("meter", 2, "/3/0/9");
        registry.profile("meter").await.unwrap();
        stored.put("meter", 1, "/3/0/10");
        assert_eq!(registry.reload("meter").await.unwrap().new.unwrap().revision(), 2);
    }

    #[tokio::test]
    async fn what_is_missing_or_broken_says_so() {
        let stored = Stored::default();
        let registry = ProfileRegistry::new(stored.clone());
        assert_eq!(registry.profile("none").await, Err(LoadError::Unknown("none".into())));
        stored.put("broken", 1, "nowhere");
        let error = registry.profile("broken").await.unwrap_err();
        assert!(matches!(&error, LoadError::Invalid { error, .. } if error.field == "observe[0]"), "{error}");
        assert_eq!(registry.cached("broken"), None);
    }
}
