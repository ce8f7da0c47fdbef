//! What the handshake tests share: a node around the server, clients to drive against it, a network between them.
//!
//! Time is stepped, nothing sleeps, and what happens follows from a seed.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

pub mod credentials;
pub mod hand;
#[cfg(feature = "client")]
pub mod light;
pub mod network;
pub mod peer;
pub mod server;
pub mod soak;

use std::time::Instant;

/// An instant to start from; all others are reckoned from it.
#[expect(clippy::disallowed_methods, reason = "an instant to start from; time is stepped")]
pub fn start() -> Instant {
    Instant::now()
}

/// An echoing server and a client by hand, with a session between them.
pub fn live(offer: hand::Offer) -> (server::Server, hand::Hand) {
    let now = start();
    let (mut server, mut hand) = (server::Server::new(now), hand::Hand::new(now, offer));
    server.echoes = true;
    hand.establish_psk(&mut server, credentials::IDENTITY, credentials::KEY);
    server.events.clear();
    (server, hand)
}

/// How often what is tried in small numbers by `make test`: `SCALE=soak` asks for many.
pub fn scale(test: u64, soak: u64) -> u64 {
    match std::env::var("SCALE").as_deref() {
        Ok("soak") => soak,
        _ => test,
    }
}

/// SplitMix64: what a seed stands for never changes.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Seeded(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}
