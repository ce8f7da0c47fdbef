//! Records that come again, at any node, and records that nobody sent.

use std::{net::UdpSocket, thread, time::Duration};

use godwit_tests::{Cluster, PATIENCE, Setup};

use crate::{
    device::{Device, Speaks, cluster},
    load::{Fleet, setup},
};

/// Somebody who has seen everything and sends it to every node from a place of their own.
struct Attacker(UdpSocket);

impl Attacker {
    fn new() -> Attacker {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Attacker(socket)
    }

    /// Everything protected that this device has sent, to all running nodes, as it was and with a changed byte at its start,
    /// in its number or at its end. How many datagrams that were.
    fn attack(&self, cluster: &Cluster, device: &Device) -> usize {
        let client = device.raw.address();
        let mut sent = 0;
        for datagram in cluster.secure.datagrams() {
            if !datagram.up || datagram.client != client || datagram.bytes[3..5] == [0, 0] {
                continue;
            }
            let changed = |at: usize| {
                let mut bytes = datagram.bytes.clone();
                bytes[at] ^= 1;
                bytes
            };
            let last = datagram.bytes.len() - 1;
            for bytes in [datagram.bytes.clone(), changed(10), changed(last), changed(last - 20)] {
                for node in cluster.nodes.iter().filter(|node| node.http("/live").is_some()) {
                    self.0.send_to(&bytes, node.coaps()).unwrap();
                    sent += 1;
                }
            }
        }
        sent
    }

    fn heard(&self) -> bool {
        self.0.recv_from(&mut [0; 2048]).is_ok()
    }
}

fn claims(cluster: &Cluster) -> f64 {
    cluster.metric_sum("godwit_dtls_claims_total", "")
}

/// Waits until the nodes count no more of anything.
fn settle(cluster: &Cluster) {
    let counted = || {
        [
            "godwit_datagrams_received_total",
            "godwit_datagrams_dropped_total",
            "godwit_cluster_datagrams_total",
        ]
        .map(|name| cluster.metric_sum(name, ""))
    };
    let mut before = counted();
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = counted();
        if now == before {
            return;
        }
        before = now;
    }
}

#[test]
fn what_comes_again_or_is_forged_changes_nothing_before_during_and_after_a_hand_over() {
    let Some(cluster) = cluster(3) else { return };
    let mut device = Device::register(&cluster, "replayed", Speaks::PskWithCid);
    let attacker = Attacker::new();
    cluster.lead_all(0);
    (0..10).for_each(|_| device.update());
    device.change(1000);
    device.change(2000);
    let before = claims(&cluster);
    let attack = |device: &Device| {
        let sent = attacker.attack(&cluster, device);
        settle(&cluster);
        sent
    };
    let mut sent = attack(&device);
    assert_eq!(claims(&cluster), before, "it stays where it lives");
    cluster.lead_all(1);
    for _ in 0..3 {
        device.update();
        sent += attack(&device);
    }
    assert_eq!(claims(&cluster), before, "it stays, while three records came elsewhere");
    (0..10).for_each(|_| device.update());
    let moved = claims(&cluster);
    assert!(moved > before, "it has moved");
    sent += attack(&device);
    assert_eq!(claims(&cluster), moved, "it stays where it has moved to");
    assert!(!attacker.heard(), "nobody is answered but the device");

    let registration = cluster.nodes[2].admin().registration("replayed").unwrap();
    assert_eq!(
        (registration.registration_id, registration.lifetime.unwrap().seconds),
        (device.id.clone(), 2000)
    );
    for node in &cluster.nodes {
        let admin = node.admin();
        let reading = thread::spawn(move || admin.read("replayed", "/3/0/0"));
        device.answer("GET /3/0/0", "Godwit");
        reading.join().unwrap().unwrap();
    }
    let dropped = |reason: &str| {
        let reason = format!("reason=\"{reason}\"");
        cluster.metric_sum("godwit_dtls_records_dropped_total", &reason)
    };
    eprintln!("{sent} datagrams: {} known as repeated, {} as forged", dropped("replay"), dropped("forged"));
    assert!(dropped("replay") > 0.0 && dropped("forged") > 0.0);
    assert_eq!(cluster.handshakes(), 1.0);
}

#[test]
fn after_a_crash_a_replay_repeats_at_most_a_value_under_its_own_id() {
    after_a_crash("replayed", setup(), |accepted, of| eprintln!("{accepted} of {of} replays were accepted"));
}

#[test]
fn after_a_crash_with_a_strict_floor_no_replay_is_accepted() {
    after_a_crash("replayed-strict", setup().set("dtls.replay_floor=strict"), |accepted, of| {
        assert_eq!(accepted, 0.0, "of {of}");
    });
}

/// Everything that a fleet sent to a node comes to the others after that node's crash.
fn after_a_crash(name: &'static str, setup: Setup, judge: impl FnOnce(f64, usize)) {
    let Some(mut cluster) = Cluster::start(3, &setup) else { return };
    cluster.secure.health(1, false);
    cluster.secure.health(2, false);
    let mut fleet = Fleet::start(&cluster, name);
    fleet.broken();
    fleet.stop();
    cluster.nodes[0].kill();
    let attacker = Attacker::new();
    let accepted = || cluster.metric_sum("godwit_dtls_records_received_total", "");
    let (before, mut sent) = (accepted(), 0);
    let all = cluster.secure.datagrams();
    for datagram in all.iter().filter(|datagram| datagram.up && datagram.bytes[3..5] != [0, 0]) {
        attacker.0.send_to(&datagram.bytes, cluster.nodes[1 + sent % 2].coaps()).unwrap();
        sent += 1;
        if sent % 50 == 0 {
            settle_within(&cluster);
        }
    }
    settle(&cluster);
    let accepted = accepted() - before;
    judge(accepted, sent);
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "Everything is sent again after a crash",
        &format!(
            "All devices live at one node, which is killed; then {sent} of their records come again to the other nodes, from \
             somebody else's address (`dtls.replay_floor = \"{}\"`): {accepted} are accepted.",
            if name.ends_with("strict") { "strict" } else { "default" },
        ),
    );
}

/// Gives the nodes a moment, so that their sockets lose nothing.
fn settle_within(cluster: &Cluster) {
    assert!(cluster.nodes[1].http("/live").is_some() && cluster.nodes[2].http("/live").is_some());
    thread::sleep(PATIENCE / 3000);
}
