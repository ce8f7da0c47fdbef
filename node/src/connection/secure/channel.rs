//! One peer's DTLS: its association, its path, and what both hold for it.

use std::{rc::Rc, time::Instant};

use godwit_dtls::{
    Answer, Association, Fate, Numbering, Numbers, Output, SendError, Sent, Session, StoredSession, Ticket,
    cid::Cid,
};
use smallvec::SmallVec;

use super::{
    super::progress::Progress,
    ground::{Ground, Minted},
    path::{Moved, Path, Place},
    stored,
    subject::Subject,
};
use crate::{
    admission::Handshake, endpoint::link::Secured, entropy, identity::AssociationId, shard::ActorKey,
};

/// What a record adds to a plaintext besides the device's Connection ID, in bytes: header, content type, nonce and tag, or
/// IV, MAC and padding.
const OVERHEAD: (usize, usize) = (14 + 8 + 16, 14 + 16 + 32 + 16);
/// An empty confirmable message without its id: whoever gets it answers with RST (RFC 7252 §4.3).
const PING: [u8; 2] = [0x40, 0x00];
/// The RST that answers it.
const RESET: [u8; 2] = [0x70, 0x00];

/// A secured connection below its CoAP.
pub(in crate::connection) struct Channel {
    ground: Rc<Ground>,
    key: ActorKey,
    association: Association,
    path: Path,
    /// Where the datagram came from that is being handled, and its length.
    from: Place,
    length: usize,
    minted: Minted,
    permit: Option<Handshake>,
    /// When the handshake began.
    begun: Instant,
    /// The question that the endpoint is to answer.
    asked: Option<(Ticket, AssociationId)>,
    /// The message id of what was sent to have an unproven address answer.
    ping: Option<u16>,
}

impl Channel {
    /// Begins with a ClientHello that the gate has admitted.
    pub(in crate::connection) fn accept(
        ground: Rc<Ground>,
        key: ActorKey,
        place: Place,
        now: Instant,
        permit: Handshake,
        hello: &[u8],
    ) -> (Self, Fate) {
        let mut channel = Self::new(ground, key, Association::new(), Path::new(place, false, true), now);
        let fate = channel.handle_hello(now, place, permit, hello);
        (channel, fate)
    }

    /// Goes on with a stored session, which the device's endpoint has claimed. `exact`: no record is known to be missing
    /// in its window.
    pub(in crate::connection) fn resume(
        ground: Rc<Ground>,
        key: ActorKey,
        place: Place,
        now: Instant,
        stored: StoredSession,
        exact: bool,
    ) -> Self {
        let cid = stored.cid();
        let path = Path::new(place, cid.is_some(), exact);
        let mut channel = Self::new(ground, key, Association::resume(stored, Numbering::Exact), path, now);
        if let Some(cid) = cid {
            channel.ground.index(cid, key);
            channel.minted.push(cid);
        }
        channel
    }

    fn new(ground: Rc<Ground>, key: ActorKey, association: Association, path: Path, now: Instant) -> Self {
        let from = path.place();
        Self {
            ground,
            key,
            association,
            path,
            from,
            length: 0,
            minted: SmallVec::new(),
            permit: None,
            begun: now,
            asked: None,
            ping: None,
        }
    }

    /// Takes a ClientHello with a good cookie, of a new handshake or repeated.
    pub(in crate::connection) fn handle_hello(
        &mut self,
        now: Instant,
        from: Place,
        permit: Handshake,
        datagram: &[u8],
    ) -> Fate {
        if self.permit.is_none() {
            self.permit = Some(permit);
            self.begun = now;
        }
        (self.from, self.length) = (from, datagram.len());
        let association = &mut self.association;
        let fate =
            self.ground.with(now, self.key, &mut self.minted, |cx| association.handle_admitted(cx, datagram));
        self.tidy();
        fate
    }

    /// Takes any other datagram.
    pub(in crate::connection) fn handle_datagram(
        &mut self,
        now: Instant,
        from: Place,
        datagram: &[u8],
    ) -> Fate {
        (self.from, self.length) = (from, datagram.len());
        let association = &mut self.association;
        let fate =
            self.ground.with(now, self.key, &mut self.minted, |cx| association.handle_datagram(cx, datagram));
        self.tidy();
        fate
    }

    pub(in crate::connection) fn handle_timeout(&mut self, now: Instant) {
        let association = &mut self.association;
        self.ground.with(now, self.key, &mut self.minted, |cx| association.handle_timeout(cx));
        self.tidy();
    }

    /// Answers a question of the association.
    pub(in crate::connection) fn provide(&mut self, now: Instant, ticket: Ticket, answer: Answer) {
        let association = &mut self.association;
        self.ground.with(now, self.key, &mut self.minted, |cx| association.provide(cx, ticket, answer));
        self.tidy();
    }

    /// Seals one CoAP message, unless the address where it would go is not proven well enough for it: for what the device
    /// has not asked for. Answers whether it leaves.
    pub(in crate::connection) fn send(&mut self, now: Instant, message: &[u8]) -> Result<bool, SendError> {
        // Codes of class 0 but the empty one are requests (RFC 7252 §3): nobody has asked for them.
        let asked = !message.get(1).is_some_and(|code| (1..32).contains(code));
        let overhead = self.association.session().map_or(0, |session| {
            let (aead, cbc) = OVERHEAD;
            session.peer_cid().len() + if session.suite().is_cbc() { cbc } else { aead }
        });
        if !self.path.may_send(message.len() + overhead, asked) {
            return Ok(false);
        }
        let association = &mut self.association;
        let sent = self.ground.with(now, self.key, &mut self.minted, |cx| association.send(cx, message));
        if let Err(SendError::NoncesUsedUp(_)) = sent {
            self.ground.starve();
        }
        sent.map(|()| true)
    }

