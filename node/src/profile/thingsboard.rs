//! ThingsBoard's profile JSON, in its older and its newer shape.
//!
//! Read is the LwM2M transport configuration, or the device profile around it (`profileData.transportConfiguration`).
//! The newer shape has versions in paths (`/3_1.2/0/9`), `attributeLwm2m`, `observeStrategy`, and `bootstrap` as an
//! array. What is not understood becomes a [`Note`].

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use godwit_proto::v1::{
    self,
    profile::{self, mapping, power},
};

use super::{
    About, Fault, ImportError, ImportFault, Imported, Note, Profile, Versioned,
    tree::{Members, Node, Tree},
};

/// Reads a profile that will have this name, with or without "profiles/".
///
/// # Errors
/// The first fault, with its place in the JSON.
pub fn import_thingsboard(name: &str, json: &str) -> Result<Imported, ImportError> {
    let tree = Tree::parse(json)?;
    let mut import =
        Import { profile: v1::Profile { name: name.into(), ..v1::Profile::default() }, notes: Vec::new() };
    let root = Node::root(&tree);
    import.configuration(&root)?;
    // Whatever the walk did not look at, as the name or a number of paths.
    Profile::try_from(import.profile.clone()).map_err(|error| ImportError {
        at: format!("$ ({})", error.field),
        fault: ImportFault::Field(error.fault),
    })?;
    Ok(Imported { profile: import.profile, notes: import.notes })
}

struct Import {
    profile: v1::Profile,
    notes: Vec<Note>,
}

/// Paths, each with the place that named it.
type Paths = BTreeMap<Versioned, String>;

impl Import {
    fn note(&mut self, at: impl Into<String>, about: About) {
        self.notes.push(Note { at: at.into(), about });
    }

    /// Notes the members that nobody took; of those that ThingsBoard knows it is said.
    fn rest(&mut self, members: Members<'_>, unused: &[&str]) {
        for (name, node) in members.rest() {
            if *node.tree != Tree::Null {
                self.note(node.at, if unused.contains(&name) { About::Unused } else { About::Unknown });
            }
        }
    }

    fn configuration(&mut self, node: &Node<'_>) -> Result<(), ImportError> {
        let mut members = node.members()?;
        for around in ["profileData", "transportConfiguration"] {
            if let Some(inner) = members.take(around) {
                self.rest(members, &["name", "description", "type", "transportType", "configuration"]);
                return self.configuration(&inner);
            }
        }
        if let Some(kind) = members.take("type")
            && kind.text()? != "LWM2M"
        {
            return Err(unexpected(&kind, "\"LWM2M\""));
        }
        self.observe_attr(&members.need("observeAttr")?)?;
        if let Some(bootstrap) = members.take("bootstrap") {
            if !matches!(bootstrap.tree, Tree::Object(_) | Tree::Array(_)) {
                return Err(bootstrap.error(ImportFault::Type { expected: "an object or an array" }));
            }
            self.profile.bootstrap = bootstrap.tree.to_string();
        }
        if let Some(settings) = members.take("clientLwM2mSettings") {
            self.settings(&settings)?;
        }
        self.rest(members, &["bootstrapServerUpdateEnable"]);
        Ok(())
    }

    fn observe_attr(&mut self, node: &Node<'_>) -> Result<(), ImportError> {
        let mut members = node.members()?;
        let keys = members.take("keyName").map(|keys| named(&keys)).transpose()?.unwrap_or_default();
        let observe = self.paths(members.take("observe"))?;
        let attribute = self.paths(members.take("attribute"))?;
        let telemetry = self.paths(members.take("telemetry"))?;
        self.map(&keys, &attribute, &telemetry)?;
        for (at, place) in &observe {
            if !self.profile.mappings.iter().any(|mapping| maps(&mapping.path, *at)) {
                self.note(place, About::NotMapped);
            }
        }
        self.profile.observe = observe.keys().map(Versioned::to_string).collect();
        if let Some(attributes) = members.take("attributeLwm2m") {
            self.write_attributes(&attributes)?;
        }
        if let Some(strategy) = members.take("observeStrategy") {
            self.profile.observe_strategy = observe_strategy(&strategy)?.into();
        }
        if let Some(composite) = members.take("initAttrTelAsObsStrategy") {
            self.profile.read_composite = composite.truth()?;
        }
        self.rest(members, &[]);
        Ok(())
    }

