//! Handshakes over ways that lose, repeat and overtake: whatever can complete does, and leaves nothing behind.
//!
//! A failure names its seed; `SEED=n` runs that one alone, `SCALE=soak` fourteen times as many.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::time::{Duration, Instant};

use godwit_dtls::{client::Settings, extension::MaxFragmentLength, flight::Backoff, suite::CipherSuite};
use kit::{
    Seeded,
    credentials::CREDENTIALS,
    light::{Light, Mode},
    network::{Network, Weather},
    peer::{Dimpl, Peer},
    scale,
    server::{Event, Server},
    soak::report,
    start,
};

/// Schedules of each test in `make test` and in `make soak`.
const TEST: u64 = 100;
const SOAK: u64 = 1400;

fn seeds() -> impl Iterator<Item = u64> {
    let one = std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
    let all = 0..scale(TEST, SOAK);
    one.map_or(all, |seed| seed..seed + 1)
}

/// Runs every seed, and says how many handshakes of this kind completed.
fn each_seed(test: &'static str, mut handshake: impl FnMut(u64) -> u64) {
    let began = start();
    let (mut completed, mut count) = (0, 0);
    for seed in seeds() {
        completed += handshake(seed);
        count += 1;
    }
    let seconds = (start() - began).as_secs();
    let found =
        format!("{count} schedules, {completed} handshakes, all completed, nothing left; {seconds} s");
    report("schedules", "Handshakes over bad networks", test, found);
}

/// A server that waits as long as a bad way takes, and whose store is slow now and then.
fn server(random: &mut Seeded) -> Server {
    let mut server = Server::new(start());
    server.config.handshake_timeout = Duration::from_secs(3600);
    server.config.mtu = 150 + random.below(1200) as usize;
    server.store_delay = Duration::from_millis([0, 20, 900, 4000][random.below(4) as usize]);
    server.echoes = true;
    server
}

/// One handshake to its end, then a record there and back; when all that is over.
fn complete(
    (seed, now): (u64, Instant),
    server: &mut Server,
    peer: &mut dyn Peer,
    weather: Weather,
    resume: bool,
) -> Instant {
    let mut network = Network::new(now, server, peer, weather);
    network.peer.begin(now, resume);
    let before = network.peer.received().len();
    let done = network.run_until(|server, peer| peer.is_established() && server.is_established());
    assert!(
        done,
        "seed {seed}: stuck after {} datagrams and {:?}, client: {:?}, server: {:?}",
        network.datagrams(),
        network.now - now,
        network.peer.failure(),
        network.server.events,
    );
    // Whatever of the handshake is still under way arrives first.
    network.weather = Weather::fair();
    network.run_for(Duration::from_secs(150));
    network.peer.send(network.now, b"there and back");
    let echoed = network.run_until(|_, peer| peer.received().len() > before);
    assert!(echoed, "seed {seed}: no echo, server: {:?}", network.server.events);
    assert_eq!(network.server.open_questions(), 0, "seed {seed}");

    // Nothing of a handshake is left: at most the report of the session's numbers is due.
    network.run_for(Duration::from_secs(200));
    assert_eq!(network.server.poll_timeout(), None, "seed {seed}: a timer of nobody");
    let failed: Vec<_> =
        network.server.events.iter().filter(|event| matches!(event, Event::Closed(_))).collect();
    assert!(failed.is_empty(), "seed {seed}: {failed:?}");
    network.now
}

#[test]
fn dimpl_completes_with_psk() {
    each_seed("dimpl_completes_with_psk", |seed| {
        let mut random = Seeded::new(seed);
        let mut server = server(&mut random);
        let mut peer = Dimpl::new(start(), None, random.next());
        complete((seed, start()), &mut server, &mut peer, Weather::bad(seed), false);
        1
    });
}

#[test]
fn dimpl_completes_with_certificates() {
    each_seed("dimpl_completes_with_certificates", |seed| {
        let mut random = Seeded::new(seed);
        let mut server = server(&mut random);
        let device = Some(&CREDENTIALS.device);
        let mut peer = Dimpl::new(start(), device, random.next());
        complete((seed, start()), &mut server, &mut peer, Weather::bad(seed), false);
        1
    });
}

/// Settings of a light client that gives up late; suites, sizes and extensions follow from the seed.
fn settings(random: &mut Seeded) -> Settings {
    let mut suites = CipherSuite::ALL.to_vec();
    suites.rotate_left(random.below(5) as usize);
    Settings {
        suites,
        extended_master_secret: random.percent(80),
        encrypt_then_mac: random.percent(50),
        max_fragment_length: MaxFragmentLength::from_code(random.below(5) as u8),
        datagram: 150 + random.below(1100) as usize,
        attempts: 200,
        backoff: Backoff {
            first: Duration::from_millis(500 + random.below(3000)),
            cap: Duration::from_secs(20),
        },
        ..Settings::default()
    }
}

