//! The CoAP messages of a simulated device: a checked view of what arrives and an encoder for what leaves.
//!
//! Hand-made rather than a codec crate's, because every datagram of a measurement passes here and the
//! generator shares its cores with the server that it measures: nothing allocates but the scratch buffer.

/// Message type, RFC 7252 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Confirmable,
    NonConfirmable,
    Acknowledgement,
    Reset,
}

/// Codes as they stand in the header: class in the upper three bits, detail in the lower five.
pub(crate) mod code {
    pub(crate) const EMPTY: u8 = 0;
    pub(crate) const GET: u8 = 1;
    pub(crate) const POST: u8 = 2;
    pub(crate) const PUT: u8 = 3;
    pub(crate) const DELETE: u8 = 4;
    pub(crate) const FETCH: u8 = 5;
    pub(crate) const IPATCH: u8 = 7;
    pub(crate) const CREATED: u8 = 0x41;
    pub(crate) const DELETED: u8 = 0x42;
    pub(crate) const CHANGED: u8 = 0x44;
    pub(crate) const CONTENT: u8 = 0x45;
    pub(crate) const BAD_REQUEST: u8 = 0x80;
    pub(crate) const BAD_OPTION: u8 = 0x82;
    pub(crate) const NOT_FOUND: u8 = 0x84;
    pub(crate) const METHOD_NOT_ALLOWED: u8 = 0x85;
    pub(crate) const NOT_ACCEPTABLE: u8 = 0x86;
    pub(crate) const UNSUPPORTED_FORMAT: u8 = 0x8F;
    pub(crate) const INTERNAL_ERROR: u8 = 0xA0;
    pub(crate) const BAD_GATEWAY: u8 = 0xA2;
    pub(crate) const SERVICE_UNAVAILABLE: u8 = 0xA3;
    pub(crate) const GATEWAY_TIMEOUT: u8 = 0xA4;

    /// As people write it: `4.04`.
    pub(crate) fn text(code: u8) -> String {
        format!("{}.{:02}", code >> 5, code & 0x1F)
    }

    pub(crate) fn is_success(code: u8) -> bool {
        code >> 5 == 2
    }

    pub(crate) fn is_request(code: u8) -> bool {
        code >> 5 == 0 && code != EMPTY
    }
}

/// Option numbers, RFC 7252 §5.10, RFC 7641, RFC 7959.
pub(crate) mod option {
    pub(crate) const OBSERVE: u16 = 6;
    pub(crate) const LOCATION_PATH: u16 = 8;
    pub(crate) const URI_PATH: u16 = 11;
    pub(crate) const CONTENT_FORMAT: u16 = 12;
    pub(crate) const MAX_AGE: u16 = 14;
    pub(crate) const URI_QUERY: u16 = 15;
    pub(crate) const ACCEPT: u16 = 17;
    pub(crate) const BLOCK2: u16 = 23;
    pub(crate) const SIZE2: u16 = 28;

    /// Whether a device may go on when it meets this option in a request, RFC 7252 §5.4.1.
    pub(crate) fn is_understood(number: u16) -> bool {
        number.is_multiple_of(2) || matches!(number, 3 | 7 | URI_PATH | URI_QUERY | ACCEPT | BLOCK2)
    }
}