    /// An array of paths.
    fn paths(&mut self, node: Option<Node<'_>>) -> Result<Paths, ImportError> {
        let mut paths = Paths::new();
        for item in node.map(|node| node.items()).transpose()?.unwrap_or_default() {
            let at = path(&item, item.text()?)?;
            match paths.entry(at) {
                Entry::Vacant(vacant) => _ = vacant.insert(item.at),
                Entry::Occupied(_) => self.note(item.at, About::Repeated),
            }
        }
        Ok(paths)
    }

    /// Every path that is named or used gets a mapping of its own, so that one key may serve several.
    fn map(
        &mut self,
        keys: &BTreeMap<Versioned, (String, &str)>,
        attribute: &Paths,
        telemetry: &Paths,
    ) -> Result<(), ImportError> {
        let all: BTreeSet<_> = keys.keys().chain(attribute.keys()).chain(telemetry.keys()).copied().collect();
        for at in all {
            let key = keys.get(&at);
            let kind = match (attribute.contains_key(&at), telemetry.contains_key(&at)) {
                (true, true) => mapping::Kind::Both,
                (true, false) => mapping::Kind::Attribute,
                (false, true) => mapping::Kind::Telemetry,
                (false, false) => mapping::Kind::NameOnly,
            };
            let named = key.map(|(place, _)| place);
            let used = attribute.get(&at).or_else(|| telemetry.get(&at));
            if kind == mapping::Kind::NameOnly {
                self.notes.extend(named.map(|place| Note { at: place.clone(), about: About::NameOnly }));
            }
            if !at.path.is_value()
                && let Some(place) = used.or(named)
            {
                let fault = Fault::Level { path: at.path, expected: "a resource or a resource instance" };
                return Err(ImportError { at: place.clone(), fault: ImportFault::Field(fault) });
            }
            self.profile.mappings.push(profile::Mapping {
                path: at.to_string(),
                key: key.map_or(String::new(), |(_, key)| (*key).to_owned()),
                kind: kind.into(),
            });
        }
        Ok(())
    }

    fn write_attributes(&mut self, node: &Node<'_>) -> Result<(), ImportError> {
        let mut seen = BTreeSet::new();
        for (name, entry) in node.members()?.rest() {
            let at = path(&entry, name)?;
            if !seen.insert(at) {
                return Err(entry.error(ImportFault::Repeated));
            }
            if *entry.tree == Tree::Null {
                continue;
            }
            let mut members = entry.members()?;
            let attributes = attributes(&mut members)?;
            // What a device reports about itself, not what a server sets.
            self.rest(members, &["dim", "ssid", "uri", "ver", "lwm2m"]);
            if attributes == v1::Attributes::default() {
                continue;
            }
            super::document::attributes_at(at, &attributes).map_err(|fault| entry.fault(fault))?;
            let written = profile::WriteAttributes { path: at.to_string(), attributes: Some(attributes) };
            self.profile.write_attributes.push(written);
        }
        Ok(())
    }

    fn settings(&mut self, node: &Node<'_>) -> Result<(), ImportError> {
        let mut members = node.members()?;
        let only = members.take("clientOnlyObserveAfterConnect");
        let update = members.take("clientUpdateValueAfterConnect");
        self.profile.start_strategy = self.start_strategy(only.as_ref(), update.as_ref())?.into();
        self.profile.power = power(&mut members)?;
        let unused = [
            "fwUpdateStrategy",
            "swUpdateStrategy",
            "fwUpdateResource",
            "swUpdateResource",
            "useObject19ForOtaInfo",
            "compositeOperationsSupport",
            "defaultObjectIDVer",
        ];
        self.rest(members, &unused);
        Ok(())
    }

    fn start_strategy(
        &mut self,
        only: Option<&Node<'_>>,
        update: Option<&Node<'_>>,
    ) -> Result<profile::StartStrategy, ImportError> {
        let updates = update.map(Node::truth).transpose()?;
        let Some(only) = only else {
            self.notes.extend(update.map(|update| Note { at: update.at.clone(), about: About::Overruled }));
            return Ok(profile::StartStrategy::Observe);
        };
        let strategy = match only.tree {
            Tree::Bool(true) => profile::StartStrategy::Observe,
            Tree::Bool(false) if updates == Some(true) => profile::StartStrategy::ReadAll,
            Tree::Bool(false) => profile::StartStrategy::ReadMapped,
            _ => {
                self.notes
                    .extend(update.map(|update| Note { at: update.at.clone(), about: About::Overruled }));
                match only.unsigned() {
                    Ok(1) => profile::StartStrategy::Observe,
                    Ok(2) => profile::StartStrategy::ReadAll,
                    Ok(3) => profile::StartStrategy::ReadMapped,
                    _ => return Err(unexpected(only, "true, false, 1, 2, 3")),
                }
            }
        };
        Ok(strategy)
    }
}

