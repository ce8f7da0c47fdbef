//! A profile as the admin API and the store write it, checked on the way in.

use std::{collections::HashSet, fmt, str::FromStr, sync::Arc, time::Duration};

use godwit_lwm2m::{
    attributes::{AttributeError, Attributes},
    format::ContentFormat,
    model::{BadVersion, ObjectVersion},
    path::{Path, PathError},
};
use godwit_proto::v1::{
    self,
    profile::{self, mapping, power},
};

use super::{Kind, Mapping, ObserveStrategy, Power, PowerMode, Profile, StartStrategy, Versioned};

/// The first fault of a profile, and the field that has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct ProfileError {
    /// Which field, as `mappings[3].path`.
    pub field: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a field of a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not 1 to 64 characters of a-z, A-Z, 0-9, '.', '_' and '-'.
    #[error("a profile's name is 1 to 64 characters of a-z, A-Z, 0-9, '.', '_' and '-'")]
    Name,
    /// No path.
    #[error("{path:?} is no path: {error}")]
    Path {
        /// The text.
        path: String,
        /// Why.
        error: PathError,
    },
    /// No version where a path has one: "/3_1.2/0/9".
    #[error("{path:?}: {error}")]
    Version {
        /// The text.
        path: String,
        /// Why.
        error: BadVersion,
    },
    /// A path of the wrong level.
    #[error("{path} must be {expected}")]
    Level {
        /// The path.
        path: Path,
        /// What it must be.
        expected: &'static str,
    },
    /// A path twice.
    #[error("{path} comes twice")]
    Duplicate {
        /// The path, with its version if it has one.
        path: Versioned,
    },
    /// An empty or too long key, or one with control characters.
    #[error("a key is 1 to 255 bytes without control characters")]
    Key,
    /// An enumeration's number that we don't know.
    #[error("{0} is unknown")]
    Enumeration(i32),
    /// Not a Content-Format for this use.
    #[error("{0} is no Content-Format of LwM2M for several values or one of any type")]
    Format(u32),
    /// Too much of something.
    #[error("{count} are more than {max}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// Missing.
    #[error("missing")]
    Missing,
    /// A value that must be above 0.
    #[error("must be above 0")]
    Zero,
    /// Attributes that contradict each other or that a path of this level can't have.
    #[error("{0}")]
    Attributes(AttributeError),
    /// A codec that this node does not have.
    #[error("there is no codec {0:?}")]
    Codec(String),
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(String),
}

impl TryFrom<v1::Profile> for Profile {
    type Error = ProfileError;

    fn try_from(document: v1::Profile) -> Result<Profile, ProfileError> {
        codecs(&document.codecs)?;
        Ok(Profile {
            name: name(&document.name)?,
            revision: document.revision,
            mappings: mappings(&document.mappings)?,
            observe: observe(&document.observe)?,
            start: start_strategy(document.start_strategy)?,
            strategy: observe_strategy(document.observe_strategy)?,
            read_composite: document.read_composite,
            attributes: attributes(&document.write_attributes)?,
            format: document.format.map(format).transpose()?,
            power: document.power.as_ref().map(power_of).transpose()?.unwrap_or_default(),
            uplink_body: uplink_body(document.limits)?,
            ack_first_block: document.ack_first_block,
            bootstrap: bootstrap(document.bootstrap)?,
        })
    }
}

