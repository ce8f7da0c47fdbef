//! What a connection and an endpoint tell each other.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use godwit_coap::{FailReason, Request, RequestId, Response, Token};
use godwit_lwm2m::registration::Registration;

use crate::{
    identity::{AssociationId, DeviceId, RegistrationId},
    shard::{
        ActorKey,
        outbox::{PeerId, SocketId},
    },
    store::{Numbers, Session, value::credential::Mode},
};

/// The connection by which an endpoint was last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The connection's actor.
    pub connection: ActorKey,
    /// The socket it came in by.
    pub socket: SocketId,
    /// The device's address.
    pub remote: SocketAddr,
    /// The node's address that the device sends to.
    pub local: Option<IpAddr>,
    /// The node by which the device is reached, if that is another one.
    pub via: Option<PeerId>,
    /// How the peer has proved who it is.
    pub security: Security,
}

impl Link {
    /// Whether it is secured by this association.
    pub(crate) fn is_by(&self, association: AssociationId) -> bool {
        self.security.secured().is_some_and(|secured| secured.association == association)
    }
}

/// How a connection's peer has proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all: plain CoAP.
    NoSec,
    /// By a DTLS handshake.
    Dtls(Secured),
}

impl Security {
    /// The mode, as credentials name it.
    pub fn mode(&self) -> Mode {
        match self {
            Self::NoSec => Mode::NoSec,
            Self::Dtls(secured) => secured.mode,
        }
    }

    /// What a handshake has proved, if there was one.
    pub fn secured(&self) -> Option<&Secured> {
        match self {
            Self::NoSec => None,
            Self::Dtls(secured) => Some(secured),
        }
    }
}

/// What a handshake has proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secured {
    /// The association, one of the device's sessions on record.
    pub association: AssociationId,
    /// By what kind of credential.
    pub mode: Mode,
    /// The version of the credential.
    pub credential: u64,
}

/// What a device has said, as its connection understood it.
#[derive(Debug)]
pub enum Uplink {
    /// `POST /rd`, well-formed.
    Register {
        /// What to answer to.
        call: Call,
        /// The registration it asks for, with its endpoint name.
        registration: Box<Registration>,
    },
    /// `POST /rd/<id>`, still to be read: how depends on the registration.
    Update {
        /// What to answer to.
        call: Call,
        /// The registration it means.
        registration: RegistrationId,
        /// The request.
        request: Box<Request>,
    },
    /// `DELETE /rd/<id>`.
    Deregister {
        /// What to answer to.
        call: Call,
        /// The registration it means.
        registration: RegistrationId,
    },
    /// `POST /dp`: values that nobody asked for.
    Send {
        /// What to answer to.
        call: Call,
        /// The request, still to be decoded by the device's models.
        request: Box<Request>,
    },
    /// A notification, or another response that belongs to no open request.
    Notification(Box<Notification>),
    /// The response to a request of the endpoint.
    Response {
        /// The token of the request.
        token: Token,
        /// What the device answered, with its whole body.
        response: Box<Response>,
        /// Whether the same message follows as an [`Uplink::Notification`]: its values wait for that.
        notified: bool,
    },
    /// A request of the endpoint has ended without response.
    Failed {
        /// The token of the request.
        token: Token,
        /// Why.
        reason: FailReason,
    },
    /// A handshake has proved that the peer is this device. Its last flight leaves after
    /// [`Downlink::SessionStored`]. A resumed session is provisional until [`Uplink::SessionPromoted`].
    SessionEstablished {
        /// The session as it is to be stored. When it was heard and when it expires are the endpoint's to say.
        session: Box<Session>,
        /// It was made with the secret that a rotation gave, so the one before is not needed any more.
        rotated: bool,
    },
    /// The first record under a provisional session's keys has come; its answer waits for
    /// [`Downlink::SessionStored`].
    SessionPromoted {
        /// The session.
        association: AssociationId,
    },
    /// A stored session is to be used again: a record has come that opens under its keys. Answered by
    /// [`Downlink::SessionClaimed`].
    SessionClaim {
        /// The session.
        association: AssociationId,
    },
    /// Numbers to be written; under `dtls.replay_floor = "strict"` answered by [`Downlink::SessionStored`]. The client has its
    /// Finished answered by now.
    SessionNumbers {
        /// The session.
        association: AssociationId,
        /// Its numbers.
        numbers: Numbers,
    },
    /// The device of a session has a new address, which is confirmed; nobody waits for it.
    SessionMoved {
        /// The session.
        association: AssociationId,
        /// The device's address.
        peer: SocketAddr,
        /// The node's own.
        local: Option<SocketAddr>,
    },
    /// A session is no longer in use here. [`SessionEnd::Closed`] is answered by [`Downlink::SessionStored`] once it is
    /// on record.
    SessionClosed {
        /// The session.
        association: AssociationId,
        /// Its numbers, exact.
        numbers: Numbers,
        /// Whether it has ended for good.
        end: SessionEnd,
    },
}

