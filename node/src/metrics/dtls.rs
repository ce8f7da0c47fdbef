//! Metrics of DTLS: the values of their labels, and the handles of one shard.

use metrics::{Counter, Gauge, Histogram};

use super::definition::{Family, Label, label};
use super::names;

label! {
    /// How a device proves who it is.
    Mode {
        /// Pre-shared key.
        Psk = "psk",
        /// Raw public key.
        Rpk = "rpk",
        /// Certificate.
        X509 = "x509",
        /// Not yet known: the handshake ended before.
        Unknown = "unknown",
    }
}

label! {
    /// How a handshake ended.
    Outcome {
        /// With a new session.
        Full = "full",
        /// With a session resumed.
        Resumed = "resumed",
        /// Refused by the node, see [`Refusal`].
        Refused = "refused",
        /// The device ended it with an alert.
        Alert = "alert",
        /// The device fell silent.
        Timeout = "timeout",
        /// A newer one took its place, or the node drains.
        Abandoned = "abandoned",
    }
}

label! {
    /// Why the node refused a handshake, or a ClientHello before one.
    Refusal {
        /// `limits.handshakes` are under way.
        InFlight = "in_flight",
        /// `limits.handshakes_per_prefix` of its /24 or /56 are under way.
        Prefix = "prefix",
        /// Bytes that are no handshake.
        Malformed = "malformed",
        /// A message out of turn, or larger than the limits.
        Unexpected = "unexpected",
        /// Another version than DTLS 1.2 at best.
        Version = "version",
        /// No common suite, group or signature algorithm.
        Suite = "suite",
        /// No common certificate type.
        CertificateType = "certificate_type",
        /// No extended master secret where `dtls.ems` requires it, or dropped at a resumption.
        ExtendedMasterSecret = "extended_master_secret",
        /// A non-empty renegotiation_info at first contact.
        Renegotiation = "renegotiation",
        /// A Finished that does not verify: a wrong key, or an unknown identity.
        Finished = "finished",
        /// A signature that does not verify.
        Signature = "signature",
        /// No device has this key or certificate.
        Credential = "credential",
        /// The chain leads to no anchor, or breaks a rule.
        Untrusted = "untrusted",
        /// A certificate out of its time.
        Expired = "expired",
        /// The device's credential allows other modes only, or the node does not offer this one.
        Mode = "mode",
        /// A look-up failed or took too long.
        Store = "store",
    }
}

label! {
    /// What became of the cookie of a ClientHello.
    Cookie {
        /// Missing or of another time: a HelloVerifyRequest was sent.
        Sent = "sent",
        /// Good.
        Accepted = "accepted",
        /// `limits.cookies` were sent in this second.
        Limited = "limited",
    }
}

label! {
    /// Why a record was dropped.
    RecordDrop {
        /// No DTLS record, or of an unknown type.
        Malformed = "malformed",
        /// A Connection ID whose tag does not fit.
        CidTag = "cid_tag",
        /// No session has this Connection ID or address.
        NoSession = "no_session",
        /// Of an epoch that the session is not in.
        Epoch = "epoch",
        /// Came before, or is too old to tell.
        Replay = "replay",
        /// Does not authenticate.
        Forged = "forged",
        /// Epoch 0 on a live session, but for a ClientHello.
        Plaintext = "plaintext",
        /// Came before the handshake was done, and there was no room to keep it.
        Early = "early",
        /// Authenticated, but not what may come now.
        Unexpected = "unexpected",
        /// Its device could be neither claimed nor handed to its owner just now.
        Left = "left",
    }
}

label! {
    /// What became of a session id that a ClientHello brought.
    Resumption {
        /// The session goes on.
        Resumed = "resumed",
        /// No such session: a full handshake.
        Unknown = "unknown",
        /// Its credential was changed or revoked: a full handshake.
        Credential = "credential",
        /// Other suite, name or extended master secret: a full handshake.
        Mismatch = "mismatch",
        /// The store did not answer in time: a full handshake.
        Store = "store",
    }
}

label! {
    /// What became of a session's new address.
    AddressMove {
        /// Taken over: a second newer record came from it.
        Confirmed = "confirmed",
        /// Answered, but not trusted yet.
        Provisional = "provisional",
        /// Not taken over: an old record, or a session without Connection ID.
        Refused = "refused",
    }
}

label! {
    /// How a session from the store went on.
    Claim {
        /// Its numbers were exact.
        Exact = "exact",
        /// Its numbers jumped ahead.
        Jumped = "jumped",
        /// Another owner was faster.
        Lost = "lost",
    }
}

label! {
    /// Why a session ended.
    SessionEnd {
        /// The device closed it.
        Closed = "closed",
        /// The device sent a fatal alert.
        Alert = "alert",
        /// A newer session took its place.
        Replaced = "replaced",
        /// Idle for `dtls.association_idle`.
        Idle = "idle",
        /// Its credential was changed or revoked, or the device deleted.
        Revoked = "revoked",
        /// Its record numbers were used up.
        Exhausted = "exhausted",
    }
}

