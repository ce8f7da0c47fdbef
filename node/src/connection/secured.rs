//! The secured half of a connection's actor: what DTLS says is done, what it asks is answered.
//!
//! ```text
//!  Claiming ─ SessionClaimed ─► Open ─┬─ Application ─► core ─► Uplink
//!     │ 1.5 s                         ├─ Ask(Psk, Peer, Session) ─► store ─► Resolved
//!     ▼                               ├─ Ask(Store, Promote) ─► endpoint ─► SessionStored
//!   gone                              ├─ Established ─► the core begins anew, as that device
//!                                     └─ Closed ─► the endpoint writes it down ─► gone
//! ```

mod questions;
mod session;

use std::{
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use actix::Context;
use godwit_dtls::{self as dtls, Output, cid::Cid};

use super::{
    actor::ConnectionActor,
    secure::{
        Ground,
        channel::Channel,
        fate,
        path::{Moved, Place},
        subject::Subject,
    },
};
pub(super) use crate::endpoint::link::Secured;
use crate::{
    admission::Handshake,
    clock,
    endpoint::link::Uplink,
    identity::{AssociationId, DeviceId},
    metrics::{
        dtls::{AddressMove, Mode},
        labels::DropReason,
    },
};

/// Datagrams of one device that wait for its session, and how long they do.
pub(super) const WAITING: usize = 4;
const WAITING_FOR: Duration = Duration::from_millis(1500);
/// How long the endpoint may take to write down that a session is closed, before our close_notify.
const CLOSING_FOR: Duration = Duration::from_secs(10);
/// Plaintexts that wait for their numbers to be written.
const HELD: usize = 16;

/// What is beneath the core of a secured connection.
pub(super) enum Lower {
    /// A stored session that the device's endpoint is being asked for.
    Claiming(Claiming),
    /// An association.
    Open(Box<Open>),
}

/// See [`Lower::Claiming`].
pub(super) struct Claiming {
    device: DeviceId,
    association: AssociationId,
    /// By which its records find it.
    cid: Option<Cid>,
    waiting: Vec<(Place, Box<[u8]>)>,
    until: Instant,
}

/// See [`Lower::Open`].
pub(super) struct Open {
    channel: Channel,
    /// By what the handshake under way tries to prove who the device is.
    tries: Mode,
    /// The PSK identity that it gave, as long as nothing was said of it.
    identity: Option<Box<[u8]>>,
    /// The store has failed it.
    lookup_failed: bool,
    /// Who the handshake under way says that the device is.
    claims: Option<DeviceId>,
    /// The version of the credential by which it does.
    presented: Option<u64>,
    /// The peer has closed this session: until when our answer waits for that to be written.
    closing: Option<(AssociationId, Instant)>,
    /// Plaintexts whose numbers are being written before anything answers them (`dtls.replay_floor = "strict"`).
    held: VecDeque<(u64, Vec<u8>)>,
}

impl Lower {
    pub(super) fn claiming(
        device: DeviceId,
        association: AssociationId,
        cid: Option<Cid>,
        waiting: Vec<(Place, Box<[u8]>)>,
        now: Instant,
    ) -> Self {
        Self::Claiming(Claiming { device, association, cid, waiting, until: now + WAITING_FOR })
    }

    /// `claims`: the device whose session on record it is.
    pub(super) fn open(channel: Channel, claims: Option<DeviceId>) -> Self {
        Self::Open(Box::new(Open {
            channel,
            tries: Mode::Unknown,
            identity: None,
            lookup_failed: false,
            claims,
            presented: None,
            closing: None,
            held: VecDeque::new(),
        }))
    }

    /// When the connection goes, whatever else happens.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Claiming(claiming) => Some(claiming.until),
            Self::Open(open) => open.closing.map(|(_, until)| until),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Claiming(_) => None,
            Self::Open(open) => open.channel.poll_timeout(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Self::Open(open) = self {
            open.channel.handle_timeout(now);
        }
    }
}

impl ConnectionActor {
    fn channel(&mut self) -> Option<&mut Channel> {
        match self.lower.as_deref_mut() {
            Some(Lower::Open(open)) => Some(&mut open.channel),
            _ => None,
        }
    }

    /// Asks the endpoint for the session that this connection is for, or takes the one that it was given.
    pub(super) fn begin(&mut self) {
        match self.lower.as_deref() {
            Some(Lower::Claiming(claiming)) => {
                let (device, association) = (claiming.device, claiming.association);
                self.hand_up(clock::now(), device, Uplink::SessionClaim { association });
            }
            Some(Lower::Open(open)) => {
                let subject = open.channel.session().and_then(|session| Subject::read(session.subject()));
                if let Some(subject) = subject {
                    self.take_session(subject.device);
                }
            }
            None => {}
        }
    }

    fn ground(&self) -> Rc<Ground> {
        self.shard.ground.clone().expect("invariant: only shards with DTLS have secured connections")
    }

    pub(super) fn handle_hello(&mut self, now: Instant, from: Place, permit: Handshake, hello: &[u8]) {
        let Some(channel) = self.channel() else { return };
        let fate = channel.handle_hello(now, from, permit, hello);
        fate::count(&self.shard.metrics.dtls, &fate);
    }

    /// `false`: nothing in it is fresh and authentic.
    pub(super) fn handle_sealed(&mut self, now: Instant, from: Place, bytes: Box<[u8]>) -> bool {
        match self.lower.as_deref_mut() {
            Some(Lower::Open(open)) => {
                let fate = open.channel.handle_datagram(now, from, &bytes);
                fate::count(&self.shard.metrics.dtls, &fate);
                return fate.is_authentic();
            }
            Some(Lower::Claiming(claiming)) if claiming.waiting.len() < WAITING => {
                claiming.waiting.push((from, bytes));
            }
            _ => self.shard.metrics.datagrams_dropped[DropReason::Admission].increment(1),
        }
        true
    }

    /// Does one thing that DTLS says; `false` if there is none.
    pub(super) fn drive_lower(&mut self, now: Instant, ctx: &mut Context<Self>) -> bool {
        let Some(output) = self.channel().and_then(Channel::poll) else { return false };
        match output {
            Output::Transmit(datagram) => self.send_datagram(datagram),
            Output::Ask(ticket, question) => self.ask(now, ticket, question, ctx),
            Output::Established { resumed, .. } => self.established(now, resumed, ctx),
            Output::Application { bytes, number, newest } => {
                self.handle_plaintext(now, bytes, number, newest);
            }
            Output::Repeated { newest } => self.heard(now, newest),
            Output::NumbersDue => self.report(),
            Output::HandshakeFailed(failure) => self.handshake_failed(failure),
            Output::Closed(reason) => self.closed_by(now, reason, ctx),
        }
        true
    }

    fn send_datagram(&mut self, bytes: Vec<u8>) {
        let Some(channel) = self.channel() else { return };
        let place = channel.place();
        self.shard.metrics.dtls.records_sent.increment(1);
        self.shard.send(place, bytes);
    }

    /// Seals a message of the core.
    pub(super) fn seal(&mut self, now: Instant, message: &[u8]) {
        let Some(channel) = self.channel() else { return };
        match channel.send(now, message) {
            Ok(true) => {}
            Ok(false) => self.shard.metrics.datagrams_dropped[DropReason::UnprovenAddress].increment(1),
            Err(error) => {
                if matches!(error, dtls::SendError::NoncesUsedUp(_)) {
                    self.shard.metrics.dtls.nonces_refused.increment(1);
                }
                tracing::debug!(%error, "a message was not sealed");
                self.shard.metrics.datagrams_dropped[DropReason::SendFailed].increment(1);
            }
        }
    }

    fn handle_plaintext(&mut self, now: Instant, plaintext: Vec<u8>, number: u64, newest: bool) {
        self.heard(now, newest);
        if self.channel().is_some_and(|channel| channel.is_pong(&plaintext)) {
            return;
        }
        if !self.ground().settings().strict_floor {
            let fate = self.core.handle_record(now, number, &plaintext);
            return self.count(fate);
        }
        self.report();
        if let Some(Lower::Open(open)) = self.lower.as_deref_mut() {
            if open.held.len() >= HELD {
                // Their write has failed, and the device repeats them.
                open.held.clear();
            }
            open.held.push_back((number, plaintext));
        }
    }

    /// A record of the session has come: its device may be elsewhere now.
    fn heard(&mut self, now: Instant, newest: bool) {
        let Some(channel) = self.channel() else { return };
        let moved = channel.heard(newest);
        let (place, ping) = (channel.place(), channel.ping());
        self.moved(moved, place);
        if newest {
            self.reside(place.via);
        }
        if let Some(ping) = ping {
            self.seal(now, &ping);
        }
    }

    /// The number of the longest held plaintext is on record.
    fn let_go(&mut self, now: Instant) {
        let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
        if let Some((number, plaintext)) = open.held.pop_front() {
            let fate = self.core.handle_record(now, number, &plaintext);
            self.count(fate);
        }
    }

    /// Follows the device to where it is now.
    fn moved(&mut self, moved: Moved, place: Place) {
        let moves = &self.shard.metrics.dtls.address_moves;
        match moved {
            Moved::Stayed => {
                (self.link.local, self.link.via) = (place.local, place.via);
                return;
            }
            Moved::Refused => return moves[AddressMove::Refused].increment(1),
            Moved::Provisional => moves[AddressMove::Provisional].increment(1),
            Moved::Confirmed => moves[AddressMove::Confirmed].increment(1),
        }
        self.link = self.link.at(place);
        if moved == Moved::Confirmed
            && let (Some(device), Some(secured)) = (self.core.device(), self.secured())
        {
            let local = self.shard.local_of(&self.link);
            let (association, peer) = (secured.association, place.remote);
            self.inform(device, Uplink::SessionMoved { association, peer, local });
        }
    }

    fn inform(&self, device: DeviceId, uplink: Uplink) {
        if self.progress.is_retired() {
            return;
        }
        self.shard.endpoints.inform(device, self.link, uplink);
    }

    /// Counts what DTLS has sent on its own.
    pub(super) fn count_sent(&mut self) {
        let Some(dtls::Sent { alerts, repeats }) = self.channel().map(Channel::take_sent) else { return };
        let metrics = &self.shard.metrics.dtls;
        metrics.alerts_sent.increment(alerts.into());
        metrics.retransmissions.increment(repeats.into());
    }
}