/// How a connection left its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// A later record may go on with it.
    Idle,
    /// No record goes on with it, but it may be resumed by its id: close_notify, or a newer session took its place.
    Closed,
    /// It must not be used again in any way: a fatal alert.
    Forbidden,
}

impl Uplink {
    /// The request that waits for an answer, if it is one.
    pub(crate) fn call(&self) -> Option<Call> {
        match self {
            Self::Register { call, .. }
            | Self::Update { call, .. }
            | Self::Deregister { call, .. }
            | Self::Send { call, .. } => Some(*call),
            _ => None,
        }
    }

    /// Whether it is about a session, not from the device.
    pub(crate) fn is_of_session(&self) -> bool {
        matches!(
            self,
            Self::SessionEstablished { .. }
                | Self::SessionPromoted { .. }
                | Self::SessionClaim { .. }
                | Self::SessionNumbers { .. }
                | Self::SessionMoved { .. }
                | Self::SessionClosed { .. }
        )
    }

    /// The session that waits for [`Downlink::SessionStored`], [`Downlink::SessionClaimed`] or a refusal.
    pub(crate) fn awaiting(&self) -> Option<AssociationId> {
        match self {
            Self::SessionEstablished { session, .. } => Some(session.association),
            Self::SessionPromoted { association } | Self::SessionClaim { association } => Some(*association),
            _ => None,
        }
    }

    /// Whether it is answered once the sink has its values.
    pub(crate) fn has_values(&self) -> bool {
        matches!(self, Uplink::Notification(_) | Uplink::Send { .. })
    }

    /// Whether its answer comes after a write.
    pub(crate) fn changes_state(&self) -> bool {
        matches!(self, Uplink::Register { .. } | Uplink::Update { .. } | Uplink::Deregister { .. })
    }
}

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Names it at the connection.
    pub id: RequestId,
    /// Its message id and token, by which a repetition after a restart is recognised.
    pub message_id: u16,
    /// See `message_id`.
    pub token: Token,
    /// The number of the record that brought it; 0 without DTLS.
    pub number: u64,
}

/// See [`Uplink::Notification`].
#[derive(Debug)]
pub struct Notification {
    /// Names the observation.
    pub token: Token,
    /// What to acknowledge.
    pub message_id: u16,
    /// Whether the device waits for an acknowledgement.
    pub confirmable: bool,
    /// The Observe value.
    pub observe: Option<u32>,
    /// The body or its first block.
    pub response: Response,
    /// Whether there are more blocks.
    pub more: bool,
}

