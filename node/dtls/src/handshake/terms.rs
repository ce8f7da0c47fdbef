//! What the two hellos settle: suite, certificate types and extensions.

use crate::{
    cid::CID_LEN,
    config::{CidPolicy, Config, Ems, Mode},
    extension::{ECDSA_SECP256R1_SHA256, MaxFragmentLength, SECP256R1, ServerExtensions, UNCOMPRESSED},
    identity::ServerIdentity,
    message::{CertificateType, ClientHello},
    output::HandshakeFailure,
    prf::MasterSecret,
    record::MAX_PLAINTEXT,
    session::{Secrets, ServerNameHash, SessionId, SessionName},
    subject::Subject,
    suite::{Authentication, CipherSuite},
};

/// The suite, and for ECDHE what each side shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) suite: CipherSuite,
    pub(super) certificates: Option<Certificates>,
}

/// Certificate types (RFC 7250 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Certificates {
    pub(super) client: CertificateType,
    pub(super) server: CertificateType,
}

impl Choice {
    /// Our first suite that the client offers and that both can carry through.
    pub(super) fn of(
        config: &Config,
        identity: Option<&ServerIdentity>,
        hello: &ClientHello<'_>,
    ) -> Result<Self, HandshakeFailure> {
        let mut failure = HandshakeFailure::NothingCommon("cipher suite");
        for &suite in config.suites.iter().filter(|suite| hello.cipher_suites.contains(suite.id())) {
            match suite.authentication() {
                Authentication::Psk if config.modes.psk => return Ok(Self { suite, certificates: None }),
                Authentication::Psk => {}
                Authentication::Ecdsa => match Certificates::of(config, identity, hello) {
                    Ok(certificates) => return Ok(Self { suite, certificates: Some(certificates) }),
                    Err(why) => failure = why,
                },
            }
        }
        Err(failure)
    }

    pub(super) fn mode(&self) -> Mode {
        match self.certificates {
            None => Mode::Psk,
            Some(Certificates { client: CertificateType::RawPublicKey, .. }) => Mode::RawPublicKey,
            Some(Certificates { client: CertificateType::X509, .. }) => Mode::X509,
        }
    }
}

impl Certificates {
    fn of(
        config: &Config,
        identity: Option<&ServerIdentity>,
        hello: &ClientHello<'_>,
    ) -> Result<Self, HandshakeFailure> {
        let identity = identity.ok_or(HandshakeFailure::NothingCommon("cipher suite"))?;
        let these = &hello.extensions;
        // RFC 8422 §4: a client that names no groups takes any.
        if these.supported_groups.is_some_and(|groups| !groups.contains(SECP256R1)) {
            return Err(HandshakeFailure::NothingCommon("group"));
        }
        if these.ec_point_formats.is_some_and(|formats| !formats.contains(&UNCOMPRESSED)) {
            return Err(HandshakeFailure::NothingCommon("point format"));
        }
        if these.signature_algorithms.is_some_and(|schemes| !schemes.contains(ECDSA_SECP256R1_SHA256)) {
            return Err(HandshakeFailure::NothingCommon("signature scheme"));
        }
        let modes = config.modes;
        let client = preferred(these.client_certificate_types, |kind| match kind {
            CertificateType::RawPublicKey => modes.raw_public_key,
            CertificateType::X509 => modes.x509,
        });
        let server = preferred(these.server_certificate_types, |kind| match kind {
            CertificateType::RawPublicKey => modes.raw_public_key,
            CertificateType::X509 => modes.x509 && !identity.chain().is_empty(),
        });
        match (client, server) {
            (Some(client), Some(server)) => Ok(Self { client, server }),
            _ => Err(HandshakeFailure::NoCertificateType),
        }
    }
}

/// The first of the client's types that we can do; X.509 is what a client without the extension means.
fn preferred(offered: Option<&[u8]>, can: impl Fn(CertificateType) -> bool) -> Option<CertificateType> {
    let offered = offered.unwrap_or(&[CertificateType::X509 as u8]);
    offered.iter().filter_map(|&code| CertificateType::from_code(code)).find(|&kind| can(kind))
}

/// What a handshake agreed beside the keys.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) choice: Choice,
    pub(super) client_random: [u8; 32],
    pub(super) server_random: [u8; 32],
    pub(super) name: SessionName,
    pub(super) id: SessionId,
    pub(super) extended_master_secret: bool,
    pub(super) encrypt_then_mac: bool,
    pub(super) max_fragment: Option<MaxFragmentLength>,
    pub(super) server_name: Option<ServerNameHash>,
    /// The client's Connection ID, if it knows the extension.
    pub(super) peer_cid: Option<Box<[u8]>>,
    pub(super) names_records: bool,
}

