//! Nodes that die, stop or stand still.

use godwit_tests::{Cluster, Message, wait};

use crate::device::{Device, Speaks, cluster};

fn devices(cluster: &Cluster, count: usize) -> Vec<Device> {
    let each = |number: usize| {
        let speaks = Speaks::ALL[number % Speaks::ALL.len()];
        Device::register(cluster, &format!("{speaks:?}-{number}"), speaks)
    };
    (0..count).map(each).collect()
}

#[test]
fn a_dead_nodes_devices_go_on_at_another_under_the_same_keys() {
    let Some(mut cluster) = cluster(3) else { return };
    let mut devices = devices(&cluster, 12);
    for victim in [0, 1] {
        cluster.lead_all(victim);
        devices.iter_mut().for_each(Device::update);
        cluster.kill(victim);
        let before = cluster.handshakes();
        for device in &mut devices {
            device.update();
            device.change(2000 + victim as u32);
            let registration = cluster.nodes[2].admin().registration(&device.name).unwrap();
            assert_eq!(registration.registration_id, device.id);
        }
        assert_eq!(cluster.handshakes(), before, "nobody had to shake hands");
        cluster.restart(victim);
        cluster.wait_complete();
    }
}

#[test]
fn a_register_whose_answer_died_with_its_node_is_answered_by_another_once() {
    let Some(mut cluster) = cluster(2) else { return };
    let mut device = Device::register(&cluster, "answers", Speaks::NoSec);
    cluster.lead_all(0);
    device.update();
    let register = Message::request("POST", "/rd?ep=answers&lwm2m=1.1").format(40).payload("</3/0>");
    let register = device.raw.numbered(register);
    assert_eq!(device.insist(&register), "2.01");
    let id = cluster.nodes[1].admin().registration("answers").unwrap().registration_id;
    cluster.kill(0);
    // The same request again, as if the answer had been lost.
    assert_eq!(device.insist(&register), "2.01");
    let again = cluster.nodes[1].admin().registration("answers").unwrap().registration_id;
    assert_eq!(again, id, "registered once");
}

#[test]
fn a_node_that_is_asked_to_stop_gives_its_devices_up() {
    let Some(mut cluster) = cluster(2) else { return };
    let mut devices = devices(&cluster, 9);
    cluster.lead_all(0);
    devices.iter_mut().for_each(Device::update);
    let before = cluster.handshakes();
    let own = ["full", "resumed"].map(|outcome| {
        let ended = format!("outcome=\"{outcome}\"");
        cluster.nodes[0].metric_sum("godwit_dtls_handshakes_total", &ended)
    });
    let own = own[0] + own[1];
    cluster.plain.health(0, false);
    cluster.secure.health(0, false);
    assert!(cluster.nodes[0].terminate().success());
    for device in &mut devices {
        device.update();
    }
    let repeated: u32 = devices.iter().map(|device| device.repeated).sum();
    assert!(repeated <= devices.len() as u32, "{repeated} requests were said again");
    assert_eq!(cluster.handshakes(), before - own, "the other node has seen none since");
    for device in &devices {
        let registration = cluster.nodes[1].admin().registration(&device.name).unwrap();
        assert_eq!(registration.registration_id, device.id);
    }
}

#[test]
fn a_node_that_stood_still_answers_nothing_stale() {
    let Some(cluster) = cluster(2) else { return };
    let mut devices = devices(&cluster, 6);
    cluster.lead_all(0);
    devices.iter_mut().for_each(Device::update);
    let before = cluster.handshakes();
    cluster.nodes[0].pause();
    cluster.lead_all(1);
    for device in &mut devices {
        device.change(3000);
    }
    cluster.nodes[0].resume();
    for turn in 0..4 {
        cluster.lead_all(turn % 2);
        for device in &mut devices {
            device.update();
        }
    }
    assert_eq!(cluster.handshakes(), before);
    for device in &devices {
        let registration = cluster.nodes[0].admin().registration(&device.name).unwrap();
        assert_eq!(registration.registration_id, device.id);
        assert_eq!(registration.lifetime.unwrap().seconds, 3000, "{}", device.name);
    }
}

#[test]
fn live_sessions_go_on_while_redis_is_down_and_after() {
    let Some(mut cluster) = cluster(2) else { return };
    let mut devices = devices(&cluster, 6);
    cluster.lead_all(0);
    for _ in 0..10 {
        // They come to live there.
        devices.iter_mut().for_each(Device::update);
    }
    // A node that can't read what is new about a device stops it: by then it has read what is.
    let looks = || cluster.nodes[0].metric("godwit_store_call_seconds_count{call=\"changes\"}");
    let now = looks();
    wait("the news of the devices", || (looks() >= now + 8.0).then_some(()));
    let before = cluster.handshakes();
    cluster.redis.kill();
    let change = Message::request("POST", &format!("/rd/{}?lt=4000", devices[0].id));
    let change = devices[0].raw.numbered(change);
    devices[0].raw.send(&change);
    wait("a write that fails", || {
        (cluster.nodes[0].metric_sum("godwit_store_errors_total", "call=\"commit\"") > 0.0).then_some(())
    });
    // Nobody serves better: a balancer that goes by readiness must not drop what lives here.
    cluster.nodes.iter().for_each(|node| node.wait_sight("outage", true));
    devices.iter_mut().for_each(Device::update);
    cluster.nodes.iter().for_each(|node| node.wait_sight("outage", true));
    cluster.redis.restart();
    cluster.nodes.iter().for_each(|node| node.wait_sight("seen", true));
    devices.iter_mut().for_each(|device| device.change(4000));
    cluster.lead_all(1);
    devices.iter_mut().for_each(Device::update);
    assert_eq!(cluster.handshakes(), before);
}
