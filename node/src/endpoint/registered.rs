//! A registration as its endpoint holds it, and as the store keeps it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use godwit_lwm2m::{
    format::ContentFormat,
    model::{LwM2mVersion, ModelSet},
    operation::FormatPreference,
    registration::{Binding, FormatSet, ObjectList, RegisteredLinks, Registration, RootPath},
};

use super::flapping::Left;
use crate::{
    clock::Reading,
    entropy,
    identity::{RegistrationId, SessionTag},
    profile::Client,
    store::value::{self, credential::Mode},
};

/// A registration as its endpoint holds it.
#[derive(Debug, Clone)]
pub(super) struct Registered {
    pub(super) id: RegistrationId,
    /// What the device said. Its endpoint name is moved out: the endpoint has it.
    pub(super) client: Registration,
    pub(super) models: Arc<ModelSet>,
    /// Which formats it is asked in.
    pub(super) formats: FormatPreference,
    /// Unix milliseconds.
    pub(super) registered_at: u64,
    /// How the device proved its name; `None` for NoSec.
    pub(super) proof: Option<Box<Proof>>,
    /// Unix milliseconds.
    pub(super) updated_at: u64,
    /// When it expires unless the device updates it.
    pub(super) expires: Instant,
    /// The deadline on record, Unix milliseconds.
    pub(super) stored_deadline: u64,
    /// An update was answered in an outage, whose later deadline is still to be written: when to try.
    pub(super) owed: Option<Instant>,
    /// Name and revision of the profile whose start actions are done.
    pub(super) started: Option<(Arc<str>, u64)>,
    /// The session before that of `proof`.
    pub(super) left: Option<Box<Left>>,
}

/// How a device proved its name when it registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) mode: Mode,
    /// The credential's version.
    pub(super) version: u64,
    /// The session that it registered in.
    pub(super) session: Option<SessionTag>,
}

impl Registered {
    /// The deadline to be put on record: a quarter of the lifetime behind its expiry, so that not every update must be written.
    pub(super) fn deadline(&self, now: Reading) -> u64 {
        now.unix_ms_at(self.expires + Duration::from_secs(self.client.lifetime.into()) / 4)
    }

    /// A registration that was just asked for; its deadlines are still to be set.
    pub(super) fn new(
        now: Reading,
        mut client: Registration,
        models: Arc<ModelSet>,
        format: Option<ContentFormat>,
    ) -> Self {
        client.endpoint = None;
        let formats = FormatPreference::new(client.version, client.formats, format);
        Self {
            id: RegistrationId::from_random(entropy::bytes()),
            client,
            models,
            formats,
            registered_at: now.unix_ms,
            updated_at: now.unix_ms,
            expires: now.now,
            stored_deadline: now.unix_ms,
            owed: None,
            started: None,
            proof: None,
            left: None,
        }
    }

    /// The client as plans see it.
    pub(super) fn plan_client(&self) -> Client<'_> {
        Client {
            registered: &self.client.objects,
            models: &self.models,
            composite: self.client.version > LwM2mVersion::V1_0,
        }
    }

    /// The session that the device was in when it last said who it is.
    pub(super) fn session(&self) -> Option<SessionTag> {
        self.proof.as_ref()?.session
    }

    /// The message for the store. An empty `profile` says that the start actions are still to be done.
    pub(super) fn to_stored(&self, endpoint: &str) -> value::Registration {
        let client = &self.client;
        let numbers = |set: FormatSet| set.iter().map(|format| format.number().into()).collect();
        let parameter = |(name, value): &(Box<str>, Option<Box<str>>)| value::registration::Parameter {
            name: name.to_string(),
            value: value.as_deref().unwrap_or_default().to_owned(),
        };
        let (profile, profile_revision) = match &self.started {
            Some((name, revision)) => (name.to_string(), *revision),
            None => (String::new(), 0),
        };
        value::Registration {
            endpoint: endpoint.to_owned(),
            id: self.id.to_string(),
            version: client.version.to_string(),
            lifetime: client.lifetime.into(),
            binding: client.binding.to_string(),
            queue_mode: client.queue_mode,
            sms: client.sms.as_deref().unwrap_or_default().to_owned(),
            root: client.root.to_string(),
            links: client.objects.to_string().into_bytes(),
            formats: numbers(client.formats),
            refused_formats: numbers(self.formats.refused()),
            parameters: client.parameters.iter().map(parameter).collect(),
            profile,
            profile_revision,
            registered_at: self.registered_at,
            updated_at: self.updated_at,
            security_mode: self.proof.as_ref().map_or(0, |proof| proof.mode as u32),
            credential_version: self.proof.as_ref().map_or(0, |proof| proof.version),
            session: self
                .proof
                .as_ref()
                .and_then(|proof| proof.session)
                .map_or_else(Vec::new, |session| session.as_bytes().to_vec()),
            left: self.left.as_deref().map(Left::to_stored),
            ..value::Registration::default()
        }
    }

    /// What [`to_stored`](Self::to_stored) wrote; `None` if it is not of our making. `deadline` is the one on
    /// record, `format` the profile's, and `models` picks the models for the objects.
    pub(super) fn from_stored(
        now: Reading,
        stored: &value::Registration,
        deadline: Option<u64>,
        format: Option<ContentFormat>,
        models: impl FnOnce(&ObjectList) -> Arc<ModelSet>,
    ) -> Option<Self> {
        let version = LwM2mVersion::parse(&stored.version)?;
        let root = RootPath::parse(&stored.root)?;
        // Stored without the device's root.
        let objects = RegisteredLinks::parse(&stored.links, version, &RootPath::default()).ok()?.objects;
        let set = |numbers: &[u32]| -> FormatSet {
            numbers.iter().filter_map(|n| ContentFormat::from_number(u16::try_from(*n).ok()?)).collect()
        };
        let parameter = |p: &value::registration::Parameter| {
            (p.name.as_str().into(), (!p.value.is_empty()).then(|| p.value.as_str().into()))
        };
        let stored_deadline = deadline.unwrap_or(u64::MAX);
        Some(Self {
            id: RegistrationId::parse(&stored.id)?,
            models: models(&objects),
            client: Registration {
                endpoint: None,
                version,
                lifetime: u32::try_from(stored.lifetime).unwrap_or(u32::MAX),
                binding: Binding::from_letters(&stored.binding)?,
                queue_mode: stored.queue_mode,
                sms: (!stored.sms.is_empty()).then(|| stored.sms.as_str().into()),
                profile_id: None,
                root,
                formats: set(&stored.formats),
                objects,
                parameters: stored.parameters.iter().map(parameter).collect(),
            },
            formats: FormatPreference::new(version, set(&stored.formats), format)
                .with_refused(set(&stored.refused_formats)),
            registered_at: stored.registered_at,
            updated_at: stored.updated_at,
            expires: now.instant_at(stored_deadline),
            stored_deadline,
            owed: None,
            started: (!stored.profile.is_empty())
                .then(|| (stored.profile.as_str().into(), stored.profile_revision)),
            proof: Proof::from_stored(stored).map(Box::new),
            left: stored.left.as_ref().and_then(Left::from_stored).map(Box::new),
        })
    }
}

impl Proof {
    fn from_stored(stored: &value::Registration) -> Option<Self> {
        let mode = i32::try_from(stored.security_mode).ok().and_then(|mode| Mode::try_from(mode).ok())?;
        if matches!(mode, Mode::Unspecified | Mode::NoSec) {
            return None;
        }
        Some(Self { mode, version: stored.credential_version, session: SessionTag::read(&stored.session) })
    }
}
