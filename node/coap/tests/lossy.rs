//! Two peers over a network that loses, repeats and reorders: every exchange ends once, with the right body.

#![allow(clippy::unwrap_used, reason = "a test")]

mod util;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use godwit_coap::{Code, Config, Event, Peer, Request, RequestId, Response, Token};
use util::*;

/// A seeded generator; the seed is in the message of every failure.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Datagrams on their way: arrival and number to receiver and bytes.
struct Network {
    dice: Dice,
    loss: u64,
    flying: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    count: u64,
}

impl Network {
    fn send(&mut self, now: Instant, to: usize, datagram: &[u8]) {
        let copies = match self.dice.roll(100) {
            roll if roll < self.loss => 0,
            roll if roll < self.loss + 15 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            // Some take long enough to be overtaken by a repetition.
            let delay = if self.dice.roll(10) == 0 { self.dice.roll(5000) } else { self.dice.roll(200) };
            self.count += 1;
            self.flying.insert((now + ms(delay), self.count), (to, datagram.to_vec()));
        }
    }
}

/// One side: what it asks and what it has seen.
struct Side {
    peer: Peer,
    to_ask: Vec<(Token, usize)>,
    open: HashMap<Token, usize>,
    done: HashMap<Token, u32>,
    failed: u32,
    served: HashMap<Token, u32>,
    answering: Vec<(Instant, RequestId, usize)>,
}

fn body(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + seed) as u8).collect()
}

impl Side {
    fn act(&mut self, now: Instant, dice: &mut Dice) {
        while let Some(event) = self.peer.poll_event() {
            match event {
                Event::Request { id, request, token, .. } => {
                    let size: usize = request.query_value("size").unwrap().parse().unwrap();
                    assert_eq!(request.payload, body(size, request.payload.len()));
                    *self.served.entry(token).or_default() += 1;
                    let late = if dice.roll(4) == 0 { ms(1500 + dice.roll(3000)) } else { Duration::ZERO };
                    self.answering.push((now + late, id, size));
                }
                Event::Response { token, response, .. } => {
                    let size = self.open.remove(&token).expect("one end for each exchange");
                    assert_eq!(response.code, Code::CONTENT);
                    assert_eq!(response.payload, body(size + 1, size));
                    *self.done.entry(token).or_default() += 1;
                }
                Event::Failed { token, .. } => {
                    self.open.remove(&token).expect("one end for each exchange");
                    self.failed += 1;
                }
                // A separate response that outlived its exchange.
                Event::Notification { message_id, .. } => {
                    self.peer.reset(now, message_id);
                }
                Event::Acknowledged { .. } => panic!(),
            }
        }
        self.answering.retain(|(at, id, size)| {
            if *at > now {
                return true;
            }
            let response = Response::new(Code::CONTENT).content(42, body(size + 1, *size));
            self.peer.respond(now, *id, response).unwrap();
            false
        });
        while self.open.len() < 6 {
            let Some((token, size)) = self.to_ask.pop() else { break };
            let sent = if size % 2 == 0 { size } else { 10 };
            // Blocks of two bodies for one resource could not be told apart (RFC 7959 §2.5), so each has its own.
            let request = Request::post("x")
                .segment(token.to_string())
                .query(format!("size={size}"))
                .payload(body(size, sent));
            self.peer.request(now, token, request, true).unwrap();
            self.open.insert(token, size);
        }
    }
}

fn run(seed: u64, loss: u64) -> (u32, u32) {
    let mut now = start();
    let end = now + secs(24 * 3600);
    let mut dice = Dice(seed);
    let mut network = Network { dice: Dice(seed ^ 0xabcdef), loss, flying: BTreeMap::new(), count: 0 };
    // The bodies of late responses come down side by side.
    let config = Config { max_transfers: 8, ..Config::default() };
    let mut sides: Vec<Side> = (0..2)
        .map(|side| {
            let sizes = [0, 10, 1024, 1025, 2500, 7000];
            let to_ask = (0..30)
                .map(|at| {
                    (Token::from(side << 32 | at), sizes[dice.roll(6) as usize] + dice.roll(2) as usize)
                })
                .collect();
            Side {
                peer: Peer::new(config.clone().into(), dice.roll(1 << 16) as u16, dice.roll(u64::MAX)),
                to_ask,
                open: HashMap::new(),
                done: HashMap::new(),
                failed: 0,
                served: HashMap::new(),
                answering: Vec::new(),
            }
        })
        .collect();
    loop {
        for (at, side) in sides.iter_mut().enumerate() {
            side.act(now, &mut dice);
            while let Some(datagram) = side.peer.poll_transmit() {
                network.send(now, 1 - at, &datagram);
            }
        }
        let deadlines = sides.iter().flat_map(|side| {
            side.peer.poll_timeout().into_iter().chain(side.answering.iter().map(|(at, _, _)| *at))
        });
        let arrival = network.flying.keys().next().map(|(at, _)| *at);
        let Some(next) = deadlines.chain(arrival).min() else { break };
        assert!(next < end, "seed {seed}: no end");
        now = now.max(next);
        while let Some(entry) = network.flying.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (to, datagram) = entry.remove();
            sides[to].peer.handle_datagram(now, &datagram);
        }
        for side in &mut sides {
            side.peer.handle_timeout(now);
        }
    }
    for side in &sides {
        assert!(side.peer.is_idle() && side.open.is_empty() && side.to_ask.is_empty(), "seed {seed}");
        assert!(side.done.values().all(|times| *times == 1), "seed {seed}");
        assert!(side.served.values().all(|times| *times == 1), "seed {seed}: carried out twice");
    }
    let done = sides.iter().map(|side| side.done.len() as u32).sum();
    (done, sides.iter().map(|side| side.failed).sum())
}

#[test]
fn every_exchange_ends_once_through_a_lossy_network() {
    let (mut done, mut failed) = (0, 0);
    for seed in 0..40 {
        let (these, those) = run(seed, 20);
        assert_eq!(these + those, 60, "seed {seed}");
        done += these;
        failed += those;
    }
    // With a loss of 20 % each way all five transmissions fail once in 150.
    assert!(failed * 20 < done, "{done} done, {failed} failed");
}

#[test]
fn no_exchange_fails_where_datagrams_are_only_repeated_and_reordered() {
    for seed in 100..120 {
        assert_eq!(run(seed, 0), (60, 0), "seed {seed}");
    }
}
