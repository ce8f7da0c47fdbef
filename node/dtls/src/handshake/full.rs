//! The full handshake: from the suite to the client's Finished.

use super::{
    Established, State, Step,
    core::{Core, equal},
    terms::{Certificates, Choice, Terms},
};
use crate::{
    agreement::KeyAgreement,
    certificate::{CertificateError, Leaf, PublicKey},
    config::Config,
    context::Context,
    extension::{ECDSA_SECP256R1_SHA256, SECP256R1},
    fate::Dropped,
    flight::Item,
    identity::ServerIdentity,
    message::{
        CertificateRequest, CertificateType, CertificateVerify, Chain, ClientHello, ClientKeyExchange,
        EcdhePoint, Finished, Message, MessageType, RawPublicKey, ServerHello, ServerKeyExchange, Signed,
        Version,
    },
    outbox::Outbox,
    output::HandshakeFailure,
    prf::{MasterSecret, Side, psk_premaster},
    protection::Opened,
    question::{PeerCredential, Psk, Question, StoreKind},
    record::Record,
    session::{MARK_AHEAD, Session},
    signature,
    stored::{FinishedAnswer, Numbers, Stage, StoredSession},
    subject::Subject,
    wire::Codes,
};

/// ECDHE: the client's Certificate comes next.
pub(super) struct AwaitCertificate {
    pub(super) terms: Terms,
    agreement: KeyAgreement,
    certificates: Certificates,
}

/// ClientKeyExchange comes next.
pub(super) struct AwaitKeyExchange {
    pub(super) terms: Terms,
    /// `None` for PSK.
    ecdhe: Option<(KeyAgreement, Shown)>,
}

/// What the client showed of itself, not proved yet.
struct Shown {
    key: PublicKey,
    credential: PeerCredential,
}

/// The caller looks the key up.
pub(super) struct AwaitPsk {
    pub(super) terms: Terms,
    session_hash: [u8; 32],
}

/// CertificateVerify comes next.
pub(super) struct AwaitCertificateVerify {
    pub(super) pending: Pending,
    shown: Shown,
}

/// Keys that nobody may use before the caller has said who the client is.
pub(super) struct Pending {
    pub(super) terms: Terms,
    master: MasterSecret,
}

/// The caller decides about the client's credential.
pub(super) struct AwaitPeer {
    pub(super) pending: Pending,
}

/// The client's Finished comes next, protected.
pub(super) struct AwaitFinished {
    pub(super) session: Session,
    /// The keys of a pre-shared key that is being rotated.
    other: Option<Box<Session>>,
    /// The identity exists: an unknown one never gets further, whatever it sends.
    known: bool,
}

/// The caller stores the session; then our last flight leaves.
pub(super) struct AwaitStored {
    pub(super) session: Session,
    answer: FinishedAnswer,
}

impl Core {
    /// Answers the hello with a full handshake.
    pub(super) fn begin_full(&mut self, cx: &mut Context<'_>, out: &mut Outbox, hello: &Message) -> Step {
        let view = ClientHello::parse(&hello.body)?;
        let identity = self.identity.clone();
        let choice = Choice::of(cx.config, identity.as_deref(), &view)?;
        let name = cx.naming.name();
        let id = cx.naming.session_id(&name);
        let terms = Terms::new(cx.config, &view, choice, Self::random(cx)?, name, id)?;
        self.transcript.add(hello);
        self.max_plaintext = terms.max_plaintext();
        if choice.certificates.is_none() {
            self.transcript.forget_messages();
        }
        let mut items = vec![self.server_hello(&view, &terms, false)];
        let state = match (choice.certificates, &identity) {
            (Some(certificates), Some(identity)) => {
                let agreement = self.server_keys(cx, identity, certificates, &terms, &mut items)?;
                State::AwaitCertificate(AwaitCertificate { terms, agreement, certificates })
            }
            _ => State::AwaitKeyExchange(AwaitKeyExchange { terms, ecdhe: None }),
        };
        items.push(Item::Handshake(0, self.message(MessageType::SERVER_HELLO_DONE, |_| {})));
        self.begin_flight(cx, items);
        self.send_flight(cx, out, None)?;
        Ok(state)
    }

    pub(super) fn server_hello(&mut self, hello: &ClientHello<'_>, terms: &Terms, resumed: bool) -> Item {
        let answer = ServerHello {
            version: Version::DTLS_1_2,
            random: &terms.server_random,
            session_id: &terms.id.0,
            cipher_suite: terms.choice.suite.id(),
            extensions: terms.extensions(hello, resumed),
        };
        Item::Handshake(0, self.message(MessageType::SERVER_HELLO, |body| answer.encode(body)))
    }

