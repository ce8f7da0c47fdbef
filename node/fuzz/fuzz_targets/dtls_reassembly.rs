//! Fragments of anything in any order: bounded, in order, and each message as its fragments had it.
#![no_main]

use arbitrary::Arbitrary;
use godwit_dtls::{
    message::{Fragment, MessageType},
    reassembly::{Limits, Reassembly, Taken},
};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Piece {
    kind: u8,
    seq: u8,
    total: u16,
    offset: u16,
    len: u16,
}

/// The byte of a message at a place: fragments that agree on the message agree on its bytes.
fn byte(seq: u16, at: usize) -> u8 {
    (at as u8).wrapping_mul(31) ^ seq as u8
}

fuzz_target!(|pieces: Vec<Piece>| {
    let limits = Limits { message: 700, total: 1500, ahead: 4, gaps: 8 };
    let mut reassembly = Reassembly::new(2, limits);
    let mut next = 2;
    for piece in pieces {
        let seq = u16::from(piece.seq % 16);
        let total = usize::from(piece.total % 800);
        let offset = usize::from(piece.offset) % (total + 1);
        let len = usize::from(piece.len) % (total - offset + 1);
        let bytes: Vec<u8> = (offset..offset + len).map(|at| byte(seq, at)).collect();
        let fragment = Fragment { kind: MessageType(piece.kind % 3), total, seq, offset, bytes: &bytes };
        let taken = reassembly.accept(&fragment);
        assert_eq!(taken == Taken::Repeated, seq < next);
        assert!(reassembly.buffered() <= limits.total);
        while let Some(message) = reassembly.pop() {
            assert_eq!(message.seq, next);
            assert!(message.body.len() <= limits.message);
            assert!(message.body.iter().enumerate().all(|(at, found)| *found == byte(next, at)));
            next += 1;
        }
        assert_eq!(reassembly.expected(), next);
    }
});
