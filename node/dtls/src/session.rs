//! An established session: a plain value of at most 300 bytes, without buffers.

use std::fmt;

use ring::digest;

use crate::{
    cid::{CID_LEN, Cid},
    config::Mode,
    context::Context,
    fate::Dropped,
    prf::MasterSecret,
    protection::{Opened, ReadKeys, SealError, WriteKeys},
    record::{ContentType, Header, MAX_PLAINTEXT, Record},
    stored::{Numbers, Stage},
    subject::Subject,
    suite::CipherSuite,
    window::ReplayWindow,
};

/// By which a client resumes a session: 32 bytes made by the caller's [`Naming`](crate::Naming).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 32]);

impl fmt::Debug for SessionId {
    /// Its first four bytes: enough to follow one in a log, too few to resume it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(")?;
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

/// Names the keys of one handshake, full or abbreviated: a fresh [`Cid`], on the wire only if the client agreed to a
/// Connection ID. (A session id outlives its keys, so it can't tell a provisional session from the one that it resumes.)
pub type SessionName = Cid;

/// How far the mark runs ahead of the numbers sent (`write_mark`, at least every 2¹⁶ records).
pub(crate) const MARK_AHEAD: u64 = 1 << 16;
/// Received records after which the window is handed up.
const REPORT_AFTER: u16 = 64;

/// What a handshake settled; it never changes afterwards.
#[derive(Clone)]
pub(crate) struct Secrets {
    pub(crate) suite: CipherSuite,
    pub(crate) mode: Mode,
    pub(crate) extended_master_secret: bool,
    pub(crate) encrypt_then_mac: bool,
    /// Whether the client's records carry `name` as their Connection ID.
    pub(crate) names_records: bool,
    /// The code of RFC 6066 §4, 1 to 4; 0 if the extension was not agreed.
    pub(crate) max_fragment: u8,
    pub(crate) name: SessionName,
    pub(crate) id: SessionId,
    pub(crate) read: ReadKeys,
    pub(crate) write: WriteKeys,
    pub(crate) master: MasterSecret,
    pub(crate) server_name: Option<ServerNameHash>,
    /// What our records carry; empty if the client wants none.
    pub(crate) peer_cid: Box<[u8]>,
    pub(crate) subject: Subject,
    /// Unix time of the handshake that authenticated the client, in seconds: kept by resumption.
    pub(crate) established_at: u64,
}

impl Secrets {
    pub(crate) fn max_plaintext(&self) -> usize {
        match self.max_fragment {
            code @ 1..=4 => 256 << code,
            _ => MAX_PLAINTEXT,
        }
    }

    pub(crate) fn cid(&self) -> Option<Cid> {
        self.names_records.then_some(self.name)
    }

    /// Bytes on the wire of a record of ours with so much plaintext, at most.
    pub(crate) fn sealed_len(&self, plaintext: usize) -> usize {
        self.write.sealed_len(plaintext, self.peer_cid.len())
    }

    /// How many bytes of Connection ID the client's records carry.
    pub(crate) fn cid_len(&self) -> usize {
        if self.names_records { CID_LEN } else { 0 }
    }

    /// Whether a protected record can be for these keys, going by its Connection ID or the lack of one.
    pub(crate) fn is_addressed(&self, record: &Record<'_>) -> bool {
        match self.cid() {
            // RFC 9146 §3: whoever agreed to send a Connection ID sends it in every protected record.
            Some(cid) => record.content_type == ContentType::Tls12Cid && record.cid == cid.0,
            None => record.content_type != ContentType::Tls12Cid,
        }
    }
}

/// The first 8 bytes of SHA-256 over the `server_name` extension: resumption compares it, nothing else reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerNameHash(pub(crate) [u8; 8]);

impl ServerNameHash {
    pub(crate) fn of(extension: &[u8]) -> Self {
        let mut short = [0; 8];
        short.copy_from_slice(&digest::digest(&digest::SHA256, extension).as_ref()[..8]);
        Self(short)
    }
}

/// A live session. Read it through [`Association::session`](crate::Association::session).
pub struct Session {
    pub(crate) secrets: Secrets,
    /// Number of the next record sent.
    pub(crate) write_next: u64,
    /// No number at or above it is sent before the numbers are handed up again.
    pub(crate) write_mark: u64,
    pub(crate) window: ReplayWindow,
    /// Records accepted since the numbers were last handed up.
    pub(crate) unreported: u16,
}

impl Session {
    /// Most bytes of a record's number: the session ends before, as Scandium reads no number from here on.
    pub(crate) const NUMBERS: u64 = 1 << 40;

