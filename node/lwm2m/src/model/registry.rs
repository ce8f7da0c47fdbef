//! All models that a node or a profile knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ObjectModel, ObjectVersion, builtin};

type Models = BTreeMap<(u16, ObjectVersion), Arc<ObjectModel>>;

/// Models by object id and version, in layers: a profile's own over the node's uploaded ones over
/// the built-in ones.
///
/// A clone is two pointers. A registry never changes: adding makes a new one, so that a device's
/// [`ModelSet`](super::ModelSet) stays what it was until it is built anew.
#[derive(Debug, Clone, Default)]
pub struct ModelRegistry {
    own: Arc<Models>,
    below: Option<Arc<ModelRegistry>>,
}

impl ModelRegistry {
    /// Knows nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Knows the built-in objects.
    pub fn builtin() -> Self {
        let own = builtin().iter().map(|m| ((m.id, m.version), Arc::clone(m))).collect();
        Self { own: Arc::new(own), below: None }
    }

    /// A layer over this registry: where both have an object in one version, the layer's is taken.
    /// Of several models for one object and version in `models` the last one counts.
    #[must_use]
    pub fn layer(&self, models: impl IntoIterator<Item = Arc<ObjectModel>>) -> Self {
        let own = models.into_iter().map(|m| ((m.id, m.version), m)).collect();
        Self { own: Arc::new(own), below: Some(Arc::new(self.clone())) }
    }

    /// The model of exactly this version, from the topmost layer that has it.
    pub fn exact(&self, object: u16, version: ObjectVersion) -> Option<&Arc<ObjectModel>> {
        self.layers().find_map(|own| own.get(&(object, version)))
    }

    /// The model for a client's version: exactly it, or else the nearest lower one of the same
    /// major, or else the nearest higher one. A minor version only adds resources, so that what a
    /// neighbour knows holds; a different major never fits.
    pub fn nearest(&self, object: u16, version: ObjectVersion) -> Option<&Arc<ObjectModel>> {
        if let Some(exact) = self.exact(object, version) {
            return Some(exact);
        }
        let at = |minor| (object, ObjectVersion::new(version.major, minor));
        let lower = self.layers().filter_map(|own| own.range(at(0)..at(version.minor)).next_back());
        // `max_by_key` gives the last of equals, and the topmost layer comes first.
        if let Some((_, model)) = lower.rev().max_by_key(|(key, _)| **key) {
            return Some(model);
        }
        let higher = self.layers().filter_map(|own| own.range(at(version.minor)..=at(u16::MAX)).next());
        higher.min_by_key(|(key, _)| **key).map(|(_, model)| model)
    }

    /// Every model that can be had, by object and version.
    pub fn models(&self) -> Vec<&Arc<ObjectModel>> {
        let mut all = BTreeMap::new();
        for own in self.layers() {
            for (key, model) in own {
                all.entry(key).or_insert(model);
            }
        }
        all.into_values().collect()
    }

    fn layers(&self) -> impl DoubleEndedIterator<Item = &Models> {
        let all: smallvec::SmallVec<[&Models; 4]> =
            std::iter::successors(Some(self), |registry| registry.below.as_deref())
                .map(|registry| &*registry.own)
                .collect();
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(id: u16, version: &str, name: &'static str) -> Arc<ObjectModel> {
        let version = version.parse().unwrap();
        let resources = [].into();
        Arc::new(ObjectModel { id, version, name: name.into(), multiple: false, mandatory: false, resources })
    }

    fn nearest(registry: &ModelRegistry, version: &str) -> Option<String> {
        registry.nearest(7000, version.parse().unwrap()).map(|m| format!("{} {}", m.name, m.version))
    }

    #[test]
    fn an_upper_layer_hides_the_same_version_below_and_nothing_else() {
        let below = ModelRegistry::builtin().layer([model(7000, "1.0", "old"), model(7000, "1.2", "old")]);
        let above = below.layer([model(7000, "1.0", "new")]);
        assert_eq!(nearest(&above, "1.0").unwrap(), "new 1.0");
        assert_eq!(nearest(&above, "1.2").unwrap(), "old 1.2");
        assert_eq!(nearest(&below, "1.0").unwrap(), "old 1.0");
        assert!(above.exact(3, ObjectVersion::V1_0).is_some());
        assert_eq!(above.models().len(), builtin().len() + 2);
    }

    #[test]
    fn a_version_that_is_not_there_takes_its_neighbour_of_one_major() {
        let registry = ModelRegistry::empty()
            .layer([model(7000, "1.1", "a"), model(7000, "1.4", "a")])
            .layer([model(7000, "1.2", "b"), model(7000, "2.0", "b")]);
        assert_eq!(nearest(&registry, "1.0").unwrap(), "a 1.1");
        assert_eq!(nearest(&registry, "1.3").unwrap(), "b 1.2");
        assert_eq!(nearest(&registry, "1.9").unwrap(), "a 1.4");
        assert_eq!(nearest(&registry, "2.5").unwrap(), "b 2.0");
        assert_eq!(nearest(&registry, "3.0"), None);
    }
}
