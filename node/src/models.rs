//! The object models of this process: built in, uploaded for all devices, uploaded for a profile.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use godwit_lwm2m::model::{Ddf, ModelRegistry, ObjectModel, load_ddf};

use crate::store::{DocumentKey, DocumentKind, PageRequest, StateStore, StoreError, page::PAGE_LIMIT};

/// A shared catalogue, read from the store and replaced as a whole when models change.
#[derive(Debug)]
pub struct Models {
    layers: RwLock<Arc<Layers>>,
}

#[derive(Debug)]
struct Layers {
    global: ModelRegistry,
    profiles: HashMap<String, Own>,
}

/// What a profile has of its own.
#[derive(Debug)]
struct Own {
    registry: ModelRegistry,
    /// "{object}_{version}", sorted by object and version.
    names: Vec<String>,
}

impl Default for Models {
    fn default() -> Self {
        Self::new()
    }
}

impl Models {
    /// Knows the built-in models only.
    pub fn new() -> Self {
        let layers = Layers { global: ModelRegistry::builtin(), profiles: HashMap::new() };
        Self { layers: RwLock::new(Arc::new(layers)) }
    }

    /// Reads all uploaded models. Costs a parse of every stored document, about a millisecond for each of 20 KiB.
    /// A document that can't be parsed is left out, with an error in the log; devices go on without it.
    ///
    /// # Errors
    /// Those of the store; what was known stays.
    pub async fn reload(&self, store: &dyn StateStore) -> Result<(), StoreError> {
        let mut of: HashMap<String, Vec<Arc<ObjectModel>>> = HashMap::new();
        let mut token = None;
        loop {
            let page = PageRequest { token, limit: PAGE_LIMIT };
            let page = store.list_documents(DocumentKind::Model, page).await?;
            for (key, document) in page.items {
                let DocumentKey::Model { profile, object, version } = key else { continue };
                match stored(&document.body, object, &version) {
                    Some(model) => of.entry(profile).or_default().push(Arc::new(model)),
                    None => tracing::error!(profile, object, version, "a stored object model can't be read"),
                }
            }
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        let global = ModelRegistry::builtin().layer(of.remove("").unwrap_or_default());
        let own = |mut models: Vec<Arc<ObjectModel>>| {
            models.sort_by_key(|model| (model.id, model.version));
            let names = models.iter().map(|model| format!("{}_{}", model.id, model.version)).collect();
            Own { registry: global.layer(models), names }
        };
        let profiles = of.into_iter().map(|(profile, models)| (profile, own(models))).collect();
        let layers = Arc::new(Layers { global, profiles });
        *self.layers.write().unwrap_or_else(PoisonError::into_inner) = layers;
        Ok(())
    }

    /// What devices of a profile go by. A clone of two pointers; it stays as it is when models change.
    pub fn registry(&self, profile: &str) -> ModelRegistry {
        let layers = self.layers();
        layers.profiles.get(profile).map_or(&layers.global, |own| &own.registry).clone()
    }

    /// The models that a profile has of its own, "{object}_{version}".
    pub fn names(&self, profile: &str) -> Vec<String> {
        self.layers().profiles.get(profile).map(|own| own.names.clone()).unwrap_or_default()
    }

    fn layers(&self) -> Arc<Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The model of an object in a stored DDF file, which may define several.
pub fn stored(body: &[u8], object: u16, version: &str) -> Option<ObjectModel> {
    let Ok(Ddf::Objects(models)) = load_ddf(body) else { return None };
    models.into_iter().find(|model| model.id == object && model.version.to_string() == version)
}
