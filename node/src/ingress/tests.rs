//! Shards with real sockets, and devices that speak DTLS with them: what one handshake may cost the others.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::Arbiter;
use godwit_coap::{Code, Event, Peer, Request, Response, Token};
use godwit_dtls::{
    Secret,
    client::{self, Client, Credential, Failure, Output},
    nonce::NonceSource,
};
use godwit_proto::v1::{Command, command, operation::State};
use ring::rand::SystemRandom;
use tokio::sync::{oneshot, watch};

use super::{
    shard::{self, Security},
    socket::BoundSocket,
};
use crate::{
    admission::{Admission, Budgets},
    clock,
    config::keyring,
    connection::secure::settings::Settings,
    endpoint::{Inboxes, ShardMessage, handle::NewOperation, tests::process},
    identity::DeviceId,
    keys::{ClusterKeys, Trust},
    seal::Sealer,
    shard::listener::{Kind, Listener},
    store::{
        Beat, Change, Changes, Claim, Claimed, Counts, Cursor, DeviceFilter, DeviceRecord, DocumentKey,
        DocumentKind, Due, Expect, Fence, Lane, Member, Page, PageRequest, Pointer, StateStore, StoreError,
        StoreFuture,
        embedded::{self, Embedded},
        value::{self, credential::Mode},
    },
};

pub(crate) const KEY: &[u8] = b"0123456789abcdef";
/// How long what must come is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a look-up of a PSK identity has to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Free,
    Waiting,
    Failing,
}

/// In place of an identity: the writes by which devices are given up.
const PASSIVE: &str = "(passive)";
/// The same: whose session a record is of.
const FOUND: &str = "(found)";

/// A store whose look-ups of some identities, and what [`PASSIVE`] and [`FOUND`] stand for, end when the test says so.
struct SlowStore {
    inner: Embedded,
    held: Mutex<HashMap<Vec<u8>, watch::Receiver<Held>>>,
}

impl SlowStore {
    /// Look-ups of this identity wait from now on, until something else is sent.
    fn hold(&self, identity: &str) -> watch::Sender<Held> {
        let (hold, held) = watch::channel(Held::Waiting);
        self.held.lock().unwrap().insert(identity.into(), held);
        hold
    }
}

