//! A DTLS session as the record keeps it: what a script compares or changes lies open and fixed, the keys are sealed.
//!
//! ```text
//! 0    version (2)
//! 1    flags: 1 provisional, 2 resumed, 4 closed, 8 its Connection ID is its association
//! 2    write mark (8)     10   read floor (8)     18   read window (8)
//! 26   heard at (8)       34   expires at (8), 0: never
//! 42   session id (32)
//! 74   value::Session
//! ```
//! Numbers belong to the session and not to the device: two sessions of one device count apart, under keys of their own.

use std::net::SocketAddr;

use prost::Message;

use super::{
    StoreError,
    pointer::{address_bytes, address_from_bytes},
    value::{self, credential::Mode},
};
use crate::identity::{AssociationId, SessionId};

/// Live sessions that a device has at most, those that may only be resumed included, and as many provisional ones.
pub const SESSIONS: usize = 2;

const VERSION: u8 = 2;
const PROVISIONAL: u8 = 1;
const RESUMED: u8 = 2;
const CLOSED: u8 = 4;
/// Never set in version 1, where the message has the Connection ID of every session.
const CID_IS_ASSOCIATION: u8 = 8;
const NUMBERS_AT: usize = 2;
const ID_AT: usize = 42;
const FIXED: usize = ID_AT + 32;

/// One association with a device, all that another node needs to go on with it. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Names these keys in the record. A resumed session has its session id from before, under new keys.
    pub association: AssociationId,
    /// Names the session in handshakes.
    pub id: SessionId,
    /// Resumed, and the client's Finished has not come: [`Change::Promote`](super::Change::Promote) ends that.
    pub provisional: bool,
    /// Its keys come from an abbreviated handshake.
    pub resumed: bool,
    /// Ended by close_notify: its records are dropped, it may be resumed.
    pub closed: bool,
    /// How far its record numbers went.
    pub numbers: Numbers,
    /// When its keys were made.
    pub established_at: u64,
    /// When an authenticated record last came.
    pub heard_at: u64,
    /// When the store clears it away; 0: never.
    pub expires_at: u64,
    /// Our connection id, by which its records find it. Empty: they find it by `peer`.
    pub cid: Vec<u8>,
    /// Length of the device's own connection id; `None`: it uses none.
    pub peer_cid: Option<u8>,
    /// The device's address.
    pub peer: Option<SocketAddr>,
    /// The node's own address that the device sends to.
    pub local: Option<SocketAddr>,
    /// How the device proved who it is.
    pub mode: Mode,
    /// The cipher suite, as it is registered at IANA.
    pub suite: u16,
    /// The version of the credential by which it did, compared when the session is activated or resumed.
    pub credential_version: u64,
    /// Keys and master secret, sealed once at the handshake.
    pub sealed: Vec<u8>,
    /// What answers a repeated Finished of the client; empty: nothing does any more.
    pub answer: Vec<u8>,
}

/// Records that an owner may send before it writes how far it went.
const UNWRITTEN: u64 = 1 << 16;

/// How far the record numbers of a session went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// No number at or above it has been sent. While the session is in use it is ahead of the next one; else it is that.
    pub write_mark: u64,
    /// One above the highest number that was accepted; 0: none was.
    pub read_floor: u64,
    /// Which of the 64 numbers below the floor were accepted; bit 0 is that of the highest.
    pub read_window: u64,
}

impl Numbers {
    /// Where a session goes on when nobody knows how far its last owner went: at the next multiple of 2²⁰ above all that
    /// it may have sent, plus 3. An owner that took exact numbers may have gone 2¹⁶ beyond them before it wrote.
    #[must_use]
    pub fn after_a_crash(self) -> Self {
        let next = (((self.write_mark + UNWRITTEN) >> 20) + 1) << 20;
        Self { write_mark: next + 3, ..self }
    }
}

impl Session {
    /// Whether records may arrive under its keys.
    pub fn is_live(&self) -> bool {
        !self.closed
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now_ms: u64) -> bool {
        self.expires_at != 0 && self.expires_at <= now_ms
    }
}

