//! Device profiles: what the node does after a registration, and what becomes of a device's values.
//!
//! ```text
//!  JSON of our own shape ─ json ───────┐
//!  ThingsBoard's JSON ──── thingsboard ┴▶ v1::Profile ─ document ▶ Profile ─ plan ▶ StartPlan, Plan
//!                                                         ▲            └──── key_for ▶ telemetry
//!                               store ─ ProfileSource ─ registry
//! ```
//!
//! A [`Profile`] is validated once and then shared by all its devices. What a device is asked is computed by pure
//! functions from the profile and from what the device registered.

mod builtin;
mod client;
mod document;
mod import;
mod json;
mod plan;
mod registry;
mod thingsboard;
mod tree;

use std::{borrow::Cow, sync::Arc, time::Duration};

use godwit_lwm2m::{
    attributes::Attributes,
    model::{ModelSet, ObjectVersion, default_key},
    path::Path,
};

pub use builtin::{DEFAULT, DEMO, builtin};
pub use client::Client;
pub use document::{Fault, ProfileError};
pub use import::{About, ImportError, ImportFault, Imported, Note};
pub use json::{from_json, to_json};
pub use plan::{Plan, SkipReason, Skipped, StartPlan, Target};
pub use registry::{LoadError, ProfileRegistry, ProfileSource, Reloaded};
pub use thingsboard::import_thingsboard;

/// A validated profile.
///
/// About 100 bytes, and 20 to 40 for each mapping and path; devices share it.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    name: Arc<str>,
    revision: u64,
    mappings: Box<[Mapping]>,
    observe: Box<[Versioned]>,
    start: StartStrategy,
    strategy: ObserveStrategy,
    read_composite: bool,
    attributes: Box<[(Versioned, Attributes)]>,
    format: Option<u16>,
    power: Power,
    uplink_body: Option<u32>,
    ack_first_block: bool,
    bootstrap: Option<Box<str>>,
}

/// A path, and the version in which its object must have been registered for it to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Versioned {
    /// The path.
    pub path: Path,
    /// `None` for every version.
    pub version: Option<ObjectVersion>,
}

/// The name and the use of the values at one path.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// A resource or resource instance.
    pub at: Versioned,
    /// `None`: the model's name of the resource in camelCase.
    pub key: Option<Arc<str>>,
    /// What the values are.
    pub kind: Kind,
}

/// What values are published as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Attributes.
    Attribute,
    /// Telemetry.
    Telemetry,
    /// Both, as two records.
    Both,
    /// Telemetry if they come, but nothing is done for them to come.
    NameOnly,
}

impl Kind {
    /// Whether the values are published as telemetry.
    pub const fn is_telemetry(self) -> bool {
        !matches!(self, Kind::Attribute)
    }

    /// Whether the values are published as attributes.
    pub const fn is_attribute(self) -> bool {
        matches!(self, Kind::Attribute | Kind::Both)
    }
}

/// What is done right after a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartStrategy {
    /// 1: only observe.
    #[default]
    Observe,
    /// 2: read every registered instance whole, then observe.
    ReadAll,
    /// 3: read what is mapped and not observed, then observe.
    ReadMapped,
}

/// How paths are observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ObserveStrategy {
    /// One observation for each path.
    #[default]
    Single,
    /// One Observe-Composite for all.
    Composite,
    /// One Observe-Composite for the paths of each object.
    CompositeByObject,
}

/// When a device can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    /// How it saves power.
    pub mode: PowerMode,
    /// How long it listens after its last message. Default 93 s (MAX_TRANSMIT_WAIT).
    pub awake: Duration,
    /// eDRX: the cycle.
    pub edrx_cycle: Option<Duration>,
    /// eDRX: how long in each cycle it can be paged.
    pub paging_window: Option<Duration>,
}

/// How a device saves power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PowerMode {
    /// As the registration says.
    #[default]
    Registered,
    /// Always reachable.
    Drx,
    /// Sleeps after [`Power::awake`] until it sends again.
    Psm,
    /// Can be paged once in each cycle.
    Edrx,
}

impl Power {
    /// How long a queue-mode client listens after its last message unless told otherwise (MAX_TRANSMIT_WAIT).
    pub const AWAKE: Duration = Duration::from_secs(93);
}

