//! What happens to a device.

use godwit_lwm2m::path::Path;

use super::{Data, Identity, Orders, Origin, Record, RecordId};
use crate::{identity::RegistrationId, profile::SkipReason};

/// What happened, with what there is to say about it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The device registered.
    Registered {
        /// Seconds; `None` for an infinite one.
        lifetime: Option<u64>,
        /// Of the enabler, "1.1".
        version: Box<str>,
        /// Binding modes, as the device wrote them.
        binding: Box<str>,
        /// Whether it sleeps between its messages.
        queue_mode: bool,
        /// Whether it had a registration that this one replaced.
        replaced: bool,
    },
    /// The device updated its registration.
    Updated {
        /// The new lifetime in seconds, if that changed.
        lifetime: Option<u64>,
        /// Whether the list of its objects changed.
        objects: bool,
    },
    /// The device de-registered.
    Deregistered,
    /// The lifetime and its grace passed.
    Expired,
    /// A sleeping device sent something.
    Awake,
    /// A device in queue mode listens no longer.
    Asleep,
    /// A request that the device's credential does not allow was answered with 4.03.
    Refused {
        /// Why.
        reason: Box<str>,
    },
    /// The device's credential was changed or rotated.
    CredentialChanged,
    /// An operator deleted the device.
    Deleted,
    /// The device was not used within its activation timeout, and is deleted.
    ActivationTimeout,
    /// The device spoke again in a session that another of its own had taken the place of: two holders of one
    /// credential, most likely. At most every ten minutes.
    SessionTakenOver,
    /// A path of the profile that the device can't be asked for.
    PathSkipped {
        /// The path.
        path: Path,
        /// Why.
        reason: SkipReason,
    },
    /// A notification that could not be read. It was acknowledged: the device would only repeat it.
    Unreadable {
        /// What is observed.
        path: Path,
        /// Why.
        reason: Box<str>,
    },
    /// A start action of the profile that the device refused or did not answer.
    ActionFailed {
        /// "read", "observe", "write_attributes" or "cancel".
        action: &'static str,
        /// What it was for.
        paths: Box<[Path]>,
        /// The device's CoAP code, "4.05"; `None` if it did not answer.
        code: Option<Box<str>>,
    },
    /// The device may have dropped an observation, because a notification got no acknowledgement; it is observed
    /// again.
    ObservationSuspect {
        /// What is observed.
        paths: Box<[Path]>,
    },
    /// The device was given a changed profile.
    ProfileApplied {
        /// The profile's revision.
        revision: u64,
    },
}

/// An event with its device.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRecord {
    /// What happened.
    pub event: Event,
    /// The registration, if there is or was one.
    pub registration: Option<RegistrationId>,
}

impl Event {
    /// The name, as `type` and `ce_type` have it.
    pub const fn name(&self) -> &'static str {
        match self {
            Event::Registered { .. } => "registered",
            Event::Updated { .. } => "updated",
            Event::Deregistered => "deregistered",
            Event::Expired => "expired",
            Event::Awake => "awake",
            Event::Asleep => "asleep",
            Event::Refused { .. } => "refused",
            Event::CredentialChanged => "credential_changed",
            Event::Deleted => "deleted",
            Event::ActivationTimeout => "activation_timeout",
            Event::SessionTakenOver => "session_taken_over",
            Event::PathSkipped { .. } => "path_skipped",
            Event::Unreadable { .. } => "unreadable",
            Event::ActionFailed { .. } => "action_failed",
            Event::ObservationSuspect { .. } => "observation_suspect",
            Event::ProfileApplied { .. } => "profile_applied",
        }
    }

    /// The paths that it concerns.
    pub fn paths(&self) -> &[Path] {
        match self {
            Event::PathSkipped { path, .. } | Event::Unreadable { path, .. } => std::slice::from_ref(path),
            Event::ActionFailed { paths, .. } | Event::ObservationSuspect { paths } => paths,
            _ => &[],
        }
    }
}

/// The record of an event. `now` is in Unix milliseconds.
///
/// `cause` is the identity of the message that brought it about, or of facts that every node knows
/// ([`Identity::of`]); `ordinal` tells several events of one name and cause apart.
pub fn event(
    origin: &Origin<'_>,
    event: Event,
    cause: Identity,
    ordinal: u32,
    orders: &mut Orders,
    now: u64,
) -> Record {
    let id = RecordId { identity: cause, label: event.name(), ordinal };
    let path = match event.paths() {
        [path] => Some(*path),
        _ => None,
    };
    let data = Data::Event(EventRecord { event, registration: origin.registration });
    Record::new(origin, id, path, orders.take(), now, data)
}