impl StateStore for SlowStore {
    fn resolve(&self, pointer: Pointer) -> StoreFuture<Option<DeviceId>> {
        let held = match &pointer {
            Pointer::PskIdentity(identity) => self.held.lock().unwrap().get(identity).cloned(),
            _ => None,
        };
        let answer = self.inner.resolve(pointer);
        Box::pin(async move {
            if let Some(mut held) = held {
                let released = held.wait_for(|held| *held != Held::Waiting).await;
                if released.is_ok_and(|held| *held == Held::Failing) {
                    return Err(StoreError::Unavailable("on purpose".into()));
                }
            }
            answer.await
        })
    }
    fn find(&self, pointer: Pointer) -> StoreFuture<Option<(DeviceId, DeviceRecord)>> {
        let held = self.held.lock().unwrap().get(FOUND.as_bytes()).cloned();
        let answer = self.inner.find(pointer);
        Box::pin(async move {
            if let Some(mut held) = held {
                let _ = held.wait_for(|held| *held == Held::Free).await;
            }
            answer.await
        })
    }
    fn load(&self, device: DeviceId) -> StoreFuture<Option<DeviceRecord>> {
        self.inner.load(device)
    }
    fn claim(&self, device: DeviceId, owner: &crate::identity::Owner, claim: Claim) -> StoreFuture<Claimed> {
        self.inner.claim(device, owner, claim)
    }
    fn commit(&self, device: DeviceId, fence: Fence, changes: Vec<Change>) -> StoreFuture<()> {
        let passive = changes.contains(&Change::Passive);
        let held = passive.then(|| self.held.lock().unwrap().get(PASSIVE.as_bytes()).cloned()).flatten();
        let written = self.inner.commit(device, fence, changes);
        Box::pin(async move {
            if let Some(mut held) = held {
                // Or the test has dropped its end.
                let _ = held.wait_for(|held| *held != Held::Waiting).await;
            }
            written.await
        })
    }
    fn due(&self, now_ms: u64, after: Option<Due>, limit: usize) -> StoreFuture<Vec<Due>> {
        self.inner.due(now_ms, after, limit)
    }
    fn list(&self, filter: DeviceFilter, page: PageRequest) -> StoreFuture<Page<(DeviceId, DeviceRecord)>> {
        self.inner.list(filter, page)
    }
    fn counts(&self) -> StoreFuture<Counts> {
        self.inner.counts()
    }
    fn heartbeat(&self, member: Member, ttl: Duration) -> StoreFuture<Beat> {
        self.inner.heartbeat(member, ttl)
    }
    fn changes(&self, after: Option<Cursor>) -> StoreFuture<Changes> {
        self.inner.changes(after)
    }
    fn probe(&self) -> StoreFuture<()> {
        self.inner.probe()
    }
    fn take_lanes(&self, owner: &crate::identity::Owner, count: u16) -> StoreFuture<Vec<Lane>> {
        self.inner.take_lanes(owner, count)
    }
    fn extend_lanes(&self, owner: &crate::identity::Owner, second: u32) -> StoreFuture<u32> {
        self.inner.extend_lanes(owner, second)
    }
    fn put_device(&self, device: value::Device, expect: Expect) -> StoreFuture<value::Device> {
        self.inner.put_device(device, expect)
    }
    fn remove_device(
        &self,
        device: DeviceId,
        expect: Expect,
        event: Option<value::StoredEvent>,
    ) -> StoreFuture<()> {
        self.inner.remove_device(device, expect, event)
    }
    fn events(&self, device: DeviceId) -> StoreFuture<Vec<value::StoredEvent>> {
        self.inner.events(device)
    }
    fn remove_event(&self, device: DeviceId, event: String) -> StoreFuture<()> {
        self.inner.remove_event(device, event)
    }
    fn document(&self, key: DocumentKey) -> StoreFuture<Option<value::Document>> {
        self.inner.document(key)
    }
    fn put_document(&self, key: DocumentKey, body: Vec<u8>, expect: Expect) -> StoreFuture<value::Document> {
        self.inner.put_document(key, body, expect)
    }
    fn remove_document(&self, key: DocumentKey, expect: Expect) -> StoreFuture<()> {
        self.inner.remove_document(key, expect)
    }
    fn list_documents(
        &self,
        kind: DocumentKind,
        page: PageRequest,
    ) -> StoreFuture<Page<(DocumentKey, value::Document)>> {
        self.inner.list_documents(kind, page)
    }
}

/// Shards of one process.
struct Node {
    store: Arc<SlowStore>,
    settings: Arc<Settings>,
    inboxes: Arc<Inboxes>,
    address: SocketAddr,
    arbiters: Vec<Arbiter>,
    _system: actix::SystemRunner,
}

impl Node {
    fn start(shards: usize, budgets: Budgets) -> Self {
        let listener = Listener { address: "127.0.0.1:0".parse().unwrap(), kind: Kind::Dtls };
        Self::over(shard::bind_all(&[listener], shards, 1 << 20).unwrap(), budgets)
    }

    /// Where the kernel leaves it to the shards to pass records on.
    fn unsteered(shards: usize) -> Self {
        let listener = Listener { address: "127.0.0.1:0".parse().unwrap(), kind: Kind::Plain };
        let mut sockets = shard::bind_all(&[listener], shards, 1 << 20).unwrap();
        sockets.iter_mut().flatten().for_each(|socket| socket.kind = Kind::Dtls);
        Self::over(sockets, budgets())
    }