    /// Certificate, ServerKeyExchange and CertificateRequest.
    fn server_keys(
        &mut self,
        cx: &Context<'_>,
        identity: &ServerIdentity,
        certificates: Certificates,
        terms: &Terms,
        items: &mut Vec<Item>,
    ) -> Result<KeyAgreement, HandshakeFailure> {
        let shown = self.message(MessageType::CERTIFICATE, |body| match certificates.server {
            CertificateType::RawPublicKey => RawPublicKey(identity.spki()).encode(body),
            CertificateType::X509 => Chain(identity.chain().iter().map(Vec::as_slice).collect()).encode(body),
        });
        let agreement =
            KeyAgreement::generate(cx.random).map_err(|_| HandshakeFailure::Internal("key generation"))?;
        let params = EcdhePoint { group: SECP256R1, point: agreement.public() };
        let signature = identity
            .sign(&params.signed_bytes(&terms.client_random, &terms.server_random), cx.random)
            .map_err(|_| HandshakeFailure::Internal("signing"))?;
        let signed = Signed { scheme: ECDSA_SECP256R1_SHA256, signature: &signature };
        let exchange = self.message(MessageType::SERVER_KEY_EXCHANGE, |body| {
            ServerKeyExchange { params, signed }.encode(body);
        });
        let schemes = ECDSA_SECP256R1_SHA256.to_be_bytes();
        let schemes = Codes::new(&schemes)?;
        let request = self.message(MessageType::CERTIFICATE_REQUEST, |body| {
            CertificateRequest::ecdsa(schemes).encode(body);
        });
        items.extend([shown, exchange, request].map(|message| Item::Handshake(0, message)));
        Ok(agreement)
    }

    /// The client's next flight has begun to arrive.
    fn stop_timer(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.answered();
        }
    }

    /// Keys are there: only protected messages may follow.
    fn await_finished(&mut self, session: Session, other: Option<Session>, known: bool) -> State {
        self.incoming.begin_protected();
        self.transcript.forget_messages();
        State::AwaitFinished(AwaitFinished { session, other: other.map(Box::new), known })
    }
}

impl Pending {
    fn session(&self, subject: Subject, cx: &Context<'_>) -> Session {
        Session::new(self.terms.secrets(self.master.clone(), subject, cx.unix))
    }
}

impl AwaitCertificate {
    pub(super) fn handle_message(self, core: &mut Core, message: &Message) -> Step {
        if message.kind != MessageType::CERTIFICATE {
            return Err(HandshakeFailure::Unexpected { waiting_for: "Certificate" });
        }
        core.stop_timer();
        let shown = match self.certificates.client {
            CertificateType::RawPublicKey => {
                let RawPublicKey(spki) = RawPublicKey::parse(&message.body)?;
                if spki.is_empty() {
                    return Err(CertificateError::Missing.into());
                }
                Shown {
                    key: PublicKey::from_spki(spki)?,
                    credential: PeerCredential::RawPublicKey(spki.to_vec()),
                }
            }
            CertificateType::X509 => {
                let Chain(chain) = Chain::parse(&message.body)?;
                let leaf = chain.first().ok_or(CertificateError::Missing)?;
                let key = Leaf::parse(leaf)?.key;
                let chain = chain.iter().map(|der| der.to_vec()).collect();
                Shown { key, credential: PeerCredential::Chain(chain) }
            }
        };
        core.transcript.add(message);
        Ok(State::AwaitKeyExchange(AwaitKeyExchange {
            terms: self.terms,
            ecdhe: Some((self.agreement, shown)),
        }))
    }
}

impl AwaitKeyExchange {
    pub(super) fn handle_message(self, core: &mut Core, out: &mut Outbox, message: &Message) -> Step {
        if message.kind != MessageType::CLIENT_KEY_EXCHANGE {
            return Err(HandshakeFailure::Unexpected { waiting_for: "ClientKeyExchange" });
        }
        core.stop_timer();
        core.transcript.add(message);
        let terms = self.terms;
        let session_hash = core.transcript.hash();
        match self.ecdhe {
            None => {
                let ClientKeyExchange::Psk(identity) = ClientKeyExchange::parse_psk(&message.body)? else {
                    return Err(HandshakeFailure::Unexpected { waiting_for: "a PSK identity" });
                };
                if identity.len() > Config::MAX_PSK_IDENTITY {
                    return Err(HandshakeFailure::Illegal("PSK identity"));
                }
                core.ask(out, Question::Psk { identity: identity.to_vec() });
                Ok(State::AwaitPsk(AwaitPsk { terms, session_hash }))
            }
            Some((agreement, shown)) => {
                let ClientKeyExchange::Ecdhe(point) = ClientKeyExchange::parse_ecdhe(&message.body)? else {
                    return Err(HandshakeFailure::Unexpected { waiting_for: "a point" });
                };
                let premaster =
                    agreement.premaster(point).map_err(|_| HandshakeFailure::Illegal("ECDHE point"))?;
                let pending = Pending { master: terms.master(&premaster[..], &session_hash), terms };
                Ok(State::AwaitCertificateVerify(AwaitCertificateVerify { pending, shown }))
            }
        }
    }
}

