//! What a server offers and demands. One value for all associations; a new one may take its place between any two inputs.

use std::{sync::Arc, time::Duration};

use crate::{identity::ServerIdentity, suite::CipherSuite};

/// Settings of the server side. [`Default`] serves PSK alone; raw keys and X.509 need a [`ServerIdentity`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Modes that clients may authenticate in. Default: PSK.
    pub modes: Modes,
    /// Suites in the order of preference, which beats the client's. Default: all, AEAD before CBC, then PSK before ECDHE:
    /// who offers PSK has a key, while stacks offer ECDHE also without a certificate, which we demand. Leave out the CBC
    /// suites to turn them off.
    pub suites: Vec<CipherSuite>,
    /// Whether a client without the extended master secret (RFC 7627) is served. Default: [`Ems::Prefer`].
    pub ems: Ems,
    /// Whether clients get a Connection ID from us (RFC 9146). Default: [`CidPolicy::Offer`].
    pub cid: CidPolicy,
    /// Longest Connection ID that a client may choose for our records, in bytes, at most 32. A longer one ends its handshake
    /// with `illegal_parameter`. Default: 32.
    pub client_cid_limit: usize,
    /// Time until an unanswered flight is sent again, doubling up to [`Config::MAX_RETRANSMISSION`]. Default: 2 s.
    pub first_retransmission: Duration,
    /// Age at which an unfinished handshake is dropped with all that it holds. Default: 60 s.
    pub handshake_timeout: Duration,
    /// Largest datagram of a handshake, in bytes; longer messages are fragmented (RFC 6347 §4.2.3). Default: 1200.
    pub mtu: usize,
    /// Key pair and chain, needed for raw public keys and X.509. A handshake keeps the one it began with.
    pub identity: Option<Arc<ServerIdentity>>,
}

impl Config {
    /// Longest pause between two repetitions of a flight (RFC 6347 §4.2.4.1).
    pub const MAX_RETRANSMISSION: Duration = Duration::from_secs(60);
    /// Longest PSK identity; a longer one ends the handshake with `illegal_parameter`.
    pub const MAX_PSK_IDENTITY: usize = 128;
    /// Longest pre-shared key.
    pub const MAX_PSK: usize = 64;
    /// Longest Connection ID of a client that [`Config::client_cid_limit`] may allow.
    pub const MAX_CLIENT_CID: usize = 32;
}

impl Default for Config {
    fn default() -> Self {
        Self {
            modes: Modes::default(),
            suites: PREFERENCE.to_vec(),
            ems: Ems::Prefer,
            cid: CidPolicy::Offer,
            client_cid_limit: Self::MAX_CLIENT_CID,
            first_retransmission: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(60),
            mtu: 1200,
            identity: None,
        }
    }
}

/// Modes offered side by side on one port. Without a [`ServerIdentity`] only `psk` has an effect, and `x509` needs its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Pre-shared keys (RFC 4279).
    pub psk: bool,
    /// Raw public keys on both sides (RFC 7250).
    pub raw_public_key: bool,
    /// X.509 certificates on both sides.
    pub x509: bool,
}

impl Default for Modes {
    fn default() -> Self {
        Self { psk: true, raw_public_key: false, x509: false }
    }
}

/// How a client authenticated, and this server to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Pre-shared key.
    Psk,
    /// Raw public key.
    RawPublicKey,
    /// X.509 certificate.
    X509,
}

/// Stance on the extended master secret, `dtls.ems`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ems {
    /// Use it where the client offers it.
    Prefer,
    /// End handshakes without it with `handshake_failure`.
    Require,
}

/// Whether we ask clients to name their records by a Connection ID of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CidPolicy {
    /// 8 bytes, if the client speaks the extension.
    Offer,
    /// None (a length of 0): we still use the client's in what we send.
    Off,
}

const PREFERENCE: [CipherSuite; 5] = [
    CipherSuite::PskAes128Ccm8,
    CipherSuite::EcdheEcdsaAes128Ccm8,
    CipherSuite::EcdheEcdsaAes128Gcm,
    CipherSuite::PskAes128Cbc,
    CipherSuite::EcdheEcdsaAes128Cbc,
];