impl Terms {
    /// Answers a hello's extensions for a suite.
    pub(super) fn new(
        config: &Config,
        hello: &ClientHello<'_>,
        choice: Choice,
        server_random: [u8; 32],
        name: SessionName,
        id: SessionId,
    ) -> Result<Self, HandshakeFailure> {
        let these = &hello.extensions;
        // RFC 5746 §3.6: this is no renegotiation, so nothing may be in it.
        if these.renegotiation_info.is_some_and(|info| !info.is_empty()) {
            return Err(HandshakeFailure::Renegotiation);
        }
        if config.ems == Ems::Require && !these.extended_master_secret {
            return Err(HandshakeFailure::NoExtendedMasterSecret);
        }
        let limit = config.client_cid_limit.min(Config::MAX_CLIENT_CID);
        if these.connection_id.is_some_and(|cid| cid.len() > limit) {
            return Err(HandshakeFailure::Illegal("connection id"));
        }
        Ok(Self {
            choice,
            client_random: *hello.prefix.random,
            server_random,
            name,
            id,
            extended_master_secret: these.extended_master_secret,
            // RFC 7366 §3: not for AEAD.
            encrypt_then_mac: these.encrypt_then_mac && choice.suite.is_cbc(),
            max_fragment: these.max_fragment_length,
            server_name: these.server_name.map(ServerNameHash::of),
            peer_cid: these.connection_id.map(Into::into),
            names_records: these.connection_id.is_some() && config.cid == CidPolicy::Offer,
        })
    }

    /// The session's master secret.
    pub(super) fn master(&self, premaster: &[u8], session_hash: &[u8; 32]) -> MasterSecret {
        if self.extended_master_secret {
            MasterSecret::extended(premaster, session_hash)
        } else {
            MasterSecret::derive(premaster, &self.client_random, &self.server_random)
        }
    }

    /// With the keys that follow from the master secret.
    pub(super) fn secrets(&self, master: MasterSecret, subject: Subject, established_at: u64) -> Secrets {
        let suite = self.choice.suite;
        let cipher = suite.cipher(self.encrypt_then_mac);
        let (read, write) = master.keys(cipher, &self.client_random, &self.server_random).for_server();
        Secrets {
            suite,
            mode: self.choice.mode(),
            extended_master_secret: self.extended_master_secret,
            encrypt_then_mac: self.encrypt_then_mac,
            names_records: self.names_records,
            max_fragment: self.max_fragment.map_or(0, |length| length as u8),
            name: self.name,
            id: self.id,
            read,
            write,
            master,
            server_name: self.server_name,
            peer_cid: self.peer_cid.clone().unwrap_or_default(),
            subject,
            established_at,
        }
    }

    pub(super) fn max_plaintext(&self) -> usize {
        self.max_fragment.map_or(MAX_PLAINTEXT, MaxFragmentLength::bytes)
    }

    /// How many bytes of Connection ID the client's protected records carry.
    pub(super) fn cid_len(&self) -> usize {
        if self.names_records { CID_LEN } else { 0 }
    }

    /// Our extensions: only such as the client sent.
    pub(super) fn extensions<'a>(&'a self, hello: &ClientHello<'_>, resumed: bool) -> ServerExtensions<'a> {
        let these = &hello.extensions;
        let full = self.choice.certificates.filter(|_| !resumed);
        let formats: &[u8] = &[UNCOMPRESSED];
        ServerExtensions {
            server_name: false,
            // On resumption the session's length goes on even if the client doesn't repeat it (RFC 6066 §4).
            max_fragment_length: these.max_fragment_length.and(self.max_fragment),
            ec_point_formats: these.ec_point_formats.and(full.map(|_| formats)),
            client_certificate_type: these
                .client_certificate_types
                .and(full.map(|certificates| certificates.client)),
            server_certificate_type: these
                .server_certificate_types
                .and(full.map(|certificates| certificates.server)),
            encrypt_then_mac: self.encrypt_then_mac,
            extended_master_secret: self.extended_master_secret,
            connection_id: self
                .peer_cid
                .as_ref()
                .map(|_| if self.names_records { &self.name.0[..] } else { &[] }),
            renegotiation_info: hello.signals_renegotiation().then_some(&[]),
        }
    }

    /// Whether this hello may resume that session, with [`Terms`] for it.
    pub(super) fn resume(
        config: &Config,
        hello: &ClientHello<'_>,
        session: &Secrets,
        server_random: [u8; 32],
        name: SessionName,
    ) -> Result<Option<Self>, HandshakeFailure> {
        let these = &hello.extensions;
        // RFC 7627 §5.3: abort, or fall back to a full handshake.
        match (session.extended_master_secret, these.extended_master_secret) {
            (true, false) => return Err(HandshakeFailure::DroppedExtendedMasterSecret),
            (false, true) => return Ok(None),
            (true, true) | (false, false) => {}
        }
        let allowed = match session.mode {
            Mode::Psk => config.modes.psk,
            Mode::RawPublicKey => config.modes.raw_public_key,
            Mode::X509 => config.modes.x509,
        };
        let fits = allowed
            && hello.prefix.session_id == session.id.0
            && config.suites.contains(&session.suite)
            && hello.cipher_suites.contains(session.suite.id())
            && these.server_name.map(ServerNameHash::of) == session.server_name
            && these.max_fragment_length.is_none_or(|length| length as u8 == session.max_fragment)
            // RFC 7366 §3.1: what the session began with.
            && (!session.suite.is_cbc() || these.encrypt_then_mac == session.encrypt_then_mac);
        if !fits {
            return Ok(None);
        }
        let choice = Choice { suite: session.suite, certificates: None };
        let mut terms = Self::new(config, hello, choice, server_random, name, session.id)?;
        terms.max_fragment = MaxFragmentLength::from_code(session.max_fragment);
        Ok(Some(terms))
    }
}
