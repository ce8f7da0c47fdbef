//! The objects and instances that a client registered.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::model::ObjectVersion;
use crate::path::Path;

/// Objects, their versions and instances.
///
/// 32 bytes, 10 for each object and 2 for each instance; shared between devices that registered the
/// same ([`ObjectLists`]), so that a device of a fleet pays one pointer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ObjectList {
    /// Sorted by id, ids unique.
    objects: Box<[Stored]>,
    /// Of all objects, one after the other, each sorted and unique.
    instances: Box<[u16]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stored {
    id: u16,
    version: ObjectVersion,
    named: bool,
    /// Where its instances begin; those of the next object end them.
    first: u16,
}

/// One object of an [`ObjectList`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisteredObject<'a> {
    /// Object id.
    pub id: u16,
    /// The version that the client named, or else the enabler's default.
    pub version: ObjectVersion,
    /// Whether the client named the version.
    pub named: bool,
    /// Ids of its instances, sorted; empty for an object without any.
    pub instances: &'a [u16],
}

impl ObjectList {
    /// A list of objects in any order, each once: id, version, whether the version was named,
    /// instances. Objects and instances beyond 65535 in number are left out.
    pub fn new<I>(objects: impl IntoIterator<Item = (u16, ObjectVersion, bool, I)>) -> Self
    where
        I: IntoIterator<Item = u16>,
    {
        let mut given: Vec<_> = objects
            .into_iter()
            .map(|(id, version, named, instances)| {
                let mut instances: Vec<u16> = instances.into_iter().collect();
                instances.sort_unstable();
                instances.dedup();
                (id, version, named, instances)
            })
            .collect();
        given.sort_by_key(|(id, ..)| *id);
        given.dedup_by_key(|(id, ..)| *id);
        let mut objects = Vec::with_capacity(given.len());
        let mut all = Vec::with_capacity(given.iter().map(|(.., instances)| instances.len()).sum());
        for (id, version, named, instances) in given {
            let Ok(first) = u16::try_from(all.len()) else { break };
            objects.push(Stored { id, version, named, first });
            all.extend(instances);
            all.truncate(usize::from(u16::MAX));
        }
        Self { objects: objects.into(), instances: all.into() }
    }

    /// How many objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// All objects, by id.
    pub fn iter(&self) -> impl Iterator<Item = RegisteredObject<'_>> {
        (0..self.objects.len()).map(|at| self.at(at))
    }

    /// The object with this id.
    pub fn object(&self, id: u16) -> Option<RegisteredObject<'_>> {
        Some(self.at(self.objects.binary_search_by_key(&id, |o| o.id).ok()?))
    }

    /// Object ids with their versions, as a model set is chosen by.
    pub fn versions(&self) -> impl Iterator<Item = (u16, ObjectVersion)> {
        self.objects.iter().map(|object| (object.id, object.version))
    }

    /// Whether a path is at or below what the client registered. Says nothing about resources; the
    /// root is always there.
    pub fn covers(&self, path: &Path) -> bool {
        let Some(object) = path.object_id() else { return true };
        let Some(object) = self.object(object) else { return false };
        path.instance_id().is_none_or(|id| object.instances.binary_search(&id).is_ok())
    }

    /// Paths of all instances.
    pub fn instances(&self) -> impl Iterator<Item = Path> {
        self.iter().flat_map(|object| object.instances.iter().map(move |id| Path::instance(object.id, *id)))
    }

    fn at(&self, at: usize) -> RegisteredObject<'_> {
        let Stored { id, version, named, first } = self.objects[at];
        let end = self.objects.get(at + 1).map_or(self.instances.len(), |next| usize::from(next.first));
        RegisteredObject { id, version, named, instances: &self.instances[usize::from(first)..end] }
    }
}

/// As the links of a Register: `</3>;ver=1.1,</3/0>`.
impl fmt::Display for ObjectList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for object in self.iter() {
            if object.named {
                write!(f, "{comma}</{}>;ver={}", object.id, object.version)?;
                comma = ",";
            } else if object.instances.is_empty() {
                write!(f, "{comma}</{}>", object.id)?;
                comma = ",";
            }
            for instance in object.instances {
                write!(f, "{comma}</{}/{instance}>", object.id)?;
                comma = ",";
            }
        }
        Ok(())
    }
}

/// Shares equal [`ObjectList`]s. Lists that no device holds any more are dropped when their number
/// has doubled.
#[derive(Debug, Default)]
pub struct ObjectLists {
    lists: HashSet<Arc<ObjectList>>,
    sweep_at: usize,
}

impl ObjectLists {
    const FIRST_SWEEP: usize = 64;

    /// The list that stands for all equal ones.
    pub fn share(&mut self, list: Arc<ObjectList>) -> Arc<ObjectList> {
        if let Some(known) = self.lists.get(&list) {
            return Arc::clone(known);
        }
        if self.lists.len() >= self.sweep_at {
            self.lists.retain(|list| Arc::strong_count(list) > 1);
            self.sweep_at = (self.lists.len() * 2).max(Self::FIRST_SWEEP);
        }
        self.lists.insert(Arc::clone(&list));
        list
    }

    /// How many different lists there are.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> ObjectList {
        ObjectList::new([
            (3303, ObjectVersion::V1_0, false, vec![2, 0, 2]),
            (1, ObjectVersion::new(1, 1), true, vec![0]),
            (4, ObjectVersion::V1_0, false, vec![]),
        ])
    }

    #[test]
    fn objects_and_instances_are_found() {
        let list = list();
        assert_eq!(list.versions().map(|(id, _)| id).collect::<Vec<_>>(), [1, 4, 3303]);
        assert_eq!(list.object(3303).unwrap().instances, [0, 2]);
        assert_eq!(list.object(4).unwrap().instances, [0u16; 0]);
        assert!(list.object(1).unwrap().named && list.object(5).is_none());
        assert_eq!(list.to_string(), "</1>;ver=1.1,</1/0>,</4>,</3303/0>,</3303/2>");
        let covered = [Path::ROOT, Path::object(4), Path::resource(3303, 2, 5700)];
        assert!(covered.iter().all(|path| list.covers(path)));
        let not = [Path::object(3), Path::instance(4, 0), Path::resource(3303, 1, 5700)];
        assert!(!not.iter().any(|path| list.covers(path)));
        assert_eq!(list.instances().count(), 3);
    }

    #[test]
    fn an_object_costs_ten_bytes() {
        assert_eq!((size_of::<ObjectList>(), size_of::<Stored>()), (32, 10));
    }

    #[test]
    fn more_instances_than_fit_are_left_out() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let list = ObjectList::new([
            (1, ObjectVersion::V1_0, false, all.clone()),
            (2, ObjectVersion::V1_0, false, all),
        ]);
        assert_eq!(list.object(1).unwrap().instances.len(), 65535);
        assert_eq!(list.object(2).unwrap().instances.len(), 0);
    }

    #[test]
    fn equal_lists_are_shared_and_forgotten_ones_dropped() {
        let mut lists = ObjectLists::default();
        let held = lists.share(Arc::new(list()));
        assert!(Arc::ptr_eq(&held, &lists.share(Arc::new(list()))));
        for id in 0..1000 {
            lists.share(Arc::new(ObjectList::new([(id, ObjectVersion::V1_0, false, [id])])));
        }
        assert!(lists.len() <= ObjectLists::FIRST_SWEEP + 1);
        assert!(Arc::ptr_eq(&held, &lists.share(Arc::new(list()))));
    }
}
