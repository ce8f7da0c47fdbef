//! Commands at every node all the time, for devices at any other, while one thing after another fails.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use godwit_proto::v1::{Delivery, Operation, operation::State};
use godwit_tests::{Admin, Cluster, Message, PATIENCE, Scale, Setup, reason, report};
use tonic::{Code, Status};

use crate::device::{Device, Speaks};

/// What a caller is told of a command that has no answer, or none that is known.
const CLEAR: [&str; 9] = [
    "CANCELLED",
    "DEVICE_TIMEOUT",
    "NOT_REGISTERED",
    "OPERATION_PENDING",
    "OUTCOME_UNKNOWN",
    "OVERLOADED",
    "STOPPING",
    "STORE_UNAVAILABLE",
    "TTL_EXPIRED",
];

/// Whether an error says clearly what it is about: by its reason, or else it comes from the connection to a node that died.
fn is_clear(status: &Status) -> bool {
    match reason(status).as_str() {
        "" => matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled),
        reason => CLEAR.contains(&reason),
    }
}

/// What devices have executed: how often each command, by the argument that names it. It is kept outside of the nodes.
type Executed = Arc<Mutex<HashMap<String, u32>>>;

/// A device that answers what it is asked as a CoAP client does: what comes again under the same message id is answered
/// from memory (RFC 7252 §4.2). It updates its registration in between.
fn answering(mut device: Device, executed: Executed, end: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let answer = move |request: &Message| match request.target().as_str() {
        "GET /3/0/0" => request.answer("2.05").format(0).payload("Godwit"),
        "POST /3/0/4" => {
            *executed.lock().unwrap().entry(request.body()).or_default() += 1;
            request.answer("2.04")
        }
        other => panic!("nobody asks for {other}"),
    };
    thread::spawn(move || {
        let mut answers: HashMap<u16, Message> = HashMap::new();
        while !end.load(Ordering::Relaxed) {
            match device.raw.find(Duration::from_millis(300), |_| true) {
                Some(request) if request.is_request() => {
                    let answer = answers.entry(request.id()).or_insert_with(|| answer(&request));
                    device.raw.send(answer);
                }
                Some(_) => {}
                None => {
                    let update = Message::request("POST", &format!("/rd/{}", device.id));
                    let update = device.raw.numbered(update);
                    device.raw.send(&update);
                }
            }
        }
    })
}

/// Calls one device by one node, again and again.
struct Caller {
    node: usize,
    /// Commands that succeeded.
    answered: Arc<AtomicU64>,
    /// What it was told of each Execute, by the argument that names it.
    calling: thread::JoinHandle<Vec<(String, Result<Operation, Status>)>>,
}

impl Caller {
    fn start(admin: Admin, node: usize, name: String, end: Arc<AtomicBool>) -> Caller {
        let answered = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&answered);
        let calling = thread::spawn(move || {
            let mut told = Vec::new();
            while !end.load(Ordering::Relaxed) {
                let argument = format!("0='{name}-{node}-{}'", told.len());
                let executed = admin.execute(&name, "/3/0/4", &argument);
                let read = admin.read(&name, "/3/0/0");
                for result in [&executed, &read] {
                    match result {
                        Ok(_) => counted.fetch_add(1, Ordering::Relaxed),
                        Err(_) => 0,
                    };
                }
                // Else two cores do nothing else.
                thread::sleep(Duration::from_millis(50));
                assert!(read.as_ref().err().is_none_or(is_clear), "{read:?}");
                told.push((argument, executed));
            }
            told
        });
        Caller { node, answered, calling }
    }
}