impl Default for Power {
    fn default() -> Power {
        Power { mode: PowerMode::default(), awake: Power::AWAKE, edrx_cycle: None, paging_window: None }
    }
}

impl Profile {
    /// Most characters of a profile's name.
    pub const MAX_NAME: usize = 64;
    /// Most mappings, most observed paths and most paths with attributes, each.
    pub const MAX_PATHS: usize = 4096;
    /// Most bytes of a key.
    pub const MAX_KEY: usize = 255;
    /// Most bytes of the bootstrap configuration.
    pub const MAX_BOOTSTRAP: usize = 64 * 1024;

    /// The last part of the resource name "profiles/{profile}".
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Counts up with every change; 0 for a built-in profile.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The mappings, sorted by path and version.
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// What is to be observed, sorted.
    pub fn observed(&self) -> &[Versioned] {
        &self.observe
    }

    /// What is done right after a registration.
    pub fn start_strategy(&self) -> StartStrategy {
        self.start
    }

    /// How paths are observed.
    pub fn observe_strategy(&self) -> ObserveStrategy {
        self.strategy
    }

    /// The Content-Format that devices are asked for; `None`: the first that the device listed, else TLV.
    pub fn format(&self) -> Option<u16> {
        self.format
    }

    /// When its devices can be reached.
    pub fn power(&self) -> &Power {
        &self.power
    }

    /// Most bytes of links, notifications and Send; `None`: `limits.uplink_body`.
    pub fn uplink_body(&self) -> Option<u32> {
        self.uplink_body
    }

    /// Whether the first block of a block-wise notification is acknowledged at once.
    pub fn ack_first_block(&self) -> bool {
        self.ack_first_block
    }

    /// The bootstrap configuration as it was given, JSON.
    pub fn bootstrap(&self) -> Option<&str> {
        self.bootstrap.as_deref()
    }

    /// The key under which a value at this path is published, and as what; `None` where nothing is mapped.
    ///
    /// A mapping of a resource holds for its instances too, unless these have one of their own. A key that the
    /// profile leaves open is the resource's name in the model, in camelCase; where no model knows it, the path.
    /// Costs two binary searches, and an allocation for a key that the profile leaves open.
    pub fn key_for<'a>(&'a self, path: Path, models: &ModelSet) -> Option<(Cow<'a, str>, Kind)> {
        let mapping = self.mapping_for(path, models)?;
        let key = match &mapping.key {
            Some(key) => Cow::Borrowed(&**key),
            None => key_of(path, models),
        };
        Some((key, mapping.kind))
    }

    /// The mapping that counts for a value at this path: its own, else the resource's.
    pub fn mapping_for(&self, path: Path, models: &ModelSet) -> Option<&Mapping> {
        self.mapped(path, models).or_else(|| self.mapped(path.truncate(3), models))
    }

    /// The mapping of exactly this path. Where it is mapped for several versions of its object, the one for the
    /// version of the device's model; else the one for any version, else the highest, so that no value loses its
    /// key because a device's version has no model.
    fn mapped(&self, path: Path, models: &ModelSet) -> Option<&Mapping> {
        let start = self.mappings.partition_point(|mapping| mapping.at.path < path);
        let end = self.mappings.partition_point(|mapping| mapping.at.path <= path);
        let found = &self.mappings[start..end];
        if let [one] = found {
            return Some(one);
        }
        let version = path.object_id().and_then(|object| models.object(object)).map(|model| model.version);
        let exact = found.iter().find(|mapping| version.is_some() && mapping.at.version == version);
        exact.or_else(|| found.iter().find(|mapping| mapping.at.version.is_none())).or_else(|| found.last())
    }
}

impl Versioned {
    /// A path that holds in every version.
    pub const fn any(path: Path) -> Versioned {
        Versioned { path, version: None }
    }
}

/// The key of a value that no mapping names: the resource's name in camelCase, else the path.
pub fn key_of(path: Path, models: &ModelSet) -> Cow<'static, str> {
    let named = models.resource(&path).map(|resource| default_key(&resource.name));
    match named {
        Some(key) if !key.is_empty() => Cow::Owned(key),
        _ => Cow::Owned(path.truncate(3).to_string()),
    }
}