/// Writes a session; its association is the field's key.
pub(super) fn encode(session: &Session) -> Vec<u8> {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let named = session.cid == session.association.as_bytes();
    let rest = value::Session {
        cid: if named { Vec::new() } else { session.cid.clone() },
        peer: session.peer.map(address_bytes).unwrap_or_default(),
        local: session.local.map(address_bytes).unwrap_or_default(),
        mode: session.mode.into(),
        suite: session.suite.into(),
        peer_cid: session.peer_cid.map(u32::from),
        credential_version: session.credential_version,
        established_at: session.established_at,
        sealed: session.sealed.clone(),
        answer: session.answer.clone(),
    };
    let Numbers { write_mark, read_floor, read_window } = session.numbers;
    let mut bytes = Vec::with_capacity(FIXED + rest.encoded_len());
    bytes.push(VERSION);
    bytes.push(
        flag(session.provisional, PROVISIONAL)
            | flag(session.resumed, RESUMED)
            | flag(session.closed, CLOSED)
            | flag(named, CID_IS_ASSOCIATION),
    );
    for number in [write_mark, read_floor, read_window, session.heard_at, session.expires_at] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(session.id.as_bytes());
    rest.encode(&mut bytes).expect("invariant: a Vec grows");
    bytes
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(association: &[u8], bytes: &[u8]) -> Result<Session, StoreError> {
    let version = bytes.first().copied().unwrap_or(0);
    let unreadable = StoreError::Unreadable { what: "session", version };
    if !(1..=VERSION).contains(&version) {
        return Err(unreadable);
    }
    parse(association, bytes).ok_or(unreadable)
}

fn parse(association: &[u8], bytes: &[u8]) -> Option<Session> {
    let flags = *bytes.get(1)?;
    let rest = value::Session::decode(bytes.get(FIXED..)?).ok()?;
    let number = |nth: usize| be64(bytes, NUMBERS_AT + 8 * nth);
    Some(Session {
        association: AssociationId::from_bytes(association.try_into().ok()?),
        id: SessionId::from_bytes(bytes[ID_AT..FIXED].try_into().ok()?),
        provisional: flags & PROVISIONAL != 0,
        resumed: flags & RESUMED != 0,
        closed: flags & CLOSED != 0,
        numbers: Numbers { write_mark: number(0)?, read_floor: number(1)?, read_window: number(2)? },
        heard_at: number(3)?,
        expires_at: number(4)?,
        peer: address_from_bytes(&rest.peer),
        local: address_from_bytes(&rest.local),
        mode: rest.mode(),
        suite: u16::try_from(rest.suite).ok()?,
        peer_cid: rest.peer_cid.map(u8::try_from).transpose().ok()?,
        credential_version: rest.credential_version,
        established_at: rest.established_at,
        cid: if flags & CID_IS_ASSOCIATION == 0 { rest.cid } else { association.to_vec() },
        sealed: rest.sealed,
        answer: rest.answer,
    })
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Session {
        Session {
            association: AssociationId::from_bytes(*b"assoc-01"),
            id: SessionId::from_bytes([0xaa; 32]),
            provisional: true,
            resumed: true,
            closed: false,
            numbers: Numbers { write_mark: 0x0102, read_floor: 0x0304, read_window: 5 },
            established_at: 1,
            heard_at: 0x1122_3344_5566,
            expires_at: 7,
            cid: vec![9; 8],
            peer_cid: Some(6),
            peer: "127.0.0.2:61616".parse().ok(),
            local: "127.0.0.1:5684".parse().ok(),
            mode: Mode::Psk,
            suite: 0xc0a8,
            credential_version: 3,
            sealed: vec![0x55; 4],
            answer: vec![0x66; 2],
        }
    }

    /// The bytes of version 2, on which scripts and older nodes rely.
    #[test]
    fn version_2_stays_as_it_is() {
        let golden = concat!(
            "02",
            "03",
            "0000000000000102",
            "0000000000000304",
            "0000000000000005",
            "0000112233445566",
            "0000000000000007",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "0a080909090909090909",
            "12067f000002f0b0",
            "1a067f0000011634",
            "2002",
            "28a88103",
            "3006",
            "3803",
            "4001",
            "4a0455555555",
            "52026666"
        );
        let bytes = encode(&full());
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), golden);
        assert_eq!(decode(b"assoc-01", &bytes), Ok(full()));
        let older = [&[1][..], &bytes[1..]].concat();
        assert_eq!(decode(b"assoc-01", &older), Ok(full()));
    }

    #[test]
    fn a_connection_id_that_is_the_association_is_kept_once() {
        let session = Session { cid: b"assoc-01".to_vec(), ..full() };
        let bytes = encode(&session);
        assert_eq!(bytes.len() + 10, encode(&full()).len());
        assert_eq!(decode(b"assoc-01", &bytes), Ok(session));
    }

    #[test]
    fn a_damaged_or_newer_session_is_unreadable() {
        let good = encode(&full());
        for end in 0..=FIXED + 1 {
            assert_ne!(decode(b"assoc-01", &good[..end]), Ok(full()), "{end}");
        }
        assert!(decode(b"short", &good).is_err());
        let newer = [&[3][..], &good[1..]].concat();
        assert_eq!(decode(b"assoc-01", &newer), Err(StoreError::Unreadable { what: "session", version: 3 }));
    }

    #[test]
    fn numbers_jump_after_a_crash() {
        let next = |write_mark| Numbers { write_mark, ..Numbers::default() }.after_a_crash().write_mark;
        assert_eq!(
            [next(0), next((1 << 20) - UNWRITTEN - 1), next((1 << 20) - UNWRITTEN), next(1 << 20)],
            [(1 << 20) + 3, (1 << 20) + 3, (2 << 20) + 3, (2 << 20) + 3]
        );
    }
}
