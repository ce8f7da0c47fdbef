//! The world: time, networks, the store's failures, and who is paused or dead. Everything follows from one seed.

mod commands;
mod faults;
mod plan;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

pub(super) use self::plan::Fault;
use super::{
    bug::Bug,
    device::Device,
    node::{Frame, Node, Note, Out, Start},
    observer::{Observer, Violation},
    rng::Rng,
    store::{Reply, Request, Store},
};
use crate::{
    admission::{Admission, Budgets},
    clock,
    config::keyring,
    connection::simulated::Settings,
    entropy,
    identity::{AssociationId, DeviceId, Owner},
    keys::{ClusterKeys, Trust},
    ownership::Timings,
    seal::Sealer,
    store::{Change, value},
    telemetry::Record,
};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000_000;
const NODES: usize = 3;
/// Faults begin and end within this time.
const FAULTS: (u64, u64) = (8 * SECOND, 35 * SECOND);
/// How long after the last fault every device must be served; a lane's rest and a device's slowest repetition are in it.
const PATIENCE: u64 = 150 * SECOND;
/// How long after an outage what was answered in it may not be on record: a heartbeat, and a try every other second.
const DEBTS_WITHIN: u64 = 6 * SECOND;
/// How far nodes' clocks may be off the store's, milliseconds.
const CLOCKS: u64 = 1_000;
/// Until a node takes the store for dead.
const STORE_TIMEOUT: u64 = 700 * MS;

/// What devices and callers are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// Registrations last for a day, and nobody asks anything.
    Plain,
    /// They last for seconds, the store is often away, and there are commands.
    Busy,
    /// As plain, but all nodes hear the devices, and nodes don't hear each other.
    Split,
}

/// Sessions of a device that a write has replaced or removed.
type Ended = (DeviceId, Vec<AssociationId>);

enum Event {
    ToNode { node: usize, from: SocketAddr, bytes: Vec<u8> },
    ToDevice { to: SocketAddr, bytes: Vec<u8> },
    Frame { node: usize, boot: u64, from: Owner, frame: Frame },
    Refused { node: usize, boot: u64, owner: Owner, id: Option<u64> },
    Ask { node: usize, boot: u64, id: u64, request: Request },
    Reply { node: usize, boot: u64, id: u64, reply: Reply, ended: Option<Ended> },
    Sink { node: usize, boot: u64, device: DeviceId, life: u64, id: u32, records: Vec<Record> },
    WakeNode { node: usize, boot: u64, turn: u64 },
    WakeDevice { device: usize, turn: u64 },
    Repeat { device: usize },
    Command { device: usize },
    LookForDebts,
    Begin(Fault),
    End(Fault),
}

/// A place where a node runs, or does not.
struct Slot {
    node: Option<Node>,
    boot: u64,
    paused_us: Option<u64>,
    waiting: VecDeque<Event>,
    turn: u64,
    /// Requests of one connection keep their order.
    asked_us: u64,
    replied_us: u64,
    store_cut: u32,
    /// The process of the store that it is connected to.
    store_run: u64,
    wall_ahead_ms: i64,
}

/// Everything.
pub(super) struct World {
    now: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), Event>,
    rng: Rng,
    base: Instant,
    slots: Vec<Slot>,
    devices: Vec<Device>,
    device_turns: Vec<u64>,
    routes: Vec<usize>,
    spray: Vec<u32>,
    store: Store,
    store_down: u32,
    store_slow: u32,
    cut: BTreeMap<(usize, usize), u32>,
    framed_us: BTreeMap<(usize, usize), u64>,
    loss: u32,
    sink_full: u32,
    replays: Vec<u32>,
    /// What devices have sent.
    heard: Vec<Vec<Vec<u8>>>,
    pub(super) observer: Observer,
    scene: Scene,
    settings: Arc<Settings>,
    documents: Rc<BTreeMap<DeviceId, value::Device>>,
    timings: Timings,
    bug: Option<Bug>,
    pub(super) faults: Vec<(u64, u64, Fault)>,
    healed_us: u64,
    pub(super) trace: Option<Vec<String>>,
    digest: u64,
}

