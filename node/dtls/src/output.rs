//! What an association wants done.

use std::fmt;

use crate::{
    alert::{AlertDescription, Tell as _},
    certificate::CertificateError,
    question::{Question, Ticket, Unacceptable},
    session::SessionId,
    signature::SignatureError,
    wire::Malformed,
};

/// One effect, from [`Association::poll`](crate::Association::poll). Carry them out in order.
pub enum Output {
    /// Send this datagram to the peer.
    Transmit(Vec<u8>),
    /// Look this up or write it, then call [`Association::provide`](crate::Association::provide) with the same ticket. At most
    /// one question is open at a time.
    Ask(Ticket, Question),
    /// A handshake is complete and its session is the live one now, in place of any earlier one.
    Established {
        /// By which it can be resumed.
        session: SessionId,
        /// Whether it came out of an abbreviated handshake.
        resumed: bool,
    },
    /// One application record.
    Application {
        /// The plaintext.
        bytes: Vec<u8>,
        /// Its record number: rises within a session, never twice the same.
        number: u64,
        /// Newer than every record before: only such a one may move the peer's address.
        newest: bool,
    },
    /// The client has repeated its Finished, and the answer to it follows: like an application record, it may move the peer's
    /// address.
    Repeated {
        /// Newer than every record before.
        newest: bool,
    },
    /// Write [`Association::numbers`](crate::Association::numbers) down soon: they moved by 64 received or nearly 2¹⁶ sent
    /// records, or have been moving for 60 s.
    NumbersDue,
    /// A handshake beside a live session ended; the session goes on.
    HandshakeFailed(HandshakeFailure),
    /// The association is over. Nothing follows but, after [`CloseReason::PeerClosed`], the answering close_notify.
    Closed(CloseReason),
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit(datagram) => write!(f, "Transmit({} bytes)", datagram.len()),
            Self::Ask(ticket, question) => write!(f, "Ask({ticket:?}, {question:?})"),
            Self::Established { resumed, .. } => write!(f, "Established {{ resumed: {resumed} }}"),
            Self::Application { bytes, number, newest } => {
                write!(f, "Application {{ {} bytes, number: {number}, newest: {newest} }}", bytes.len())
            }
            Self::Repeated { newest } => write!(f, "Repeated {{ newest: {newest} }}"),
            Self::NumbersDue => f.write_str("NumbersDue"),
            Self::HandshakeFailed(failure) => write!(f, "HandshakeFailed({failure:?})"),
            Self::Closed(reason) => write!(f, "Closed({reason:?})"),
        }
    }
}

/// Why an association ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The peer sent close_notify. The session may still be resumed. Once that is written down, call
    /// [`Association::close`](crate::Association::close): it sends ours.
    #[error("closed by the peer")]
    PeerClosed,
    /// [`Association::close`](crate::Association::close) was called.
    #[error("closed by this side")]
    Closed,
    /// The peer sent a fatal alert with this description, authenticated: the session must not be resumed.
    #[error("the peer gave up with alert {0}")]
    PeerAlert(u8),
    /// The only handshake failed, and no session was live.
    #[error("handshake failed: {0}")]
    Handshake(HandshakeFailure),
    /// Record numbers are used up: 2⁴⁰ is the most that every known client takes.
    #[error("record numbers are used up")]
    NumbersUsedUp,
}

impl CloseReason {
    /// Whether the session may be resumed afterwards (RFC 5246 §7.2.2: not after a fatal alert).
    #[must_use]
    pub fn allows_resumption(self) -> bool {
        !matches!(self, Self::PeerAlert(_))
    }
}

