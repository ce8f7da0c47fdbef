//! The models that one registration sees.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ModelRegistry, ObjectModel, ObjectVersion, ResourceModel};
use crate::format::Types;
use crate::path::Path;
use crate::value::ValueType;

/// Models of the objects that a client registered, each in its version. Objects without a model are
/// not in it.
///
/// 16 bytes per object, and shared between all devices that registered the same objects
/// ([`ModelSets`]), so that a device pays one pointer.
#[derive(Debug, Clone, Default)]
pub struct ModelSet {
    models: Box<[(u16, Arc<ObjectModel>)]>,
}

impl ModelSet {
    /// Picks the model of each object; of an object named twice the first version counts.
    pub fn new(registry: &ModelRegistry, objects: impl IntoIterator<Item = (u16, ObjectVersion)>) -> Self {
        let mut models: Vec<_> = objects
            .into_iter()
            .filter_map(|(id, version)| Some((id, Arc::clone(registry.nearest(id, version)?))))
            .collect();
        models.sort_by_key(|(id, _)| *id);
        models.dedup_by_key(|(id, _)| *id);
        Self { models: models.into() }
    }

    /// The model of an object.
    pub fn object(&self, id: u16) -> Option<&ObjectModel> {
        let at = self.models.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.models[at].1)
    }

    /// The model of the resource at or above a path of level 3 or 4.
    pub fn resource(&self, path: &Path) -> Option<&ResourceModel> {
        self.object(path.object_id()?)?.resource(path.resource_id()?)
    }

    /// All models, by object id.
    pub fn iter(&self) -> impl Iterator<Item = &ObjectModel> {
        self.models.iter().map(|(_, model)| &**model)
    }
}

impl Types for ModelSet {
    fn value_type(&self, path: &Path) -> Option<ValueType> {
        self.resource(path)?.value_type
    }

    fn is_multiple(&self, path: &Path) -> Option<bool> {
        self.resource(path).map(|resource| resource.multiple)
    }
}

/// Shares the [`ModelSet`]s of one registry: devices with the same objects get the same set.
///
/// Sets that no device holds any more are dropped when the number of sets has doubled.
#[derive(Debug)]
pub struct ModelSets {
    registry: ModelRegistry,
    sets: HashMap<Box<[(u16, ObjectVersion)]>, Arc<ModelSet>>,
    sweep_at: usize,
}

impl ModelSets {
    const FIRST_SWEEP: usize = 64;

    /// Sets of the models of this registry. When models are added, make a new one.
    pub fn new(registry: ModelRegistry) -> Self {
        Self { registry, sets: HashMap::new(), sweep_at: Self::FIRST_SWEEP }
    }

    /// The registry behind the sets.
    pub fn registry(&self) -> &ModelRegistry {
        &self.registry
    }

    /// The set for these objects, in any order.
    pub fn share(&mut self, objects: impl IntoIterator<Item = (u16, ObjectVersion)>) -> Arc<ModelSet> {
        let mut key: Vec<_> = objects.into_iter().collect();
        key.sort_by_key(|(id, _)| *id);
        key.dedup_by_key(|(id, _)| *id);
        if let Some(set) = self.sets.get(key.as_slice()) {
            return Arc::clone(set);
        }
        if self.sets.len() >= self.sweep_at {
            self.sets.retain(|_, set| Arc::strong_count(set) > 1);
            self.sweep_at = (self.sets.len() * 2).max(Self::FIRST_SWEEP);
        }
        let set = Arc::new(ModelSet::new(&self.registry, key.iter().copied()));
        self.sets.insert(key.into(), Arc::clone(&set));
        set
    }

    /// How many sets there are.
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_0: ObjectVersion = ObjectVersion::V1_0;
    const V1_1: ObjectVersion = ObjectVersion::new(1, 1);

    #[test]
    fn types_follow_the_version_that_was_registered() {
        let registry = ModelRegistry::builtin();
        let apn_link = Path::resource(1, 0, 10);
        let old = ModelSet::new(&registry, [(1, V1_0), (65000, V1_0)]);
        assert_eq!((old.value_type(&apn_link), old.is_multiple(&apn_link)), (None, None));
        let new = ModelSet::new(&registry, [(3303, V1_0), (1, V1_1)]);
        assert_eq!(new.value_type(&apn_link), Some(ValueType::ObjectLink));
        assert_eq!(new.is_multiple(&apn_link), Some(false));
        assert_eq!(new.value_type(&Path::resource_instance(3303, 0, 5700, 2)), Some(ValueType::Float));
        assert_eq!(new.value_type(&Path::object(3303)), None);
        assert_eq!(new.iter().map(|m| m.id).collect::<Vec<_>>(), [1, 3303]);
    }

    #[test]
    fn devices_with_the_same_objects_share_one_set() {
        let mut sets = ModelSets::new(ModelRegistry::builtin());
        let one = sets.share([(3, V1_0), (1, V1_0)]);
        assert!(Arc::ptr_eq(&one, &sets.share([(1, V1_0), (3, V1_0)])));
        assert!(!Arc::ptr_eq(&one, &sets.share([(1, V1_0), (3, V1_1)])));
    }

    #[test]
    fn sets_that_nobody_holds_are_dropped() {
        let mut sets = ModelSets::new(ModelRegistry::builtin());
        let held = sets.share([(3, V1_0)]);
        for id in 0..10_000 {
            sets.share([(id, V1_1)]);
        }
        assert!(sets.len() <= ModelSets::FIRST_SWEEP + 1, "{}", sets.len());
        assert!(Arc::ptr_eq(&held, &sets.share([(3, V1_0)])));
    }
}
