//! What is under way when a node dies: a handshake's end, a command.

use std::{thread, time::Duration};

use godwit_proto::v1::operation::State;
use godwit_tests::{Dtls, Message, Raw, wait};

use crate::device::{Device, KEY, Speaks, cluster};

#[test]
fn a_finished_that_is_repeated_to_another_node_is_answered_there() {
    for dies in [false, true] {
        let Some(mut cluster) = cluster(2) else { return };
        let name = "finishes";
        cluster.nodes[0].admin().ensure_psk(name, KEY);
        cluster.secure.health(1, false);
        let server = cluster.secure.address();
        let meanwhile = || {
            wait("the handshake's end at the first node", || (cluster.handshakes() == 1.0).then_some(()));
            cluster.secure.health(1, true);
            if dies {
                cluster.kill(0);
            } else {
                cluster.secure.health(0, false);
            }
        };
        let mut raw = Raw::secured_losing_the_end(server, Dtls::psk(name, KEY), meanwhile).unwrap();
        let id = raw.register(&format!("ep={name}&lwm2m=1.1"), "</3/0>");
        let registration = cluster.nodes[1].admin().registration(name).unwrap();
        assert_eq!(registration.registration_id, id);
        assert_eq!(cluster.handshakes(), if dies { 0.0 } else { 1.0 }, "the other node has seen none");
    }
}

#[test]
fn an_execute_in_flight_when_its_node_dies_is_done_once_and_its_caller_hears_how_it_ended() {
    let Some(mut cluster) = cluster(2) else { return };
    let mut devices = Speaks::ALL.map(|speaks| Device::register(&cluster, &format!("{speaks:?}"), speaks));
    cluster.lead_all(0);
    let mut asked: Vec<_> = devices
        .iter_mut()
        .map(|device| {
            // Enough for the first node to have it.
            (0..10).for_each(|_| device.update());
            let (admin, name) = (cluster.nodes[1].admin(), device.name.clone());
            let calling = thread::spawn(move || admin.execute(&name, "/3/0/4", ""));
            (device.raw.next_request("POST /3/0/4"), calling)
        })
        .collect();
    cluster.kill(0);
    for (device, (request, calling)) in devices.iter_mut().zip(asked.drain(..)) {
        // It has done it, and its answer is the first that the other node hears of it.
        let answer = request.answer("2.04");
        device.raw.send(&answer);
        wait("the end of the call", || {
            match device.raw.find(Duration::from_millis(200), Message::is_request) {
                // Under this id and token a client answers from memory.
                Some(again) => {
                    let same = (again.id(), again.token()) == (request.id(), request.token());
                    assert!(same, "{}: {again:?}", device.name);
                    device.raw.send(&answer);
                }
                None => device.update(),
            }
            calling.is_finished().then_some(())
        });
        let ended = calling.join().unwrap().unwrap();
        assert_eq!(ended.state(), State::Succeeded, "{}", device.name);
        // And it stands in nobody's way.
        let (admin, name) = (cluster.nodes[1].admin(), device.name.clone());
        let reading = thread::spawn(move || admin.read(&name, "/3/0/0"));
        device.answer("GET /3/0/0", "Godwit");
        reading.join().unwrap().unwrap();
    }
}
