//! One client: its session, a handshake under way, and what they make of datagrams and time.

use std::{sync::Arc, time::Instant};

use ring::rand::SecureRandom;

use super::{
    Credential, Failure, Session, Settings,
    handshake::{self, Handshake, LastFlight, Offer, Step, seal_flight, sizes},
    session,
};
use crate::{
    alert::{Alert, AlertDescription, Tell},
    message::{Fragments, MessageType},
    protection::{Opened, SealError},
    reassembly::{Limits, Reassembly},
    record::{ContentType, DTLS_1_2, Record, Records},
};

/// What each call may use of the world.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Never goes back.
    pub now: Instant,
    /// For hellos, key agreement, signatures and the IVs of CBC.
    pub random: &'a dyn SecureRandom,
}

/// What a call led to, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// One datagram to the server.
    Transmit(Vec<u8>),
    /// [`Client::session`] is new.
    Established {
        /// By an abbreviated handshake.
        resumed: bool,
    },
    /// What the server sent, one record.
    Application(Vec<u8>),
    /// The server ended the session in order (`None`), or a handshake failed; an older session then goes on.
    Closed(Option<Failure>),
}

/// A client of one server. Idle it takes about 350 bytes.
#[derive(Debug)]
pub struct Client {
    settings: Arc<Settings>,
    /// `None`: the extension is not sent. Empty: we want no Connection ID, but use the server's.
    own_cid: Option<Box<[u8]>>,
    session: Option<Session>,
    handshake: Option<Box<Handshake>>,
    last_flight: Option<Box<LastFlight>>,
    closed: bool,
}

impl Client {
    /// A client that has sent nothing yet. `cid` is at most 32 bytes.
    pub fn new(settings: Arc<Settings>, cid: Option<&[u8]>) -> Self {
        Self {
            settings,
            own_cid: cid.map(Into::into),
            session: None,
            handshake: None,
            last_flight: None,
            closed: false,
        }
    }

    /// Starts a handshake, in the place of one under way. With `resume` the session is offered, also a closed one;
    /// whether the server takes it shows in [`Output::Established`]. An open session is used until then.
    pub fn start(&mut self, cx: Context<'_>, credential: Credential, resume: bool, out: &mut Vec<Output>) {
        let session = self.session.as_ref().filter(|session| resume && !session.session_id.is_empty());
        let offer = session.map(Offer::from);
        let started =
            Handshake::new(self.settings.clone(), credential, self.own_cid.clone(), offer, cx.random);
        match started {
            Ok(handshake) => {
                self.handshake = Some(Box::new(handshake));
                self.send_flight(cx, out);
            }
            Err(failure) => out.push(Output::Closed(Some(failure))),
        }
    }

    /// The session, also after its end: it may be resumable.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Whether application data can be sent.
    pub fn is_open(&self) -> bool {
        self.session.is_some() && !self.closed
    }

    /// Whether a handshake is under way.
    pub fn is_handshaking(&self) -> bool {
        self.handshake.is_some()
    }

    /// Appends one record with application data; without an open session nothing, and `false`.
    pub fn seal(&mut self, cx: Context<'_>, plaintext: &[u8], out: &mut Vec<u8>) -> Result<bool, SealError> {
        let Some(session) = self.session.as_mut().filter(|_| !self.closed) else { return Ok(false) };
        session.seal(ContentType::ApplicationData, plaintext, cx.random, out)?;
        Ok(true)
    }

    /// Ends the session in order; it can still be resumed.
    pub fn close(&mut self, cx: Context<'_>, out: &mut Vec<Output>) {
        self.handshake = None;
        self.last_flight = None;
        if let Some(session) = self.session.as_mut().filter(|_| !self.closed) {
            let mut datagram = Vec::new();
            let alert = Alert::CLOSE_NOTIFY.to_bytes();
            if session.seal(ContentType::Alert, &alert, cx.random, &mut datagram).is_ok() {
                out.push(Output::Transmit(datagram));
            }
            self.closed = true;
        }
    }

