//! Credentials that were made a moment ago, or are taken away.

use std::{
    thread,
    time::{Duration, Instant},
};

use godwit_tests::{Checker, Cluster, Dtls, Message, Raw, Setup, wait};

use crate::device::{Device, KEY, Speaks, cluster};

/// Longer than the node's news of a change takes, so that it comes while a handshake waits for the store.
const SLOW: Duration = Duration::from_millis(250);

#[test]
fn devices_that_were_just_declared_shake_hands_once_at_a_node_whose_redis_is_slow() {
    let Some(cluster) = Cluster::wired(2, &Setup::default()) else { return };
    cluster.to_redis[1].delay(SLOW);
    cluster.secure.health(0, false);
    let names: Vec<_> = (0..16).map(|number| format!("fresh-{number}")).collect();
    let handshake = |name: String, number: u32| {
        let (admin, server) = (cluster.nodes[0].admin(), cluster.secure.address());
        thread::spawn(move || {
            // At another point of the other node's turns each.
            thread::sleep(SLOW * number / 8);
            admin.ensure_psk(&name, KEY);
            let mut raw = Raw::secured(server, Dtls::psk(&name, KEY));
            let id = raw.register(&format!("ep={name}&lwm2m=1.1"), "</1/0>,</3/0>");
            Device { raw, name, id, repeated: 0 }
        })
    };
    let under_way: Vec<_> =
        names.iter().cloned().zip(0..).map(|(name, number)| handshake(name, number)).collect();
    let devices: Vec<_> = under_way.into_iter().map(|thread| thread.join().unwrap()).collect();
    for mut device in devices {
        let (admin, name) = (cluster.nodes[0].admin(), device.name.clone());
        let reading = thread::spawn(move || admin.read(&name, "/3/0/0"));
        device.answer("GET /3/0/0", "Godwit");
        reading.join().unwrap().unwrap();
    }
    let ended =
        |outcome: &str| cluster.metric_sum("godwit_dtls_handshakes_total", &format!("outcome=\"{outcome}\""));
    assert_eq!((ended("full"), ended("resumed")), (names.len() as f64, 0.0));
    assert_eq!(cluster.metric_sum("godwit_dtls_claims_total", "numbers=\"jumped\""), 0.0);
    let checker = names.iter().fold(Checker::new(), |checker, name| checker.psk(name, KEY));
    let checker = checker.read(&cluster.secure.datagrams());
    checker.assert_clean();
    assert_eq!(checker.sessions().len(), names.len());
}

#[test]
fn a_revoked_credential_ends_its_sessions_at_every_node() {
    let Some(cluster) = cluster(3) else { return };
    let mut devices: Vec<_> = (0..3)
        .map(|home| Device::register(&cluster, &format!("revoked-{home}"), Speaks::PskWithCid))
        .collect();
    for (home, device) in devices.iter_mut().enumerate() {
        cluster.lead_all(home);
        (0..10).for_each(|_| device.update());
    }
    let began = Instant::now();
    for device in &devices {
        cluster.nodes[0].admin().delete_device(&device.name).unwrap();
    }
    let ended = |node: usize| cluster.nodes[node].metric_sum("godwit_dtls_sessions", "");
    for node in 0..3 {
        wait("the end of each node's session", || (ended(node) == 0.0).then_some(()));
    }
    eprintln!("sessions of three nodes ended within {:?} of the first of three revocations", began.elapsed());
    for (home, device) in devices.iter_mut().enumerate() {
        cluster.lead_all(home);
        let update = device.raw.numbered(Message::request("POST", &format!("/rd/{}", device.id)));
        device.raw.send(&update);
        let token = update.token().to_vec();
        let answer = device.raw.find(Duration::from_secs(1), |message| message.token() == token);
        assert_eq!(answer, None, "nobody answers a session that was revoked");
    }
}

#[test]
fn two_holders_of_one_credential_are_told_of_though_each_keeps_to_a_node_of_its_own() {
    let Some(cluster) = cluster(2) else { return };
    let holder = |home: usize| {
        cluster.secure.health(1 - home, false);
        let holder = Device::register(&cluster, "cloned", Speaks::PskWithCid);
        cluster.secure.health(1 - home, true);
        holder
    };
    let mut holders = [holder(0), holder(1)];
    for (home, holder) in holders.iter().enumerate() {
        cluster.secure.lead(holder.raw.address(), home);
    }
    let returns = || cluster.metric_sum("godwit_dtls_session_returns_total", "");
    assert_eq!(returns(), 0.0, "whoever loses a session makes another, and that is all");
    for turn in 1..=4 {
        let register =
            Message::request("POST", "/rd?ep=cloned&lwm2m=1.1").format(40).payload("</1/0>,</3/0>");
        assert_eq!(holders[(turn + 1) % 2].call(register), "2.01");
        wait("the count of each return", || (returns() >= turn as f64).then_some(()));
        assert_eq!(returns(), turn as f64);
    }
    let told = || {
        let records = cluster.nodes.iter().flat_map(|node| node.sink().records());
        records.filter(|record| record["data"]["type"] == "session_taken_over").count()
    };
    wait("an event", || (told() > 0).then_some(()));
    assert_eq!(told(), 1, "and none for each return");
}
