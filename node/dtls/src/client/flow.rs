//! What each message of the server's leads to, in the order of the protocol.

use ring::rand::SecureRandom;
use smallvec::SmallVec;

use super::{
    Credential, Failure, Trust,
    handshake::{Awaiting, Chosen, Handshake, Pending, Step},
};
use crate::{
    agreement::KeyAgreement,
    certificate::{CertificateError, Leaf, PublicKey},
    extension::{ClientExtensions, ECDSA_SECP256R1_SHA256, SECP256R1, UNCOMPRESSED},
    flight::{Flight, Item},
    message::{
        CertificateRequest, CertificateType, CertificateVerify, Chain, ClientHello, ClientKeyExchange,
        Finished, HelloPrefix, HelloVerifyRequest, Message, MessageType, PskHint, RawPublicKey, ServerHello,
        ServerKeyExchange, Signed, Version,
    },
    prf::{MasterSecret, Side, psk_premaster},
    record::MAX_PLAINTEXT,
    signature::{self, SigningKey},
    suite::{Authentication, CipherSuite},
    wire::Codes,
};

/// HelloVerifyRequests that are answered in one handshake: a server's cookie key may change on the way.
const MAX_VERIFICATIONS: u8 = 4;

impl Handshake {
    /// The suites that settings and credential allow.
    fn suites(&self) -> impl Iterator<Item = CipherSuite> {
        let wanted = self.credential.authentication();
        self.settings.suites.iter().copied().filter(move |suite| suite.authentication() == wanted)
    }

    /// Makes a ClientHello, the first or one with a cookie, as a flight of its own.
    pub(super) fn hello(&mut self) -> Result<(), Failure> {
        let suites: Vec<u8> = self.suites().flat_map(|suite| suite.id().to_be_bytes()).collect();
        if suites.is_empty() {
            return Err(Failure::NoSuite);
        }
        let ecdsa = self.credential.authentication() == Authentication::Ecdsa;
        let raw = matches!(self.credential, Credential::RawPublicKey(_));
        let (group, scheme) = (SECP256R1.to_be_bytes(), ECDSA_SECP256R1_SHA256.to_be_bytes());
        let raw_type = [CertificateType::RawPublicKey as u8];
        let settings = self.settings.clone();
        let random = self.random;
        let (cookie, own_cid) = (self.cookie.clone(), self.own_cid.clone());
        let session_id = self.offer.as_ref().map(|offer| offer.session_id.clone()).unwrap_or_default();
        let hello = ClientHello {
            prefix: HelloPrefix {
                version: Version::DTLS_1_2,
                random: &random,
                session_id: &session_id,
                cookie: &cookie,
            },
            cipher_suites: Codes::new(&suites)?,
            extensions: ClientExtensions {
                server_name: settings.server_name.as_deref().map(str::as_bytes),
                max_fragment_length: settings.max_fragment_length,
                supported_groups: if ecdsa { Some(Codes::new(&group)?) } else { None },
                ec_point_formats: ecdsa.then_some(&[UNCOMPRESSED][..]),
                signature_algorithms: if ecdsa { Some(Codes::new(&scheme)?) } else { None },
                client_certificate_types: raw.then_some(&raw_type[..]),
                server_certificate_types: raw.then_some(&raw_type[..]),
                encrypt_then_mac: settings.encrypt_then_mac && self.suites().any(CipherSuite::is_cbc),
                extended_master_secret: settings.extended_master_secret,
                connection_id: own_cid.as_deref(),
                renegotiation_info: Some(&[]),
            },
        };
        // Neither a first hello nor its HelloVerifyRequest is part of the transcript.
        self.transcript = crate::transcript::Transcript::new();
        let message = self.message(MessageType::CLIENT_HELLO, |out| hello.encode(out));
        self.prepare(vec![Item::Handshake(0, message)]);
        Ok(())
    }

    /// Takes the next whole message of the server.
    pub(super) fn handle(&mut self, message: &Message, random: &dyn SecureRandom) -> Result<Step, Failure> {
        match (self.awaiting, message.kind) {
            (Awaiting::ServerHello, MessageType::HELLO_VERIFY_REQUEST) => self.verify_request(message),
            (Awaiting::ServerHello, MessageType::SERVER_HELLO) => {
                self.transcript.add(message);
                self.server_hello(&message.body)
            }
            (Awaiting::Certificate, MessageType::CERTIFICATE) => {
                self.transcript.add(message);
                self.certificate(&message.body)
            }
            (Awaiting::ServerKeyExchange, MessageType::SERVER_KEY_EXCHANGE) => {
                self.transcript.add(message);
                self.server_key_exchange(&message.body)
            }
            (Awaiting::ServerHelloDone, MessageType::SERVER_KEY_EXCHANGE) if self.is_psk() => {
                self.transcript.add(message);
                PskHint::parse(&message.body)?;
                Ok(Step::Wait)
            }
            (Awaiting::ServerHelloDone, MessageType::CERTIFICATE_REQUEST) if !self.is_psk() => {
                self.transcript.add(message);
                CertificateRequest::parse(&message.body)?;
                self.certificate_requested = true;
                Ok(Step::Wait)
            }
            (Awaiting::ServerHelloDone, MessageType::SERVER_HELLO_DONE) => {
                self.transcript.add(message);
                message.expect_empty()?;
                self.answer(random)
            }
            (Awaiting::Finished, MessageType::FINISHED) => {
                self.server_finished(message)?;
                Ok(Step::Establish)
            }
            (Awaiting::FirstFinished, MessageType::FINISHED) => {
                self.server_finished(message)?;
                self.transcript.add(message);
                let items = self.finish()?;
                self.flight = Flight::last(items);
                Ok(Step::SendAndEstablish)
            }
            (_, kind) => Err(Failure::Unexpected(kind)),
        }
    }

