//! What a client offers, and who it is.

use std::sync::Arc;

use crate::{
    certificate::PublicKey,
    extension::MaxFragmentLength,
    flight::Backoff,
    secret::Secret,
    signature::SigningKey,
    suite::{Authentication, CipherSuite},
};

/// What many clients have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In the order of preference; those that the credential can't serve are left out. Default: all.
    pub suites: Vec<CipherSuite>,
    /// Offer the extended master secret (RFC 7627). Default: true.
    pub extended_master_secret: bool,
    /// Offer encrypt-then-MAC (RFC 7366) if a CBC suite is offered. Default: true.
    pub encrypt_then_mac: bool,
    /// Offer to limit plaintexts (RFC 6066 §4). Default: none.
    pub max_fragment_length: Option<MaxFragmentLength>,
    /// A host name to send. Default: none.
    pub server_name: Option<String>,
    /// Which server is taken. Default: any.
    pub trust: Trust,
    /// How long to wait for each flight. Default: 2 s, doubling to 60 s.
    pub backoff: Backoff,
    /// How often a flight is sent in all before the handshake fails. Default: 5.
    pub attempts: u8,
    /// The largest datagram of a handshake, in bytes. Default: 1200.
    pub datagram: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            suites: CipherSuite::ALL.to_vec(),
            extended_master_secret: true,
            encrypt_then_mac: true,
            max_fragment_length: None,
            server_name: None,
            trust: Trust::Any,
            backoff: Backoff::default(),
            attempts: 5,
            datagram: 1200,
        }
    }
}

/// Which server key is taken. Its signature over the handshake is checked in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Whichever it shows.
    Any,
    /// This one, bare or in a certificate.
    Key(PublicKey),
}

/// Who a client is; cheap to clone where keys are shared.
#[derive(Clone)]
pub enum Credential {
    /// An identity and the key that belongs to it.
    Psk {
        /// Any bytes.
        identity: Vec<u8>,
        /// At most 65,535 bytes.
        key: Secret,
    },
    /// A bare key (RFC 7250); the server's is wanted bare too.
    RawPublicKey(Arc<SigningKey>),
    /// A key and its certificates in DER, its own first.
    X509 {
        /// The leaf's.
        key: Arc<SigningKey>,
        /// At least one.
        chain: Arc<[Vec<u8>]>,
    },
}

impl Credential {
    /// Which suites it can serve.
    pub fn authentication(&self) -> Authentication {
        match self {
            Self::Psk { .. } => Authentication::Psk,
            Self::RawPublicKey(_) | Self::X509 { .. } => Authentication::Ecdsa,
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Psk { .. } => "Psk(..)",
            Self::RawPublicKey(_) => "RawPublicKey(..)",
            Self::X509 { .. } => "X509(..)",
        })
    }
}