/// The DTLS metrics of one shard, at [`super::Shard::dtls`].
#[derive(Debug)]
pub struct Dtls {
    handshakes: Family<Mode, Family<Outcome, Counter>>,
    handshake_seconds: Family<Mode, Histogram>,
    /// See [`names::DTLS_HANDSHAKES_IN_FLIGHT`].
    pub in_flight: Gauge,
    /// See [`names::DTLS_REFUSALS`].
    pub refusals: Family<Refusal, Counter>,
    /// See [`names::DTLS_COOKIES`].
    pub cookies: Family<Cookie, Counter>,
    /// See [`names::DTLS_ALERTS_RECEIVED`].
    pub alerts_received: Counter,
    /// See [`names::DTLS_ALERTS_SENT`].
    pub alerts_sent: Counter,
    /// See [`names::DTLS_RETRANSMISSIONS`].
    pub retransmissions: Counter,
    /// See [`names::DTLS_RECORDS_RECEIVED`].
    pub records_received: Counter,
    /// See [`names::DTLS_RECORDS_SENT`].
    pub records_sent: Counter,
    /// See [`names::DTLS_RECORDS_DROPPED`].
    pub records_dropped: Family<RecordDrop, Counter>,
    /// See [`names::DTLS_SESSIONS`].
    pub sessions: Family<Mode, Gauge>,
    /// See [`names::DTLS_SESSION_RETURNS`].
    pub session_returns: Counter,
    /// See [`names::DTLS_SESSIONS_ENDED`].
    pub sessions_ended: Family<SessionEnd, Counter>,
    /// See [`names::DTLS_RESUMPTIONS`].
    pub resumptions: Family<Resumption, Counter>,
    /// See [`names::DTLS_CLAIMS`].
    pub claims: Family<Claim, Counter>,
    /// See [`names::DTLS_ADDRESS_MOVES`].
    pub address_moves: Family<AddressMove, Counter>,
    /// See [`names::DTLS_STEERED`].
    pub steered: Counter,
    /// See [`names::DTLS_NONCES_REFUSED`].
    pub nonces_refused: Counter,
}

impl Dtls {
    /// The handles of the shard of this name.
    pub(super) fn new(s: &str) -> Self {
        Self {
            handshakes: Family::new(|mode| {
                Family::new(|outcome| names::DTLS_HANDSHAKES.counter(&[s, mode, outcome]))
            }),
            handshake_seconds: Family::new(|mode| names::DTLS_HANDSHAKE_SECONDS.histogram(&[s, mode])),
            in_flight: names::DTLS_HANDSHAKES_IN_FLIGHT.gauge(&[s]),
            refusals: Family::new(|reason| names::DTLS_REFUSALS.counter(&[s, reason])),
            cookies: Family::new(|result| names::DTLS_COOKIES.counter(&[s, result])),
            alerts_received: names::DTLS_ALERTS_RECEIVED.counter(&[s]),
            alerts_sent: names::DTLS_ALERTS_SENT.counter(&[s]),
            retransmissions: names::DTLS_RETRANSMISSIONS.counter(&[s]),
            records_received: names::DTLS_RECORDS_RECEIVED.counter(&[s]),
            records_sent: names::DTLS_RECORDS_SENT.counter(&[s]),
            records_dropped: Family::new(|reason| names::DTLS_RECORDS_DROPPED.counter(&[s, reason])),
            sessions: Family::new(|mode| names::DTLS_SESSIONS.gauge(&[s, mode])),
            session_returns: names::DTLS_SESSION_RETURNS.counter(&[s]),
            sessions_ended: Family::new(|reason| names::DTLS_SESSIONS_ENDED.counter(&[s, reason])),
            resumptions: Family::new(|result| names::DTLS_RESUMPTIONS.counter(&[s, result])),
            claims: Family::new(|numbers| names::DTLS_CLAIMS.counter(&[s, numbers])),
            address_moves: Family::new(|result| names::DTLS_ADDRESS_MOVES.counter(&[s, result])),
            steered: names::DTLS_STEERED.counter(&[s]),
            nonces_refused: names::DTLS_NONCES_REFUSED.counter(&[s]),
        }
    }

    /// Counts a handshake that ended, and its seconds from the admitted ClientHello where it was established.
    pub fn handshake_ended(&self, mode: Mode, outcome: Outcome, seconds: f64) {
        self.handshakes[mode][outcome].increment(1);
        if matches!(outcome, Outcome::Full | Outcome::Resumed) {
            self.handshake_seconds[mode].record(seconds);
        }
    }

    /// Counts a handshake that the node refused.
    pub fn handshake_refused(&self, mode: Mode, reason: Refusal) {
        self.refusals[reason].increment(1);
        self.handshake_ended(mode, Outcome::Refused, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_handshake_counts_by_mode_and_by_reason_and_is_not_timed() {
        let text = super::super::rendered(|| {
            let dtls = Dtls::new("1");
            dtls.handshake_refused(Mode::X509, Refusal::Untrusted);
            dtls.handshake_ended(Mode::Psk, Outcome::Resumed, 0.02);
        });
        for line in [
            r#"godwit_dtls_handshakes_total{shard="1",mode="x509",outcome="refused"} 1"#,
            r#"godwit_dtls_refusals_total{shard="1",reason="untrusted"} 1"#,
            r#"godwit_dtls_handshake_seconds_count{shard="1",mode="psk"} 1"#,
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
        assert!(!text.contains(r#"godwit_dtls_handshake_seconds_count{shard="1",mode="x509"} 1"#));
    }
}