    fn is_psk(&self) -> bool {
        matches!(self.credential, Credential::Psk { .. })
    }

    fn verify_request(&mut self, message: &Message) -> Result<Step, Failure> {
        let request = HelloVerifyRequest::parse(&message.body)?;
        if request.cookie == self.cookie {
            return Ok(Step::Wait);
        }
        if self.verifications == MAX_VERIFICATIONS {
            return Err(Failure::Unexpected(message.kind));
        }
        self.verifications += 1;
        self.cookie = request.cookie.to_vec();
        self.hello()?;
        Ok(Step::Send)
    }

    fn server_hello(&mut self, body: &[u8]) -> Result<Step, Failure> {
        let hello = ServerHello::parse(body)?;
        if hello.version != Version::DTLS_1_2 {
            return Err(Failure::Version(hello.version.0));
        }
        let suite = self.suites().find(|suite| suite.id() == hello.cipher_suite);
        let suite = suite.ok_or(Failure::Suite(hello.cipher_suite))?;
        let answers = hello.extensions;
        let offered = &self.settings;
        let refused = answers.extended_master_secret && !offered.extended_master_secret
            || answers.encrypt_then_mac && !(offered.encrypt_then_mac && suite.is_cbc())
            || answers.connection_id.is_some() && self.own_cid.is_none()
            || answers.renegotiation_info.is_some_and(|info| !info.is_empty())
            || answers.max_fragment_length.is_some_and(|length| Some(length) != offered.max_fragment_length);
        if refused {
            return Err(Failure::Extension);
        }
        let offer = self
            .offer
            .take()
            .filter(|offer| !offer.session_id.is_empty() && offer.session_id.as_slice() == hello.session_id);
        if let Some(offer) = &offer
            && (offer.suite != suite || offer.extended_master_secret != answers.extended_master_secret)
        {
            return Err(Failure::Extension);
        }
        let raw = |kind: Option<CertificateType>| kind == Some(CertificateType::RawPublicKey);
        let own_cid = self.own_cid.as_deref().unwrap_or_default();
        // RFC 6066 §4: a resumed session keeps its length.
        let kept = offer.as_ref().map_or(MAX_PLAINTEXT as u16, |offer| offer.max_plaintext);
        let max_plaintext = answers.max_fragment_length.map_or(kept, |length| length.bytes() as u16);
        let chosen = Chosen {
            suite,
            server_random: *hello.random,
            session_id: SmallVec::from_slice(hello.session_id),
            extended_master_secret: answers.extended_master_secret,
            encrypt_then_mac: answers.encrypt_then_mac,
            peer_cid: SmallVec::from_slice(answers.connection_id.unwrap_or_default()),
            uses_own_cid: answers.connection_id.is_some() && !own_cid.is_empty(),
            resumed: offer.is_some(),
            raw_server_key: raw(answers.server_certificate_type),
            raw_client_key: raw(answers.client_certificate_type),
            max_plaintext,
        };
        self.chosen = Some(chosen);
        if let Some(offer) = offer {
            self.derive(offer.master);
            self.awaiting = Awaiting::FirstFinished;
        } else if self.is_psk() {
            self.awaiting = Awaiting::ServerHelloDone;
        } else {
            self.awaiting = Awaiting::Certificate;
        }
        Ok(Step::Wait)
    }

    fn certificate(&mut self, body: &[u8]) -> Result<Step, Failure> {
        let key = if self.chosen.as_ref().is_some_and(|chosen| chosen.raw_server_key) {
            PublicKey::from_spki(RawPublicKey::parse(body)?.0)?
        } else {
            let chain = Chain::parse(body)?;
            Leaf::parse(chain.0.first().ok_or(CertificateError::Missing)?)?.key
        };
        match &self.settings.trust {
            Trust::Key(trusted) if *trusted != key => return Err(Failure::Untrusted),
            Trust::Any | Trust::Key(_) => {}
        }
        self.server_key = Some(key);
        self.awaiting = Awaiting::ServerKeyExchange;
        Ok(Step::Wait)
    }

