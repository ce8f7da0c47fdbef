//! What operators ask of any node reaches a device at any other.

use std::time::{Duration, Instant};

use godwit_proto::v1::{operation::State, watch_operations_response::Event};
use godwit_tests::{Cluster, Message, Setup, wait};

use crate::device::{Device, Speaks, cluster};

/// How long a device in queue mode stays awake.
const AWAKE: Duration = Duration::from_millis(100);

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
    wait("the end of the session at the other node", || {
        cluster.nodes[1].admin().registration("revoked").err()
    });
    cluster.lead_all(1);
    let update = Message::request("POST", &format!("/rd/{}", device.id));
    let update = device.raw.numbered(update);
    device.raw.send(&update);
    let token = update.0.get_token().to_vec();
    let answered = device.raw.find(Duration::from_secs(2), |message| message.0.get_token() == token);
    assert_eq!(answered, None, "nobody answers a session that was revoked");
}

/// Commands wait at one node for a device that sleeps, and go out by another, once and in order (scenario 26).
#[test]
fn commands_that_wait_at_one_node_are_sent_by_the_one_where_the_device_wakes() {
    let setup = Setup::default().set(format!("registration.awake_window={}ms", AWAKE.as_millis()));
    let Some(mut cluster) = Cluster::start(3, &setup) else { return };
    for (speaks, dies) in [(Speaks::NoSec, false), (Speaks::Psk, false), (Speaks::PskWithCid, true)] {
        let name = format!("{speaks:?}");
        let mut device = Device::register_as(&cluster, &name, speaks, "lwm2m=1.1&Q");
        cluster.lead_all(0);
        // The node has it, whichever it has registered at.
        (0..10).for_each(|_| device.update());
        let heard = Instant::now();
        wait("the device to sleep", || (heard.elapsed() > 2 * AWAKE).then_some(()));
        let queue = |node: usize| cluster.nodes[node].admin().queued(Duration::from_secs(600));
        let queued = [
            queue(0).write(&name, "/3/0/14", "+01").unwrap(),
            queue(1).execute(&name, "/3/0/4", "").unwrap(),
            queue(0).read(&name, "/3/0/9").unwrap(),
        ];
        assert!(queued.iter().all(|operation| operation.state() == State::Queued), "{queued:?}");
        let watched = cluster.nodes[2].admin().watch_operations("", &name);
        if dies {
            cluster.kill(0);
        }
        cluster.lead_all(1);
        device.update();
        let mut done = Vec::new();
        for answer in ["2.04", "2.04", "2.05"] {
            let request = wait("a request", || {
                let new = |it: &Message| it.is_request() && !done.contains(&it.id());
                let request = device.raw.find(Duration::from_secs(1), new);
                // It may have been asleep again before the node had written what it said.
                if request.is_none() {
                    device.update();
                }
                request
            });
            done.push(request.id());
            let answer = request.answer(answer);
            let reads = request.target() == "GET /3/0/9";
            let answer = if reads { answer.format(0).payload("33") } else { answer };
            assert_eq!(request.target(), ["PUT /3/0/14", "POST /3/0/4", "GET /3/0/9"][done.len() - 1]);
            device.raw.send(&answer);
        }
        for operation in &queued {
            let ended = cluster.nodes[2].admin().wait_operation(&operation.name);
            assert_eq!((ended.state(), ended.attempts), (State::Succeeded, 1), "{ended:?}");
            let told = wait("its end at a node that never had the device", || {
                watched.try_iter().find_map(|event| match event {
                    Event::Operation(it) if it.state() == State::Succeeded => Some(it),
                    _ => None,
                })
            });
            assert_eq!((told.name, told.result), (ended.name, ended.result), "one after the other");
        }
        let more =
            device.raw.find(Duration::from_millis(100), |it| it.is_request() && !done.contains(&it.id()));
        assert_eq!(more, None);
    }
}

#[test]
fn whoever_watches_one_operation_hears_its_end_wherever_that_is() {
    let Some(mut cluster) = cluster(3) else { return };
    let mut device = Device::register(&cluster, "watched", Speaks::PskWithCid);
    cluster.lead_all(0);
    (0..10).for_each(|_| device.update());
    let queue = cluster.nodes[1].admin().queued(Duration::from_secs(600));
    let operation = queue.read("watched", "/3/0/0").unwrap();
    let watched = cluster.nodes[2].admin().watch_operations(&operation.name, "");
    let request = device.raw.next_request("GET /3/0/0");
    cluster.kill(0);
    wait("its end", || {
        device.raw.send(&request.answer("2.05").format(0).payload("Godwit"));
        device.update();
        let ended = |event: Event| match event {
            Event::Operation(operation) => operation.state() == State::Succeeded,
            Event::Missed(_) => panic!("a watcher of one operation misses nothing"),
        };
        watched.try_iter().any(ended).then_some(())
    });
    let closed =
        || watched.try_recv().err().filter(|end| *end == std::sync::mpsc::TryRecvError::Disconnected);
    wait("the end of the stream", closed);
}
