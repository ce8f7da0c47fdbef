//! What is under way when a node dies: a handshake's end, a command.

use std::{thread, time::Duration};

use godwit_proto::v1::operation::State;
use godwit_tests::{Dtls, Message, Raw, wait};
use tonic::Code;

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
fn an_execute_in_flight_when_its_node_dies_is_done_once_and_its_caller_is_told() {
    let Some(mut cluster) = cluster(2) else { return };
    let mut device = Device::register(&cluster, "executes", Speaks::PskWithCid);
    cluster.lead_all(0);
    (0..10).for_each(|_| device.update());
    let admin = cluster.nodes[1].admin();
    let calling = thread::spawn(move || admin.execute("executes", "/3/0/4", ""));
    let request = device.raw.next_request("POST /3/0/4");
    cluster.kill(0);
    // It has done it, and its answer finds nobody.
    device.raw.send(&request.answer("2.04"));
    let told = calling.join().unwrap();
    match &told {
        Ok(operation) => assert!(operation.state() != State::Succeeded, "{operation:?}"),
        Err(status) => {
            assert!(
                matches!(status.code(), Code::Unavailable | Code::Aborted | Code::DeadlineExceeded),
                "{status:?}"
            );
        }
    }
    device.update();
    // Whatever it is asked again carries the id and token of the first, which a client answers from memory.
    while let Some(again) = device.raw.find(Duration::from_secs(3), Message::is_request) {
        assert_eq!((again.id(), again.token()), (request.id(), request.token()), "the same request");
        device.raw.send(&again.answer("2.04"));
    }
}