    fn server_key_exchange(&mut self, body: &[u8]) -> Result<Step, Failure> {
        let exchange = ServerKeyExchange::parse(body)?;
        let unexpected = Failure::Unexpected(MessageType::SERVER_KEY_EXCHANGE);
        let (Some(key), Some(chosen)) = (&self.server_key, &self.chosen) else { return Err(unexpected) };
        let signed = exchange.params.signed_bytes(&self.random, &chosen.server_random);
        signature::verify(key, &signed, exchange.signed)?;
        self.server_point = exchange.params.point.to_vec();
        self.awaiting = Awaiting::ServerHelloDone;
        Ok(Step::Wait)
    }

    /// Our flight of a full handshake: ClientKeyExchange, with a certificate between Certificate and
    /// CertificateVerify, then the new keys.
    fn answer(&mut self, random: &dyn SecureRandom) -> Result<Step, Failure> {
        let unexpected = Failure::Unexpected(MessageType::SERVER_HELLO_DONE);
        let Some(chosen) = &self.chosen else { return Err(unexpected) };
        let (raw_key, ems, server_random) =
            (chosen.raw_client_key, chosen.extended_master_secret, chosen.server_random);
        let credential = self.credential.clone();
        let mut items = Vec::new();
        if self.certificate_requested {
            let message = self.message(MessageType::CERTIFICATE, |out| show_key(&credential, raw_key, out));
            items.push(Item::Handshake(0, message));
        }
        let premaster;
        let agreement;
        let (exchange, secret) = match &credential {
            Credential::Psk { identity, key } => {
                premaster = psk_premaster(key.expose());
                (ClientKeyExchange::Psk(identity), &premaster[..])
            }
            Credential::RawPublicKey(_) | Credential::X509 { .. } => {
                let ours = KeyAgreement::generate(random)?;
                let public = *ours.public();
                agreement = (ours.premaster(&self.server_point)?, public);
                (ClientKeyExchange::Ecdhe(&agreement.1), &agreement.0[..])
            }
        };
        let message = self.message(MessageType::CLIENT_KEY_EXCHANGE, |out| exchange.encode(out));
        items.push(Item::Handshake(0, message));
        let master = if ems {
            MasterSecret::extended(secret, &self.transcript.hash())
        } else {
            MasterSecret::derive(secret, &self.random, &server_random)
        };
        let key = signing_key(&credential, raw_key);
        if let Some(key) = key.filter(|_| self.certificate_requested) {
            let signature = key.sign(self.transcript.messages(), random)?;
            let signed = Signed { scheme: ECDSA_SECP256R1_SHA256, signature: &signature };
            let verify = CertificateVerify(signed);
            let message = self.message(MessageType::CERTIFICATE_VERIFY, |out| verify.encode(out));
            items.push(Item::Handshake(0, message));
        }
        self.transcript.forget_messages();
        self.derive(master);
        items.extend(self.finish()?);
        self.prepare(items);
        self.awaiting = Awaiting::Finished;
        Ok(Step::Send)
    }

    fn derive(&mut self, master: MasterSecret) {
        if let Some(chosen) = &self.chosen {
            let cipher = chosen.suite.cipher(chosen.encrypt_then_mac);
            let (read, write) = master.keys(cipher, &self.random, &chosen.server_random).for_client();
            self.pending = Some(Pending { read, write, master, window: Default::default() });
        }
    }

    /// ChangeCipherSpec and our Finished.
    fn finish(&mut self) -> Result<Vec<Item>, Failure> {
        let pending = self.pending.as_ref().ok_or(Failure::Unexpected(MessageType::FINISHED))?;
        let verify_data = pending.master.verify_data(Side::Client, &self.transcript.hash());
        let message = self.message(MessageType::FINISHED, |out| Finished(&verify_data).encode(out));
        Ok(vec![Item::ChangeCipherSpec, Item::Handshake(1, message)])
    }

    fn server_finished(&mut self, message: &Message) -> Result<(), Failure> {
        let theirs = Finished::parse(&message.body)?;
        let pending = self.pending.as_ref().ok_or(Failure::Unexpected(message.kind))?;
        let expected = pending.master.verify_data(Side::Server, &self.transcript.hash());
        if *theirs.0 == expected { Ok(()) } else { Err(Failure::Finished) }
    }
}

/// The Certificate message; empty where the server wants another kind than we have.
fn show_key(credential: &Credential, raw: bool, out: &mut Vec<u8>) {
    match credential {
        Credential::RawPublicKey(key) if raw => RawPublicKey(&key.public_key().to_spki()).encode(out),
        Credential::X509 { chain, .. } if !raw => {
            Chain(chain.iter().map(Vec::as_slice).collect()).encode(out);
        }
        _ => Chain::default().encode(out),
    }
}

fn signing_key(credential: &Credential, raw: bool) -> Option<&SigningKey> {
    match credential {
        Credential::RawPublicKey(key) if raw => Some(key),
        Credential::X509 { key, .. } if !raw => Some(key),
        _ => None,
    }
}