fn light(random: &mut Seeded, mode: Mode) -> Light {
    let settings = settings(random);
    light_with(random, mode, settings)
}

fn light_with(random: &mut Seeded, mode: Mode, settings: Settings) -> Light {
    let cid: Option<&[u8]> = [None, Some(&b""[..]), Some(b"client")][random.below(3) as usize];
    Light::new(mode.credential(), settings, cid)
}

#[test]
fn the_light_client_completes_in_every_mode() {
    each_seed("the_light_client_completes_in_every_mode", |seed| {
        for mode in [Mode::Psk, Mode::RawPublicKey, Mode::X509] {
            let mut random = Seeded::new(seed);
            let mut server = server(&mut random);
            let mut peer = light(&mut random, mode);
            complete((seed, start()), &mut server, &mut peer, Weather::bad(seed), false);
        }
        3
    });
}

#[test]
fn the_light_client_resumes() {
    each_seed("the_light_client_resumes", |seed| {
        let mut random = Seeded::new(seed);
        let mode = [Mode::Psk, Mode::RawPublicKey, Mode::X509][random.below(3) as usize];
        let mut server = server(&mut random);
        let mut peer = light(&mut random, mode);
        let now = complete((seed, start()), &mut server, &mut peer, Weather::fair(), false);
        if random.percent(50) {
            // Another node, which has nothing but the store.
            server.association = None;
        }
        server.events.clear();
        complete((seed, now), &mut server, &mut peer, Weather::bad(seed), true);
        assert!(peer.client.session().unwrap().is_resumed(), "seed {seed}: {:?}", server.events);
        assert_eq!(server.sessions.len(), 1, "seed {seed}");
        2
    });
}

#[test]
fn a_new_handshake_beside_a_live_session_completes() {
    each_seed("a_new_handshake_beside_a_live_session_completes", |seed| {
        let mut random = Seeded::new(seed);
        let mode = [Mode::Psk, Mode::RawPublicKey, Mode::X509][random.below(3) as usize];
        let mut server = server(&mut random);
        let mut peer = light(&mut random, mode);
        let now = complete((seed, start()), &mut server, &mut peer, Weather::fair(), false);
        server.events.clear();
        complete((seed, now), &mut server, &mut peer, Weather::bad(seed), false);
        assert!(!peer.client.session().unwrap().is_resumed());
        2
    });
}

/// The owner dies up to six times, each time with whatever it had not stored; the client begins again if it gives up.
fn survive(seed: u64, resume: bool) -> u64 {
    let mut random = Seeded::new(seed);
    let mode = [Mode::Psk, Mode::RawPublicKey, Mode::X509][random.below(3) as usize];
    let mut server = server(&mut random);
    // It gives up after half a minute or later: a look-up and a write may take 8 s.
    let backoff = Backoff { first: Duration::from_secs(2), cap: Duration::from_secs(20) };
    let settings = Settings { attempts: 4, backoff, ..settings(&mut random) };
    let mut peer = light_with(&mut random, mode, settings);
    server.config.handshake_timeout = Duration::from_secs(60);
    let mut now = start();
    if resume {
        now = complete((seed, now), &mut server, &mut peer, Weather::fair(), false);
    }
    let before = peer.received().len();
    let mut network = Network::new(now, &mut server, &mut peer, Weather::bad(seed));
    let mut death = now;
    for _ in 0..random.below(7) {
        death += Duration::from_millis(random.below(5000));
        network.deaths.push_back(death);
    }
    for _ in 0..20 {
        let now = network.now;
        network.peer.begin(now, resume);
        network.run_until(|_, peer| peer.is_established() || peer.failure().is_some());
        if !network.peer.is_established() {
            continue;
        }
        // An heir that was asked for a handshake of its own gives that up after a minute. A client that hears nothing
        // then begins again.
        network.run_for(Duration::from_secs(70));
        for _ in 0..2 {
            let now = network.now;
            network.peer.send(now, b"there and back");
            network.run_for(Duration::from_secs(10));
        }
        if network.peer.received().len() > before {
            break;
        }
    }
    assert!(network.peer.received().len() > before, "seed {seed}: {:?}", network.server.events);
    1 + u64::from(resume)
}

#[test]
fn a_full_handshake_survives_its_owners() {
    each_seed("a_full_handshake_survives_its_owners", |seed| survive(seed, false));
}

#[test]
fn an_abbreviated_handshake_survives_its_owners() {
    each_seed("an_abbreviated_handshake_survives_its_owners", |seed| survive(seed, true));
}
