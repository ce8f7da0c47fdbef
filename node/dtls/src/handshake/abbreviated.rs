//! The abbreviated handshake (RFC 5246 §7.3, figure 2): new keys from a session's master secret.

use super::{
    Established, State, Step,
    core::{Core, equal},
    terms::Terms,
};
use crate::{
    alert::Alert,
    context::Context,
    fate::{Dropped, Used},
    flight::Item,
    message::{ClientHello, Finished, Fragments, Message, MessageType},
    outbox::Outbox,
    output::HandshakeFailure,
    prf::Side,
    protection::Opened,
    question::{Question, StoreKind},
    record::{ContentType, Record},
    session::{MARK_AHEAD, Secrets, Session},
    stored::{Numbers, Stage, StoredSession},
};

/// The caller stores the new keys; then our flight leaves.
pub(super) struct AwaitProvisional {
    pub(super) session: Session,
    expected: [u8; 12],
    flight: Vec<Item>,
}

/// The client's Finished comes next, or application data if that was lost.
pub(super) struct AwaitClient {
    pub(super) session: Session,
    /// Content of the client's Finished.
    pub(super) expected: [u8; 12],
}

/// The caller makes the new keys the session's.
pub(super) struct AwaitPromotion {
    pub(super) session: Session,
    expected: [u8; 12],
    held: Vec<(Vec<u8>, u64, bool)>,
}

/// Records of application data that may wait for the promotion.
const HELD: usize = 4;

impl Core {
    /// Resumes `old` if the hello may, else answers with a full handshake.
    pub(super) fn resume(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outbox,
        hello: &Message,
        old: &Secrets,
    ) -> Step {
        let view = ClientHello::parse(&hello.body)?;
        let name = cx.naming.name();
        let Some(terms) = Terms::resume(cx.config, &view, old, Self::random(cx)?, name)? else {
            return self.begin_full(cx, out, hello);
        };
        self.transcript.forget_messages();
        self.transcript.add(hello);
        self.max_plaintext = terms.max_plaintext();
        let server_hello = self.server_hello(&view, &terms, true);
        let mut secrets = terms.secrets(old.master.clone(), old.subject.clone(), old.established_at);
        secrets.mode = old.mode;
        let session = Session::new(secrets);
        let ours = self.verify_data(&session, Side::Server);
        let finished = self.message(MessageType::FINISHED, |body| Finished(&ours).encode(body));
        let expected = self.verify_data(&session, Side::Client);
        self.incoming.begin_protected();
        let flight = vec![server_hello, Item::ChangeCipherSpec, Item::Handshake(1, finished)];
        let numbers = Numbers {
            write_next: 1,
            write_mark: MARK_AHEAD,
            window: session.window,
            stage: Stage::Provisional(expected),
        };
        let stored = StoredSession { secrets: session.secrets.clone(), numbers };
        self.ask(out, Question::Store(Box::new(stored), StoreKind::Provisional));
        Ok(State::AwaitProvisional(AwaitProvisional { session, expected, flight }))
    }
}

impl AwaitProvisional {
    pub(super) fn handle_stored(mut self, core: &mut Core, cx: &mut Context<'_>, out: &mut Outbox) -> Step {
        core.begin_flight(cx, self.flight);
        core.send_flight(cx, out, Some(&mut self.session))?;
        Ok(State::AwaitClient(AwaitClient { session: self.session, expected: self.expected }))
    }
}

impl AwaitClient {
    /// Content that authenticated under the new keys.
    ///
    /// The client's Finished may be lost or may have reached an owner that died. Application data then serves as well: a
    /// client sends it only after our Finished, which covers both hellos, was right in its eyes.
    pub(super) fn handle_opened(
        self,
        core: &mut Core,
        out: &mut Outbox,
        opened: Opened,
        number: u64,
        newest: bool,
    ) -> Step {
        let mut held = Vec::new();
        match opened.content_type {
            ContentType::Handshake => {
                let theirs = match Fragments::parse(&opened.plaintext).next() {
                    // 24 bytes: nobody cuts it.
                    Some(Ok(message)) if message.kind == MessageType::FINISHED && message.is_whole() => {
                        Finished::parse(message.bytes)?.0
                    }
                    _ => return Ok(State::AwaitClient(self)),
                };
                if !equal(theirs, &self.expected) {
                    return Err(HandshakeFailure::WrongFinished);
                }
            }
            ContentType::ApplicationData => held.push((opened.plaintext, number, newest)),
            // A client that gives up says so in an alert; the old session stays.
            ContentType::Alert => {
                let alert = Alert::parse(&opened.plaintext)?;
                return Err(HandshakeFailure::PeerAlert(alert.description.0));
            }
            ContentType::ChangeCipherSpec | ContentType::Tls12Cid | ContentType::Unknown(_) => {
                return Ok(State::AwaitClient(self));
            }
        }
        core.flight = None;
        core.ask(out, Question::Promote(self.session.name()));
        Ok(State::AwaitPromotion(AwaitPromotion { session: self.session, expected: self.expected, held }))
    }
}

impl AwaitPromotion {
    /// What the client sends meanwhile waits, so that nothing is answered before the write.
    pub(super) fn handle_record(&mut self, record: &Record<'_>) -> Result<Used, Dropped> {
        if self.held.len() == HELD {
            return Err(Dropped::Full);
        }
        let (opened, newest) = self.session.open(record)?;
        match opened.content_type {
            ContentType::ApplicationData => {
                self.held.push((opened.plaintext, record.number, newest));
                Ok(Used::Authentic)
            }
            _ => Err(Dropped::Unexpected),
        }
    }
}

impl AwaitPromotion {
    /// The write failed. The client is done with its handshake and would never start over, so the keys stay provisional: what
    /// it repeats asks anew. What was held it repeats as well.
    pub(super) fn handle_not_stored(self) -> State {
        State::AwaitClient(AwaitClient { session: self.session, expected: self.expected })
    }
}

impl From<AwaitPromotion> for Established {
    fn from(AwaitPromotion { session, held, .. }: AwaitPromotion) -> Self {
        Self { session, resumed: true, answer: None, held }
    }
}
