//! Datagrams that a server should survive: valid ones, valid ones with damage, and noise.
//!
//! The n-th datagram of a seed is always the same, but for the location of a registration that the server chose.

use std::collections::HashMap;

use crate::coap::{Encoder, Kind, code, option};
use crate::content;
use crate::random::{Random, mix};

/// Endpoint names of the attackers are few, so that a server that creates devices by itself creates few.
const ENDPOINTS: usize = 64;

/// What one UDP datagram holds within an Ethernet frame.
const LONGEST: usize = 1472;

/// Query values that look like something and are not.
const QUERIES: &[&str] = &[
    "lt=abc",
    "lt=",
    "lt=-5",
    "lt=0",
    "lt=99999999999999999999",
    "lt",
    "lt=1&lt=2",
    "lwm2m=9.9",
    "lwm2m=",
    "lwm2m=1.",
    "b=",
    "b=XYZ",
    "b=UUUUUUUU",
    "Q=1",
    "Q",
    "sms=",
    "ep=",
    "ep",
    "pid=yes",
    "=",
    "==",
    "",
    "ep=\u{0}\u{7f}",
    "%00",
];

/// Link payloads of the same sort.
const LINKS: &[&str] = &[
    "</1/0>,</3/0>",
    "</>;rt=\"oma.lwm2m\";ct=112,</3/0>",
    "<",
    "<>",
    "</",
    "</1/0",
    "</1/0>,",
    ",,,",
    "</99999/0>",
    "</1/0/0/0/0/0>",
    "</1/0>;ver=",
    "</1/0>;ver=\"1.1",
    "</a/b>",
    "</1/0>;a=\"\\",
    "<//>",
    "</1/-1>",
    "\u{feff}</1>",
];

/// Paths of servers and of nothing.
const PATHS: &[&[&str]] = &[
    &["rd"],
    &["bs"],
    &["dp"],
    &["bspack"],
    &[".well-known", "core"],
    &["rd", "x", "y"],
    &[],
    &["rd", ""],
    &["\u{0}"],
    &["fw", "..", "..", "etc"],
];

