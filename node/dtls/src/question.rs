//! What the caller answers at leisure: look-ups and writes go over a network and never block an association.

use std::fmt;

use crate::{
    alert::{AlertDescription, Tell},
    secret::Secret,
    session::{SessionId, SessionName},
    stored::StoredSession,
    subject::Subject,
};

/// Ties an [`Answer`] to its [`Question`]; an answer that comes after its handshake was given up is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub(crate) u32);

/// What a handshake waits for. Only that one handshake waits: a live session goes on meanwhile.
pub enum Question {
    /// The key of this PSK identity, up to [`Config::MAX_PSK_IDENTITY`](crate::Config::MAX_PSK_IDENTITY) bytes as the client
    /// sent them. Answer: [`Answer::Psk`].
    Psk {
        /// The identity; bytes, not always UTF-8.
        identity: Vec<u8>,
    },
    /// Whether this client is acceptable. It has already proved that it holds the private key. Answer: [`Answer::Peer`].
    Peer(PeerCredential),
    /// The session that a client wants to resume. Check its credential again before giving it out. Answer:
    /// [`Answer::Session`].
    Session(SessionId),
    /// Keep this session; the server's last flight leaves afterwards. Answer: [`Answer::Stored`].
    Store(Box<StoredSession>, StoreKind),
    /// The client has proved that it holds the keys of this provisional session: make it the session, in place of the one
    /// that it resumed. What the client sent waits for it. Answer: [`Answer::Stored`].
    Promote(SessionName),
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psk { identity } => write!(f, "Psk({} bytes)", identity.len()),
            Self::Peer(credential) => write!(f, "Peer({credential:?})"),
            Self::Session(_) => f.write_str("Session"),
            Self::Store(_, kind) => write!(f, "Store({kind:?})"),
            Self::Promote(_) => f.write_str("Promote"),
        }
    }
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    /// The key and its owner. `None` (unknown, or not in this mode) lets the handshake go on with a random key, so that it ends
    /// as with a wrong one and tells nothing about which identities exist.
    Psk(Option<Psk>),
    /// Two keys of one identity, while the first takes the place of the second: the client's Finished shows which of them it
    /// has, and the session gets that one's subject.
    EitherPsk([Psk; 2]),
    /// Who the client is, or why it is refused.
    Peer(Result<Subject, Unacceptable>),
    /// The stored session, or `None` for a full handshake.
    Session(Option<Box<StoredSession>>),
    /// Whether the write succeeded. After `Err` the handshake ends in silence and the client starts over.
    Stored(Result<(), NotStored>),
}

impl Answer {
    /// The answer to [`Question::Psk`] for an identity with these keys, the newest first; a third is not tried.
    #[must_use]
    pub fn psk(keys: impl IntoIterator<Item = Psk>) -> Self {
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next()) {
            (Some(one), Some(other)) => Self::EitherPsk([one, other]),
            (one, _) => Self::Psk(one),
        }
    }
}

/// A pre-shared key and whom it belongs to.
#[derive(Clone, Debug)]
pub struct Psk {
    /// Up to [`Config::MAX_PSK`](crate::Config::MAX_PSK) bytes; a longer one counts as unknown.
    pub key: Secret,
    /// Kept with the session.
    pub subject: Subject,
}

/// What a client presented of itself, DER.
#[derive(Clone, PartialEq, Eq)]
pub enum PeerCredential {
    /// A SubjectPublicKeyInfo (RFC 7250).
    RawPublicKey(Vec<u8>),
    /// Certificates, leaf first, at least one; neither trusted nor checked for dates or names yet.
    Chain(Vec<Vec<u8>>),
}

impl fmt::Debug for PeerCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RawPublicKey(spki) => write!(f, "RawPublicKey({} bytes)", spki.len()),
            Self::Chain(chain) => write!(f, "Chain({} certificates)", chain.len()),
        }
    }
}

/// How firmly a session is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A full handshake: it takes the place of the device's older session.
    Full,
    /// An abbreviated handshake: kept beside the session that it resumes, for 60 s or until [`Question::Promote`].
    Provisional,
}

/// Why a client's credential is refused; each has its alert (RFC 5246 §7.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unacceptable {
    /// No chain to a trusted anchor: `unknown_ca`.
    #[error("the chain doesn't lead to a trusted anchor")]
    UnknownAuthority,
    /// Damaged, or its signatures are wrong: `bad_certificate`.
    #[error("the certificate is damaged")]
    Bad,
    /// Of a kind that can't be used here: `unsupported_certificate`.
    #[error("the certificate is of an unsupported kind")]
    Unsupported,
    /// Revoked: `certificate_revoked`.
    #[error("the certificate is revoked")]
    Revoked,
    /// Expired or not valid yet: `certificate_expired`.
    #[error("the certificate is not valid now")]
    Expired,
    /// Nobody is known by it: `certificate_unknown`.
    #[error("nobody is known by this credential")]
    Unknown,
    /// Known, but not allowed in this mode: `access_denied`.
    #[error("the device may not use this mode")]
    Denied,
}

/// The store refused or could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session was not stored")]
pub struct NotStored;

impl Tell for Unacceptable {
    fn alert(&self) -> AlertDescription {
        match self {
            Self::UnknownAuthority => AlertDescription::UNKNOWN_CA,
            Self::Bad => AlertDescription::BAD_CERTIFICATE,
            Self::Unsupported => AlertDescription::UNSUPPORTED_CERTIFICATE,
            Self::Revoked => AlertDescription::CERTIFICATE_REVOKED,
            Self::Expired => AlertDescription::CERTIFICATE_EXPIRED,
            Self::Unknown => AlertDescription::CERTIFICATE_UNKNOWN,
            Self::Denied => AlertDescription::ACCESS_DENIED,
        }
    }
}
