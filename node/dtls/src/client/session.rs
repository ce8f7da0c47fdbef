//! An established session of a client.

use ring::rand::SecureRandom;
use smallvec::SmallVec;

use crate::{
    prf::MasterSecret,
    protection::{ByNumber, Opened, ReadKeys, SealError, WriteKeys},
    record::{ContentType, Header, Record},
    suite::CipherSuite,
    window::ReplayWindow,
};

/// A Connection ID that a peer chose; ours for servers have 8 bytes.
pub(super) type PeerCid = SmallVec<[u8; 16]>;

/// Keys, numbers and Connection IDs of epoch 1, and what it can be resumed from. No buffers, no key schedules.
#[derive(Clone, Debug)]
pub struct Session {
    pub(super) suite: CipherSuite,
    pub(super) extended_master_secret: bool,
    pub(super) resumed: bool,
    pub(super) read: ReadKeys,
    pub(super) write: WriteKeys,
    pub(super) number: u64,
    pub(super) window: ReplayWindow,
    /// What our records carry.
    pub(super) peer_cid: PeerCid,
    /// Whether the server's records carry our Connection ID.
    pub(super) uses_own_cid: bool,
    pub(super) master: MasterSecret,
    pub(super) session_id: SmallVec<[u8; 32]>,
    pub(super) client_random: [u8; 32],
    pub(super) max_plaintext: u16,
}

impl Session {
    /// The suite in use.
    pub fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// Whether it came from an abbreviated handshake.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Whether the extended master secret was used.
    pub fn has_extended_master_secret(&self) -> bool {
        self.extended_master_secret
    }

    /// What the server calls it; empty if it can't be resumed.
    pub fn session_id(&self) -> &[u8] {
        &self.session_id
    }

    /// The Connection ID that the server gave out; empty for none.
    pub fn server_cid(&self) -> &[u8] {
        &self.peer_cid
    }

    /// The largest plaintext that the server takes, in bytes.
    pub fn max_plaintext(&self) -> usize {
        self.max_plaintext.into()
    }

    /// The session in the format of NSS key logs, which tshark and others read: this gives all its traffic away.
    pub fn key_log(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("CLIENT_RANDOM {} {}", hex(&self.client_random), hex(self.master.as_bytes()))
    }

    /// Appends a record.
    pub(super) fn seal(
        &mut self,
        content_type: ContentType,
        plaintext: &[u8],
        random: &dyn SecureRandom,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let header = Header::protected(content_type, self.number, &self.peer_cid);
        self.write.seal(&header, plaintext, &mut ByNumber { random }, out)?;
        self.number += 1;
        Ok(())
    }

    /// A fresh and authentic record of epoch 1, or nothing.
    pub(super) fn open(&mut self, record: &Record<'_>, own_cid: &[u8]) -> Option<Opened> {
        let opened = open(&self.read, &self.window, record, own_cid, self.uses_own_cid)?;
        self.window.accept(record.number)?;
        Some(opened)
    }
}

/// RFC 9146 §3: once a Connection ID is agreed, records without it are dropped, and the other way round.
pub(super) fn open(
    keys: &ReadKeys,
    window: &ReplayWindow,
    record: &Record<'_>,
    own_cid: &[u8],
    uses_own_cid: bool,
) -> Option<Opened> {
    let expected = if uses_own_cid { own_cid } else { &[] };
    let with_cid = record.content_type == ContentType::Tls12Cid;
    if record.cid != expected || with_cid == expected.is_empty() || !window.fresh(record.number) {
        return None;
    }
    keys.open(record).ok()
}