    /// Says goodbye, or answers it.
    pub(in crate::connection) fn close(&mut self, now: Instant) {
        let association = &mut self.association;
        self.ground.with(now, self.key, &mut self.minted, |cx| association.close(cx));
    }

    pub(in crate::connection) fn poll(&mut self) -> Option<Output> {
        self.association.poll()
    }

    pub(in crate::connection) fn poll_timeout(&self) -> Option<Instant> {
        self.association.poll_timeout()
    }

    pub(in crate::connection) fn session(&self) -> Option<&Session> {
        self.association.session()
    }

    /// What the live session has proved, as endpoints see it.
    pub(in crate::connection) fn secured(&self) -> Option<Secured> {
        let session = self.session()?;
        let credential = Subject::read(session.subject()).map_or(0, |subject| subject.credential);
        let association = AssociationId::from_bytes(session.name().0);
        Some(Secured { association, mode: stored::mode(session.mode()), credential })
    }

    /// Lets others see how far the live session's numbers went, if it is the one that endpoints know.
    pub(in crate::connection) fn note(&self, progress: &Progress, known: Option<&Secured>) {
        let (Some(session), Some(known)) = (self.session(), known) else { return };
        if progress.is_retired() || session.name().0 != *known.association.as_bytes() {
            return;
        }
        let numbers = session.numbers();
        progress.note(known.association, stored::numbers(&numbers), numbers.write_next);
    }

    pub(in crate::connection) fn max_plaintext(&self) -> usize {
        self.association.max_plaintext()
    }

    /// Whether the handshake under way resumes a session.
    pub(in crate::connection) fn is_resuming(&self) -> bool {
        self.association.is_resuming()
    }

    /// Alerts and repeated flights since this was asked last.
    pub(in crate::connection) fn take_sent(&mut self) -> Sent {
        self.association.take_sent()
    }

    /// The live session's numbers, for a write that happens now.
    pub(in crate::connection) fn report(&mut self) -> Option<Numbers> {
        self.association.numbers()
    }

    /// When the handshake under way began.
    pub(in crate::connection) fn begun(&self) -> Instant {
        self.begun
    }

    /// Where flights and alerts go: to whoever shakes hands, else to the session's device.
    pub(in crate::connection) fn place(&self) -> Place {
        self.path.place()
    }

    /// The session of a handshake is the live one. Its device is where the handshake was.
    pub(in crate::connection) fn established(&mut self) -> Option<Subject> {
        let session = self.association.session()?;
        let movable = session.cid().is_some();
        let subject = Subject::read(session.subject());
        self.path = Path::new(self.path.place(), movable, true);
        self.permit = None;
        self.ping = None;
        self.tidy();
        subject
    }

    /// An application record has come in the datagram that is being handled.
    pub(in crate::connection) fn heard(&mut self, newest: bool) -> Moved {
        let moved = self.path.received(self.from, std::mem::take(&mut self.length), newest);
        if moved == Moved::Provisional {
            self.ping = None;
        }
        moved
    }

    /// The message to send where an unproven address must answer first: once for each address.
    pub(in crate::connection) fn ping(&mut self) -> Option<[u8; 4]> {
        if self.ping.is_some() || !self.path.wants_answer() {
            return None;
        }
        let id = u16::from_be_bytes(entropy::bytes());
        self.ping = Some(id);
        let [high, low] = id.to_be_bytes();
        Some([PING[0], PING[1], high, low])
    }

    /// Whether a message answers the ping; then it is for nobody else, and proves the address.
    pub(in crate::connection) fn is_pong(&mut self, message: &[u8]) -> bool {
        let Some(id) = self.ping else { return false };
        let [high, low] = id.to_be_bytes();
        let pong = message == [RESET[0], RESET[1], high, low];
        if pong {
            self.path.answered();
        }
        pong
    }

    /// Remembers a question that the endpoint is to answer.
    pub(in crate::connection) fn ask(&mut self, ticket: Ticket, association: AssociationId) {
        self.asked = Some((ticket, association));
    }

    /// The question about this association that the endpoint has answered.
    pub(in crate::connection) fn answered(&mut self, association: AssociationId) -> Option<Ticket> {
        let (ticket, _) = self.asked.take_if(|(_, asked)| *asked == association)?;
        Some(ticket)
    }

    /// For the cluster's simulation: a window that forgot what came.
    #[cfg(test)]
    pub(in crate::connection) fn forget_window(&mut self) {
        if let Some(mut stored) = self.association.export() {
            stored.numbers.window = godwit_dtls::window::ReplayWindow::new();
            self.association = Association::resume(stored, Numbering::Exact);
        }
    }

    /// Gives back what a handshake held that is no longer under way.
    fn tidy(&mut self) {
        if self.association.is_handshaking() {
            return;
        }
        self.permit = None;
        let live: Option<Cid> = self.association.session().and_then(Session::cid);
        let (ground, key) = (&self.ground, self.key);
        self.minted.retain(|cid| {
            let kept = Some(*cid) == live;
            if !kept {
                ground.forget(*cid, key);
            }
            kept
        });
    }
}

impl Drop for Channel {
    /// However its connection ends, nothing leads to it any more.
    fn drop(&mut self) {
        for cid in &self.minted {
            self.ground.forget(*cid, self.key);
        }
    }
}
