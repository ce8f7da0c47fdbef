//! The identity and the order of records.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use ring::digest;

use crate::identity::RegistrationId;

/// What is the same for a cause wherever and how often it is seen: 26 lower-case base32 characters, the first 130
/// bits of a SHA-256.
///
/// Each field goes into the hash as its length in four bytes, big-endian, and its bytes. No node, no term and no
/// number of a DTLS record is among them, so a retransmission after a take-over is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 26]);

impl Identity {
    /// The identity of a message: a notification, a Send or the answer to a read.
    ///
    /// Hashed are the registration id, the token, the message id in two bytes, the Observe value in four bytes (no
    /// bytes where there is none) and the payload. A block-wise one is named by its first datagram's message id and
    /// payload.
    pub fn of_message(
        registration: RegistrationId,
        token: &[u8],
        message_id: u16,
        observe: Option<u32>,
        payload: &[u8],
    ) -> Identity {
        let sequence = observe.map(u32::to_be_bytes);
        Identity::of(&[
            registration.as_str().as_bytes(),
            token,
            &message_id.to_be_bytes(),
            sequence.as_ref().map_or(&[], |bytes| &bytes[..]),
            payload,
        ])
    }

    /// The identity of what no message names, from facts that every node knows: an expiry's are the registration id
    /// and "expired".
    pub fn of(facts: &[&[u8]]) -> Identity {
        let mut hash = digest::Context::new(&digest::SHA256);
        for fact in facts {
            let length = u32::try_from(fact.len()).expect("invariant: no datagram, body or name has 4 GiB");
            hash.update(&length.to_be_bytes());
            hash.update(fact);
        }
        let hash = hash.finish();
        let mut text = [0; 28];
        // 17 bytes are 28 characters, of which the last two are cut off.
        BASE32_NOPAD.encode_mut(&hash.as_ref()[..17], &mut text);
        let mut identity = [0; 26];
        identity.copy_from_slice(&text[..26]);
        identity.make_ascii_lowercase();
        Identity(identity)
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("invariant: base32 is ASCII")
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `ce_id`: the identity of the cause, a label and a number, "bfj…-telemetry-0".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordId {
    /// Of the cause.
    pub identity: Identity,
    /// "telemetry", "attributes", "operation", "raw" or the event's name.
    pub label: &'static str,
    /// Which of the records with this label that the cause makes, in the order of the payload.
    pub ordinal: u32,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.identity, self.label, self.ordinal)
    }
}

/// Where a record stands among its device's: 12 hex digits of the ownership's term and 8 of a counter, which sort as
/// text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Order {
    /// The term; its low 48 bits are written, in milliseconds good for 8,900 years.
    pub term: u64,
    /// Counts the device's records within the term.
    pub counter: u32,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}{:08x}", self.term & 0xffff_ffff_ffff, self.counter)
    }
}

/// Hands out the orders of one device in one term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orders {
    next: Order,
}

impl Orders {
    /// Begins a term.
    pub const fn new(term: u64) -> Orders {
        Orders { next: Order { term, counter: 0 } }
    }

    /// Goes on from a stored state: `next` is the first order that was not given out.
    pub const fn resume(next: Order) -> Orders {
        Orders { next }
    }

    /// The order that comes next.
    pub const fn peek(&self) -> Order {
        self.next
    }

    /// Takes the next order. After 2³² of one term it stands still; equal orders sort by their time.
    pub fn take(&mut self) -> Order {
        let order = self.next;
        self.next.counter = self.next.counter.saturating_add(1);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration() -> RegistrationId {
        RegistrationId::parse("0123456789Ab").unwrap()
    }

    #[test]
    fn an_identity_is_the_documented_hash() {
        // import hashlib, base64, struct
        // f = [b"0123456789Ab", b"\x01\x02\x03\x04", struct.pack(">H", 4711), struct.pack(">I", 7), b"95"]
        // h = hashlib.sha256(b"".join(struct.pack(">I", len(x)) + x for x in f)).digest()
        // base64.b32encode(h).decode().lower()[:26]
        let with_observe = Identity::of_message(registration(), &[1, 2, 3, 4], 4711, Some(7), b"95");
        assert_eq!(with_observe.as_str(), "73swjkdab76mzc2upvf4ozahbi");
        // The same with f[3] = b"".
        let without = Identity::of_message(registration(), &[1, 2, 3, 4], 4711, None, b"95");
        assert_eq!(without.as_str(), "ug7b2fvopbujnb6z3v3oj2ehur");
    }

    #[test]
    fn moving_a_byte_between_fields_changes_the_identity() {
        assert_ne!(Identity::of(&[b"ab", b"c"]), Identity::of(&[b"a", b"bc"]));
        assert_ne!(Identity::of(&[b"ab"]), Identity::of(&[b"ab", b""]));
    }

    #[test]
    fn a_record_id_names_cause_label_and_ordinal() {
        let identity = Identity::of(&[b"x"]);
        let id = RecordId { identity, label: "telemetry", ordinal: 3 };
        assert_eq!(id.to_string(), format!("{identity}-telemetry-3"));
    }

    #[test]
    fn orders_sort_as_text() {
        let mut orders = Orders::new(0x0193_0000_0001);
        let (first, second) = (orders.take(), orders.take());
        assert_eq!(first.to_string(), "01930000000100000000");
        assert_eq!(second.to_string(), "01930000000100000001");
        let later_term = Order { term: first.term + 1, counter: 0 };
        assert!(second.to_string() < later_term.to_string() && second < later_term);
    }
}