/// Why a handshake ended, sorted by whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// A message that can't be parsed.
    #[error("{0}")]
    Malformed(#[from] Malformed),

    /// A message that doesn't belong here: `unexpected_message`.
    #[error("unexpected message while waiting for {waiting_for}")]
    Unexpected {
        /// The message that should have come.
        waiting_for: &'static str,
    },
    /// A value that the peer must not send: `illegal_parameter`.
    #[error("illegal {0}")]
    Illegal(&'static str),
    /// A renegotiation that is none, or the other way round (RFC 5746 §3.6): `handshake_failure`.
    #[error("renegotiation_info in a first handshake")]
    Renegotiation,
    /// The client's Finished differs from the transcript (RFC 5246 §7.4.9): `decrypt_error`.
    #[error("the client's Finished is wrong")]
    WrongFinished,
    /// The client's proof that it holds its key doesn't count.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// The client showed no certificate, or none that can be read.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// The client gave up, under the new keys, with this alert.
    #[error("the client gave up with alert {0}")]
    PeerAlert(u8),
    /// A session that had the extended master secret came back without it (RFC 7627 §5.3): `handshake_failure`.
    #[error("the client resumes without the extended master secret that the session had")]
    DroppedExtendedMasterSecret,

    /// Nothing in common that both sides allow: `handshake_failure`.
    #[error("no common {0}")]
    NothingCommon(&'static str),
    /// No common certificate type (RFC 7250 §4.2): `unsupported_certificate`.
    #[error("no common certificate type")]
    NoCertificateType,
    /// The client offers versions below DTLS 1.2 only: `protocol_version`.
    #[error("the client doesn't speak DTLS 1.2")]
    Version,
    /// [`Ems::Require`](crate::Ems::Require) and none offered: `handshake_failure`.
    #[error("the client has no extended master secret")]
    NoExtendedMasterSecret,

    /// The caller refused the client's credential.
    #[error("{0}")]
    Refused(Unacceptable),
    /// The caller could not store the session. Nothing is sent, and the client tries again.
    #[error("the session was not stored")]
    NotStored,
    /// The client fell silent, or its Finished could never be read.
    #[error("timed out, {unreadable} records unreadable")]
    TimedOut {
        /// Records under the new keys that didn't authenticate; not 0 most likely means a wrong pre-shared key.
        unreadable: u32,
    },
    /// The client began another handshake.
    #[error("the client started over, {unreadable} records unreadable")]
    StartedOver {
        /// As of [`HandshakeFailure::TimedOut`]: an impatient client does not wait for that.
        unreadable: u32,
    },
    /// Randomness, a nonce or a signature could not be had: `internal_error`.
    #[error("{0} failed here")]
    Internal(&'static str),
}

impl HandshakeFailure {
    /// A few words in snake case, as a metric's label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Unexpected { .. } => "unexpected_message",
            Self::Illegal(_) => "illegal_parameter",
            Self::Renegotiation => "renegotiation",
            Self::WrongFinished => "wrong_finished",
            Self::Signature(_) => "signature",
            Self::Certificate(_) => "certificate",
            Self::PeerAlert(_) => "peer_alert",
            Self::DroppedExtendedMasterSecret => "dropped_extended_master_secret",
            Self::NothingCommon(_) => "nothing_common",
            Self::NoCertificateType => "no_certificate_type",
            Self::Version => "version",
            Self::NoExtendedMasterSecret => "no_extended_master_secret",
            Self::Refused(_) => "refused",
            Self::NotStored => "not_stored",
            Self::TimedOut { unreadable: 0 } => "timed_out",
            Self::TimedOut { .. } => "wrong_key",
            Self::StartedOver { .. } => "started_over",
            Self::Internal(_) => "internal",
        }
    }

    /// The fatal alert that the client gets; `None`: silence.
    pub(crate) fn told(&self) -> Option<AlertDescription> {
        Some(match self {
            Self::Malformed(malformed) => malformed.alert(),
            Self::Unexpected { .. } => AlertDescription::UNEXPECTED_MESSAGE,
            Self::Illegal(_) => AlertDescription::ILLEGAL_PARAMETER,
            Self::WrongFinished => AlertDescription::DECRYPT_ERROR,
            Self::Signature(error) => error.alert(),
            Self::Certificate(error) => error.alert(),
            Self::DroppedExtendedMasterSecret
            | Self::NoExtendedMasterSecret
            | Self::Renegotiation
            | Self::NothingCommon(_) => AlertDescription::HANDSHAKE_FAILURE,
            Self::NoCertificateType => AlertDescription::UNSUPPORTED_CERTIFICATE,
            Self::Version => AlertDescription::PROTOCOL_VERSION,
            Self::Refused(why) => why.alert(),
            Self::Internal(_) => AlertDescription::INTERNAL_ERROR,
            Self::PeerAlert(_) | Self::NotStored | Self::TimedOut { .. } | Self::StartedOver { .. } => {
                return None;
            }
        })
    }
}