impl From<&Profile> for v1::Profile {
    fn from(profile: &Profile) -> v1::Profile {
        let millis = |span: Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        let power = &profile.power;
        v1::Profile {
            name: format!("profiles/{}", profile.name),
            mappings: profile.mappings.iter().map(profile::Mapping::from).collect(),
            observe: profile.observe.iter().map(Versioned::to_string).collect(),
            start_strategy: match profile.start {
                StartStrategy::Observe => profile::StartStrategy::Observe,
                StartStrategy::ReadAll => profile::StartStrategy::ReadAll,
                StartStrategy::ReadMapped => profile::StartStrategy::ReadMapped,
            }
            .into(),
            observe_strategy: match profile.strategy {
                ObserveStrategy::Single => profile::ObserveStrategy::Single,
                ObserveStrategy::Composite => profile::ObserveStrategy::Composite,
                ObserveStrategy::CompositeByObject => profile::ObserveStrategy::CompositeByObject,
            }
            .into(),
            write_attributes: profile
                .attributes
                .iter()
                .map(|(at, attributes)| profile::WriteAttributes {
                    path: at.to_string(),
                    attributes: Some(attributes_of(attributes)),
                })
                .collect(),
            format: profile.format.map(u32::from),
            power: (*power != Power::default()).then(|| profile::Power {
                mode: match power.mode {
                    PowerMode::Registered => power::Mode::Unspecified,
                    PowerMode::Drx => power::Mode::Drx,
                    PowerMode::Psm => power::Mode::Psm,
                    PowerMode::Edrx => power::Mode::Edrx,
                }
                .into(),
                awake_ms: Some(millis(power.awake)),
                edrx_cycle_ms: power.edrx_cycle.map(millis),
                paging_window_ms: power.paging_window.map(millis),
            }),
            models: Vec::new(),
            limits: profile.uplink_body.map(|bytes| profile::Limits { uplink_body: Some(bytes) }),
            ack_first_block: profile.ack_first_block,
            codecs: Vec::new(),
            bootstrap: profile.bootstrap.as_deref().unwrap_or_default().to_owned(),
            revision: profile.revision,
            read_composite: profile.read_composite,
        }
    }
}

impl From<&Mapping> for profile::Mapping {
    fn from(mapping: &Mapping) -> profile::Mapping {
        profile::Mapping {
            path: mapping.at.to_string(),
            key: mapping.key.as_deref().unwrap_or_default().to_owned(),
            kind: match mapping.kind {
                Kind::Attribute => mapping::Kind::Attribute,
                Kind::Telemetry => mapping::Kind::Telemetry,
                Kind::Both => mapping::Kind::Both,
                Kind::NameOnly => mapping::Kind::NameOnly,
            }
            .into(),
        }
    }
}

fn fault(field: impl Into<String>, fault: Fault) -> ProfileError {
    ProfileError { field: field.into(), fault }
}

/// The last part of a resource name "profiles/{profile}", or that part alone.
fn name(text: &str) -> Result<Arc<str>, ProfileError> {
    let name = text.strip_prefix("profiles/").unwrap_or(text);
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > Profile::MAX_NAME || !name.bytes().all(known) {
        return Err(fault("name", Fault::Name));
    }
    Ok(name.into())
}

fn mappings(list: &[profile::Mapping]) -> Result<Box<[Mapping]>, ProfileError> {
    bounded("mappings", list.len())?;
    let mut mappings = Vec::with_capacity(list.len());
    for (index, mapping) in list.iter().enumerate() {
        let field = |name: &str| format!("mappings[{index}].{name}");
        let at: Versioned = mapping.path.parse().map_err(|error| fault(field("path"), error))?;
        if !at.path.is_value() {
            let error = Fault::Level { path: at.path, expected: "a resource or a resource instance" };
            return Err(fault(field("path"), error));
        }
        let key = key(&mapping.key).map_err(|error| fault(field("key"), error))?;
        let kind = match mapping::Kind::try_from(mapping.kind) {
            Ok(mapping::Kind::Attribute) => Kind::Attribute,
            Ok(mapping::Kind::Unspecified | mapping::Kind::Telemetry) => Kind::Telemetry,
            Ok(mapping::Kind::Both) => Kind::Both,
            Ok(mapping::Kind::NameOnly) => Kind::NameOnly,
            Err(_) => return Err(fault(field("kind"), Fault::Enumeration(mapping.kind))),
        };
        mappings.push(Mapping { at, key, kind });
    }
    unique(mappings.iter().map(|mapping| mapping.at))
        .map_err(|(index, error)| fault(format!("mappings[{index}].path"), error))?;
    mappings.sort_by_key(|mapping| mapping.at);
    Ok(mappings.into())
}

