//! Nodes with real sockets and links, over one store in memory, and devices that a test leads from node to node.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use actix::Arbiter;
use godwit_coap::{Code, Request};
use godwit_dtls::nonce::NonceSource;
use godwit_proto::v1::{self, command::Kind, operation::State};
use tokio::sync::watch;

use super::{
    heart::Heart,
    link::{self, Hub, Tls},
};
use crate::{
    admission::Admission,
    clock::{self, Boot},
    config::keyring,
    connection::secure::settings::Settings,
    endpoint::{
        Process, Service, ShardMessage,
        handle::{Endpoints, NewOperation, RegistrationChangeKind, SubmitError, Told},
        neighbours::Neighbours,
        tests::process,
    },
    health::Readiness,
    identity::{DeviceId, Owner},
    ingress::{
        shard::{self, Security},
        tests::{Device, KEY, budgets},
    },
    keys::{ClusterKeys, Trust},
    ownership::{Answer, Membership, Timings},
    seal::Sealer,
    shard::listener::{Kind as Socket, Listener},
    store::{
        Beat, Expect, Member, StateStore,
        embedded::{Embedded, Options},
        value::{self, credential::Mode},
    },
};

const SHARDS: usize = 2;
/// How long what must come is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Some nodes over one store.
struct Nodes {
    runtime: tokio::runtime::Runtime,
    store: Arc<Embedded>,
    sealer: Arc<Sealer>,
    nodes: Vec<Node>,
    _system: actix::SystemRunner,
}

struct Node {
    process: Arc<Process>,
    hub: Arc<Hub>,
    service: Service,
    heart: Arc<Heart>,
    beating: tokio::task::JoinHandle<()>,
    stop: watch::Sender<bool>,
    links: Option<thread::JoinHandle<()>>,
    arbiters: Vec<Arbiter>,
    dtls: SocketAddr,
    plain: SocketAddr,
}

impl Nodes {
    fn start(count: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let system = actix::System::new();
        // The store has been there for a while.
        let offset = Arc::new(AtomicU64::new(120_000));
        let behind = offset.clone();
        let clock = Arc::new(move || clock::unix_ms() - behind.load(Ordering::Relaxed));
        let store = Arc::new(Embedded::in_memory(Options { clock, ..Options::default() }).unwrap());
        offset.store(0, Ordering::Relaxed);
        let sealer = Arc::new(Sealer::new(&[7; 32]));
        let mut nodes = Self { runtime, store, sealer, nodes: Vec::new(), _system: system };
        for n in 0..count {
            nodes.add(&format!("node-{n}"));
        }
        nodes.meet();
        nodes
    }

    fn add(&mut self, name: &str) {
        let boot = clock::unix_ms() ^ name.len() as u64 ^ u64::from(name.as_bytes()[name.len() - 1]) << 32;
        let owner = Owner { node: name.into(), boot };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let hub = Hub::new(owner.clone(), address, Timings::default(), Tls::off());
        let mut process = process(self.store.clone(), self.sealer.clone(), SHARDS);
        (process.owner, process.neighbours) = (owner, hub.clone());
        let process = Arc::new(process);
        let service = Service::new(process.clone());
        let (stop, stopped) = watch::channel(false);
        let links = link::start(hub.clone(), service.clone(), listener, stopped).unwrap();
        let kinds = [Socket::Plain, Socket::Dtls];
        let listeners = kinds.map(|kind| Listener { address: "127.0.0.1:0".parse().unwrap(), kind });
        let sockets = shard::bind_all(&listeners, SHARDS, 1 << 20).unwrap();
        let (plain, dtls) = (sockets[0][0].local(), sockets[0][1].local());
        let heart = Heart::new(hub.clone(), process.clone(), Readiness::new(), Vec::new());
        let lanes = self.runtime.block_on(heart.join(SHARDS as u16)).unwrap();
        let settings = Arc::new(Settings::new(
            godwit_dtls::Config::default(),
            Trust::default(),
            ClusterKeys::new(&keyring::generations(&"01".repeat(32), 1).unwrap()),
            self.sealer.clone(),
            Admission::new(budgets()),
            false,
        ));
        let started = sockets.into_iter().zip(lanes).enumerate().map(|(shard, (sockets, lane))| {
            let nonces = NonceSource::new(lane.number, lane.from.saturating_sub(1), lane.until);
            let security = Security { settings: settings.clone(), nonces };
            shard::start(shard as u16, process.clone(), Arc::default(), Some(security), sockets, || ())
        });
        let arbiters = started.collect();
        let beating = self.runtime.spawn(heart.clone().run());
        let telling = super::watch::tell(hub.clone(), process.changes.subscribe());
        self.runtime.spawn(telling);
        self.runtime.spawn(super::watch::tell(hub.clone(), process.operations.subscribe()));
        let links = Some(links);
        self.nodes.push(Node { process, hub, service, heart, beating, stop, links, arbiters, dtls, plain });
    }

