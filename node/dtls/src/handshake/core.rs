//! What all states of a handshake share, and how its flights are sent.

use std::{sync::Arc, time::Instant};

use super::{State, Step, incoming::Incoming};
use crate::{
    config::Config,
    context::Context,
    flight::{Backoff, Flight, Item, Sizes},
    identity::ServerIdentity,
    message::{ClientHello, Finished, Message, MessageType},
    outbox::Outbox,
    output::HandshakeFailure,
    prf::Side,
    protection::SealError,
    question::{Question, Ticket},
    record::{self, Header, MAX_PLAINTEXT},
    session::{Session, SessionId},
    stored::FinishedAnswer,
    transcript::Transcript,
};

/// What all states share.
pub(super) struct Core {
    /// When it is given up; unset until the first input after a resume.
    pub(super) deadline: Option<Instant>,
    pub(super) identity: Option<Arc<ServerIdentity>>,
    /// Tells a repeated hello from a new one.
    pub(super) client_random: [u8; 32],
    pub(super) incoming: Incoming,
    pub(super) transcript: Transcript,
    pub(super) flight: Option<Flight>,
    /// The client's last message that our flight answers: when it comes again, ours may have been lost.
    pub(super) answered: u16,
    /// Number of our next record in epoch 0.
    pub(super) plain_next: u64,
    /// Sequence number of our next message.
    pub(super) message_seq: u16,
    pub(super) max_plaintext: usize,
    pub(super) ticket: Option<Ticket>,
    pub(super) unreadable: u32,
}

impl Core {
    pub(super) fn new(client_random: [u8; 32]) -> Self {
        Self {
            deadline: None,
            identity: None,
            client_random,
            incoming: Incoming::new(0),
            transcript: Transcript::new(),
            flight: None,
            answered: 0,
            plain_next: 0,
            message_seq: 0,
            max_plaintext: MAX_PLAINTEXT,
            ticket: None,
            unreadable: 0,
        }
    }

    pub(super) fn handle_hello(&mut self, cx: &mut Context<'_>, out: &mut Outbox, hello: Message) -> Step {
        if hello.kind != MessageType::CLIENT_HELLO {
            return Err(HandshakeFailure::Unexpected { waiting_for: "ClientHello" });
        }
        let view = ClientHello::parse(&hello.body)?;
        if !view.prefix.version.reaches_1_2() {
            return Err(HandshakeFailure::Version);
        }
        self.answered = hello.seq;
        // All our session ids have the same length: others are from elsewhere.
        match <[u8; 32]>::try_from(view.prefix.session_id) {
            Ok(id) => {
                self.ask(out, Question::Session(SessionId(id)));
                Ok(State::AwaitSession(hello))
            }
            Err(_) => self.begin_full(cx, out, &hello),
        }
    }

    pub(super) fn ask(&mut self, out: &mut Outbox, question: Question) {
        self.ticket = Some(out.ask(question));
    }

    pub(super) fn random<const N: usize>(cx: &Context<'_>) -> Result<[u8; N], HandshakeFailure> {
        let mut bytes = [0; N];
        cx.random.fill(&mut bytes).map_err(|_| HandshakeFailure::Internal("randomness"))?;
        Ok(bytes)
    }

    /// Our next message, added to the transcript.
    pub(super) fn message(&mut self, kind: MessageType, encode: impl FnOnce(&mut Vec<u8>)) -> Message {
        let message = Message::new(kind, self.message_seq, encode);
        self.message_seq = self.message_seq.wrapping_add(1);
        self.transcript.add(&message);
        message
    }

    pub(super) fn begin_flight(&mut self, cx: &Context<'_>, items: Vec<Item>) {
        let backoff = Backoff { first: cx.config.first_retransmission, cap: Config::MAX_RETRANSMISSION };
        self.flight = Some(Flight::awaiting_answer(items, backoff));
    }

    /// Sends the flight, for the first time or again; `session` seals what is in epoch 1.
    pub(super) fn send_flight(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outbox,
        session: Option<&mut Session>,
    ) -> Result<(), HandshakeFailure> {
        let Some(flight) = &mut self.flight else { return Ok(()) };
        transmit(flight, &mut self.plain_next, self.max_plaintext, cx, out, session)?;
        flight.mark_sent(cx.now);
        Ok(())
    }

    /// What a side's Finished must hold now.
    pub(super) fn verify_data(&self, session: &Session, side: Side) -> [u8; 12] {
        session.secrets.master.verify_data(side, &self.transcript.hash())
    }
}

/// Sends a flight's datagrams; each record takes a number that was never used before.
fn transmit(
    flight: &Flight,
    plain_next: &mut u64,
    max_plaintext: usize,
    cx: &mut Context<'_>,
    out: &mut Outbox,
    mut session: Option<&mut Session>,
) -> Result<(), HandshakeFailure> {
    let sealed = session.as_ref().map_or(0, |session| session.secrets.sealed_len(0));
    let sizes =
        Sizes { datagram: cx.config.mtu, plaintext: max_plaintext, overhead: [record::HEADER, sealed] };
    let sealed = flight.datagrams(sizes, |piece, datagram| match (piece.epoch, session.as_mut()) {
        (0, _) => {
            Header::plain(piece.content_type, *plain_next).encode_plain(piece.plaintext, datagram);
            *plain_next += 1;
            Ok(())
        }
        (_, Some(session)) => session.seal(cx, piece.content_type, piece.plaintext, datagram).map_err(Some),
        (_, None) => Err(None),
    });
    match sealed {
        Ok(datagrams) => datagrams.into_iter().for_each(|datagram| out.transmit(datagram)),
        // Until the lane is extended nothing may be sealed: a timer or the client's repetition tries again.
        Err(Some(SealError::NoncesExhausted(_))) => {}
        Err(_) => return Err(HandshakeFailure::Internal("sealing")),
    }
    Ok(())
}

impl FinishedAnswer {
    /// Sends ChangeCipherSpec and Finished, for the first time or because the client repeated its own.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outbox,
        session: &mut Session,
    ) -> Result<(), HandshakeFailure> {
        let finished = Finished(&self.verify_data);
        let finished = Message::new(MessageType::FINISHED, self.message_seq, |body| finished.encode(body));
        let flight = Flight::last(vec![Item::ChangeCipherSpec, Item::Handshake(1, finished)]);
        let max_plaintext = session.secrets.max_plaintext();
        transmit(&flight, &mut self.plain_next, max_plaintext, cx, out, Some(session))
    }
}

/// Compares secrets in a time that doesn't tell where they differ.
pub(super) fn equal(one: &[u8; 12], other: &[u8; 12]) -> bool {
    let difference =
        one.iter().zip(other).fold(0, |sum, (one, other)| std::hint::black_box(sum | (one ^ other)));
    difference == 0
}