    /// One shard, without DTLS.
    fn plain() -> Self {
        let listener = Listener { address: "127.0.0.1:0".parse().unwrap(), kind: Kind::Plain };
        Self::over(shard::bind_all(&[listener], 1, 1 << 20).unwrap(), budgets())
    }

    fn over(sockets: Vec<Vec<BoundSocket>>, budgets: Budgets) -> Self {
        let shards = sockets.len();
        let system = actix::System::new();
        let inner = Embedded::in_memory(embedded::Options::default()).unwrap();
        let store = Arc::new(SlowStore { inner, held: Mutex::default() });
        let sealer = Arc::new(Sealer::new(&[7; 32]));
        let process = Arc::new(process(store.clone(), sealer.clone(), shards));
        let cluster = ClusterKeys::new(&keyring::generations(&"01".repeat(32), 1).unwrap());
        let settings = Arc::new(Settings::new(
            godwit_dtls::Config::default(),
            Trust::default(),
            cluster,
            sealer,
            Admission::new(budgets),
            false,
        ));
        let address = sockets[0][0].local();
        let second = u32::try_from(clock::unix_ms() / 1000).unwrap();
        let arbiters = sockets
            .into_iter()
            .enumerate()
            .map(|(shard, sockets)| {
                let nonces = NonceSource::new(shard as u16, second, second + 3600);
                let security = Security { settings: settings.clone(), nonces };
                let coap = Arc::default();
                shard::start(shard as u16, process.clone(), coap, Some(security), sockets, || ())
            })
            .collect();
        let inboxes = process.inboxes.clone();
        Self { store, settings, inboxes, address, arbiters, _system: system }
    }

    /// Provisions a device with the key [`KEY`], whose identity is its endpoint name.
    fn declare(&self, endpoint: &str) {
        self.declare_for(endpoint, Mode::Psk);
    }

    fn declare_for(&self, endpoint: &str, mode: Mode) {
        let device = DeviceId::of(endpoint);
        let credential = value::Credential {
            modes: vec![mode as i32],
            psk_identity: endpoint.into(),
            secret: self.settings.sealer.seal(device, KEY),
            version: 1,
            ..value::Credential::default()
        };
        let document = value::Device {
            endpoint: endpoint.into(),
            credential: Some(credential),
            ..value::Device::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.store.put_device(document, Expect::Absent)).unwrap();
    }

    fn device(&self, endpoint: &str) -> Device {
        Device::new(self.address, endpoint)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for arbiter in self.arbiters.drain(..) {
            arbiter.stop();
            let _ = arbiter.join();
        }
    }
}

/// A device that speaks when the test lets it.
pub(crate) struct Device {
    socket: UdpSocket,
    endpoint: String,
    pub(crate) client: Client,
    peer: Peer,
    tokens: u64,
    random: SystemRandom,
    out: Vec<Output>,
}

impl Device {
    pub(crate) fn new(server: SocketAddr, endpoint: &str) -> Self {
        Self::with_cid(server, endpoint, true)
    }

    /// With a Connection ID, or without.
    pub(crate) fn with_cid(server: SocketAddr, endpoint: &str, cid: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        let settings = Arc::new(client::Settings::default());
        Self {
            socket,
            endpoint: endpoint.to_owned(),
            client: Client::new(settings, cid.then_some(&[][..])),
            peer: Peer::new(Arc::default(), 1, 1),
            tokens: 0,
            random: SystemRandom::new(),
            out: Vec::new(),
        }
    }

    /// Whatever leads its datagrams leads them here from now on.
    pub(crate) fn move_to(&self, server: SocketAddr) {
        self.socket.connect(server).unwrap();
    }

    pub(crate) fn begin(&mut self) {
        let credential = Credential::Psk { identity: self.endpoint.clone().into(), key: Secret::new(KEY) };
        let cx = client::Context { now: clock::now(), random: &self.random };
        self.client.start(cx, credential, false, &mut self.out);
        self.flush();
    }

