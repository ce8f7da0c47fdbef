//! Flows that are moved, packets that are sprayed, addresses that change.

use std::sync::atomic::Ordering;

use godwit_tests::Checker;

use crate::device::{Device, KEY, Speaks, cluster};

#[test]
fn each_packet_of_a_device_may_come_to_another_node() {
    let Some(cluster) = cluster(3) else { return };
    let mut devices = Speaks::ALL.map(|speaks| Device::register(&cluster, &format!("{speaks:?}"), speaks));
    let before = cluster.handshakes();
    for turn in 0..9 {
        cluster.lead_all(turn % 3);
        for device in &mut devices {
            device.update();
            device.change(1000 + turn as u32);
        }
    }
    assert_eq!(cluster.handshakes(), before);
    for device in &devices {
        let registration = cluster.nodes[0].admin().registration(&device.name).unwrap();
        assert_eq!(registration.registration_id, device.id);
        assert_eq!(device.repeated, 0, "{}", device.name);
    }
}

#[test]
fn sprayed_packets_are_answered_and_no_nonce_comes_twice() {
    let Some(cluster) = cluster(3) else { return };
    let mut devices = [Speaks::Psk, Speaks::PskWithCid]
        .map(|speaks| Device::register(&cluster, &format!("{speaks:?}"), speaks));
    let before = cluster.handshakes();
    cluster.secure.faults.sprayed.store(100, Ordering::Relaxed);
    for _ in 0..40 {
        devices.iter_mut().for_each(Device::update);
    }
    assert_eq!(cluster.handshakes(), before);
    let checker = Checker::new().psk("Psk", KEY).psk("PskWithCid", KEY).read(&cluster.secure.datagrams());
    checker.assert_clean();
    let (opened, all) = checker.opened();
    assert!(opened == all && all >= 160, "{opened} of {all} records");
}

#[test]
fn a_device_that_has_moved_is_given_to_its_new_node() {
    let Some(cluster) = cluster(2) else { return };
    cluster.lead_all(0);
    let mut devices = Speaks::ALL.map(|speaks| Device::register(&cluster, &format!("{speaks:?}"), speaks));
    // The balancer chose for each flow, once.
    cluster.lead_all(0);
    devices.iter_mut().for_each(Device::update);
    cluster.lead_all(1);
    for _ in 0..24 {
        devices.iter_mut().for_each(Device::update);
    }
    let presented = || cluster.metric_sum("godwit_cluster_datagrams_total", "path=\"presented\"");
    let before = presented();
    for _ in 0..10 {
        devices.iter_mut().for_each(Device::update);
    }
    assert_eq!(presented(), before, "they live where they come to");
}

#[test]
fn what_a_device_says_when_it_is_given_to_another_node_is_answered() {
    const MOVES: usize = 6;
    let Some(cluster) = cluster(2) else { return };
    let mut devices = Speaks::ALL.map(|speaks| Device::register(&cluster, &format!("{speaks:?}"), speaks));
    for turn in 0..MOVES {
        cluster.lead_all(turn % 2);
        for _ in 0..12 {
            devices.iter_mut().for_each(Device::update);
        }
    }
    for device in &devices {
        // A machine that stands still has one repeated now and then; a record that is lost at each move, every time.
        assert!(device.repeated < MOVES as u32 / 2, "{} was repeated {} times", device.name, device.repeated);
    }
}

#[test]
fn an_address_that_changes_between_nodes_is_followed_by_connection_id() {
    let Some(cluster) = cluster(2) else { return };
    let mut device = Device::register(&cluster, "roams", Speaks::PskWithCid);
    let before = cluster.handshakes();
    for turn in 0..6 {
        cluster.secure.rebind();
        cluster.lead_all(turn % 2);
        device.update();
        device.update();
    }
    // A command finds it where it is now.
    let admin = cluster.nodes[0].admin();
    let reading = std::thread::spawn(move || admin.read("roams", "/3/0/0"));
    device.answer("GET /3/0/0", "Godwit");
    reading.join().unwrap().unwrap();
    assert_eq!(cluster.handshakes(), before);
}
