//! CoAP as the simulated devices write and read it (RFC 7252 §3): their own hand, not the node's.

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// CON 0, NON 1, ACK 2, RST 3.
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) id: u16,
    pub(super) token: Vec<u8>,
    /// By rising number.
    pub(super) options: Vec<(u16, Vec<u8>)>,
    pub(super) payload: Vec<u8>,
}

pub(super) const CON: u8 = 0;
pub(super) const ACK: u8 = 2;
pub(super) const RST: u8 = 3;
pub(super) const GET: u8 = 1;
pub(super) const POST: u8 = 2;
pub(super) const DELETE: u8 = 4;
pub(super) const CREATED: u8 = 0x41;
pub(super) const DELETED: u8 = 0x42;
pub(super) const CHANGED: u8 = 0x44;
pub(super) const CONTENT: u8 = 0x45;
pub(super) const NOT_FOUND: u8 = 0x84;
pub(super) const OBSERVE: u16 = 6;
pub(super) const LOCATION_PATH: u16 = 8;
pub(super) const URI_PATH: u16 = 11;
pub(super) const CONTENT_FORMAT: u16 = 12;
pub(super) const URI_QUERY: u16 = 15;

impl Message {
    pub(super) fn request(code: u8, id: u16, token: &[u8], path: &[&str], queries: &[String]) -> Self {
        let path = path.iter().map(|segment| (URI_PATH, segment.as_bytes().to_vec()));
        let queries = queries.iter().map(|query| (URI_QUERY, query.as_bytes().to_vec()));
        let token = token.to_vec();
        Self { kind: CON, code, id, token, options: path.chain(queries).collect(), payload: Vec::new() }
    }

    pub(super) fn is_response(&self) -> bool {
        self.code >= 0x40
    }

    pub(super) fn is_request(&self) -> bool {
        (1..0x20).contains(&self.code)
    }

    pub(super) fn texts(&self, number: u16) -> Vec<String> {
        let own = self.options.iter().filter(|(it, _)| *it == number);
        own.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0x40 | self.kind << 4 | self.token.len() as u8, self.code];
        out.extend(self.id.to_be_bytes());
        out.extend(&self.token);
        let mut before = 0;
        for (number, value) in &self.options {
            let (delta, more_delta) = nibble(usize::from(number - before));
            let (length, more_length) = nibble(value.len());
            out.push(delta << 4 | length);
            out.extend(more_delta);
            out.extend(more_length);
            out.extend(value);
            before = *number;
        }
        if !self.payload.is_empty() {
            out.push(0xff);
            out.extend(&self.payload);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::from(head[0] & 15);
        let token = rest.get(..length)?.to_vec();
        rest = &rest[length..];
        let mut options = Vec::new();
        let mut number = 0;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            if *first == 0xff {
                break;
            }
            let delta = extended(first >> 4, &mut rest)?;
            let length = extended(first & 15, &mut rest)?;
            number += delta as u16;
            options.push((number, rest.get(..length)?.to_vec()));
            rest = &rest[length..];
        }
        let id = u16::from_be_bytes([head[2], head[3]]);
        Some(Self { kind: head[0] >> 4 & 3, code: head[1], id, token, options, payload: rest.to_vec() })
    }
}

fn nibble(value: usize) -> (u8, Vec<u8>) {
    match value {
        0..=12 => (value as u8, Vec::new()),
        13..=268 => (13, vec![(value - 13) as u8]),
        _ => (14, ((value - 269) as u16).to_be_bytes().to_vec()),
    }
}

fn extended(nibble: u8, rest: &mut &[u8]) -> Option<usize> {
    Some(match nibble {
        0..=12 => nibble.into(),
        13 => {
            let (byte, after) = rest.split_first()?;
            *rest = after;
            usize::from(*byte) + 13
        }
        14 => {
            let (bytes, after) = rest.split_first_chunk::<2>()?;
            *rest = after;
            usize::from(u16::from_be_bytes(*bytes)) + 269
        }
        _ => return None,
    })
}