fn unexpected(node: &Node<'_>, expected: &'static str) -> ImportError {
    node.error(ImportFault::Value { found: node.tree.to_string(), expected })
}

fn path(node: &Node<'_>, text: &str) -> Result<Versioned, ImportError> {
    super::document::below_root(text).map_err(|fault| node.fault(fault))
}

/// `keyName`: for each path, its place and its key; an empty or missing key is the default.
fn named<'a>(node: &Node<'a>) -> Result<BTreeMap<Versioned, (String, &'a str)>, ImportError> {
    let mut keys = BTreeMap::new();
    for (name, entry) in node.members()?.rest() {
        let at = path(&entry, name)?;
        let key = if *entry.tree == Tree::Null { "" } else { entry.text()? };
        super::document::key(key).map_err(|fault| entry.fault(fault))?;
        if keys.insert(at, (entry.at.clone(), key)).is_some() {
            return Err(entry.error(ImportFault::Repeated));
        }
    }
    Ok(keys)
}

/// Whether a mapping names something of what is observed.
fn maps(mapped: &str, observed: Versioned) -> bool {
    let Ok(mapped) = mapped.parse::<Versioned>() else { return false };
    mapped.path.starts_with(&observed.path) || observed.path.starts_with(&mapped.path)
}

fn observe_strategy(node: &Node<'_>) -> Result<profile::ObserveStrategy, ImportError> {
    let number = match node.tree {
        Tree::Text(name) => match name.as_str() {
            "SINGLE" => Some(0),
            "COMPOSITE_ALL" => Some(1),
            "COMPOSITE_BY_OBJECT" => Some(2),
            _ => None,
        },
        _ => node.unsigned().ok(),
    };
    match number {
        Some(0) => Ok(profile::ObserveStrategy::Single),
        Some(1) => Ok(profile::ObserveStrategy::Composite),
        Some(2) => Ok(profile::ObserveStrategy::CompositeByObject),
        _ => Err(unexpected(node, "\"SINGLE\", \"COMPOSITE_ALL\", \"COMPOSITE_BY_OBJECT\", 0, 1, 2")),
    }
}

pub(super) fn attributes(members: &mut Members<'_>) -> Result<v1::Attributes, ImportError> {
    let mut unsigned = |name| members.take(name).map(|node| node.unsigned()).transpose();
    let mut attributes = v1::Attributes {
        pmin: unsigned("pmin")?,
        pmax: unsigned("pmax")?,
        epmin: unsigned("epmin")?,
        epmax: unsigned("epmax")?,
        hqmax: unsigned("hqmax")?,
        ..v1::Attributes::default()
    };
    let mut float = |name| members.take(name).map(|node| node.float()).transpose();
    attributes.gt = float("gt")?;
    attributes.lt = float("lt")?;
    attributes.st = float("st")?;
    let mut bit = |name| {
        let bit = |node: Node<'_>| match node.tree {
            Tree::Bool(truth) => Ok(*truth),
            _ => match node.unsigned() {
                Ok(0) => Ok(false),
                Ok(1) => Ok(true),
                _ => Err(unexpected(&node, "true, false, 0, 1")),
            },
        };
        members.take(name).map(bit).transpose()
    };
    attributes.edge = bit("edge")?;
    attributes.con = bit("con")?;
    Ok(attributes)
}

/// Timers are in milliseconds; 0, which ThingsBoard's forms put where nothing was entered, counts as unset.
fn power(members: &mut Members<'_>) -> Result<Option<profile::Power>, ImportError> {
    let mode = match members.take("powerMode") {
        None => power::Mode::Unspecified,
        Some(mode) => match mode.text()? {
            "DRX" => power::Mode::Drx,
            "PSM" => power::Mode::Psm,
            "E_DRX" | "EDRX" => power::Mode::Edrx,
            _ => return Err(unexpected(&mode, "\"DRX\", \"PSM\", \"E_DRX\"")),
        },
    };
    let mut timer = |name| -> Result<Option<u32>, ImportError> {
        let millis = members.take(name).map(|node| node.unsigned()).transpose()?;
        Ok(millis.filter(|millis| *millis > 0))
    };
    let power = profile::Power {
        mode: mode.into(),
        awake_ms: timer("psmActivityTimer")?,
        edrx_cycle_ms: timer("edrxCycle")?,
        paging_window_ms: timer("pagingTransmissionWindow")?,
    };
    Ok((power != profile::Power::default()).then_some(power))
}