/// What an endpoint has its connection do.
#[derive(Debug)]
pub enum Downlink {
    /// Answers a request.
    Reply {
        /// Which.
        id: RequestId,
        /// The answer.
        response: Response,
    },
    /// Leaves a request without answer; a repetition of it is a new request.
    Forget {
        /// Which.
        id: RequestId,
    },
    /// Sends a confirmable request.
    Request {
        /// By which its response is known.
        token: Token,
        /// The message id of an earlier transmission or one that is on record.
        message_id: u16,
        /// The request.
        request: Box<Request>,
    },
    /// Gives up a request; nothing more is heard of it.
    Cancel {
        /// Its token.
        token: Token,
    },
    /// Acknowledges a notification.
    Acknowledge {
        /// Its message id.
        message_id: u16,
    },
    /// Answers a notification by RST.
    Reset {
        /// Its message id.
        message_id: u16,
    },
    /// Leaves a notification without acknowledgement; a repetition of it is a new one.
    ForgetNotification {
        /// Its message id.
        message_id: u16,
    },
    /// Fetches the rest of a block-wise notification.
    Continue {
        /// A fresh token; the [`Uplink::Response`] of it brings the whole body.
        token: Token,
        /// The request that observes.
        request: Box<Request>,
        /// The first block.
        first: Box<Response>,
    },
    /// The connection is this endpoint's from now on.
    Link {
        /// The device, which registered over it.
        device: DeviceId,
        /// The largest body that its profile takes, if that says so.
        uplink_body: Option<u32>,
    },
    /// The connection is no longer this endpoint's.
    Unlink,
    /// The endpoint is going; the connection may go too when nothing is open.
    Close,
    /// A session is on record.
    SessionStored {
        /// Which.
        association: AssociationId,
    },
    /// A session may not be used.
    SessionRefused {
        /// Which.
        association: AssociationId,
        /// Why.
        reason: Refusal,
    },
    /// The device is this shard's; its session is to be made from this.
    SessionClaimed {
        /// The session as it is on record. The mark is the next number to send.
        session: Box<Session>,
        /// The numbers that were received are exact too: no owner has died with some.
        exact: bool,
    },
}

/// Why a session may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The credential was changed or removed, or the device is disabled.
    Revoked,
    /// It is not on record.
    Unknown,
    /// The store did not answer, or an id is taken; the device comes again.
    Unavailable,
    /// Another node has the device.
    Elsewhere,
}

/// How a device is reached that was not heard yet.
#[derive(Debug, Clone)]
pub enum Reach {
    /// At its address, without DTLS.
    Plain,
    /// By its stored session, which the caller has claimed.
    Session {
        /// The session as it is on record. The mark is the next number to send.
        session: Box<Session>,
        /// The numbers that were received are exact too: no owner has died with some.
        exact: bool,
    },
}

impl Downlink {
    /// Whether it is for the device that the connection is linked to, and must not go to whoever has its address now.
    pub(crate) fn is_personal(&self) -> bool {
        matches!(
            self,
            Downlink::Request { .. }
                | Downlink::Continue { .. }
                | Downlink::Cancel { .. }
                | Downlink::Unlink
                | Downlink::Close
        )
    }
}

/// The connections of a shard, as endpoints see them.
pub trait Links {
    /// Hands something of a device's endpoint to a connection. `false`: it is gone.
    fn deliver(&self, connection: ActorKey, device: DeviceId, downlink: Downlink) -> bool;

    /// The connection with a device's address, which is opened if there is none. `None`: no socket reaches it.
    /// The caller has checked that the address is the device's.
    fn reach(
        self: Rc<Self>,
        device: DeviceId,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        how: Reach,
    ) -> Option<Link>;

    /// The node's address that the device of a link sends to.
    fn local(&self, link: &Link) -> Option<SocketAddr>;

    /// The node by which a connection's device was last heard, if that is another one.
    fn via(&self, connection: ActorKey) -> Option<PeerId>;

    /// A connection's session and how far its numbers may have gone, to be written along with any change of state.
    fn numbers(&self, connection: ActorKey) -> Option<(AssociationId, Numbers)>;

    /// Ends all secured connections of a device: from now on nothing is received or sent over them. The exact numbers of
    /// their sessions. Due whenever an endpoint gives its device up.
    fn retire(&self, device: DeviceId) -> Vec<(AssociationId, Numbers)>;
}
