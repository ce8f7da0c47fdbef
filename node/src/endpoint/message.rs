//! What goes into an endpoint's core and what comes out.

use std::{sync::Arc, time::Instant};

use godwit_coap::{Code, Token};
use godwit_proto::v1;

use super::{
    access::Access,
    downlink::Flight,
    end::EndedOperation,
    handle::{NewOperation, RegistrationChangeKind, SubmitError},
    link::{Call, Downlink, Link, Uplink},
    reach::Address,
    registered::Registered,
    registration::NewRegistration,
    session::NewSession,
    starts::Start,
};
use crate::{
    identity::{AssociationId, RegistrationId},
    profile::Profile,
    shard::ActorKey,
    store::{Change, Numbers, Session, StoreError, value},
    telemetry::{Event, Record, SinkError},
};

/// What an endpoint is told.
#[derive(Debug)]
pub(super) enum Input {
    /// The device has said something.
    Uplink(Link, Uplink),
    /// A connection is gone, or another device's.
    Unlinked(ActorKey),
    /// The connection to the device's address; `None`: it has none, or the address is another's by now.
    Reached(Option<Link>),
    /// What the store has of a session that a connection asked for; `None`: nothing, or no answer.
    SessionRead(Link, AssociationId, Option<Box<Session>>),
    /// A write has ended.
    Persisted(u32, Result<(), StoreError>),
    /// Records are durable, or were not taken.
    Published(u32, Result<(), SinkError>),
    /// A caller's command.
    Submit(Box<NewOperation>),
    /// A caller takes a command back.
    Cancel(String),
    /// What was provisioned for the device has changed; `None`: it was removed.
    Access(Option<Access>, Option<Arc<Profile>>),
    /// The device's profile has changed.
    Profile(Arc<Profile>),
    /// Object models have changed.
    Models,
    /// The device may be asked for what its profile wants; the answer to [`Effect::AwaitStart`].
    Start(Start),
    /// The armed deadline has passed, or something on record is due.
    Deadline,
    /// All effects before [`Effect::LookAgain`] are done.
    LookAgain,
    /// Give the device up with exact state.
    Release(StopReason),
    /// The same for another node, as soon as nothing is under way.
    HandOver,
}

/// What an endpoint wants done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Write to the device's record; ends in [`Input::Persisted`].
    Persist(u32, Vec<Change>),
    /// Give records to the sink; ends in [`Input::Published`].
    Publish(u32, Vec<Record>),
    /// Give records to the sink; nothing waits for them.
    Announce(Vec<Record>),
    /// Take an event out of the outbox.
    RemoveEvent(String),
    /// Get a connection to the device's address, if that is still its own; ends in [`Input::Reached`].
    Reach(Address),
    /// Get a connection by a session on record; without all of it, it is read first. Ends in [`Input::Reached`].
    ReachSession { association: AssociationId, whole: Option<Box<Session>>, numbers: Numbers, exact: bool },
    /// Read a session from the record; ends in [`Input::SessionRead`].
    ReadSession(Link, AssociationId),
    /// The secret that a rotation gave was used: the one before is not valid any more.
    SettleRotation,
    /// Wait until the device may be asked for what its profile wants; ends in [`Input::Start`].
    AwaitStart,
    /// Tell the connection.
    Downlink(Link, Downlink),
    /// An operation was taken, with its record, or not.
    Submitted(String, Result<Box<v1::Operation>, SubmitError>),
    /// An operation can't be cancelled. One that can ends in [`Effect::Ended`].
    NotCancelled(String, SubmitError),
    /// An operation has ended, and its record says so.
    Ended(Box<v1::Operation>),
    /// An operation's record has changed.
    OperationChanged(Box<v1::Operation>),
    /// The registration has changed.
    Changed(RegistrationChangeKind),
    /// A request for a registration that this device does not have.
    Foreign(Link, Call, RegistrationId),
    /// Come back with [`Input::LookAgain`] when all effects before it are done.
    LookAgain,
    /// The actor ends.
    Stop(StopReason),
}

/// Why an endpoint's actor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Another owner claimed the device, or it was removed from the store.
    Superseded,
    /// The device has no registration any more.
    Ended,
    /// Idle for long.
    Idle,
    /// The shard has more live endpoints than it may.
    Bound,
    /// Another shard takes the device over.
    Moved,
    /// The node drains.
    Drain,
}

/// What happens once a write or a publication has succeeded.
#[derive(Debug)]
pub(super) enum Then {
    /// Install and answer a registration.
    Register(Box<NewRegistration>),
    /// Install and answer an update.
    Update {
        link: Link,
        call: Call,
        registered: Box<Registered>,
        applied: Option<Box<value::Applied>>,
        event: Option<Event>,
        objects: bool,
    },
    /// Tell the connection that its session is on record.
    Session(Box<NewSession>),
    /// The same of a provisional session that is one no longer; `removed` made room for it.
    Promoted { link: Link, association: AssociationId, removed: Vec<AssociationId> },
    /// Tell the connection that what it said of its session is on record.
    SessionWritten { link: Link, association: AssociationId },
    /// A claimed session's jump is written, and its connection may go on.
    Claimed { link: Link, session: Box<Session> },
    /// Answer a de-register, and publish its event, whose id in the outbox is given.
    Deregister { link: Link, call: Call, record: Box<Record>, event: String },
    /// The registration has expired: publish the event, whose id in the outbox is given.
    Expire(Box<Record>, String),
    /// The event of the registration's end is durable.
    Expired(String),
    /// Tell the caller that the operation waits in its queue.
    Submitted(String),
    /// Send a command whose attempt is on record now; `accepted`: and tell the caller that it was taken.
    Send { flight: Box<Flight>, accepted: Option<String> },
    /// Tell the caller how the operation ended.
    Ended(EndedOperation),
    /// The ends of operations are on record that were told before.
    EndsWritten(Vec<EndedOperation>),
    /// The record is exact and passive: stop.
    Stop(StopReason),
    /// Acknowledge a notification. `ends`: the device has ended the observation with it, by this code.
    Acknowledge { link: Link, token: Token, message_id: u16, since: Instant, ends: Option<Code> },
    /// Answer a Send.
    SendDone { link: Link, call: Call, since: Instant },
    /// A deadline is on record that was owed.
    Paid(u64),
    /// What is to be observed is on record and may be asked for.
    Planned,
    /// Nothing depends on it.
    Nothing,
}

impl Then {
    /// Whether the registration itself is being written: nothing is sent to the device meanwhile.
    pub(super) fn answers(&self) -> bool {
        matches!(self, Then::Register(_) | Then::Update { .. } | Then::Deregister { .. } | Then::Expire(..))
    }

    /// Whether it waits for the sink, and not for the store.
    pub(super) fn is_of_sink(&self) -> bool {
        matches!(self, Then::Acknowledge { .. } | Then::SendDone { .. } | Then::Expired(_))
    }

    /// When the device said what is to be acknowledged once it is published.
    pub(super) fn published_at(&self) -> Option<Instant> {
        match self {
            Then::Acknowledge { since, .. } | Then::SendDone { since, .. } => Some(*since),
            _ => None,
        }
    }

    /// The request that would be left open if this never happened.
    pub(super) fn call(&self) -> Option<(Link, Call)> {
        match self {
            Then::Register(new) => Some(new.call()),
            Then::Update { link, call, .. }
            | Then::Deregister { link, call, .. }
            | Then::SendDone { link, call, .. } => Some((*link, *call)),
            _ => None,
        }
    }
}