/// A datagram that was checked from end to end; its options can be walked without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: Kind,
    pub(crate) code: u8,
    pub(crate) mid: u16,
    pub(crate) token: &'a [u8],
    options: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// `None` for whatever RFC 7252 §3 calls a message format error.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[first, code, high, low], rest) = bytes.split_first_chunk::<4>()?;
        let kind = match first >> 4 {
            4 => Kind::Confirmable,
            5 => Kind::NonConfirmable,
            6 => Kind::Acknowledgement,
            7 => Kind::Reset,
            _ => return None,
        };
        let mid = u16::from_be_bytes([high, low]);
        let token_length = usize::from(first & 0x0F);
        if token_length > 8 || (code == code::EMPTY && !(token_length == 0 && rest.is_empty())) {
            return None;
        }
        let (token, body) = rest.split_at_checked(token_length)?;
        let mut walk = Options { rest: body, number: 0 };
        while let Some(step) = walk.step() {
            step?;
        }
        let options = &body[..body.len() - walk.rest.len()];
        let payload = match walk.rest {
            [] => &[][..],
            [_] => return None,
            [_, payload @ ..] => payload,
        };
        Some(Self { kind, code, mid, token, options, payload })
    }

    /// Options in the order of the wire, as number and value.
    pub(crate) fn options(&self) -> Options<'a> {
        Options { rest: self.options, number: 0 }
    }

    /// The first option of that number.
    pub(crate) fn option(&self, number: u16) -> Option<&'a [u8]> {
        self.options().find(|&(n, _)| n == number).map(|(_, value)| value)
    }

    /// The first option of that number as an unsigned integer; `None` also beyond four bytes.
    pub(crate) fn uint(&self, number: u16) -> Option<u32> {
        self.option(number).and_then(uint)
    }
}

/// A big-endian integer of zero to four bytes, RFC 7252 §3.2.
pub(crate) fn uint(value: &[u8]) -> Option<u32> {
    (value.len() <= 4).then(|| value.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
}

/// Walks options; ends at the payload marker or at the end.
#[derive(Clone, Debug)]
pub(crate) struct Options<'a> {
    rest: &'a [u8],
    number: u16,
}

impl<'a> Options<'a> {
    /// `None` at the end, `Some(None)` at a format error.
    fn step(&mut self) -> Option<Option<(u16, &'a [u8])>> {
        match self.rest.first() {
            None | Some(0xFF) => None,
            Some(&head) => Some(self.read(head)),
        }
    }

    fn read(&mut self, head: u8) -> Option<(u16, &'a [u8])> {
        let mut rest = &self.rest[1..];
        let delta = extended(head >> 4, &mut rest)?;
        let length = extended(head & 0x0F, &mut rest)?;
        self.number = self.number.checked_add(delta)?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some((self.number, value))
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.step().flatten()
    }
}

fn extended(nibble: u8, rest: &mut &[u8]) -> Option<u16> {
    match nibble {
        0..=12 => Some(u16::from(nibble)),
        13 => {
            let (&[byte], tail) = rest.split_first_chunk::<1>()?;
            *rest = tail;
            Some(u16::from(byte) + 13)
        }
        14 => {
            let (&bytes, tail) = rest.split_first_chunk::<2>()?;
            *rest = tail;
            u16::from_be_bytes(bytes).checked_add(269)
        }
        _ => None,
    }
}

/// Writes one message into a buffer; options must come in ascending order.
pub(crate) struct Encoder<'a> {
    buffer: &'a mut Vec<u8>,
    last: u16,
}

impl<'a> Encoder<'a> {
    /// Begins a message; the buffer's earlier content is dropped.
    pub(crate) fn begin(buffer: &'a mut Vec<u8>, kind: Kind, code: u8, mid: u16, token: &[u8]) -> Self {
        debug_assert!(token.len() <= 8, "RFC 7252 §3: a token has at most 8 bytes");
        buffer.clear();
        let [high, low] = mid.to_be_bytes();
        buffer.extend_from_slice(&[0x40 | (kind as u8) << 4 | token.len() as u8, code, high, low]);
        buffer.extend_from_slice(token);
        Self { buffer, last: 0 }
    }

    pub(crate) fn option(&mut self, number: u16, value: &[u8]) -> &mut Self {
        debug_assert!(number >= self.last, "options ascend");
        let delta = usize::from(number - self.last);
        self.last = number;
        let head = nibble(delta) << 4 | nibble(value.len());
        self.buffer.push(head);
        extend(self.buffer, delta);
        extend(self.buffer, value.len());
        self.buffer.extend_from_slice(value);
        self
    }

