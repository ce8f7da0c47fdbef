//! The cookie that a client must send back from the address it claims (RFC 6347 §4.2.1).

use std::net::{IpAddr, SocketAddr};

use ring::{hkdf, hmac};

use crate::message::HelloPrefix;

/// Of a cookie, in bytes. tinydtls reads at most 32.
pub const COOKIE_LEN: usize = 16;

/// How long a key makes cookies; it accepts them for as long again.
const STEP_SECONDS: u64 = 600;

/// Makes and checks cookies without remembering any. All nodes with the same secret take each other's, so that the
/// second ClientHello may arrive at another node.
pub struct Cookies {
    secret: hkdf::Prk,
    /// The keys used last, so that a step derives each once.
    keys: [(u64, hmac::Key); 2],
}

impl Cookies {
    /// `secret`: the cluster's, at least 32 random bytes.
    pub fn new(secret: &[u8]) -> Self {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"godwit dtls cookie").extract(secret);
        let keys = [(0, derive(&secret, 0)), (1, derive(&secret, 1))];
        Cookies { secret, keys }
    }

    /// For the client at `peer` that sent this hello, at this second since 1970.
    pub fn mint(&mut self, unix: u64, peer: SocketAddr, hello: &HelloPrefix<'_>) -> [u8; COOKIE_LEN] {
        tag(self.key(unix / STEP_SECONDS), peer, hello)
    }

    /// Whether the hello's cookie was made for it in this step of ten minutes or the one before.
    pub fn check(&mut self, unix: u64, peer: SocketAddr, hello: &HelloPrefix<'_>) -> bool {
        let step = unix / STEP_SECONDS;
        hello.cookie.len() == COOKIE_LEN
            && [step, step.saturating_sub(1)]
                .into_iter()
                .any(|step| equal(&tag(self.key(step), peer, hello), hello.cookie))
    }

    fn key(&mut self, step: u64) -> &hmac::Key {
        // Neighbouring steps never share a place.
        let place = &mut self.keys[(step % 2) as usize];
        if place.0 != step {
            *place = (step, derive(&self.secret, step));
        }
        &place.1
    }
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookies")
    }
}

fn derive(secret: &hkdf::Prk, step: u64) -> hmac::Key {
    let info = [&step.to_be_bytes()[..]];
    let key = secret.expand(&info, hmac::HMAC_SHA256);
    key.expect("invariant: 32 bytes are less than 255 blocks").into()
}

/// Over what the second hello repeats even if its fragments fall differently: not suites and extensions, of which the
/// first fragment may hold less than the first hello did. Every field before the last has a fixed length.
fn tag(key: &hmac::Key, peer: SocketAddr, hello: &HelloPrefix<'_>) -> [u8; COOKIE_LEN] {
    let ip = match peer.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut context = hmac::Context::with_key(key);
    context.update(&ip.octets());
    context.update(&peer.port().to_be_bytes());
    context.update(&hello.version.0.to_be_bytes());
    context.update(hello.random);
    context.update(hello.session_id);
    let tag = context.sign();
    *tag.as_ref().first_chunk().expect("invariant: SHA-256 has 32 bytes")
}

/// In a time that does not depend on where they differ.
fn equal(one: &[u8; COOKIE_LEN], other: &[u8]) -> bool {
    let difference =
        one.iter().zip(other).fold(0, |sum, (one, other)| std::hint::black_box(sum | (one ^ other)));
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Version;

    const RANDOM: [u8; 32] = [7; 32];

    fn hello<'a>(session_id: &'a [u8], cookie: &'a [u8]) -> HelloPrefix<'a> {
        HelloPrefix { version: Version::DTLS_1_2, random: &RANDOM, session_id, cookie }
    }

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_cookie_lives_for_its_step_and_the_next() {
        let (mut here, mut there) = (Cookies::new(b"secret"), Cookies::new(b"secret"));
        let cookie = here.mint(6599, peer(1), &hello(&[], &[]));
        assert!(there.check(6599, peer(1), &hello(&[], &cookie)), "another node of the cluster");
        assert!(there.check(7199, peer(1), &hello(&[], &cookie)));
        assert!(!there.check(7200, peer(1), &hello(&[], &cookie)));
        assert!(!Cookies::new(b"other").check(6599, peer(1), &hello(&[], &cookie)));
    }

    #[test]
    fn a_cookie_is_good_for_its_hello_and_address_alone() {
        let mut cookies = Cookies::new(b"secret");
        let cookie = cookies.mint(0, peer(1), &hello(b"id", &[]));
        assert!(cookies.check(0, peer(1), &hello(b"id", &cookie)));
        assert!(!cookies.check(0, peer(2), &hello(b"id", &cookie)));
        assert!(!cookies.check(0, SocketAddr::from(([192, 0, 2, 2], 1)), &hello(b"id", &cookie)));
        assert!(!cookies.check(0, peer(1), &hello(b"ie", &cookie)));
        let older = HelloPrefix { version: Version::DTLS_1_0, ..hello(b"id", &cookie) };
        assert!(!cookies.check(0, peer(1), &older));
        assert!(!cookies.check(0, peer(1), &HelloPrefix { random: &[8; 32], ..hello(b"id", &cookie) }));
        for at in 0..COOKIE_LEN {
            let mut wrong = cookie;
            wrong[at] ^= 0x80;
            assert!(!cookies.check(0, peer(1), &hello(b"id", &wrong)));
        }
        assert!(!cookies.check(0, peer(1), &hello(b"id", &cookie[..15])));
        assert!(!cookies.check(0, peer(1), &hello(b"id", &[])));
    }

    #[test]
    fn an_address_is_one_whether_written_as_v4_or_v6() {
        let mut cookies = Cookies::new(b"secret");
        let cookie = cookies.mint(0, peer(1), &hello(&[], &[]));
        assert!(cookies.check(0, "[::ffff:192.0.2.1]:1".parse().unwrap(), &hello(&[], &cookie)));
    }
}