/// Waits until each caller of these nodes has had answers anew: it comes back by itself.
#[track_caller]
fn go_on(callers: &[Caller], nodes: &[usize], after: &str) {
    let of = |caller: &&Caller| nodes.contains(&caller.node);
    let before: Vec<_> = callers.iter().filter(of).map(|it| it.answered.load(Ordering::Relaxed)).collect();
    // Two that were given after this began, whatever was under way.
    let all =
        || callers.iter().filter(of).zip(&before).all(|(it, n)| it.answered.load(Ordering::Relaxed) > n + 2);
    // Each may wait for a command of another caller that is under way, and that for its time to be over: longer than usual.
    let deadline = Instant::now() + 3 * PATIENCE;
    while !all() {
        assert!(Instant::now() < deadline, "commands are answered again after {after}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn commands_to_every_node_in_turn_are_done_once_or_fail_clearly_whatever_fails() {
    let scale = Scale::from_environment();
    let setup = Setup::default().set("coap.ack_timeout=300ms").set("coap.max_retransmit=3");
    let setup = setup.set("coap.response_timeout=3s");
    let Some(mut cluster) = Cluster::wired(3, &setup) else { return };
    let (executed, end) = (Executed::default(), Arc::<AtomicBool>::default());
    let devices = if scale == Scale::SOAK { 60 } else { 6 };
    let each = |number: usize| {
        let speaks = Speaks::ALL[number % Speaks::ALL.len()];
        Device::register(&cluster, &format!("{speaks:?}-{number}"), speaks)
    };
    let devices: Vec<_> = (0..devices).map(each).collect();
    let names: Vec<_> = devices.iter().map(|device| device.name.clone()).collect();
    let answering: Vec<_> = devices
        .into_iter()
        .map(|device| answering(device, Arc::clone(&executed), Arc::clone(&end)))
        .collect();
    let timeout = prost_types::Duration { seconds: 10, nanos: 0 };
    let delivery = Delivery { timeout: Some(timeout), ..Delivery::default() };
    let mut callers = Vec::new();
    for (node, name) in (0..3).flat_map(|node| names.iter().map(move |name| (node, name))) {
        let admin = cluster.nodes[node].admin().delivering(delivery.clone());
        callers.push(Caller::start(admin, node, name.clone(), Arc::clone(&end)));
    }
    go_on(&callers, &[0, 1, 2], "nothing");

    cluster.kill(1);
    go_on(&callers, &[0, 2], "a node's death");
    cluster.restart(1);
    cluster.wait_complete();
    go_on(&callers, &[0, 1, 2], "its return");

    cluster.roll(2);
    go_on(&callers, &[0, 1, 2], "a rolling restart");

    cluster.nodes[0].pause();
    health(&cluster, 0, false);
    thread::sleep(scale.cluster.outage.max(Duration::from_secs(3)));
    cluster.nodes[0].resume();
    health(&cluster, 0, true);
    cluster.wait_complete();
    go_on(&callers, &[0, 1, 2], "a node that stood still");

    for _ in 0..5 {
        cluster.plain.move_flows(50);
        cluster.secure.move_flows(50);
        go_on(&callers, &[0, 1, 2], "moved flows");
    }

    cluster.to_node.iter().for_each(|line| line.cut(true));
    cluster.plain.move_flows(50);
    cluster.secure.move_flows(50);
    thread::sleep(scale.cluster.outage);
    cluster.to_node.iter().for_each(|line| line.cut(false));
    cluster.wait_complete();
    go_on(&callers, &[0, 1, 2], "links that were cut");

    cluster.redis.kill();
    thread::sleep(scale.cluster.outage);
    cluster.redis.restart();
    cluster.nodes.iter().for_each(|node| node.wait_sight("seen", true));
    go_on(&callers, &[0, 1, 2], "an outage of the store");

    end.store(true, Ordering::Relaxed);
    let told: Vec<_> = callers.into_iter().flat_map(|caller| caller.calling.join().unwrap()).collect();
    answering.into_iter().for_each(|device| device.join().unwrap());
    let executed = executed.lock().unwrap();
    let mut failed = HashMap::<String, u32>::new();
    for (argument, told) in &told {
        let times = executed.get(argument).copied().unwrap_or_default();
        match told {
            Ok(operation) => assert_eq!((operation.state(), times), (State::Succeeded, 1), "{operation:?}"),
            Err(status) => {
                assert!(is_clear(status) && times <= 1, "{argument}: {times} times, {status:?}");
                *failed.entry(reason(status)).or_default() += 1;
            }
        }
    }
    let succeeded = told.iter().filter(|(_, told)| told.is_ok()).count();
    let mut failed: Vec<_> = failed.into_iter().collect();
    failed.sort_unstable();
    let of = |(reason, count): &(String, u32)| match reason.as_str() {
        "" => format!("| the connection to a node ended | {count} |\n"),
        reason => format!("| failed with `{reason}` | {count} |\n"),
    };
    report(
        "cluster-commands",
        "Commands at every node while one thing after another fails",
        "make soak",
        &format!(
            "{devices} devices, without DTLS, with PSK, and with PSK and Connection IDs, each called at all of three nodes all the time: \
             an Execute, then a read. Meanwhile a node is killed, all are restarted in turn, one stands still for {outage:?}, half of \
             the flows move five times, the links are cut for {outage:?}, and Redis is killed for {outage:?}. Devices count what they \
             execute; each caller goes on after each of these.\n\n\
             | Executes | |\n|---|---|\n| given | {given} |\n| succeeded, and executed once | {succeeded} |\n{failed}\
             | executed, of them all | {executed} |\n| executed twice | 0 |\n| succeeded, and not executed | 0 |\n",
            devices = names.len(),
            outage = scale.cluster.outage,
            given = told.len(),
            failed = failed.iter().map(of).collect::<String>(),
            executed = executed.len(),
        ),
    );
}

fn health(cluster: &Cluster, node: usize, up: bool) {
    cluster.plain.health(node, up);
    cluster.secure.health(node, up);
}
