//! Two peers and an enemy between them: requests, answers, time and bytes in any order. Nothing panics, memory stays
//! bounded, and in the end nothing is left.

#![no_main]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arbitrary::Arbitrary;
use godwit_coap::{BlockSize, Code, Config, Event, ExchangeId, Peer, Request, RequestId, Response, Token};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Step {
    /// Bytes of the enemy's.
    Inject {
        side: bool,
        bytes: Vec<u8>,
    },
    /// A datagram under way arrives, perhaps with one byte changed, perhaps to stay for another time.
    Deliver {
        pick: u8,
        keep: bool,
        change: Option<(u8, u8)>,
    },
    Lose {
        pick: u8,
    },
    Wait {
        millis: u32,
    },
    Ask {
        side: bool,
        token: u8,
        body: u16,
        observe: Option<bool>,
        confirmable: bool,
        fetch: bool,
    },
    Notify {
        side: bool,
        token: u8,
        body: u16,
        confirmable: bool,
    },
    Answer {
        side: bool,
        body: u16,
        code: u8,
    },
    Forget {
        side: bool,
    },
    Decide {
        side: bool,
        acknowledge: bool,
    },
    Continue {
        side: bool,
        token: u8,
    },
    Cancel {
        side: bool,
    },
}

struct Side {
    peer: Peer,
    open: Vec<RequestId>,
    asked: Vec<ExchangeId>,
    notified: Vec<(u16, Response)>,
}

fuzz_target!(|steps: Vec<Step>| {
    let mut now = Instant::now();
    let config = Arc::new(Config {
        block_size: BlockSize::fitting(32).expect("above 16"),
        max_payload: 64,
        body_limit: 2000,
        ..Config::default()
    });
    let mut sides = [1, 2].map(|seed| Side {
        peer: Peer::new(Arc::clone(&config), 0x3000, seed),
        open: Vec::new(),
        asked: Vec::new(),
        notified: Vec::new(),
    });
    let mut flying: Vec<(usize, Vec<u8>)> = Vec::new();
    for step in steps {
        apply(&mut sides, &mut flying, &mut now, step);
        for (at, side) in sides.iter_mut().enumerate() {
            while let Some(datagram) = side.peer.poll_transmit() {
                assert!(datagram.len() < 2000);
                flying.push((1 - at, datagram));
            }
            while let Some(event) = side.peer.poll_event() {
                match event {
                    Event::Request { id, .. } => side.open.push(id),
                    Event::Notification { message_id, response, .. } => {
                        side.notified.push((message_id, response))
                    }
                    Event::Response { exchange, response, .. } => {
                        assert!(response.payload.len() <= 4096);
                        side.asked.retain(|open| *open != exchange);
                    }
                    Event::Failed { exchange, .. } | Event::Acknowledged { exchange } => {
                        side.asked.retain(|open| *open != exchange);
                    }
                }
            }
            side.open.truncate(64);
            side.notified.truncate(64);
        }
        let kept = flying.len().min(64);
        flying.drain(..flying.len() - kept);
    }
    for side in &mut sides {
        // Every timer ends: at most sixteen exchanges of 93 and 247 s, one after the other.
        for _ in 0..10_000 {
            let Some(at) = side.peer.poll_timeout() else { break };
            now = now.max(at);
            side.peer.handle_timeout(now);
            while side.peer.poll_transmit().is_some() || side.peer.poll_event().is_some() {}
        }
        assert!(side.peer.is_idle());
    }
});

fn apply(sides: &mut [Side; 2], flying: &mut Vec<(usize, Vec<u8>)>, now: &mut Instant, step: Step) {
    let body = |len: u16| vec![b'x'; usize::from(len) % 3000];
    match step {
        Step::Inject { side, bytes } => {
            sides[usize::from(side)].peer.handle_datagram(*now, &bytes);
        }
        Step::Deliver { pick, keep, change } if !flying.is_empty() => {
            let at = usize::from(pick) % flying.len();
            let (to, mut datagram) = if keep { flying[at].clone() } else { flying.remove(at) };
            if let Some((position, value)) = change {
                let position = usize::from(position) % datagram.len();
                datagram[position] ^= value;
            }
            sides[to].peer.handle_datagram(*now, &datagram);
        }
        Step::Lose { pick } if !flying.is_empty() => {
            flying.remove(usize::from(pick) % flying.len());
        }
        Step::Wait { millis } => {
            *now += Duration::from_millis(u64::from(millis) % 300_000);
            for side in sides {
                side.peer.handle_timeout(*now);
            }
        }
        Step::Ask { side, token, body: len, observe, confirmable, fetch } => {
            let side = &mut sides[usize::from(side)];
            let mut request =
                if fetch { Request::fetch("a/b") } else { Request::post("a") }.payload(body(len));
            request.observe = observe.map(u32::from);
            side.asked.extend(side.peer.request(*now, Token::from(u64::from(token)), request, confirmable));
        }
        Step::Notify { side, token, body: len, confirmable } => {
            let side = &mut sides[usize::from(side)];
            let response = Response::new(Code::CONTENT).observe(1).payload(body(len % 60));
            let _ = side.peer.notify(*now, Token::from(u64::from(token)), response, confirmable);
        }
        Step::Answer { side, body: len, code } => {
            let side = &mut sides[usize::from(side)];
            if let Some(id) = side.open.pop() {
                let code = Code(code % 96 + 64);
                let _ = side.peer.respond(*now, id, Response::new(code).payload(body(len)));
            }
        }
        Step::Forget { side } => {
            let side = &mut sides[usize::from(side)];
            if let Some(id) = side.open.pop() {
                side.peer.forget(id);
            }
        }
        Step::Decide { side, acknowledge } => {
            let side = &mut sides[usize::from(side)];
            match side.notified.pop() {
                Some((id, _)) if acknowledge => side.peer.acknowledge(*now, id),
                Some((id, _)) => side.peer.reset(*now, id),
                None => false,
            };
        }
        Step::Continue { side, token } => {
            let side = &mut sides[usize::from(side)];
            if let Some((_, first)) = side.notified.last().cloned() {
                let request = Request::get("a").observe(0);
                let token = Token::from(u64::from(token));
                side.asked.extend(side.peer.continue_body(*now, token, request, first));
            }
        }
        Step::Cancel { side } => {
            let side = &mut sides[usize::from(side)];
            if let Some(exchange) = side.asked.pop() {
                assert!(side.peer.cancel(*now, exchange));
                assert!(side.peer.exchange(exchange).is_none());
            }
        }
        Step::Deliver { .. } | Step::Lose { .. } => {}
    }
}
