//! After a crash the node goes on with record numbers that jump (to the next multiple of 2²⁰, and 3): do peers go along?

use std::{env, fs, path::PathBuf};

use godwit_tests::{Checker, Proxy};

use crate::{
    peer::{Peer, Start},
    run::start_peer,
    table::{Case, Mode},
    world::{PSK_KEY, World},
};

const RESTARTS: usize = 10;

/// Peers that can't go on after a jump, and why.
const SKIPS: &[(&str, &str)] = &[
    ("libcoap (OpenSSL)", "its client is a process for each request"),
    ("libcoap (GnuTLS)", "its client is a process for each request"),
    ("node-coap-client", "it drops records that are more than 64 ahead, and has to shake hands again"),
];

struct Running {
    case: Case,
    tap: Proxy,
    peer: Box<dyn Peer>,
    key_log: PathBuf,
}

#[test]
fn every_peer_with_a_pre_shared_key_goes_on_after_ten_restarts() {
    survive("psk", |mode| mode == Mode::Psk);
}

#[test]
fn every_peer_with_a_raw_public_key_or_a_certificate_goes_on_after_ten_restarts() {
    survive("certified", |mode| mode != Mode::Psk);
}

/// One device for each row of the table with such a mode; all on one node.
fn survive(name: &str, of: impl Fn(Mode) -> bool) {
    let mut world = World::start();
    let folder = env::temp_dir().join(format!("godwit-jumps-{}-{name}", std::process::id()));
    let mut running = Vec::new();
    for case in Case::all().filter(|case| of(case.mode)) {
        if let Some((_, why)) = SKIPS.iter().find(|skip| skip.0 == case.peer) {
            println!("skipped: {case}: {why}");
            continue;
        }
        if case.rows().next().is_some_and(|full| full.skipped().is_some()) {
            continue;
        }
        let tap = Proxy::tap(world.node.coaps());
        let folder = folder.join(case.endpoint());
        fs::create_dir_all(&folder).unwrap();
        let device = world.device(&case);
        let start =
            Start { world: &world, case: &case, server: tap.address(), identity: device.as_ref(), folder };
        let key_log = start.key_log();
        let Some(peer) = start_peer(&start) else { continue };
        let mut peer = peer.unwrap();
        peer.connect().and_then(|()| peer.exchange()).unwrap_or_else(|why| panic!("{case}: {why}"));
        running.push(Running { case, tap, peer, key_log });
    }
    for restart in 1..=RESTARTS {
        world.node.kill();
        world.node.restart();
        for Running { case, peer, .. } in &mut running {
            peer.exchange().unwrap_or_else(|why| panic!("{case}, after restart {restart}: {why}"));
        }
    }
    for Running { case, tap, peer, key_log } in running {
        drop(peer);
        let known = Checker::new().psk(&case.endpoint(), PSK_KEY).key_log(&key_log);
        let checker = known.read(&tap.datagrams());
        assert!(checker.problems().is_empty(), "{case}: {:?}", checker.problems());
        assert_eq!(checker.sessions().len(), 1, "{case}: it shook hands again");
        let (opened, all) = checker.opened();
        assert!(
            opened == all || case.mode != Mode::Psk && !key_log.exists(),
            "{case}: {opened} of {all} read"
        );
        let numbers: Vec<u64> =
            checker.records().iter().filter(|record| !record.up).map(|record| record.number).collect();
        let jumps = numbers.windows(2).filter(|pair| pair[1] - pair[0] > 1 << 19).count();
        assert_eq!(jumps, RESTARTS, "{case}: {numbers:?}");
    }
    let _ = fs::remove_dir_all(folder);
}