fn observe(list: &[String]) -> Result<Box<[Versioned]>, ProfileError> {
    bounded("observe", list.len())?;
    let mut paths = Vec::with_capacity(list.len());
    for (index, text) in list.iter().enumerate() {
        paths.push(below_root(text).map_err(|error| fault(format!("observe[{index}]"), error))?);
    }
    unique(paths.iter().copied()).map_err(|(index, error)| fault(format!("observe[{index}]"), error))?;
    paths.sort_unstable();
    Ok(paths.into())
}

/// `None` for the default key.
pub(super) fn key(text: &str) -> Result<Option<Arc<str>>, Fault> {
    match text {
        "" => Ok(None),
        key if key.len() <= Profile::MAX_KEY && !key.chars().any(char::is_control) => Ok(Some(key.into())),
        _ => Err(Fault::Key),
    }
}

fn attributes(list: &[profile::WriteAttributes]) -> Result<Box<[(Versioned, Attributes)]>, ProfileError> {
    bounded("write_attributes", list.len())?;
    let mut written = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let field = |name: &str| format!("write_attributes[{index}].{name}");
        let at = below_root(&entry.path).map_err(|error| fault(field("path"), error))?;
        let attributes = entry.attributes.unwrap_or_default();
        let attributes = attributes_at(at, &attributes).map_err(|error| fault(field("attributes"), error))?;
        written.push((at, attributes));
    }
    unique(written.iter().map(|(at, _)| *at))
        .map_err(|(index, error)| fault(format!("write_attributes[{index}].path"), error))?;
    written.sort_by_key(|(at, _)| *at);
    Ok(written.into())
}

/// At least one, going together, and of a kind that this level of path may have.
pub(super) fn attributes_at(at: Versioned, set: &v1::Attributes) -> Result<Attributes, Fault> {
    let v1::Attributes { pmin, pmax, gt, lt, st, epmin, epmax, edge, con, hqmax } = *set;
    let attributes = Attributes { pmin, pmax, gt, lt, st, epmin, epmax, edge, con, hqmax };
    if attributes.is_empty() {
        return Err(Fault::Missing);
    }
    attributes.validate(&at.path).map_err(Fault::Attributes)?;
    Ok(attributes)
}

fn attributes_of(attributes: &Attributes) -> v1::Attributes {
    let Attributes { pmin, pmax, gt, lt, st, epmin, epmax, edge, con, hqmax } = *attributes;
    v1::Attributes { pmin, pmax, gt, lt, st, epmin, epmax, edge, con, hqmax }
}

fn start_strategy(number: i32) -> Result<StartStrategy, ProfileError> {
    use profile::StartStrategy as Document;
    match Document::try_from(number) {
        Ok(Document::Unspecified | Document::Observe) => Ok(StartStrategy::Observe),
        Ok(Document::ReadAll) => Ok(StartStrategy::ReadAll),
        Ok(Document::ReadMapped) => Ok(StartStrategy::ReadMapped),
        Err(_) => Err(fault("start_strategy", Fault::Enumeration(number))),
    }
}

fn observe_strategy(number: i32) -> Result<ObserveStrategy, ProfileError> {
    use profile::ObserveStrategy as Document;
    match Document::try_from(number) {
        Ok(Document::Unspecified | Document::Single) => Ok(ObserveStrategy::Single),
        Ok(Document::Composite) => Ok(ObserveStrategy::Composite),
        Ok(Document::CompositeByObject) => Ok(ObserveStrategy::CompositeByObject),
        Err(_) => Err(fault("observe_strategy", Fault::Enumeration(number))),
    }
}

/// Formats that can carry whole objects; a plain one would fit single resources only.
fn format(number: u32) -> Result<u16, ProfileError> {
    let known = u16::try_from(number).ok().and_then(ContentFormat::from_number);
    let many = known.filter(|format| {
        !format.is_single() && !matches!(format, ContentFormat::SenmlEtchJson | ContentFormat::SenmlEtchCbor)
    });
    many.map(ContentFormat::number).ok_or_else(|| fault("format", Fault::Format(number)))
}