/// Makes datagrams.
pub(crate) struct Mutator {
    seed: u64,
    buffer: Vec<u8>,
    /// The latest registration path of each attacker.
    locations: HashMap<u32, Vec<Vec<u8>>>,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, buffer: Vec::with_capacity(2048), locations: HashMap::new() }
    }

    /// Learns where an attacker's registration is, so that updates can be damaged too.
    pub(crate) fn learn(&mut self, attacker: u32, location: Vec<Vec<u8>>) {
        self.locations.insert(attacker, location);
    }

    /// The `number`th datagram, which `attacker` will send.
    pub(crate) fn datagram(&mut self, number: u64, attacker: u32) -> &[u8] {
        let mut random = Random::new(mix(self.seed).wrapping_add(number << 8));
        let damage = match random.below(100) {
            0..12 => {
                noise(&mut random, &mut self.buffer, 0);
                0
            }
            12..20 => {
                noise(&mut random, &mut self.buffer, 4);
                self.buffer[0] = 0x40 | (random.next() as u8 & 0x3F);
                0
            }
            20..25 => {
                self.register(&mut random);
                0
            }
            25..50 => {
                self.register(&mut random);
                1 + random.below(6)
            }
            50..65 => {
                self.registered(&mut random, attacker);
                random.below(4)
            }
            65..80 => {
                self.notification(&mut random);
                random.below(4)
            }
            80..95 => {
                self.request(&mut random);
                random.below(4)
            }
            _ => {
                let kind = [Kind::Acknowledgement, Kind::Reset, Kind::Confirmable][random.below(3)];
                crate::coap::empty(&mut self.buffer, kind, random.next() as u16);
                random.below(2)
            }
        };
        for _ in 0..damage {
            damaged(&mut random, &mut self.buffer);
        }
        self.buffer.truncate(LONGEST);
        &self.buffer
    }

    /// A damaged answer to a request of the server, or none.
    pub(crate) fn answer(&mut self, number: u64, mid: u16, token: &[u8]) -> Option<&[u8]> {
        let mut random = Random::new(mix(self.seed ^ u64::MAX).wrapping_add(number << 8));
        let code = [code::CONTENT, code::CHANGED, code::NOT_FOUND, code::BAD_REQUEST][random.below(4)];
        let format =
            [content::TLV, content::SENML_CBOR, content::SENML_JSON, content::LWM2M_CBOR][random.below(4)];
        if random.below(2) == 0 {
            return None;
        }
        let mut payload = Vec::new();
        noise(&mut random, &mut payload, 0);
        Encoder::begin(&mut self.buffer, Kind::Acknowledgement, code, mid, token)
            .uint(option::OBSERVE, random.next() as u32 & 0xFF_FFFF)
            .uint(option::CONTENT_FORMAT, format.into())
            .payload(&payload);
        for _ in 0..random.below(3) {
            damaged(&mut random, &mut self.buffer);
        }
        Some(&self.buffer)
    }

    fn begin<'a>(buffer: &'a mut Vec<u8>, random: &mut Random, code: u8) -> Encoder<'a> {
        let kind = if random.below(4) == 0 { Kind::NonConfirmable } else { Kind::Confirmable };
        let token = random.next().to_be_bytes();
        let length = random.below(9);
        Encoder::begin(buffer, kind, code, random.next() as u16, &token[..length])
    }

    fn register(&mut self, random: &mut Random) {
        let endpoint = format!("ep=fuzz-{:02}", random.below(ENDPOINTS));
        let links = LINKS[if random.below(2) == 0 { 0 } else { random.below(LINKS.len()) }];
        let query = (random.below(2) == 0).then(|| QUERIES[random.below(QUERIES.len())]);
        let mut message = Self::begin(&mut self.buffer, random, code::POST);
        message
            .option(option::URI_PATH, b"rd")
            .uint(option::CONTENT_FORMAT, content::LINKS.into())
            .option(option::URI_QUERY, endpoint.as_bytes())
            .option(option::URI_QUERY, b"lt=300")
            .option(option::URI_QUERY, b"lwm2m=1.1");
        if let Some(query) = query {
            message.option(option::URI_QUERY, query.as_bytes());
        }
        message.payload(links.as_bytes());
    }

    /// An update or a de-registration, of what exists or of what does not.
    fn registered(&mut self, random: &mut Random, attacker: u32) {
        let unknown = || vec![b"rd".to_vec(), b"nothing-here".to_vec()];
        // Now and then another's, which is not for this address to change.
        let whose = if random.below(8) == 0 { random.below(ENDPOINTS) as u32 } else { attacker };
        let known = self.locations.get(&whose).filter(|_| random.below(8) > 0);
        let location = known.cloned().unwrap_or_else(unknown);
        let code = if random.below(8) == 0 { code::DELETE } else { code::POST };
        let query = QUERIES[random.below(QUERIES.len())];
        let mut message = Self::begin(&mut self.buffer, random, code);
        for segment in &location {
            message.option(option::URI_PATH, segment);
        }
        if code == code::POST {
            message.option(option::URI_QUERY, query.as_bytes());
        }
    }

    fn notification(&mut self, random: &mut Random) {
        let mut payload = Vec::new();
        noise(random, &mut payload, 0);
        let observe = random.next() as u32 & 0xFF_FFFF;
        let format = [0, 60, content::SENML_CBOR, content::TLV, content::LWM2M_CBOR, 65_535][random.below(6)];
        Self::begin(&mut self.buffer, random, code::CONTENT)
            .uint(option::OBSERVE, observe)
            .uint(option::CONTENT_FORMAT, format.into())
            .payload(&payload);
    }

    /// Any method at any path with any block, observe and size options.
    fn request(&mut self, random: &mut Random) {
        let path = PATHS[random.below(PATHS.len())];
        let mut payload = Vec::new();
        noise(random, &mut payload, 0);
        let (observe, block) = (random.next() as u32, random.next() as u32 & 0xFFF);
        let wants = random.next();
        let number = random.next() as u16;
        let code = random.below(8) as u8;
        let mut message = Self::begin(&mut self.buffer, random, code);
        if wants & 1 != 0 {
            message.uint(option::OBSERVE, observe & 1);
        }
        for segment in path {
            message.option(option::URI_PATH, segment.as_bytes());
        }
        if wants & 2 != 0 {
            message.uint(option::CONTENT_FORMAT, observe & 0xFF);
        }
        if wants & 4 != 0 {
            message.option(option::URI_QUERY, b"ep=fuzz-00");
        }
        if wants & 8 != 0 {
            message.uint(option::BLOCK2, block);
        }
        if wants & 16 != 0 {
            // Block1, RFC 7959.
            message.uint(27, block);
        }
        if wants & 32 != 0 {
            message.option(number.max(28), &payload);
        }
        message.payload(&payload);
    }
}

/// Mostly short, now and then as long as a datagram gets.
fn noise(random: &mut Random, out: &mut Vec<u8>, least: usize) {
    let bound = [8, 40, 200, 1400][random.below(4).min(random.below(4))];
    let length = least + random.below(bound);
    out.clear();
    while out.len() < length {
        out.extend_from_slice(&random.next().to_be_bytes());
    }
    out.truncate(length);
}

/// One piece of damage.
fn damaged(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
        return;
    }
    let at = random.below(bytes.len());
    let end = at + random.below((bytes.len() - at).min(16) + 1);
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        // The nibbles that mean "longer" and "never".
        2 => bytes[at] = [0xD0, 0xE0, 0xF0, 0x0D, 0x0E, 0x0F, 0xFF, 0x00][random.below(8)],
        3 => bytes.truncate(at),
        4 => {
            bytes.drain(at..end);
        }
        5 if bytes.len() < 1200 => {
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        6 if bytes.len() < 1200 => {
            let part = random.next().to_be_bytes();
            bytes.splice(at..at, part[..random.below(9)].iter().copied());
        }
        _ => bytes[at] = bytes[at].wrapping_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coap::Message;

    #[test]
    fn a_seed_makes_the_same_datagrams_again_and_another_seed_makes_others() {
        let all = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..500).map(|number| mutator.datagram(number, 0).to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
    }

    #[test]
    fn both_readable_and_broken_datagrams_are_among_them_and_none_is_too_long() {
        let mut mutator = Mutator::new(1);
        let readable = (0..10_000)
            .filter(|&number| {
                let datagram = mutator.datagram(number, 0);
                assert!(datagram.len() <= LONGEST);
                Message::parse(datagram).is_some()
            })
            .count();
        assert!((2_000..9_000).contains(&readable), "{readable}");
    }
}
