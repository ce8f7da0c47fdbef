//! Bytes to messages and back: coap-lite's codec behind the checks that it leaves out.

use coap_lite::{CoapOption, Packet};

use crate::{Code, Malformed, Token};

/// The type of a message (RFC 7252 §4.2, §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Con,
    Non,
    Ack,
    Rst,
}

/// The fixed four bytes, of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) code: Code,
    pub(crate) message_id: u16,
    token_len: u8,
}

impl Header {
    /// Reads the header. Its errors are the ones that are never answered.
    pub(crate) fn read(datagram: &[u8]) -> Result<Self, Malformed> {
        let &[first, code, high, low, ..] = datagram else {
            return Err(Malformed::Short);
        };
        if first >> 6 != 1 {
            return Err(Malformed::Version);
        }
        let kind = match first >> 4 & 3 {
            0 => Kind::Con,
            1 => Kind::Non,
            2 => Kind::Ack,
            _ => Kind::Rst,
        };
        Ok(Self {
            kind,
            code: Code(code),
            message_id: u16::from_be_bytes([high, low]),
            token_len: first & 15,
        })
    }

    /// Whether messages of this type have ids of the sender's, by which repetitions are known.
    pub(crate) fn opens(self) -> bool {
        matches!(self.kind, Kind::Con | Kind::Non) && self.code != Code::EMPTY
    }
}

/// A message whose form is right and whose options nobody has looked at.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) token: Token,
    pub(crate) packet: Packet,
}

impl Message {
    /// Reads what follows the header.
    pub(crate) fn decode(header: Header, datagram: &[u8]) -> Result<Self, Malformed> {
        check_code(header, datagram)?;
        let token = token(header, datagram).ok_or(Malformed::Token)?;
        let packet = Packet::from_bytes(datagram).map_err(|_| Malformed::Option)?;
        // The codec takes a marker without payload for none; the same byte may also end an option.
        if packet.payload.is_empty()
            && datagram.last() == Some(&0xff)
            && options_end(&packet, token.len()) != datagram.len()
        {
            return Err(Malformed::Marker);
        }
        Ok(Self { header, token, packet })
    }
}

/// The token, if it is whole and of at most eight bytes.
pub(crate) fn token(header: Header, datagram: &[u8]) -> Option<Token> {
    Token::new(datagram.get(4..4 + usize::from(header.token_len))?)
}

/// RFC 7252 §4.1 to §4.3: which codes go with which types, and that an empty message is empty.
fn check_code(header: Header, datagram: &[u8]) -> Result<(), Malformed> {
    if header.code == Code::EMPTY {
        return match (header.kind, datagram.len()) {
            (Kind::Non, _) => Err(Malformed::Code),
            (_, 4) if header.token_len == 0 => Ok(()),
            _ => Err(Malformed::EmptyWithMore),
        };
    }
    let fits = match header.kind {
        Kind::Con | Kind::Non => header.code.is_request() || header.code.is_response(),
        Kind::Ack => header.code.is_response(),
        Kind::Rst => false,
    };
    if fits { Ok(()) } else { Err(Malformed::Code) }
}

/// Where the options of a decoded packet ended: an option has only one encoding (RFC 7252 §3.1).
fn options_end(packet: &Packet, token_len: usize) -> usize {
    let mut last = 0;
    let mut end = 4 + token_len;
    for (number, values) in packet.options() {
        for value in values {
            end += 1 + extension(usize::from(number - last)) + extension(value.len()) + value.len();
            last = *number;
        }
    }
    end
}

/// The extension bytes of an option's delta or length.
fn extension(value: usize) -> usize {
    match value {
        0..=12 => 0,
        13..=268 => 1,
        _ => 2,
    }
}

/// A packet with a header and nothing else.
pub(crate) fn packet(kind: Kind, code: Code, message_id: u16, token: Token) -> Packet {
    let mut packet = Packet::new();
    packet.header.set_type(match kind {
        Kind::Con => coap_lite::MessageType::Confirmable,
        Kind::Non => coap_lite::MessageType::NonConfirmable,
        Kind::Ack => coap_lite::MessageType::Acknowledgement,
        Kind::Rst => coap_lite::MessageType::Reset,
    });
    packet.header.code = code.0.into();
    packet.header.message_id = message_id;
    packet.set_token(token.as_bytes().to_vec());
    packet
}

/// An empty message: an acknowledgement or a reset.
pub(crate) fn empty(kind: Kind, message_id: u16) -> [u8; 4] {
    let [high, low] = message_id.to_be_bytes();
    let kind = match kind {
        Kind::Con => 0x40,
        Kind::Non => 0x50,
        Kind::Ack => 0x60,
        Kind::Rst => 0x70,
    };
    [kind, 0, high, low]
}

/// Adds a number in as few bytes as it needs, none for zero (RFC 7252 §3.2).
pub(crate) fn add_uint(packet: &mut Packet, option: CoapOption, value: u32) {
    let bytes = value.to_be_bytes();
    let zeros = value.leading_zeros() as usize / 8;
    packet.add_option(option, bytes[zeros..].to_vec());
}

/// Reads a number of at most `max` bytes; leading zeros are allowed.
pub(crate) fn uint(value: &[u8], max: usize) -> Option<u32> {
    (value.len() <= max).then(|| value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// A fast hash of short byte strings, to tell messages of one peer apart. Not keyed: a peer that finds collisions
/// confuses only itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    pub(crate) fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    pub(crate) const fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(datagram: &[u8]) -> Result<Message, Malformed> {
        Message::decode(Header::read(datagram)?, datagram)
    }

    #[test]
    fn a_marker_without_payload_is_told_from_an_option_that_ends_in_the_same_byte() {
        assert_eq!(decode(&[0x40, 1, 0, 1, 0xff]).unwrap_err(), Malformed::Marker);
        assert_eq!(decode(&[0x40, 1, 0, 1, 0xb1, b'a', 0xff]).unwrap_err(), Malformed::Marker);
        assert!(decode(&[0x40, 1, 0, 1, 0xb1, 0xff]).is_ok());
        assert!(decode(&[0x40, 1, 0, 1, 0xd1, 0xf0, 0xff]).is_ok());
        assert_eq!(decode(&[0x40, 1, 0, 1, 0xd1, 0xf0, 0xff, 0xff]).unwrap_err(), Malformed::Marker);
    }

    #[test]
    fn numbers_take_as_few_bytes_as_they_need() {
        for (value, bytes) in [(0, &[][..]), (1, &[1]), (256, &[1, 0]), (u32::MAX, &[0xff; 4])] {
            let mut packet = Packet::new();
            add_uint(&mut packet, CoapOption::MaxAge, value);
            assert_eq!(packet.get_first_option(CoapOption::MaxAge).unwrap(), bytes);
            assert_eq!(uint(bytes, 4), Some(value));
        }
        assert_eq!(uint(&[0, 0, 1], 2), None);
    }
}