fn power_of(document: &profile::Power) -> Result<Power, ProfileError> {
    let span = |field: &str, millis: Option<u32>| match millis {
        Some(0) => Err(fault(format!("power.{field}"), Fault::Zero)),
        millis => Ok(millis.map(|millis| Duration::from_millis(millis.into()))),
    };
    Ok(Power {
        mode: match power::Mode::try_from(document.mode) {
            Ok(power::Mode::Unspecified) => PowerMode::Registered,
            Ok(power::Mode::Drx) => PowerMode::Drx,
            Ok(power::Mode::Psm) => PowerMode::Psm,
            Ok(power::Mode::Edrx) => PowerMode::Edrx,
            Err(_) => return Err(fault("power.mode", Fault::Enumeration(document.mode))),
        },
        awake: span("awake_ms", document.awake_ms)?.unwrap_or(Power::AWAKE),
        edrx_cycle: span("edrx_cycle_ms", document.edrx_cycle_ms)?,
        paging_window: span("paging_window_ms", document.paging_window_ms)?,
    })
}

fn uplink_body(limits: Option<profile::Limits>) -> Result<Option<u32>, ProfileError> {
    match limits.and_then(|limits| limits.uplink_body) {
        Some(0) => Err(fault("limits.uplink_body", Fault::Zero)),
        limit => Ok(limit),
    }
}

fn codecs(list: &[profile::PathCodec]) -> Result<(), ProfileError> {
    bounded("codecs", list.len())?;
    for (index, entry) in list.iter().enumerate() {
        below_root(&entry.path).map_err(|error| fault(format!("codecs[{index}].path"), error))?;
        if entry.codec != "none" {
            return Err(fault(format!("codecs[{index}].codec"), Fault::Codec(entry.codec.clone())));
        }
    }
    Ok(())
}

fn bootstrap(text: String) -> Result<Option<Box<str>>, ProfileError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > Profile::MAX_BOOTSTRAP {
        let error = Fault::TooMany { count: text.len(), max: Profile::MAX_BOOTSTRAP };
        return Err(fault("bootstrap", error));
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(Some(text.into())),
        Err(error) => Err(fault("bootstrap", Fault::Json(error.to_string()))),
    }
}

fn bounded(field: &str, count: usize) -> Result<(), ProfileError> {
    match count {
        0..=Profile::MAX_PATHS => Ok(()),
        _ => Err(fault(field, Fault::TooMany { count, max: Profile::MAX_PATHS })),
    }
}

/// The index of the second of two equal paths.
fn unique(paths: impl Iterator<Item = Versioned>) -> Result<(), (usize, Fault)> {
    let mut seen = HashSet::new();
    for (index, path) in paths.enumerate() {
        if !seen.insert(path) {
            return Err((index, Fault::Duplicate { path }));
        }
    }
    Ok(())
}

pub(super) fn below_root(text: &str) -> Result<Versioned, Fault> {
    let at: Versioned = text.parse()?;
    if at.path == Path::ROOT {
        return Err(Fault::Level { path: at.path, expected: "an object or below one" });
    }
    Ok(at)
}

impl FromStr for Versioned {
    type Err = Fault;

    /// Reads "/3/0/9" and "/3_1.2/0/9".
    fn from_str(text: &str) -> Result<Versioned, Fault> {
        let bad_path = |error| Fault::Path { path: text.to_owned(), error };
        let (object, rest) = match text.get(1..).and_then(|ids| ids.find('/')) {
            Some(slash) => text.split_at(slash + 1),
            None => (text, ""),
        };
        let Some((object, version)) = object.split_once('_') else {
            return Ok(Versioned::any(text.parse().map_err(bad_path)?));
        };
        let version: ObjectVersion =
            version.parse().map_err(|error| Fault::Version { path: text.to_owned(), error })?;
        let path = format!("{object}{rest}").parse().map_err(bad_path)?;
        Ok(Versioned { path, version: Some(version) })
    }
}

impl fmt::Display for Versioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(version), Some((object, rest))) = (self.version, self.path.segments().split_first()) else {
            return write!(f, "{}", self.path);
        };
        write!(f, "/{object}_{version}")?;
        rest.iter().try_for_each(|id| write!(f, "/{id}"))
    }
}