/// How a schedule went.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) violations: Vec<Violation>,
    pub(super) faults: Vec<(u64, u64, Fault)>,
    pub(super) claims: u64,
    pub(super) presents: u64,
    pub(super) records: u64,
    pub(super) seconds: u64,
    pub(super) commands: u64,
    /// Of all that happened, in its order.
    pub(super) digest: u64,
    pub(super) trace: Vec<String>,
}

thread_local! {
    static SEALER: Arc<Sealer> = Arc::new(Sealer::new(&[7; 32]));
}

impl World {
    pub(super) fn new(seed: u64, scene: Scene, bug: Option<Bug>, trace: bool) -> Self {
        entropy::simulated::seed(Some(seed));
        let mut rng = Rng::new(seed);
        clock::simulated::set(None);
        let base = clock::now();
        let sealer = SEALER.with(Clone::clone);
        let keys = ClusterKeys::new(&keyring::generations(&"01".repeat(32), 1).expect("a secret"));
        let budgets = Budgets { handshakes_per_prefix: 1000, ..Budgets::default() };
        let engine = godwit_dtls::Config::default();
        let settings = Settings::new(engine, Trust::default(), keys, sealer, Admission::new(budgets), false);
        let timings = Timings::default();
        let devices: Vec<Device> =
            (1..=2).map(|nth| Device::new(nth, nth == 1 || rng.once_in(500), base, rng.u64())).collect();
        let mut store = Store::new(timings, bug);
        let mut documents = BTreeMap::new();
        for device in &devices {
            let credential = value::Credential {
                modes: vec![value::credential::Mode::Psk as i32],
                psk_identity: device.name.clone().into_bytes(),
                version: 1,
                ..value::Credential::default()
            };
            let document = value::Device {
                endpoint: device.name.clone(),
                profile: "demo".into(),
                credential: Some(credential),
                ..value::Device::default()
            };
            store.provision(document.clone());
            documents.insert(device.id, document);
        }
        let slot = |_| Slot {
            node: None,
            boot: 0,
            paused_us: None,
            waiting: VecDeque::new(),
            turn: 0,
            asked_us: 0,
            replied_us: 0,
            store_cut: 0,
            store_run: 0,
            wall_ahead_ms: 0,
        };
        let count = devices.len();
        let mut world = Self {
            now: 0,
            sequence: 0,
            events: BTreeMap::new(),
            routes: (0..count).map(|_| rng.below(NODES)).collect(),
            spray: vec![0; count],
            device_turns: vec![0; count],
            rng,
            base,
            slots: (0..NODES).map(slot).collect(),
            devices,
            store,
            store_down: 0,
            store_slow: 0,
            cut: BTreeMap::new(),
            framed_us: BTreeMap::new(),
            loss: 0,
            sink_full: 0,
            replays: vec![0; count],
            heard: vec![Vec::new(); count],
            observer: Observer::default(),
            scene,
            settings: Arc::new(settings),
            documents: Rc::new(documents),
            timings,
            bug,
            faults: Vec::new(),
            healed_us: FAULTS.1,
            trace: trace.then(Vec::new),
            digest: seed,
        };
        for node in 0..NODES {
            world.start(node);
        }
        for device in 0..count {
            // Once the nodes have taken lanes.
            world.device_turns[device] += 1;
            let turn = world.device_turns[device];
            world.at(3 * SECOND, Event::WakeDevice { device, turn });
        }
        match scene {
            Scene::Plain => world.plan(),
            Scene::Busy => world.plan_busily(),
            Scene::Split => world.plan_splits(),
        }
        world
    }

    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((time.max(self.now), self.sequence), event);
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>11.6} {}", self.now as f64 / 1e6, what()));
        }
    }

    fn note(&mut self, kind: u64, of: u64) {
        self.digest =
            (self.digest.rotate_left(7) ^ self.now ^ kind << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ of;
    }

    /// Runs to the end, or to the first violation.
    pub(super) fn run(mut self) -> Outcome {
        while let Some(((time, _), event)) = self.events.pop_first() {
            self.now = time;
            self.handle(event);
            let devices = self.devices.iter();
            let served = |device: &Device| device.served_us.is_some_and(|at| at >= self.healed_us + SECOND);
            if !self.observer.violations.is_empty() {
                break;
            }
            if self.now > self.healed_us + self.rest() && devices.clone().all(served) {
                self.look_back();
                break;
            }
            if self.now > self.healed_us + PATIENCE {
                // What a store forgot whose writer died is lost; its device must start over.
                for index in 0..NODES {
                    let state = self.slots[index].node.as_ref().map(Node::state);
                    self.say(|| format!("node {index} at the end: {state:?}"));
                }
                let routes = self.routes.clone();
                self.say(|| format!("routes: {routes:?}"));
                if !self.observer.excuses() {
                    self.observer.violations.push(Violation::NotServed);
                }
                break;
            }
        }
        clock::simulated::set(None);
        entropy::simulated::seed(None);
        Outcome {
            violations: self.observer.violations,
            faults: self.faults,
            claims: self.observer.claims,
            presents: self.observer.presents,
            records: self.observer.records,
            seconds: self.now / SECOND,
            commands: self.observer.callers.count(),
            digest: self.digest,
            trace: self.trace.unwrap_or_default(),
        }
    }

    /// At the end: what devices know of themselves is on record.
    fn look_back(&mut self) {
        for device in &self.devices {
            let record = self.store.record(device.id);
            if self.is_owed(device.id) {
                self.observer.violations.push(Violation::DebtForgotten);
            }
            self.observer.look_for_gone(device.id, self.store.sessions(device.id));
            let Some(known) = device.registration().filter(|_| !self.observer.has_expired(device.id)) else {
                continue;
            };
            let stored = record.and_then(|record| record.registration).map(|registration| registration.id);
            if stored.as_deref() != Some(known) && !self.observer.excuses() {
                self.observer.violations.push(Violation::RegistrationLost);
            }
        }
        self.look_back_at_commands();
    }

    /// Whether a device was promised to live for longer than its record says.
    fn is_owed(&self, device: DeviceId) -> bool {
        let deadline = self.store.record(device).and_then(|record| record.header.deadline);
        let until = self.observer.promised_until(device);
        let owed = deadline
            .zip(until)
            .is_some_and(|(deadline, until)| deadline + CLOCKS < self.store.time_ms(until / MS));
        owed && !self.observer.excuses()
    }

    /// Some seconds after an outage in which nothing else failed, what was answered in it is on record.
    fn look_for_debts(&mut self) {
        let Some((began, ended)) = self.observer.outages.last().copied() else { return };
        let harmless = |fault: &Fault| {
            matches!(fault, Fault::StoreDown | Fault::StoreAway | Fault::Move(_) | Fault::Spray(_))
        };
        let disturbed = self.store_down > 0
            || ended + DEBTS_WITHIN > self.now
            || self
                .faults
                .iter()
                .any(|(begin, end, fault)| *begin < self.now && *end > began && !harmless(fault));
        // Another owner knows only what is on record.
        let owed = |device: &Device| self.observer.has_since(device.id, began) && self.is_owed(device.id);
        if !disturbed && self.devices.iter().any(owed) {
            self.observer.violations.push(Violation::DebtForgotten);
        }
    }

    // Nodes.

    fn start(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.boot += 1;
        let name = ["a", "b", "c", "d"][index];
        let owner = Owner { node: name.into(), boot: slot.boot };
        let start = Start {
            owner,
            address: ([127, 0, 0, 1 + index as u8], 5691).into(),
            settings: self.settings.clone(),
            documents: self.documents.clone(),
            timings: self.timings,
            drift_ppm: self.rng.range(0, 401) as i64 - 200,
            grace: self.grace(),
            base: self.base,
            bug: self.bug,
        };
        let mut node = Node::new(self.now, start);
        node.wall_ahead_ms = self.slots[index].wall_ahead_ms;
        self.slots[index].node = Some(node);
        self.arm(index);
    }

    fn owner(&self, index: usize) -> Option<Owner> {
        self.slots[index].node.as_ref().map(|node| node.owner.clone())
    }

    fn arm(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(node) = &slot.node else { return };
        slot.turn += 1;
        let (due, boot, turn) = (node.due_us(), slot.boot, slot.turn);
        self.at(due, Event::WakeNode { node: index, boot, turn });
    }

    /// Lets a node act, unless it is dead or paused.
    fn act(&mut self, index: usize, act: impl FnOnce(&mut Node, u64) -> Vec<Out>) {
        let now = self.now;
        let Some(node) = &mut self.slots[index].node else { return };
        let owner = node.owner.clone();
        let outs = act(node, now);
        for out in outs {
            self.out(index, &owner, out);
        }
        self.arm(index);
    }

    fn out(&mut self, index: usize, owner: &Owner, out: Out) {
        let boot = owner.boot;
        match out {
            Out::Device { to, bytes } => {
                self.note(1, bytes.len() as u64);
                self.carry(Carried::Device { to, bytes });
            }
            Out::Peer { to, frame } => self.frame(index, owner, to, frame),
            Out::Store { id, request } => {
                let delay = self.store_delay();
                let slot = &mut self.slots[index];
                slot.asked_us = slot.asked_us.max(self.now + delay);
                let at = slot.asked_us;
                self.at(at, Event::Ask { node: index, boot, id, request });
            }
            Out::Sink { device, life, id, records } => {
                let delay = self.rng.range(MS, 120 * MS);
                self.after(delay, Event::Sink { node: index, boot, device, life, id, records });
            }
            Out::Note(note) => self.observe(owner, note),
            Out::Told { operation, told } => self.told(&operation, told),
        }
    }

    fn observe(&mut self, owner: &Owner, note: Note) {
        let now = self.now;
        match note {
            Note::Claimed { device, term, exact, record } => {
                self.say(|| format!("{owner} claims {device} in {term}, exact: {exact}"));
                self.note(2, u64::from(exact));
                self.observer.claimed(owner, device, (term, exact, &record), now);
            }
            Note::Accepted { device, association, number, term, plaintext } => {
                self.say(|| {
                    let message = super::coap::Message::decode(&plaintext);
                    let text = message.map(|it| format!("{}.{} id {}", it.kind, it.code, it.id));
                    format!("{owner} accepts {association:?} {number} of {device} in {term}: {text:?}")
                });
                self.note(3, number);
                self.observer.accepted((owner, term), device, association, number, &plaintext, now);
            }
            Note::Sealed { association, bytes } => self.observer.sealed(owner, association, &bytes),
            Note::Said { device, term, plaintext } => {
                self.say(|| {
                    let message = super::coap::Message::decode(&plaintext);
                    let text = message.map(|it| format!("{}.{:x} id {}", it.kind, it.code, it.id));
                    format!("{owner} says to {device} in {term}: {text:?}")
                });
                self.observer.said(owner, device, &plaintext, now);
            }
            Note::Released { device, term } => {
                self.say(|| format!("{owner} has released {device}"));
                self.observer.released(owner, device, term);
            }
            Note::Presented => self.observer.presents += 1,
        }
    }

    fn frame(&mut self, index: usize, from: &Owner, to: Owner, frame: Frame) {
        let names = ["a", "b", "c", "d"];
        let Some(target) = names.iter().position(|name| *name == &*to.node) else { return };
        let pair = (index.min(target), index.max(target));
        if self.cut.get(&pair).copied().unwrap_or(0) > 0 {
            return;
        }
        let delay = self.rng.range(100, 3 * MS);
        if !matches!(frame, Frame::View { .. } | Frame::Transmit { .. }) {
            self.say(|| format!("{from} tells {to}: {}", frame.name()));
        }
        let id = match &frame {
            Frame::Present { id, .. } | Frame::Release { id, .. } | Frame::Submit { id, .. } => Some(*id),
            _ => None,
        };
        let answers = matches!(frame, Frame::Answer { .. } | Frame::View { .. } | Frame::Transmit { .. });
        if self.owner(target).as_ref() != Some(&to) {
            // Nobody listens there, or another run answers.
            if !answers {
                let boot = from.boot;
                self.after(delay, Event::Refused { node: index, boot, owner: to, id });
            }
            return;
        }
        // One stream: what is sent first comes first.
        let last = self.framed_us.entry((index, target)).or_default();
        *last = (*last).max(self.now + delay);
        let at = *last;
        self.at(at, Event::Frame { node: target, boot: to.boot, from: from.clone(), frame });
    }

    // Devices.

    fn arm_device(&mut self, device: usize) {
        self.device_turns[device] += 1;
        let turn = self.device_turns[device];
        let due = self.devices[device].due_us();
        self.at(due.max(self.now + 1), Event::WakeDevice { device, turn });
    }

    fn sent(&mut self, device: usize, datagrams: Vec<Vec<u8>>) {
        for heard in std::mem::take(&mut self.devices[device].heard) {
            self.say(|| format!("device {device}: {heard:?}"));
            let id = self.devices[device].id;
            self.observer.heard(id, heard);
        }
        if !datagrams.is_empty() {
            let (count, route) = (datagrams.len(), self.routes[device]);
            self.say(|| format!("device {device} sends {count} by {route}"));
        }
        for bytes in datagrams {
            self.note(4, bytes.len() as u64);
            let mut node = self.routes[device];
            if self.spray[device] > 0 {
                node = self.rng.below(NODES);
            } else if self.slots[node].node.is_none() {
                // The balancer notices sooner or later.
                if self.rng.once_in(500) {
                    node = self.rng.below(NODES);
                    self.routes[device] = node;
                }
            }
            let from = self.devices[device].address;
            // Protected records; hellos are the gate's business, which is not part of this.
            if godwit_dtls::record::Records::parse(&bytes, 8).flatten().any(|record| record.epoch > 0) {
                self.heard[device].push(bytes.clone());
            }
            self.carry(Carried::Node { node, from, bytes });
        }
        self.arm_device(device);
    }

    /// An attacker has seen everything, and likes the newest best.
    fn repeat(&mut self, device: usize) {
        let count = self.heard[device].len();
        if count > 0 {
            let last = count - 1 - self.rng.below(count.min(12));
            let bytes = self.heard[device][last].clone();
            let mut from = self.devices[device].address;
            if self.rng.once_in(300) {
                from.set_port(6_666);
            }
            let node = self.rng.below(NODES);
            self.after(MS, Event::ToNode { node, from, bytes });
        }
        let delay = self.rng.range(20 * MS, 400 * MS);
        self.after(delay, Event::Repeat { device });
    }

    /// The network towards devices: it loses, repeats, delays and reorders.
    fn carry(&mut self, carried: Carried) {
        let (lost, twice) = if self.loss > 0 { (400, 150) } else { (15, 15) };
        if self.rng.once_in(lost) {
            return;
        }
        let copies = if self.rng.once_in(twice) { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = self.rng.range(MS, 15 * MS);
            if self.rng.once_in(20) {
                delay += self.rng.range(50 * MS, 3 * SECOND);
            }
            match carried.clone() {
                Carried::Node { node, from, bytes } => self.after(delay, Event::ToNode { node, from, bytes }),
                Carried::Device { to, bytes } => self.after(delay, Event::ToDevice { to, bytes }),
            }
        }
    }

    // The store.

    fn store_delay(&mut self) -> u64 {
        let slow = if self.store_slow > 0 { 100 * MS } else { 0 };
        slow + self.rng.range(200, 2 * MS)
    }

    fn asked(&mut self, index: usize, boot: u64, id: u64, request: Request) {
        let reachable = self.slots[index].store_cut == 0 && self.store_down == 0;
        let slot = &mut self.slots[index];
        let hasty = self.bug == Some(Bug::ClaimsBeforeHeartbeat);
        if reachable && (hasty || matches!(request, Request::Beat(_))) {
            slot.store_run = self.store.run();
        }
        let connected = reachable && slot.store_run == self.store.run();
        let mut ended = None;
        let reply = if connected {
            let committed = match &request {
                Request::Commit(device, fence, changes) => Some((*device, fence.clone(), changes.clone())),
                Request::Rewrite(device, again) => Some((*device, again.fence.clone(), Vec::new())),
                _ => None,
            };
            let kind = request.kind();
            let claims = match &request {
                Request::Claim(device, ..) => Some(*device),
                _ => None,
            };
            let before = match &request {
                Request::Commit(device, ..) => Some(self.store.sessions(*device)),
                _ => None,
            };
            let reply = self.store.handle(self.now / MS, request);
            self.note(5, kind);
            if let (Some((device, fence, changes)), Reply::Committed(Ok(()))) = (committed, &reply) {
                let after = self.store.sessions(device);
                let gone = before.into_iter().flatten().filter(|session| !after.contains(session));
                ended = Some((device, gone.collect()));
                self.observer.written(device, &fence, &changes);
                if changes.iter().any(|it| matches!(it, Change::Event(event) if event.r#type == "expired")) {
                    self.say(|| format!("node {index} ends the registration of {device}"));
                    self.observer.expired(device, self.now);
                }
            }
            if let (Some(device), Reply::Claimed(Ok(claimed))) = (claims, &reply) {
                self.observer.granted(device, claimed.term, Box::new(claimed.record.clone()));
            }
            reply
        } else {
            Reply::Unavailable
        };
        let mut delay = self.store_delay();
        if !reachable {
            delay = STORE_TIMEOUT;
        }
        if matches!(reply, Reply::Unavailable) {
            self.say(|| format!("node {index} gets no answer of the store"));
        }
        let slot = &mut self.slots[index];
        slot.replied_us = slot.replied_us.max(self.now + delay);
        let at = slot.replied_us;
        self.at(at, Event::Reply { node: index, boot, id, reply, ended });
    }

    // What happens.

    fn handle(&mut self, event: Event) {
        // A paused node finds it all when it goes on.
        if let Some(index) = event.node()
            && self.slots[index].paused_us.is_some()
        {
            return self.slots[index].waiting.push_back(event);
        }
        match event {
            Event::ToNode { node, from, bytes } => self.act(node, |it, now| it.datagram(now, from, bytes)),
            Event::Frame { node, boot, from, frame } if self.runs(node, boot) => {
                self.act(node, |it, now| it.frame(now, &from, frame));
            }
            Event::Refused { node, boot, owner, id } if self.runs(node, boot) => {
                self.act(node, |it, now| it.refused(now, &owner, id));
            }
            Event::Reply { node, boot, id, reply, ended } if self.runs(node, boot) => {
                // What was under way when the connection broke is not known.
                let cut = self.slots[node].store_cut > 0;
                let reply = if cut { Reply::Unavailable } else { reply };
                if let Some((device, sessions)) = ended.filter(|_| !cut) {
                    self.observer.ended(device, sessions);
                }
                self.act(node, |it, now| it.reply(now, id, reply));
            }
            Event::Sink { node, boot, device, life, id, records } => {
                let ok = self.sink_full == 0;
                if ok {
                    self.observer.durable(&records);
                }
                if self.runs(node, boot) {
                    self.act(node, |it, now| it.published(now, device, life, id, ok));
                }
            }
            Event::WakeNode { node, boot, turn }
                if self.runs(node, boot) && self.slots[node].turn == turn =>
            {
                self.act(node, Node::wake);
            }
            Event::Ask { node, boot, id, request } => self.asked(node, boot, id, request),
            Event::ToDevice { to, bytes } => {
                let found = self.devices.iter().position(|device| device.address == to);
                if let Some(device) = found {
                    let datagrams = self.devices[device].datagram(self.now, &bytes);
                    self.sent(device, datagrams);
                }
            }
            Event::WakeDevice { device, turn } if self.device_turns[device] == turn => {
                let datagrams = self.devices[device].wake(self.now);
                self.sent(device, datagrams);
            }
            Event::Command { device } => self.command(device),
            Event::LookForDebts => self.look_for_debts(),
            Event::Repeat { device } if self.replays[device] > 0 => self.repeat(device),
            Event::Begin(fault) => self.begin(fault),
            Event::End(fault) => self.end(fault),
            _ => {}
        }
    }

    fn runs(&self, index: usize, boot: u64) -> bool {
        self.slots[index].boot == boot && self.slots[index].node.is_some()
    }
}

#[derive(Clone)]
enum Carried {
    Node { node: usize, from: SocketAddr, bytes: Vec<u8> },
    Device { to: SocketAddr, bytes: Vec<u8> },
}

impl Event {
    /// The node that must run for it to be noticed.
    fn node(&self) -> Option<usize> {
        match self {
            Self::ToNode { node, .. }
            | Self::Frame { node, .. }
            | Self::Refused { node, .. }
            | Self::Reply { node, .. }
            | Self::WakeNode { node, .. } => Some(*node),
            _ => None,
        }
    }
}
