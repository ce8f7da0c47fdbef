//! What a device is asked: after its registration, and after a change of its profile.

use std::collections::{BTreeMap, BTreeSet};

use godwit_lwm2m::{
    attributes::{AttributeChange, AttributeName, Attributes},
    model::ObjectVersion,
    path::Path,
};

use super::{Client, Kind, ObserveStrategy, Profile, StartStrategy, Versioned};

/// What to do after a registration, in this order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StartPlan {
    /// Write-Attributes, before anything is observed.
    pub attributes: Vec<(Path, AttributeChange)>,
    /// Reads; composite ones only where the profile asks for them.
    pub reads: Vec<Target>,
    /// Observations to make.
    pub observations: Vec<Target>,
    /// What the device did not register or can't answer: one event each.
    pub skipped: Vec<Skipped>,
}

/// What to do when a profile changed, in this order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Observations to end.
    pub cancel: Vec<Target>,
    /// Write-Attributes; what only the old profile named is taken back.
    pub attributes: Vec<(Path, AttributeChange)>,
    /// Reads.
    pub reads: Vec<Target>,
    /// Observations to make.
    pub observations: Vec<Target>,
    /// Paths of the new profile that are left out, unless the old one left them out too.
    pub skipped: Vec<Skipped>,
}

/// What one read or one observation asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// GET on one path.
    Single(Path),
    /// FETCH of several paths, sorted, none below another.
    Composite(Box<[Path]>),
}

impl Target {
    /// The paths.
    pub fn paths(&self) -> &[Path] {
        match self {
            Target::Single(path) => std::slice::from_ref(path),
            Target::Composite(paths) => paths,
        }
    }
}

/// A path of the profile that this device is not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// The path.
    pub path: Path,
    /// Why.
    pub reason: SkipReason,
}

/// Why a path is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// The device did not register the object.
    #[error("the device did not register the object")]
    NoObject,
    /// The device did not register this instance of the object.
    #[error("the device did not register the object instance")]
    NoInstance,
    /// The profile's path names another version of the object.
    #[error("the device registered the object in version {registered}")]
    Version {
        /// The version that the device registered.
        registered: ObjectVersion,
    },
    /// The object model lets nobody read the resource.
    #[error("the object model lets nobody read it")]
    NotReadable,
}

impl StartPlan {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.reads.is_empty() && self.observations.is_empty()
    }
}

impl Plan {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.cancel.is_empty()
            && self.attributes.is_empty()
            && self.reads.is_empty()
            && self.observations.is_empty()
    }
}

/// Objects that no LwM2M server may read (Core 1.2 §E.1, OSCORE 2.0): Security and OSCORE.
const UNREADABLE: [u16; 2] = [0, 21];

impl Profile {
    /// What to do after a registration. Paths that the device did not register are skipped, with the reason, and
    /// never stop the others.
    pub fn start_plan(&self, client: &Client<'_>) -> StartPlan {
        let mut skips = BTreeMap::new();
        let attributes = self.written(client, &mut skips);
        let observed = select(self.observe.iter().copied(), client, true, &mut skips);
        let reads = match self.start {
            StartStrategy::Observe => Vec::new(),
            StartStrategy::ReadAll => client
                .registered
                .instances()
                .filter(|path| path.object_id().is_none_or(|object| !UNREADABLE.contains(&object)))
                .collect(),
            StartStrategy::ReadMapped => {
                let mapped = self.mappings.iter().filter(|mapping| mapping.kind != Kind::NameOnly);
                let mut mapped = select(mapped.map(|mapping| mapping.at), client, true, &mut skips);
                // The answer to an observe carries the value: reading it too would cost the device twice.
                mapped.retain(|path| !observed.iter().any(|observed| path.starts_with(observed)));
                mapped
            }
        };
        let read_strategy = if self.read_composite { self.strategy } else { ObserveStrategy::Single };
        StartPlan {
            attributes,
            reads: group(reads, read_strategy, client),
            observations: group(observed, self.strategy, client),
            skipped: skips.into_iter().map(|(path, reason)| Skipped { path, reason }).collect(),
        }
    }

    /// What brings a device from one profile to another. Of the `current` observations only those that the old
    /// profile asked for are ended: an operator's stay. Attributes that only
    /// the old profile named are taken back.
    pub fn difference(old: &Profile, new: &Profile, current: &[Target], client: &Client<'_>) -> Plan {
        let before = old.start_plan(client);
        let after = new.start_plan(client);
        let cancel = current
            .iter()
            .filter(|target| before.observations.contains(target) && !after.observations.contains(target));
        Plan {
            cancel: cancel.cloned().collect(),
            attributes: changes(&before.attributes, &after.attributes),
            reads: added(after.reads, &before.reads),
            observations: added(after.observations, current),
            skipped: added(after.skipped, &before.skipped),
        }
    }