    fn flush(&mut self) {
        self.out.retain(|output| match output {
            Output::Transmit(datagram) => {
                self.socket.send(datagram).unwrap();
                false
            }
            _ => true,
        });
    }

    /// Takes one datagram, if one comes within `patience`, or lets a timer fire.
    fn turn(&mut self, patience: Duration) {
        let now = clock::now();
        let due = self.client.poll_timeout().map_or(patience, |due| due.saturating_duration_since(now));
        self.socket.set_read_timeout(Some(due.min(patience).max(Duration::from_millis(1)))).unwrap();
        let mut buffer = [0; 2048];
        let received = self.socket.recv(&mut buffer);
        let cx = client::Context { now: clock::now(), random: &self.random };
        match received {
            Ok(length) => self.client.handle_datagram(cx, &buffer[..length], &mut self.out),
            Err(_) => self.client.handle_timeout(cx, &mut self.out),
        }
        self.flush();
    }

    /// Waits for the handshake's end.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let begun = clock::now();
        loop {
            for output in self.out.drain(..) {
                match output {
                    Output::Established { .. } => return Ok(()),
                    Output::Closed(failure) => return Err(failure.unwrap()),
                    _ => {}
                }
            }
            assert!(begun.elapsed() < PATIENCE, "{} neither ended nor failed", self.endpoint);
            self.turn(PATIENCE);
        }
    }

    /// Lets the handshake go on until the node has nothing more to say at once.
    fn settle(&mut self, until: impl Fn() -> bool) {
        let begun = clock::now();
        while !until() {
            assert!(begun.elapsed() < PATIENCE, "it never came to that");
            self.turn(Duration::from_millis(5));
        }
    }

    pub(crate) fn register(&mut self) -> Code {
        let mut request = Request::post("rd").content(40, "</1/0>,</3/0>");
        request.uri_query = vec![format!("ep={}", self.endpoint), "lwm2m=1.1".into()];
        self.ask(request)
    }

    pub(crate) fn rebind(&mut self) {
        let server = self.socket.peer_addr().unwrap();
        self.socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        self.socket.connect(server).unwrap();
    }

    /// Seals what CoAP has to say.
    fn say(&mut self) {
        while let Some(message) = self.peer.poll_transmit() {
            let cx = client::Context { now: clock::now(), random: &self.random };
            let mut datagram = Vec::new();
            self.client.seal(cx, &message, &mut datagram).unwrap();
            self.socket.send(&datagram).unwrap();
        }
    }

    fn request(&mut self, request: Request) {
        self.tokens += 1;
        self.peer.request(clock::now(), Token::from(self.tokens), request, true).unwrap();
        self.say();
    }

    pub(crate) fn ask(&mut self, request: Request) -> Code {
        self.request(request);
        let begun = clock::now();
        loop {
            self.say();
            if let Some(Event::Response { response, .. }) = self.peer.poll_event() {
                return response.code;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer");
            self.hear(Duration::from_millis(500));
            self.peer.handle_timeout(clock::now());
        }
    }

    /// Takes one datagram, if one comes in time.
    fn hear(&mut self, patience: Duration) {
        self.turn(patience);
        for output in self.out.drain(..) {
            if let Output::Application(message) = output {
                self.peer.handle_datagram(clock::now(), &message);
            }
        }
    }

    /// Answers the next request of the server with 2.05 and "7".
    pub(crate) fn answer(&mut self) {
        let begun = clock::now();
        loop {
            if let Some(Event::Request { id, .. }) = self.peer.poll_event() {
                let response = Response::new(Code::CONTENT).content(0, "7");
                self.peer.respond(clock::now(), id, response).unwrap();
                return self.say();
            }
            assert!(begun.elapsed() < PATIENCE, "no request");
            self.hear(PATIENCE);
        }
    }
}

/// A device without DTLS that repeats nothing.
struct Plain {
    socket: UdpSocket,
    endpoint: String,
    peer: Peer,
    tokens: u64,
}

