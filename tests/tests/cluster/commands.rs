//! What operators ask of any node reaches a device at any other.

use std::time::Duration;

use godwit_proto::v1::operation::State;

use crate::device::{Device, Speaks, cluster};

#[test]
fn a_command_at_each_node_reaches_a_device_at_any_other() {
    let Some(cluster) = cluster(3) else { return };
    for speaks in Speaks::ALL {
        let name = format!("{speaks:?}");
        let mut device = Device::register(&cluster, &name, speaks);
        for home in 0..3 {
            cluster.lead_all(home);
            device.update();
            for node in &cluster.nodes {
                let (admin, name) = (node.admin(), name.clone());
                let reading = std::thread::spawn(move || admin.read(&name, "/3/0/0"));
                device.answer("GET /3/0/0", "Godwit");
                reading.join().unwrap().unwrap();
            }
        }
    }
}

#[test]
fn a_command_for_a_device_of_a_dead_node_is_queued_and_sent_when_it_comes() {
    let Some(mut cluster) = cluster(2) else { return };
    let mut device = Device::register(&cluster, "orphan", Speaks::PskWithCid);
    cluster.lead_all(0);
    device.update();
    cluster.kill(0);
    let admin = cluster.nodes[1].admin().queued(Duration::from_secs(600));
    let operation = admin.execute("orphan", "/3/0/4", "").unwrap();
    device.update();
    let request = device.raw.next_request("POST /3/0/4");
    device.raw.send(&request.answer("2.04"));
    assert_eq!(cluster.nodes[1].admin().wait_operation(&operation.name).state(), State::Succeeded);
}

#[test]
fn a_changed_credential_ends_sessions_at_every_node() {
    let Some(cluster) = cluster(2) else { return };
    let mut device = Device::register(&cluster, "revoked", Speaks::PskWithCid);
    for home in [0, 1] {
        cluster.lead_all(home);
        device.update();
    }
    cluster.nodes[0].admin().delete_device("revoked").unwrap();
    godwit_tests::wait("the end of the session at the other node", || {
        cluster.nodes[1].admin().registration("revoked").err()
    });
    cluster.lead_all(1);
    let update = godwit_tests::Message::request("POST", &format!("/rd/{}", device.id));
    let update = device.raw.numbered(update);
    device.raw.send(&update);
    let token = update.0.get_token().to_vec();
    let answered = device.raw.find(Duration::from_secs(2), |message| message.0.get_token() == token);
    assert_eq!(answered, None, "nobody answers a session that was revoked");
}