    /// When [`Client::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.handshake.as_ref().and_then(|handshake| handshake.flight.poll_timeout())
    }

    /// Sends an unanswered flight again, or gives up.
    pub fn handle_timeout(&mut self, cx: Context<'_>, out: &mut Vec<Output>) {
        let Some(handshake) = &mut self.handshake else { return };
        if !handshake.flight.handle_timeout(cx.now) {
            return;
        }
        if handshake.sends >= handshake.settings.attempts {
            self.handshake = None;
            out.push(Output::Closed(Some(Failure::Timeout)));
            return;
        }
        self.send_flight(cx, out);
    }

    /// Takes a datagram of the server. What is not authentic, not fresh or not expected is dropped.
    pub fn handle_datagram(&mut self, cx: Context<'_>, datagram: &[u8], out: &mut Vec<Output>) {
        let own_cid = self.own_cid.clone();
        let own_cid = own_cid.as_deref().unwrap_or_default();
        for record in Records::parse(datagram, own_cid.len()) {
            let Ok(record) = record else { break };
            match record.epoch {
                0 => self.handle_plain(cx, &record, out),
                1 => self.handle_protected(cx, &record, own_cid, out),
                _ => {}
            }
        }
    }

    fn handle_plain(&mut self, cx: Context<'_>, record: &Record<'_>, out: &mut Vec<Output>) {
        match record.content_type {
            ContentType::Handshake => self.handle_fragments(cx, 0, record.fragment, out),
            // Unauthenticated, but before there are keys it is all that a server can say.
            ContentType::Alert => match (Alert::parse(record.fragment), &self.handshake) {
                (Ok(alert), Some(handshake)) if alert.is_fatal() && handshake.pending.is_none() => {
                    self.handshake = None;
                    out.push(Output::Closed(Some(Failure::Alert(alert.description))));
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn handle_protected(
        &mut self,
        cx: Context<'_>,
        record: &Record<'_>,
        own_cid: &[u8],
        out: &mut Vec<Output>,
    ) {
        if let Some(opened) = self.open_pending(record, own_cid) {
            match opened.content_type {
                ContentType::Handshake => self.handle_fragments(cx, 1, &opened.plaintext, out),
                ContentType::Alert => {
                    if let Ok(alert) = Alert::parse(&opened.plaintext) {
                        self.handshake = None;
                        out.push(Output::Closed(Some(Failure::Alert(alert.description))));
                    }
                }
                _ => {}
            }
            return;
        }
        let Some(opened) = self.session.as_mut().and_then(|session| session.open(record, own_cid)) else {
            return;
        };
        match opened.content_type {
            ContentType::ApplicationData if !self.closed => {
                self.last_flight = None;
                out.push(Output::Application(opened.plaintext));
            }
            ContentType::Alert => self.handle_alert(&opened.plaintext, out),
            ContentType::Handshake => self.repeat_last_flight(cx, &opened.plaintext, out),
            _ => {}
        }
    }

    fn open_pending(&mut self, record: &Record<'_>, own_cid: &[u8]) -> Option<Opened> {
        let handshake = self.handshake.as_mut()?;
        let uses_own_cid = handshake.chosen.as_ref()?.uses_own_cid;
        let pending = handshake.pending.as_mut()?;
        let opened = session::open(&pending.read, &pending.window, record, own_cid, uses_own_cid)?;
        pending.window.accept(record.number)?;
        Some(opened)
    }

    fn handle_alert(&mut self, bytes: &[u8], out: &mut Vec<Output>) {
        let Ok(alert) = Alert::parse(bytes) else { return };
        if alert.is_fatal() {
            // RFC 5246 §7.2.2: such a session must not be resumed.
            self.session = None;
            out.push(Output::Closed(Some(Failure::Alert(alert.description))));
        } else if alert.description == AlertDescription::CLOSE_NOTIFY && !self.closed {
            self.closed = true;
            out.push(Output::Closed(None));
        }
    }

    /// The server repeats its Finished: it has not seen ours.
    fn repeat_last_flight(&mut self, cx: Context<'_>, plaintext: &[u8], out: &mut Vec<Output>) {
        let (Some(session), Some(last)) = (&mut self.session, &mut self.last_flight) else { return };
        let finished = Fragments::parse(plaintext)
            .any(|fragment| fragment.is_ok_and(|fragment| fragment.kind == MessageType::FINISHED));
        if !finished || !last.flight.handle_repeated(cx.now) {
            return;
        }
        let sizes = sizes(&self.settings, Some(&session.write), &session.peer_cid);
        let mut numbers = [last.numbers[0], session.number];
        let datagrams = seal_flight(
            &last.flight,
            sizes,
            &mut numbers,
            Some(&session.write),
            &session.peer_cid,
            DTLS_1_2,
            cx.random,
        );
        last.flight.mark_sent(cx.now);
        (last.numbers, session.number) = (numbers, numbers[1]);
        out.extend(datagrams.into_iter().flatten().map(Output::Transmit));
    }

    fn handle_fragments(&mut self, cx: Context<'_>, epoch: u16, plaintext: &[u8], out: &mut Vec<Output>) {
        for fragment in Fragments::parse(plaintext) {
            let (Ok(fragment), Some(handshake)) = (fragment, &mut self.handshake) else { return };
            // Finished is the one message of epoch 1, and never comes in the clear.
            if (epoch == 1) != (fragment.kind == MessageType::FINISHED) {
                continue;
            }
            // A stateless server numbers every HelloVerifyRequest 0, and its ServerHello as the hello it answers.
            let first = match fragment.kind {
                MessageType::HELLO_VERIFY_REQUEST => true,
                MessageType::SERVER_HELLO => handshake.incoming.expected() != fragment.seq,
                _ => false,
            };
            if first && handshake.chosen.is_none() {
                handshake.incoming = Reassembly::new(fragment.seq, Limits::default());
            }
            handshake.incoming.accept(&fragment);
            self.advance(cx, out);
        }
    }

    /// Handles every message that is whole by now.
    fn advance(&mut self, cx: Context<'_>, out: &mut Vec<Output>) {
        while let Some(handshake) = &mut self.handshake {
            let Some(message) = handshake.incoming.pop() else { return };
            match handshake.handle(&message, cx.random) {
                Ok(Step::Wait) => {}
                Ok(Step::Send) => self.send_flight(cx, out),
                Ok(Step::Establish) => self.establish(out),
                Ok(Step::SendAndEstablish) => {
                    self.send_flight(cx, out);
                    self.establish(out);
                }
                Err(failure) => self.fail(cx, failure, out),
            }
        }
    }

    fn establish(&mut self, out: &mut Vec<Output>) {
        let Some((session, last)) = self.handshake.take().and_then(|handshake| handshake.establish()) else {
            return;
        };
        out.push(Output::Established { resumed: session.resumed });
        self.session = Some(session);
        self.last_flight = last.map(Box::new);
        self.closed = false;
    }

    fn send_flight(&mut self, cx: Context<'_>, out: &mut Vec<Output>) {
        let Some(handshake) = &mut self.handshake else { return };
        match handshake.datagrams(cx.now, cx.random) {
            Ok(datagrams) => out.extend(datagrams.into_iter().map(Output::Transmit)),
            Err(failure) => self.fail(cx, failure, out),
        }
    }

    fn fail(&mut self, cx: Context<'_>, failure: Failure, out: &mut Vec<Output>) {
        if let Some(mut handshake) = self.handshake.take() {
            let bytes = Alert::fatal(failure.alert()).to_bytes();
            out.push(Output::Transmit(handshake::alert(&mut handshake, bytes, cx.random)));
        }
        out.push(Output::Closed(Some(failure)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_is_small() {
        assert!(size_of::<Client>() <= 400);
    }
}