    /// Fresh keys, nothing sent or received.
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { secrets, write_next: 0, write_mark: MARK_AHEAD, window: ReplayWindow::new(), unreported: 0 }
    }

    /// Appends one record to `out`.
    pub(crate) fn seal(
        &mut self,
        cx: &mut Context<'_>,
        content_type: ContentType,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        if self.write_next >= Self::NUMBERS {
            return Err(SealError::NumbersExhausted);
        }
        let header = Header::protected(content_type, self.write_next, &self.secrets.peer_cid);
        self.secrets.write.seal(&header, plaintext, &mut cx.lane(), out)?;
        self.write_next += 1;
        Ok(())
    }

    /// Opens a record and moves the window; the flag tells whether it is newer than every one before.
    pub(crate) fn open(&mut self, record: &Record<'_>) -> Result<(Opened, bool), Dropped> {
        if !self.window.fresh(record.number) {
            return Err(Dropped::Replayed);
        }
        let opened = self.secrets.read.open(record).map_err(|_| Dropped::NotAuthentic)?;
        let newest = self.window.accept(record.number).ok_or(Dropped::Replayed)?;
        self.unreported = self.unreported.saturating_add(1);
        Ok((opened, newest))
    }

    /// Whether so much happened that the numbers must be written down, whatever the time.
    pub(crate) fn is_due(&self) -> bool {
        self.unreported >= REPORT_AFTER || self.write_next + MARK_AHEAD / 4 >= self.write_mark
    }

    /// Hands the numbers up: the mark moves ahead of what will be sent until the next time.
    pub(crate) fn report(&mut self) {
        self.unreported = 0;
        self.write_mark = self.write_next + MARK_AHEAD;
    }

    /// Its numbers as they are; the mark is the one that was handed up last.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let (write_next, write_mark, window) = (self.write_next, self.write_mark, self.window);
        Numbers { write_next, write_mark, window, stage: Stage::Settled }
    }
}

/// What a session tells of its handshake, in memory and stored.
macro_rules! tells_of_its_handshake {
    ($session:ty) => {
        impl $session {
            /// By which it can be resumed; stays the same through abbreviated handshakes.
            #[must_use]
            pub fn id(&self) -> SessionId {
                self.secrets.id
            }

            /// Names its keys; new with each handshake.
            #[must_use]
            pub fn name(&self) -> SessionName {
                self.secrets.name
            }

            /// The Connection ID that the client's records carry, if one was agreed: then it equals [`Self::name`].
            #[must_use]
            pub fn cid(&self) -> Option<Cid> {
                self.secrets.cid()
            }

            /// The Connection ID that our records carry; may be empty.
            #[must_use]
            pub fn peer_cid(&self) -> &[u8] {
                &self.secrets.peer_cid
            }

            /// The cipher suite.
            #[must_use]
            pub fn suite(&self) -> CipherSuite {
                self.secrets.suite
            }

            /// How the client authenticated.
            #[must_use]
            pub fn mode(&self) -> Mode {
                self.secrets.mode
            }

            /// Whether it has the extended master secret (RFC 7627).
            #[must_use]
            pub fn has_extended_master_secret(&self) -> bool {
                self.secrets.extended_master_secret
            }

            /// Who the client is.
            #[must_use]
            pub fn subject(&self) -> &Subject {
                &self.secrets.subject
            }

            /// Unix time of the full handshake, in seconds.
            #[must_use]
            pub fn established_at(&self) -> u64 {
                self.secrets.established_at
            }
        }
    };
}

pub(crate) use tells_of_its_handshake;

tells_of_its_handshake!(Session);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.secrets.id)
            .field("suite", &self.secrets.suite)
            .field("mode", &self.secrets.mode)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_costs_at_most_300_bytes() {
        assert!(size_of::<Session>() <= 300, "{}", size_of::<Session>());
    }
}