impl AwaitPsk {
    /// Goes on with the key, or with the two of which the client's Finished will show one.
    pub(super) fn handle_psk(
        self,
        core: &mut Core,
        cx: &Context<'_>,
        psk: Option<Psk>,
        other: Option<Psk>,
    ) -> Step {
        let session = |premaster: &[u8], subject| {
            let master = self.terms.master(premaster, &self.session_hash);
            Pending { terms: self.terms.clone(), master }.session(subject, cx)
        };
        let usable =
            [psk, other].into_iter().flatten().filter(|psk| psk.key.expose().len() <= Config::MAX_PSK);
        let mut usable = usable.map(|psk| session(&psk_premaster(psk.key.expose()), psk.subject));
        Ok(match usable.next() {
            Some(first) => core.await_finished(first, usable.next(), true),
            None => {
                let premaster = psk_premaster(&Core::random::<32>(cx)?);
                core.await_finished(session(&premaster, Subject::default()), None, false)
            }
        })
    }
}

impl AwaitCertificateVerify {
    pub(super) fn handle_message(self, core: &mut Core, out: &mut Outbox, message: &Message) -> Step {
        if message.kind != MessageType::CERTIFICATE_VERIFY {
            return Err(HandshakeFailure::Unexpected { waiting_for: "CertificateVerify" });
        }
        let CertificateVerify(signed) = CertificateVerify::parse(&message.body)?;
        signature::verify(&self.shown.key, core.transcript.messages(), signed)?;
        core.transcript.add(message);
        core.transcript.forget_messages();
        core.ask(out, Question::Peer(self.shown.credential));
        Ok(State::AwaitPeer(AwaitPeer { pending: self.pending }))
    }
}

impl AwaitPeer {
    pub(super) fn handle_subject(self, core: &mut Core, cx: &Context<'_>, subject: Subject) -> State {
        core.await_finished(self.pending.session(subject, cx), None, true)
    }
}

impl AwaitFinished {
    /// Opens a record; the first that opens says which of two keys the client has.
    pub(super) fn open(&mut self, record: &Record<'_>) -> Result<Opened, Dropped> {
        let opened = self.session.open(record);
        if opened == Err(Dropped::NotAuthentic)
            && let Some(other) = &mut self.other
            && let Ok((opened, _)) = other.open(record)
        {
            std::mem::swap(&mut self.session, other);
            self.other = None;
            return Ok(opened);
        }
        opened.map(|(opened, _)| opened)
    }

    pub(super) fn handle_message(
        mut self,
        core: &mut Core,
        cx: &Context<'_>,
        out: &mut Outbox,
        message: &Message,
    ) -> Step {
        if message.kind != MessageType::FINISHED {
            return Err(HandshakeFailure::Unexpected { waiting_for: "Finished" });
        }
        let Finished(theirs) = Finished::parse(&message.body)?;
        if !equal(theirs, &core.verify_data(&self.session, Side::Client)) || !self.known {
            return Err(HandshakeFailure::WrongFinished);
        }
        core.transcript.add(message);
        let answer = FinishedAnswer {
            verify_data: core.verify_data(&self.session, Side::Server),
            message_seq: core.message_seq,
            plain_next: core.plain_next,
            since: cx.unix,
        };
        core.flight = None;
        // As it will be once our flight has left, which an heir may have to send again.
        let numbers = Numbers {
            write_next: 1,
            write_mark: MARK_AHEAD,
            window: self.session.window,
            stage: Stage::Answer(answer.clone()),
        };
        self.session.unreported = 0;
        let stored = StoredSession { secrets: self.session.secrets.clone(), numbers };
        core.ask(out, Question::Store(Box::new(stored), StoreKind::Full));
        Ok(State::AwaitStored(AwaitStored { session: self.session, answer }))
    }
}

impl From<AwaitStored> for Established {
    fn from(AwaitStored { session, answer }: AwaitStored) -> Self {
        Self { session, resumed: false, answer: Some(answer), held: Vec::new() }
    }
}