    fn written(
        &self,
        client: &Client<'_>,
        skips: &mut BTreeMap<Path, SkipReason>,
    ) -> Vec<(Path, AttributeChange)> {
        let mut written: BTreeMap<Path, Attributes> = BTreeMap::new();
        for (at, attributes) in &self.attributes {
            match at.offered(client, false) {
                Ok(()) => _ = written.insert(at.path, *attributes),
                Err(reason) => _ = skips.insert(at.path, reason),
            }
        }
        skips.retain(|path, _| !written.contains_key(path));
        let change = |(path, set)| (path, AttributeChange { set, unset: Vec::new() });
        written.into_iter().map(change).collect()
    }
}

/// What to write where attributes were set, to have others set. Both lists are sorted by path.
fn changes(
    before: &[(Path, AttributeChange)],
    after: &[(Path, AttributeChange)],
) -> Vec<(Path, AttributeChange)> {
    let of = |list: &[(Path, AttributeChange)], path: Path| {
        let index = list.binary_search_by_key(&path, |(known, _)| *known);
        index.map_or_else(|_| Attributes::default(), |index| list[index].1.set)
    };
    let names = |set: &Attributes| set.iter().map(|(name, _)| name).collect::<Vec<AttributeName>>();
    let paths: BTreeSet<Path> = before.iter().chain(after).map(|(path, _)| *path).collect();
    let change = |path: Path| {
        let (old, new) = (of(before, path), of(after, path));
        let kept = names(&new);
        let unset = names(&old).into_iter().filter(|name| !kept.contains(name)).collect();
        (old != new).then_some((path, AttributeChange { set: new, unset }))
    };
    paths.into_iter().filter_map(change).collect()
}

impl Versioned {
    /// Whether the device has this path, and if it is to be read, whether it can be.
    fn offered(&self, client: &Client<'_>, read: bool) -> Result<(), SkipReason> {
        let object = self.path.object_id().unwrap_or_default();
        let registered = client.registered.object(object).ok_or(SkipReason::NoObject)?.version;
        if self.version.is_some_and(|version| version != registered) {
            return Err(SkipReason::Version { registered });
        }
        if !client.registered.covers(&self.path) {
            return Err(SkipReason::NoInstance);
        }
        let model = client.models.resource(&self.path);
        if read && model.is_some_and(|resource| !resource.operations.read) {
            return Err(SkipReason::NotReadable);
        }
        Ok(())
    }
}

/// The paths that the device has, sorted, each once. A path that is asked for in several versions is skipped only
/// if none of them fits.
fn select(
    paths: impl Iterator<Item = Versioned>,
    client: &Client<'_>,
    read: bool,
    skips: &mut BTreeMap<Path, SkipReason>,
) -> Vec<Path> {
    let mut selected = Vec::new();
    let mut left = Vec::new();
    for at in paths {
        match at.offered(client, read) {
            Ok(()) => selected.push(at.path),
            Err(reason) => left.push((at.path, reason)),
        }
    }
    selected.sort_unstable();
    selected.dedup();
    skips.extend(left.into_iter().filter(|(path, _)| selected.binary_search(path).is_err()));
    selected
}

/// Makes requests of sorted paths.
fn group(paths: Vec<Path>, strategy: ObserveStrategy, client: &Client<'_>) -> Vec<Target> {
    let same_group: fn(&Path, &Path) -> bool = match strategy {
        ObserveStrategy::Composite if client.composite => |_, _| true,
        ObserveStrategy::CompositeByObject if client.composite => |a, b| a.object_id() == b.object_id(),
        _ => return paths.into_iter().map(Target::Single).collect(),
    };
    let mut targets = Vec::new();
    for group in paths.chunk_by(same_group) {
        // Sorted, a path comes right before what is below it.
        let mut tops: Vec<Path> = Vec::new();
        for path in group {
            if !tops.last().is_some_and(|top| path.starts_with(top)) {
                tops.push(*path);
            }
        }
        targets.push(match tops.as_slice() {
            [path] => Target::Single(*path),
            _ => Target::Composite(tops.into()),
        });
    }
    targets
}

fn added<T: PartialEq>(after: Vec<T>, before: &[T]) -> Vec<T> {
    after.into_iter().filter(|item| !before.contains(item)).collect()
}
