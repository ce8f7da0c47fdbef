//! Source NAT between balancer and nodes: each node sees a device at another address.

use std::{
    thread,
    time::{Duration, Instant},
};

use godwit_tests::{Cluster, Message};

use crate::{
    device::{Device, Speaks, cluster},
    load::{Fleet, setup},
};

#[test]
fn behind_source_nat_sessions_with_connection_ids_notice_nothing() {
    let Some(cluster) = cluster(3) else { return };
    cluster.secure.source_nat(true);
    let mut device = Device::register(&cluster, "with-cid", Speaks::PskWithCid);
    for turn in 0..9 {
        cluster.lead_all(turn % 3);
        device.update();
        device.change(1000 + turn as u32);
    }
    assert_eq!((cluster.handshakes(), device.repeated), (1.0, 0));
}

#[test]
fn behind_source_nat_sessions_without_connection_ids_are_not_found_and_can_be_resumed() {
    let Some(cluster) = cluster(2) else { return };
    cluster.secure.source_nat(true);
    cluster.secure.health(1, false);
    let mut device = Device::register(&cluster, "without-cid", Speaks::Psk);
    device.update();
    cluster.secure.health(1, true);
    cluster.lead_all(1);
    let missed = || cluster.nodes[1].metric_sum("godwit_session_lookups_total", "result=\"miss\"");
    let before = missed();
    let update = device.raw.numbered(Message::request("POST", &format!("/rd/{}", device.id)));
    device.raw.send(&update);
    let answer = device.raw.find(Duration::from_secs(1), |message| message.token() == update.token());
    assert_eq!(answer, None, "nobody knows whose record this is");
    assert!(missed() > before, "the look-up that failed is counted");
    // It offers its session again, and goes on at its registration.
    assert_eq!(device.raw.handshake(true), Ok(true), "resumed");
    device.update();
    let registration = cluster.nodes[0].admin().registration("without-cid").unwrap();
    assert_eq!(registration.registration_id, device.id);
}

#[test]
fn a_fleet_behind_source_nat_goes_on_while_its_flows_move() {
    let Some(cluster) = Cluster::start(3, &setup()) else { return };
    cluster.secure.source_nat(true);
    let mut fleet = Fleet::start(&cluster, "source-nat");
    fleet.broken();
    let until = Instant::now() + fleet.size.duration;
    while Instant::now() < until {
        cluster.secure.move_flows(10);
        thread::sleep(Duration::from_secs(1));
    }
    fleet.mended();
    assert_eq!(cluster.handshakes(), f64::from(fleet.size.devices), "one for each device");
    let found = fleet.end(&cluster);
    found.assert_zeros();
    found.report(
        "Flows move between three nodes behind source NAT",
        "Each node sees a device at an address of its own. Each second 10 % of the flows move.",
    );
}