impl Plain {
    fn new(node: &Node, endpoint: &str) -> Self {
        node.declare_for(endpoint, Mode::NoSec);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(node.address).unwrap();
        Self { socket, endpoint: endpoint.to_owned(), peer: Peer::new(Arc::default(), 1, 1), tokens: 0 }
    }

    fn send(&mut self, request: Request) {
        self.tokens += 1;
        self.peer.request(clock::now(), Token::from(self.tokens), request, true).unwrap();
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(message) = self.peer.poll_transmit() {
            self.socket.send(&message).unwrap();
        }
    }

    /// The next response, if one comes within `patience`.
    fn hear(&mut self, patience: Duration) -> Option<Response> {
        let begun = clock::now();
        loop {
            while let Some(event) = self.peer.poll_event() {
                if let Event::Response { response, .. } = event {
                    return Some(response);
                }
            }
            let left = patience.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 2048];
            if let Ok(length) = self.socket.recv(&mut buffer) {
                self.peer.handle_datagram(clock::now(), &buffer[..length]);
                self.flush();
            }
        }
    }

    fn register(&mut self) {
        let mut request = Request::post("rd").content(40, "</1/0>,</3/0>");
        request.uri_query = vec![format!("ep={}", self.endpoint), "lwm2m=1.1".into()];
        self.send(request);
    }
}

pub(crate) fn budgets() -> Budgets {
    Budgets { handshakes_per_prefix: 1000, ..Budgets::default() }
}

#[test]
fn a_slow_store_holds_up_only_the_handshake_that_asked() {
    let node = Node::start(1, budgets());
    node.declare("slow");
    node.declare("quick");
    let hold = node.store.hold("slow");
    let mut slow = node.device("slow");
    slow.begin();
    let admission = node.settings.admission.clone();
    slow.settle(|| hold.receiver_count() > 1);
    let mut quick = node.device("quick");
    quick.begin();
    quick.finish().unwrap();
    assert_eq!(quick.register(), Code::CREATED);
    assert!(slow.client.is_handshaking());
    assert_eq!(admission.handshakes(), 1, "only the slow one is under way");
    hold.send(Held::Free).unwrap();
    slow.finish().unwrap();
    assert_eq!(slow.register(), Code::CREATED);
    assert_eq!(admission.handshakes(), 0);
}

#[test]
fn a_network_with_its_share_of_handshakes_waits_for_one_to_end() {
    let exporter = crate::metrics::install();
    let node = Node::start(1, Budgets { handshakes_per_prefix: 1, ..budgets() });
    node.declare("slow");
    node.declare("quick");
    let hold = node.store.hold("slow");
    let mut slow = node.device("slow");
    slow.begin();
    slow.settle(|| hold.receiver_count() > 1);
    let mut quick = node.device("quick");
    quick.begin();
    quick.settle(|| {
        let metrics = exporter.render();
        metrics.lines().any(|line| {
            line.starts_with("godwit_dtls_refusals_total")
                && line.contains("\"prefix\"")
                && !line.ends_with(" 0")
        })
    });
    assert!(quick.client.is_handshaking() && quick.out.is_empty());
    hold.send(Held::Free).unwrap();
    slow.finish().unwrap();
    quick.finish().unwrap();
}

#[test]
fn a_store_that_fails_looks_like_an_unknown_identity_and_leaves_nothing() {
    let node = Node::start(1, budgets());
    node.declare("a");
    let hold = node.store.hold("a");
    hold.send(Held::Failing).unwrap();
    let mut device = node.device("a");
    device.begin();
    device.settle(|| node.settings.admission.handshakes() == 1);
    // Its Finished can't be read: silence, and a new handshake once the store is back.
    hold.send(Held::Free).unwrap();
    let mut device = node.device("a");
    device.begin();
    device.finish().unwrap();
    assert_eq!(device.register(), Code::CREATED);
}

