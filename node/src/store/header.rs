//! A record's header as bytes: first what a script in the store compares, fixed and big-endian, then a prost
//! message.
//!
//! ```text
//! 0    version (1)
//! 1    flags: 1 passive, 2 activated, 4 found by address, 8 removed
//! 2    term (8)          10   claim counter (4)
//! 14   deadline (8), 0: none
//! 22   boot id of the owner (8)
//! 30   length of the owner's node name (1), the name; no name: nobody
//!      value::Header
//! ```

use std::sync::Arc;

use prost::Message;

use super::{
    Header, StoreError,
    pointer::{address_bytes, address_from_bytes},
    value,
};
use crate::identity::Owner;

const VERSION: u8 = 1;
const PASSIVE: u8 = 1;
const ACTIVATED: u8 = 2;
const BY_ADDRESS: u8 = 4;
const REMOVED: u8 = 8;
const FIXED: usize = 31;

/// Node names are shorter than this, in bytes.
pub(super) const NODE_NAME_LIMIT: usize = 256;

/// Writes a header. `removed`: the record is a tombstone.
pub(super) fn encode(header: &Header, removed: bool) -> Vec<u8> {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let (boot, node) = header.owner.as_ref().map_or((0, ""), |owner| (owner.boot, &*owner.node));
    let node = &node.as_bytes()[..node.len().min(NODE_NAME_LIMIT - 1)];
    let rest = value::Header {
        path_node: header.path_node.as_deref().unwrap_or_default().to_owned(),
        peer: header.peer.map(address_bytes).unwrap_or_default(),
        local: header.local.map(address_bytes).unwrap_or_default(),
    };
    let mut bytes = Vec::with_capacity(FIXED + node.len() + rest.encoded_len());
    bytes.push(VERSION);
    bytes.push(
        flag(header.passive, PASSIVE)
            | flag(header.activated, ACTIVATED)
            | flag(header.by_address, BY_ADDRESS)
            | flag(removed, REMOVED),
    );
    bytes.extend(header.term.to_be_bytes());
    bytes.extend(header.claims.to_be_bytes());
    bytes.extend(header.deadline.unwrap_or(0).to_be_bytes());
    bytes.extend(boot.to_be_bytes());
    bytes.push(u8::try_from(node.len()).expect("invariant: cut to 255 bytes above"));
    bytes.extend(node);
    rest.encode(&mut bytes).expect("invariant: a Vec grows");
    bytes
}

/// Reads a header and whether its record is a tombstone.
pub(super) fn decode(bytes: &[u8]) -> Result<(Header, bool), StoreError> {
    let version = bytes.first().copied().unwrap_or(0);
    let unreadable = StoreError::Unreadable { what: "header", version };
    if version != VERSION {
        return Err(unreadable);
    }
    parse(bytes).ok_or(unreadable)
}

fn parse(bytes: &[u8]) -> Option<(Header, bool)> {
    let flags = *bytes.get(1)?;
    let deadline = be64(bytes, 14)?;
    let node_end = FIXED + usize::from(*bytes.get(30)?);
    let node = std::str::from_utf8(bytes.get(FIXED..node_end)?).ok()?;
    let rest = value::Header::decode(&bytes[node_end..]).ok()?;
    let header = Header {
        owner: if node.is_empty() {
            None
        } else {
            Some(Owner { node: Arc::from(node), boot: be64(bytes, 22)? })
        },
        term: be64(bytes, 2)?,
        claims: u32::from_be_bytes(bytes.get(10..14)?.try_into().ok()?),
        passive: flags & PASSIVE != 0,
        activated: flags & ACTIVATED != 0,
        by_address: flags & BY_ADDRESS != 0,
        deadline: (deadline != 0).then_some(deadline),
        path_node: (!rest.path_node.is_empty()).then(|| Arc::from(rest.path_node)),
        peer: address_from_bytes(&rest.peer),
        local: address_from_bytes(&rest.local),
    };
    Some((header, flags & REMOVED != 0))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Header {
        Header {
            owner: Some(Owner { node: "n1".into(), boot: 0x0102_0304_0506_0708 }),
            term: 0x1122_3344_5566,
            claims: 7,
            passive: true,
            activated: true,
            deadline: Some(0xaabb),
            path_node: Some("n2".into()),
            peer: Some("127.0.0.2:61616".parse().unwrap()),
            local: Some("[2001:db8::1]:5683".parse().unwrap()),
            by_address: true,
        }
    }

    /// The bytes of version 1, on which scripts and older nodes rely.
    #[test]
    fn version_1_stays_as_it_is() {
        let golden = concat!(
            "01",
            "07",
            "0000112233445566",
            "00000007",
            "000000000000aabb",
            "0102030405060708",
            "02",
            "6e31",
            "0a026e32",
            "12067f000002f0b0",
            "1a1220010db80000000000000000000000011633"
        );
        let bytes = encode(&full(), false);
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), golden);
        assert_eq!(decode(&bytes), Ok((full(), false)));
    }

    #[test]
    fn a_tombstone_and_an_empty_header_come_back() {
        let bytes = encode(&Header::default(), true);
        assert_eq!(bytes.len(), FIXED);
        assert_eq!(decode(&bytes), Ok((Header::default(), true)));
    }

    #[test]
    fn damaged_and_newer_headers_are_unreadable() {
        let good = encode(&full(), false);
        for end in 0..FIXED + 2 {
            assert!(decode(&good[..end]).is_err(), "{end}");
        }
        let newer = [&[2][..], &good[1..]].concat();
        assert_eq!(decode(&newer), Err(StoreError::Unreadable { what: "header", version: 2 }));
    }
}