    /// Waits until each node knows of all others.
    fn meet(&self) {
        let count = self.nodes.len();
        for node in &self.nodes {
            self.runtime.block_on(node.heart.once());
        }
        wait("the nodes to meet", || {
            self.nodes.iter().all(|node| {
                let members = node.hub.members();
                members.is_valid(clock::boot()) && members.others(clock::boot()).len() == count - 1
            })
        });
    }

    /// Provisions a device that may speak in all ways.
    fn declare(&self, endpoint: &str) -> DeviceId {
        let device = DeviceId::of(endpoint);
        let credential = value::Credential {
            modes: vec![Mode::Psk as i32, Mode::NoSec as i32],
            psk_identity: endpoint.into(),
            secret: self.sealer.seal(device, KEY),
            version: 1,
            ..value::Credential::default()
        };
        let document = value::Device {
            endpoint: endpoint.into(),
            credential: Some(credential),
            ..value::Device::default()
        };
        self.runtime.block_on(self.store.put_device(document, Expect::Absent)).unwrap();
        device
    }

    /// A device that has shaken hands with the first node, and registered there.
    fn registered(&self, endpoint: &str, cid: bool) -> (DeviceId, Device) {
        let id = self.declare(endpoint);
        let mut device = Device::with_cid(self.nodes[0].dtls, endpoint, cid);
        device.begin();
        device.finish().unwrap();
        assert_eq!(device.register(), Code::CREATED);
        (id, device)
    }

    /// Which nodes have a device.
    fn holders(&self, device: DeviceId) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].process.directory.find(device).is_some()).collect()
    }

    fn handshakes_and_registrations(&self, device: DeviceId) -> (Vec<u64>, String) {
        let record = self.runtime.block_on(self.store.load(device)).unwrap().unwrap();
        let sessions = record.sessions.iter().map(|session| session.established_at).collect();
        (sessions, record.registration.unwrap().id)
    }
}