#[test]
fn shards_pass_on_what_the_kernel_does_not_steer() {
    let node = Node::unsteered(3);
    node.declare("a");
    let mut device = node.device("a");
    device.begin();
    device.finish().unwrap();
    assert_eq!(device.register(), Code::CREATED);
    // One port in three leads to the shard that has the session.
    for _ in 0..8 {
        device.rebind();
        assert_eq!(device.ask(Request::get("/.well-known/core")), Code::CONTENT);
    }
}

#[test]
fn a_client_whose_address_changes_before_its_handshake_is_answered_gets_there() {
    let node = Node::start(1, budgets());
    node.declare("a");
    let mut device = Device::with_cid(node.address, "a", true);
    device.begin();
    // HelloVerifyRequest, then ServerHello, which the client answers with its Finished.
    for _ in 0..2 {
        device.turn(PATIENCE);
    }
    device.rebind();
    device.finish().unwrap();
    assert_eq!(device.register(), Code::CREATED);
}

#[test]
fn a_device_is_heard_though_its_endpoint_reached_for_it_while_its_record_was_looked_up() {
    for cid in [true, false] {
        let node = Node::start(1, budgets());
        node.declare("a");
        let mut device = Device::with_cid(node.address, "a", cid);
        device.begin();
        device.finish().unwrap();
        assert_eq!(device.register(), Code::CREATED);
        let id = DeviceId::of("a");
        let (done, released) = oneshot::channel::<()>();
        node.inboxes.of(0).push(ShardMessage::Release { device: id, done });
        released.blocking_recv().unwrap_err();

        let hold = node.store.hold(FOUND);
        device.request(Request::get("/.well-known/core"));
        let begun = clock::now();
        while hold.receiver_count() < 2 {
            assert!(begun.elapsed() < PATIENCE, "nobody asks whose it is");
            device.turn(Duration::from_millis(5));
        }
        let read = command::Kind::Read(command::Read { path: "/3/0/0".into(), format: None });
        let operation = NewOperation {
            id: "operation".into(),
            command: Command { kind: Some(read) },
            ttl: PATIENCE,
            queue: false,
            at_least_once: false,
        };
        let (reply, submitted) = oneshot::channel();
        node.inboxes.of(0).push(ShardMessage::Submit { device: id, operation: Box::new(operation), reply });
        device.answer();
        hold.send(Held::Free).unwrap();
        let ended = submitted.blocking_recv().unwrap().unwrap().ended.blocking_recv().unwrap();
        assert_eq!(ended.state(), State::Succeeded);
        assert_eq!(device.ask(Request::get("/.well-known/core")), Code::CONTENT);
    }
}

#[test]
fn a_register_that_comes_while_its_device_is_given_up_is_answered_without_being_repeated() {
    let node = Node::plain();
    let answered = |attempt: u32| {
        let hold = node.store.hold(PASSIVE);
        let mut device = Plain::new(&node, &format!("returns-{attempt}"));
        device.register();
        let location = device.hear(PATIENCE).unwrap().location_path;
        device.send(Request::delete("rd").segment(&location[1]));
        assert_eq!(device.hear(PATIENCE).unwrap().code, Code::DELETED);
        let begun = clock::now();
        while hold.receiver_count() < 2 {
            assert!(begun.elapsed() < PATIENCE, "it is not given up");
            assert!(device.hear(Duration::from_millis(5)).is_none());
        }
        device.register();
        // What comes later is answered: the register has reached its endpoint.
        let mut other = Plain::new(&node, &format!("other-{attempt}"));
        other.register();
        assert_eq!(other.hear(PATIENCE).unwrap().code, Code::CREATED);
        hold.send(Held::Free).unwrap();
        device.hear(Duration::from_secs(3)).is_some_and(|response| response.code == Code::CREATED)
    };
    // It waits for 1.5 s, which a machine that stands still may use up.
    assert!((0..10).any(answered));
}
