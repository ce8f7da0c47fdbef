//! What the plans must know of a registered client.

use std::collections::BTreeMap;

use godwit_lwm2m::{
    model::{ModelSet, ObjectVersion},
    path::Path,
};

/// A registered client, as plans see it.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// What it registered.
    pub registered: &'a Registered,
    /// The models of its objects.
    pub models: &'a ModelSet,
    /// Whether it knows composite operations: LwM2M 1.1 and later.
    pub composite: bool,
}

/// The objects of a registration, their versions and instances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    objects: BTreeMap<u16, Object>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Object {
    version: ObjectVersion,
    instances: Vec<u16>,
}

impl Registered {
    /// Adds a link of the registration: an object or an object instance. The version, where the link or its
    /// enabler release names one, holds for the whole object; deeper paths and the root add nothing.
    pub fn insert(&mut self, path: Path, version: Option<ObjectVersion>) {
        let Some(id) = path.object_id() else { return };
        let object = self.objects.entry(id).or_default();
        if let Some(version) = version {
            object.version = version;
        }
        if let Some(instance) = path.instance_id()
            && let Err(at) = object.instances.binary_search(&instance)
        {
            object.instances.insert(at, instance);
        }
    }

    /// The version of an object; `None` if it is not registered.
    pub fn version(&self, object: u16) -> Option<ObjectVersion> {
        self.objects.get(&object).map(|object| object.version)
    }

    /// Whether an object, or the object instance at or above a path, is registered.
    pub fn contains(&self, path: &Path) -> bool {
        let Some(object) = path.object_id().and_then(|id| self.objects.get(&id)) else { return false };
        path.instance_id().is_none_or(|instance| object.instances.binary_search(&instance).is_ok())
    }

    /// All object instances, sorted.
    pub fn instances(&self) -> impl Iterator<Item = Path> {
        self.objects
            .iter()
            .flat_map(|(id, object)| object.instances.iter().map(|instance| Path::instance(*id, *instance)))
    }
}

impl FromIterator<(Path, Option<ObjectVersion>)> for Registered {
    fn from_iter<I: IntoIterator<Item = (Path, Option<ObjectVersion>)>>(links: I) -> Registered {
        let mut registered = Registered::default();
        for (path, version) in links {
            registered.insert(path, version);
        }
        registered
    }
}