impl Node {
    /// Ends like a killed process: nothing more is written, and its ports refuse.
    fn kill(&mut self) {
        self.beating.abort();
        for arbiter in self.arbiters.drain(..) {
            arbiter.stop();
            let _ = arbiter.join();
        }
        let _ = self.stop.send(true);
        if let Some(links) = self.links.take() {
            links.join().unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn wait(what: &str, until: impl Fn() -> bool) {
    let begun = clock::now();
    while !until() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn discover() -> Request {
    Request::get("/.well-known/core")
}

fn read(id: &str) -> NewOperation {
    let read = v1::command::Read { path: "/3/0/9".into(), ..Default::default() };
    NewOperation {
        id: id.into(),
        command: v1::Command { kind: Some(Kind::Read(read)) },
        ttl: Duration::from_secs(60),
        queue: false,
        at_least_once: false,
    }
}

#[test]
fn a_device_is_answered_at_any_node_and_moves_with_its_eighth_record() {
    let nodes = Nodes::start(2);
    for (endpoint, cid) in [("named", true), ("addressed", false)] {
        let (id, mut device) = nodes.registered(endpoint, cid);
        let before = nodes.handshakes_and_registrations(id);
        device.move_to(nodes.nodes[1].dtls);
        for _ in 0..7 {
            assert_eq!(device.ask(discover()), Code::CONTENT);
        }
        assert_eq!(nodes.holders(id), [0], "{endpoint}: seven records are no move");
        assert_eq!(device.ask(discover()), Code::CONTENT);
        wait("the device to be given up", || nodes.holders(id).is_empty());
        assert_eq!(device.ask(discover()), Code::CONTENT);
        assert_eq!(nodes.holders(id), [1], "{endpoint}");
        assert_eq!(nodes.handshakes_and_registrations(id), before, "{endpoint}");
    }
}

#[test]
fn sprayed_records_move_nothing() {
    let nodes = Nodes::start(3);
    let (id, mut device) = nodes.registered("sprayed", true);
    for n in 0..60 {
        device.move_to(nodes.nodes[n * 7 % 3].dtls);
        assert_eq!(device.ask(discover()), Code::CONTENT);
    }
    assert_eq!(nodes.holders(id), [0]);
}

#[test]
fn a_killed_nodes_devices_go_on_at_another_at_once() {
    let mut nodes = Nodes::start(2);
    let (id, mut device) = nodes.registered("a", true);
    let (other, mut without) = nodes.registered("b", false);
    let before = (nodes.handshakes_and_registrations(id), nodes.handshakes_and_registrations(other));
    nodes.nodes[0].kill();
    for (id, device) in [(id, &mut device), (other, &mut without)] {
        device.move_to(nodes.nodes[1].dtls);
        assert_eq!(device.ask(discover()), Code::CONTENT);
        assert!(nodes.nodes[1].process.directory.find(id).is_some());
    }
    let after = (nodes.handshakes_and_registrations(id), nodes.handshakes_and_registrations(other));
    assert_eq!(after, before);
}

#[test]
fn a_node_that_was_given_up_and_is_back_is_a_path_again() {
    let nodes = Nodes::start(2);
    let (id, mut device) = nodes.registered("a", true);
    device.move_to(nodes.nodes[1].dtls);
    assert_eq!(device.ask(discover()), Code::CONTENT);
    let Node { hub, heart, .. } = &nodes.nodes[0];
    let (incarnation, back_ms) = hub.members().back().unwrap();
    let alone =
        Beat { time_ms: clock::unix_ms(), incarnation, back_ms, expires_from_ms: 0, members: Vec::new() };
    hub.handle_beat(clock::boot(), clock::boot(), alone);
    nodes.runtime.block_on(heart.once());
    // It has noticed nothing, and presents over the link that it has had all the time.
    for _ in 0..3 {
        assert_eq!(device.ask(discover()), Code::CONTENT);
    }
    assert_eq!(nodes.holders(id), [0]);
}

#[test]
fn a_newer_handshake_at_another_node_takes_the_device_there() {
    let nodes = Nodes::start(2);
    let (id, _gone) = nodes.registered("a", true);
    let mut device = Device::new(nodes.nodes[1].dtls, "a");
    device.begin();
    device.finish().unwrap();
    assert_eq!(device.register(), Code::CREATED);
    assert_eq!(nodes.holders(id), [1]);
}

#[test]
fn a_command_at_any_node_reaches_the_device_where_it_is() {
    let nodes = Nodes::start(2);
    let (id, mut device) = nodes.registered("a", true);
    let asked = nodes.nodes[1].service.submit(id, read("0190b6f0-0000-7000-8000-000000000001"));
    let submitted = nodes.runtime.spawn(async move { asked.await.unwrap().ended.await.unwrap() });
    device.answer();
    let ended = nodes.runtime.block_on(submitted).unwrap();
    assert_eq!(ended.state(), State::Succeeded);
    assert_eq!(nodes.holders(id), [0]);

    // It answers by way of another node by now, and is asked there.
    device.move_to(nodes.nodes[1].dtls);
    assert_eq!(device.ask(discover()), Code::CONTENT);
    let asked = nodes.nodes[1].service.submit(id, read("0190b6f0-0000-7000-8000-000000000002"));
    let submitted = nodes.runtime.spawn(async move { asked.await.unwrap().ended.await.unwrap() });
    device.answer();
    assert_eq!(nodes.runtime.block_on(submitted).unwrap().state(), State::Succeeded);
    assert_eq!(nodes.holders(id), [0]);
}

#[test]
fn a_refusal_and_a_cancellation_cross_nodes() {
    let nodes = Nodes::start(2);
    let (id, _device) = nodes.registered("a", true);
    let service = &nodes.nodes[1].service;
    let none = nodes.runtime.block_on(service.cancel(id, "0190b6f0-0000-7000-8000-000000000009".into()));
    assert_eq!(none.unwrap_err(), SubmitError::NoSuchOperation);
    let bad =
        NewOperation { command: v1::Command::default(), ..read("0190b6f0-0000-7000-8000-000000000003") };
    let refused = nodes.runtime.block_on(service.submit(id, bad));
    assert!(matches!(refused, Err(SubmitError::InvalidCommand(_))));
}

#[test]
fn a_device_without_dtls_is_answered_at_any_node() {
    let nodes = Nodes::start(2);
    let id = nodes.declare("plain");
    let mut device = Plain::new(nodes.nodes[0].plain);
    assert_eq!(device.ask(register("plain")), Code::CREATED);
    let location = device.location.clone();
    device.move_to(nodes.nodes[1].plain);
    for _ in 0..3 {
        let mut update = Request::post("rd");
        update.uri_path.push(location.clone());
        assert_eq!(device.ask(update), Code::CHANGED);
    }
    assert_eq!(nodes.holders(id), [0]);
    // From elsewhere it registers anew, wherever that is.
    let mut moved = Plain::new(nodes.nodes[1].plain);
    assert_eq!(moved.ask(register("plain")), Code::CREATED);
    assert_eq!(nodes.holders(id), [1]);
}

#[test]
fn whoever_watches_at_one_node_hears_of_registrations_at_another() {
    let nodes = Nodes::start(2);
    let mut told = nodes.nodes[1].process.changes.subscribe();
    let (id, _device) = nodes.registered("a", true);
    let heard = nodes.runtime.block_on(async {
        loop {
            if let Told::Change(change) = told.recv().await.unwrap() {
                return change;
            }
        }
    });
    assert_eq!((heard.device, heard.kind, heard.here), (id, RegistrationChangeKind::Registered, false));
}

#[test]
fn whoever_watches_at_one_node_hears_of_operations_at_another() {
    let nodes = Nodes::start(2);
    let mut told = nodes.nodes[1].process.operations.subscribe();
    let id = nodes.declare("a");
    let submit = |node: usize| {
        let new = NewOperation { queue: true, ..read("0190b6f0-0000-7000-8000-000000000004") };
        nodes.runtime.block_on(nodes.nodes[node].service.submit(id, new)).unwrap().operation
    };
    let submitted = submit(0);
    let heard = nodes.runtime.block_on(async {
        loop {
            if let Told::Change(change) = told.recv().await.unwrap() {
                return change;
            }
        }
    });
    assert_eq!((&*heard.operation, heard.here), (&submitted, false));
    assert_eq!(submit(1), submitted, "taken once, wherever it is handed in again");
}

#[test]
fn what_is_due_at_a_living_owner_is_left_to_it() {
    let nodes = Nodes::start(2);
    let (id, _device) = nodes.registered("a", true);
    let exporter = || nodes.holders(id);
    for shard in 0..SHARDS {
        nodes.nodes[1].process.inboxes.of(shard as u16).push(ShardMessage::Due(vec![id]));
    }
    // Both shards have done what they were told when they answer.
    let stalled = nodes.runtime.block_on(nodes.nodes[1].process.inboxes.stalled(PATIENCE));
    assert!(stalled.is_empty());
    wait("the activation to end", || exporter() == [0]);
}

#[test]
fn a_node_that_stands_still_keeps_a_device_until_somebody_may_claim_it() {
    let nodes = Nodes::start(2);
    let (id, _device) = nodes.registered("a", true);
    let [first, second] = &nodes.nodes[..] else { panic!() };
    nodes.nodes.iter().for_each(|node| node.beating.abort());
    let [of_first] = &second.hub.members().others(clock::boot())[..] else { panic!() };
    let ask = || nodes.runtime.block_on(second.hub.release(of_first, id, false));
    // The first alone has lost the store: its one heartbeat took too long to count, and the second says that it sees it.
    let seen = first.hub.members().others(clock::boot()).iter().map(|it| Member::clone(it)).collect();
    let beat = Beat {
        time_ms: clock::unix_ms(),
        incarnation: Some(1),
        back_ms: 0,
        expires_from_ms: 0,
        members: seen,
    };
    let cut_off = || {
        first.hub.change(|members| {
            *members = Membership::new(first.process.owner.clone(), Timings::default());
            members.handle_beat(Boot::default(), clock::boot(), beat.clone());
            members.handle_view(clock::boot(), &second.process.owner, true);
        });
    };
    second.hub.handle_store_lost();
    wait("the first to stand still", || {
        cut_off();
        ask() == Answer::Busy
    });
    assert_eq!(nodes.holders(id), [0]);
    wait("the first to give it up", || {
        // A heartbeat has been answered: it may claim again.
        nodes.runtime.block_on(second.heart.once());
        cut_off();
        ask() == Answer::Gone { term: 0 }
    });
    wait("the device to be free", || nodes.holders(id).is_empty());
}

/// Its answer to a node that has died came to one that is not asked to claim it.
#[test]
fn a_device_without_dtls_is_served_by_whoever_claims_it_though_another_has_heard_it_first() {
    let mut nodes = Nodes::start(3);
    let id = nodes.declare("plain");
    let mut device = Plain::new(nodes.nodes[0].plain);
    assert_eq!(device.ask(register("plain")), Code::CREATED);
    let location = device.location.clone();
    nodes.nodes[0].kill();
    device.move_to(nodes.nodes[2].plain);
    // 2.04, piggybacked.
    device.socket.send(&[0x60, 0x44, 0x80, 0x01]).unwrap();
    let submit = || {
        let new = NewOperation { queue: true, ..read("0190b6f0-0000-7000-8000-000000000005") };
        nodes.runtime.block_on(nodes.nodes[1].service.submit(id, new)).is_ok()
    };
    wait("the command to be taken", submit);
    assert_eq!(nodes.holders(id), [1]);
    let mut update = Request::post("rd");
    update.uri_path.push(location);
    assert_eq!(device.ask(update), Code::CHANGED);
}

fn register(endpoint: &str) -> Request {
    let mut request = Request::post("rd").content(40, "</1/0>,</3/0>");
    request.uri_query = vec![format!("ep={endpoint}"), "lwm2m=1.1".into()];
    request
}

/// A device without DTLS.
struct Plain {
    socket: std::net::UdpSocket,
    peer: godwit_coap::Peer,
    tokens: u64,
    location: String,
}

impl Plain {
    fn new(server: SocketAddr) -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let peer = godwit_coap::Peer::new(Arc::default(), 1, 1);
        Self { socket, peer, tokens: 0, location: String::new() }
    }

    fn move_to(&self, server: SocketAddr) {
        self.socket.connect(server).unwrap();
    }

    fn ask(&mut self, request: Request) -> Code {
        self.tokens += 1;
        self.peer.request(clock::now(), self.tokens.into(), request, true).unwrap();
        let begun = clock::now();
        loop {
            while let Some(message) = self.peer.poll_transmit() {
                self.socket.send(&message).unwrap();
            }
            if let Some(godwit_coap::Event::Response { response, .. }) = self.peer.poll_event() {
                self.location = response.location_path.last().cloned().unwrap_or_default();
                return response.code;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer");
            let mut buffer = [0; 2048];
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    self.peer.handle_datagram(clock::now(), &buffer[..length]);
                }
                Err(_) => {
                    self.peer.handle_timeout(clock::now());
                }
            }
        }
    }
}

#[test]
fn a_node_that_drains_gives_its_devices_up_and_answers_by_way_of_the_others() {
    let nodes = Nodes::start(2);
    let (id, mut device) = nodes.registered("a", true);
    let (other, mut without) = nodes.registered("b", false);
    let plain = nodes.declare("plain");
    let mut unsecured = Plain::new(nodes.nodes[0].plain);
    assert_eq!(unsecured.ask(register("plain")), Code::CREATED);
    let before = (nodes.handshakes_and_registrations(id), nodes.handshakes_and_registrations(other));
    let draining = &nodes.nodes[0];
    draining.heart.drain();
    wait("the other node to hear of it", || {
        nodes.nodes[1].hub.members().others(clock::boot()).iter().all(|member| member.draining)
    });
    draining.process.draining.store(true, Ordering::Relaxed);
    nodes.runtime.block_on(draining.service.drain());
    assert_eq!(nodes.holders(id), [0; 0]);
    // Their flows still lead to the node that stops.
    assert_eq!(device.ask(discover()), Code::CONTENT);
    assert_eq!(without.ask(discover()), Code::CONTENT);
    let mut update = Request::post("rd");
    update.uri_path.push(unsecured.location.clone());
    assert_eq!(unsecured.ask(update), Code::CHANGED);
    for id in [id, other, plain] {
        assert_eq!(nodes.holders(id), [1]);
    }
    let after = (nodes.handshakes_and_registrations(id), nodes.handshakes_and_registrations(other));
    assert_eq!(after, before);
    // A command finds them at once.
    let asked = nodes.nodes[0].service.submit(id, read("0190b6f0-0000-7000-8000-000000000004"));
    let submitted = nodes.runtime.spawn(async move { asked.await.unwrap().ended.await.unwrap() });
    device.answer();
    assert_eq!(nodes.runtime.block_on(submitted).unwrap().state(), State::Succeeded);
}

#[test]
fn a_device_that_was_claimed_while_its_node_stood_still_gets_no_stale_answer() {
    let nodes = Nodes::start(2);
    let (id, mut device) = nodes.registered("a", true);
    let node = &nodes.nodes[0];
    // Somebody has claimed it, as a node does that a silent owner leaves without an answer.
    let before = nodes.runtime.block_on(nodes.store.load(id)).unwrap().unwrap().header;
    let thief = Owner { node: "node-9".into(), boot: 9 };
    let claim = crate::store::Claim { create: false, seen: None };
    let claimed = nodes.runtime.block_on(nodes.store.claim(id, &thief, claim)).unwrap();
    assert!(claimed.term > before.term);
    for shard in 0..SHARDS {
        node.process.inboxes.of(shard as u16).push(ShardMessage::StandStill(Duration::from_millis(500)));
    }
    // Its update finds another owner: it is not answered under the old claim, but by a new one.
    assert_eq!(device.register(), Code::CREATED);
    let after = nodes.runtime.block_on(nodes.store.load(id)).unwrap().unwrap().header;
    assert!(after.term > claimed.term);
    assert_eq!(after.owner, Some(node.process.owner.clone()));
}