    /// An integer in the fewest bytes, none for zero.
    pub(crate) fn uint(&mut self, number: u16, value: u32) -> &mut Self {
        let bytes = value.to_be_bytes();
        self.option(number, &bytes[value.leading_zeros() as usize / 8..])
    }

    /// Options that were encoded before, beginning at Uri-Path: the path of a registration.
    pub(crate) fn encoded_path(&mut self, options: &[u8]) -> &mut Self {
        debug_assert_eq!(self.last, 0, "the path comes first");
        self.buffer.extend_from_slice(options);
        self.last = option::URI_PATH;
        self
    }

    /// Ends the message; an empty payload writes no marker.
    pub(crate) fn payload(&mut self, payload: &[u8]) {
        if !payload.is_empty() {
            self.buffer.push(0xFF);
            self.buffer.extend_from_slice(payload);
        }
    }
}

fn nibble(value: usize) -> u8 {
    match value {
        0..13 => value as u8,
        13..269 => 13,
        _ => 14,
    }
}

fn extend(buffer: &mut Vec<u8>, value: usize) {
    match value {
        0..13 => {}
        13..269 => buffer.push((value - 13) as u8),
        _ => buffer.extend_from_slice(&((value - 269) as u16).to_be_bytes()),
    }
}

/// A message of four bytes: an empty acknowledgement or a reset.
pub(crate) fn empty(buffer: &mut Vec<u8>, kind: Kind, mid: u16) {
    Encoder::begin(buffer, kind, code::EMPTY, mid, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_reads_back_through_an_independent_codec() {
        let mut buffer = Vec::new();
        let long = "x".repeat(300);
        Encoder::begin(&mut buffer, Kind::Confirmable, code::POST, 0xBEEF, &[1, 2])
            .option(option::URI_PATH, b"rd")
            .uint(option::CONTENT_FORMAT, 40)
            .option(option::URI_QUERY, long.as_bytes())
            .uint(option::SIZE2, 70_000)
            .payload(b"</1/0>");

        let packet = coap_lite::Packet::from_bytes(&buffer).unwrap();
        assert_eq!(packet.header.message_id, 0xBEEF);
        assert_eq!(packet.get_token(), [1, 2]);
        assert_eq!(packet.payload, b"</1/0>");
        assert_eq!(
            packet.get_option(coap_lite::CoapOption::UriQuery).unwrap().front().unwrap(),
            long.as_bytes()
        );

        let message = Message::parse(&buffer).unwrap();
        assert_eq!(message.option(option::URI_PATH), Some(&b"rd"[..]));
        assert_eq!(message.uint(option::CONTENT_FORMAT), Some(40));
        assert_eq!(message.uint(option::SIZE2), Some(70_000));
        assert_eq!(message.payload, b"</1/0>");
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_read_without_a_panic() {
        let mut buffer = Vec::new();
        Encoder::begin(&mut buffer, Kind::NonConfirmable, code::CONTENT, 7, &[9; 8])
            .uint(option::OBSERVE, 0x01_02_03)
            .option(option::URI_QUERY, &[b'q'; 40])
            .payload(b"23");
        for length in 0..buffer.len() {
            let _ = Message::parse(&buffer[..length]);
        }
        for at in 0..buffer.len() {
            for value in 0..=255 {
                let mut changed = buffer.clone();
                changed[at] = value;
                if let Some(message) = Message::parse(&changed) {
                    assert!(message.options().count() <= changed.len());
                }
            }
        }
    }

    #[test]
    fn a_marker_without_payload_and_an_empty_message_with_a_token_are_refused() {
        assert_eq!(Message::parse(&[0x40, 1, 0, 1, 0xFF]), None);
        assert_eq!(Message::parse(&[0x41, 0, 0, 1, 5]), None);
        assert_eq!(Message::parse(&[0x80, 1, 0, 1]), None);
        assert!(Message::parse(&[0x60, 0, 0, 1]).is_some());
    }
}
