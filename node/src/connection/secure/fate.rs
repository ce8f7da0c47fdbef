//! What became of records and handshakes, in the words of the metrics.

use godwit_dtls::{CloseReason, Dropped, Fate, HandshakeFailure, Mode as Proved, Unacceptable};

use crate::{
    metrics::dtls::{Dtls, Mode, Outcome, RecordDrop, Refusal, SessionEnd},
    store::value::credential,
};

/// Counts what became of the records of one datagram.
pub(in crate::connection) fn count(metrics: &Dtls, fate: &Fate) {
    let mut received = u64::from(fate.used());
    for (why, count) in fate.dropped() {
        received += u64::from(count);
        metrics.records_dropped[record(why)].increment(count.into());
    }
    metrics.records_received.increment(received);
}

fn record(why: Dropped) -> RecordDrop {
    match why {
        Dropped::Malformed => RecordDrop::Malformed,
        Dropped::NoKeys => RecordDrop::Epoch,
        Dropped::NotAuthentic => RecordDrop::Forged,
        Dropped::Replayed => RecordDrop::Replay,
        Dropped::Unprotected => RecordDrop::Plaintext,
        Dropped::Full => RecordDrop::Early,
        Dropped::Unexpected => RecordDrop::Unexpected,
    }
}

/// Counts a handshake that did not end in a session. `lookup_failed`: the store did not answer it.
pub(in crate::connection) fn count_failure(
    metrics: &Dtls,
    mode: Mode,
    failure: HandshakeFailure,
    lookup_failed: bool,
) {
    match failure {
        HandshakeFailure::StartedOver { .. } => metrics.handshake_ended(mode, Outcome::Abandoned, 0.0),
        // Records that nobody could read: most likely another key.
        HandshakeFailure::TimedOut { unreadable } if unreadable > 0 && !lookup_failed => {
            metrics.handshake_refused(mode, Refusal::Finished);
        }
        HandshakeFailure::TimedOut { .. } if !lookup_failed => {
            metrics.handshake_ended(mode, Outcome::Timeout, 0.0);
        }
        failure => {
            let reason = if lookup_failed { Refusal::Store } else { refusal(failure) };
            metrics.handshake_refused(mode, reason);
        }
    }
}

/// Whether the device's records were such as no key of its identity opens.
pub(in crate::connection) fn is_wrong_key(failure: HandshakeFailure) -> bool {
    match failure {
        HandshakeFailure::TimedOut { unreadable } | HandshakeFailure::StartedOver { unreadable } => {
            unreadable > 0
        }
        HandshakeFailure::WrongFinished => true,
        _ => false,
    }
}

fn refusal(failure: HandshakeFailure) -> Refusal {
    match failure {
        HandshakeFailure::Malformed(_) => Refusal::Malformed,
        HandshakeFailure::WrongFinished => Refusal::Finished,
        HandshakeFailure::DroppedExtendedMasterSecret | HandshakeFailure::NoExtendedMasterSecret => {
            Refusal::ExtendedMasterSecret
        }
        HandshakeFailure::NothingCommon(_) => Refusal::Suite,
        HandshakeFailure::NoCertificateType => Refusal::CertificateType,
        HandshakeFailure::Version => Refusal::Version,
        HandshakeFailure::Refused(why) => match why {
            Unacceptable::UnknownAuthority | Unacceptable::Bad | Unacceptable::Unsupported => {
                Refusal::Untrusted
            }
            Unacceptable::Expired => Refusal::Expired,
            Unacceptable::Revoked | Unacceptable::Unknown => Refusal::Credential,
            Unacceptable::Denied => Refusal::Mode,
        },
        HandshakeFailure::Renegotiation => Refusal::Renegotiation,
        HandshakeFailure::Signature(_) => Refusal::Signature,
        HandshakeFailure::Certificate(_) => Refusal::Untrusted,
        HandshakeFailure::NotStored => Refusal::Store,
        _ => Refusal::Unexpected,
    }
}

/// Why a session is over.
pub(in crate::connection) fn end(reason: CloseReason) -> SessionEnd {
    match reason {
        CloseReason::PeerAlert(_) => SessionEnd::Alert,
        CloseReason::NumbersUsedUp => SessionEnd::Exhausted,
        _ => SessionEnd::Closed,
    }
}

/// How a device proved who it is.
pub(in crate::connection) fn mode(mode: Proved) -> Mode {
    match mode {
        Proved::Psk => Mode::Psk,
        Proved::RawPublicKey => Mode::Rpk,
        Proved::X509 => Mode::X509,
    }
}

/// The same, as credentials name it.
pub(in crate::connection) fn stored_mode(mode: credential::Mode) -> Mode {
    match mode {
        credential::Mode::Psk => Mode::Psk,
        credential::Mode::Rpk => Mode::Rpk,
        credential::Mode::X509 => Mode::X509,
        credential::Mode::NoSec | credential::Mode::Unspecified => Mode::Unknown,
    }
}
