//! One node: the production cores of one shard, and what actors, sockets and links do between them.
//!
//! ```text
//!  datagram ─► connection here? ─► unsure? header read ─► channel ─► core ─► endpoint ─► store, sink
//!      └ none ─► resolve, load, authenticate ─► Activation ─► claim, present, relay, leave
//! ```
//! A crash drops it; what it had asked of the store may have happened all the same.

mod beat;
mod claim;
mod command;
mod effects;
mod finding;
mod frame;
mod out;
mod owner;
mod reply;
mod route;
mod time;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    beat::Restoring,
    command::{Asker, Order},
    finding::Finding,
    reply::Pending,
    route::Held,
};
pub(super) use self::{
    frame::{Frame, Taken},
    out::{Note, Out},
};
use super::{bug::Bug, links::Links, store::Request};
use crate::{
    clock::Boot,
    connection::simulated::{Connection, Ground, Place, Settings, Wanted},
    endpoint::simulated::{Endpoint, Services},
    identity::{DeviceId, Owner},
    ownership::{Answer, Confirmed, Membership, Pulse, Residence, Timings},
    shard::outbox::SocketId,
    store::{Fence, recent::Recent, value},
    telemetry::SinkError,
};

/// The key of all devices.
pub(super) const KEY: &[u8] = b"0123456789abcdef";
/// The built-in profile of all devices.
const PROFILE: &str = "demo";
/// The loop turns at least so often.
const TURN_US: u64 = 150_000;
const RECONNECT_US: u64 = 200_000;
const WAITING: usize = 4;
/// How long what was written is kept, to be written again.
const KEEP: Duration = Duration::from_secs(120);

/// A live endpoint.
struct Live {
    endpoint: Endpoint,
    fence: Fence,
    /// Tells the lives of one device on this node apart.
    life: u64,
    confirmed: Confirmed,
    residence: Residence,
    /// Datagrams that wait for the header, if that is being read.
    held: Option<Vec<Held>>,
    /// Who waits for the device to be given up.
    released: Vec<(Owner, u64)>,
    /// Writes since an inexact claim.
    since_jump: Option<u32>,
}

struct Conn {
    connection: Connection,
    /// Behind which node the device is.
    via: Option<Owner>,
    by_address: Option<SocketAddr>,
}

/// One run of one node.
pub(super) struct Node {
    pub(super) owner: Owner,
    address: SocketAddr,
    base: Instant,
    now_us: u64,
    turned_us: u64,
    drift_ppm: i64,
    /// How far its wall clock is off.
    pub(super) wall_ahead_ms: i64,
    pub(super) membership: Membership,
    pulse: Pulse,
    recent: Recent,
    settings: Arc<Settings>,
    services: Services,
    links: Rc<Links>,
    ground: Option<Rc<Ground>>,
    pub(super) lane: Option<(u16, u32)>,
    lane_asked: bool,
    restored: u64,
    restoring: Restoring,
    beat_due: u64,
    connections: BTreeMap<u32, Conn>,
    by_peer: BTreeMap<SocketAddr, u32>,
    live: BTreeMap<DeviceId, Live>,
    finding: BTreeMap<u64, Finding>,
    by_wanted: HashMap<Wanted, u64>,
    pending: BTreeMap<u64, Pending>,
    asked: BTreeMap<u64, u64>,
    terms: BTreeMap<DeviceId, u64>,
    /// Who waits for the ends of the commands that endpoints here have.
    callers: BTreeMap<String, Asker>,
    /// Commands that other nodes have, or are to get.
    forwarded: BTreeMap<u64, Order>,
    documents: Rc<BTreeMap<DeviceId, value::Device>>,
    next: u64,
    out: Vec<Out>,
    bug: Option<Bug>,
}

/// What a node is started with.
pub(super) struct Start {
    pub(super) owner: Owner,
    pub(super) address: SocketAddr,
    pub(super) settings: Arc<Settings>,
    pub(super) documents: Rc<BTreeMap<DeviceId, value::Device>>,
    pub(super) timings: Timings,
    pub(super) drift_ppm: i64,
    /// How long a registration lives past its lifetime.
    pub(super) grace: Duration,
    pub(super) base: Instant,
    pub(super) bug: Option<Bug>,
}

impl Node {
    pub(super) fn new(now_us: u64, start: Start) -> Self {
        let links = Rc::new(Links::default());
        let sealer = &start.settings.sealer;
        let services = Services::new(&start.owner, sealer, links.clone(), start.base, start.grace);
        let mut node = Self {
            membership: Membership::new(start.owner.clone(), start.timings),
            pulse: Pulse::new(Boot::from_start(Duration::from_micros(now_us)), &start.timings),
            owner: start.owner,
            address: start.address,
            base: start.base,
            now_us,
            turned_us: now_us,
            drift_ppm: start.drift_ppm,
            wall_ahead_ms: 0,
            recent: Recent::new(KEEP),
            settings: start.settings,
            services,
            links,
            ground: None,
            lane: None,
            lane_asked: false,
            restored: 0,
            restoring: Restoring::default(),
            beat_due: now_us,
            connections: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            live: BTreeMap::new(),
            finding: BTreeMap::new(),
            by_wanted: HashMap::new(),
            pending: BTreeMap::new(),
            asked: BTreeMap::new(),
            terms: BTreeMap::new(),
            callers: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            documents: start.documents,
            next: 1,
            out: Vec::new(),
            bug: start.bug,
        };
        node.pulse = Pulse::new(node.boot(), node.membership.timings());
        node
    }

    /// It goes on after a pause that began at `paused_at`.
    pub(super) fn resume(&mut self, now_us: u64, paused_at: u64) -> Vec<Out> {
        self.turn(now_us, Some(paused_at));
        self.finish()
    }

    fn finish(&mut self) -> Vec<Out> {
        self.settle();
        std::mem::take(&mut self.out)
    }

    /// For whoever reads why a device was not served.
    pub(super) fn state(&self) -> String {
        let boot = self.boot();
        let live: Vec<_> = self
            .live
            .iter()
            .map(|(device, live)| {
                let unsure = self.pulse.is_unsure(live.confirmed);
                let (leaving, held) = (live.endpoint.leaving(), live.held.is_some());
                format!("{device} in {}: unsure {unsure}, leaving {leaving}, held {held}", live.fence.term)
            })
            .collect();
        let connections: Vec<_> = self
            .connections
            .iter()
            .map(|(key, conn)| {
                (key, conn.connection.association(), conn.connection.is_claiming(), conn.by_address)
            })
            .collect();
        format!(
            "{:?} {:?}, lane {:?}, live {live:?}, {} looked for, {} pending, {connections:?}",
            self.membership.validity(boot),
            self.membership.hold(boot),
            self.lane,
            self.finding.len(),
            self.pending.len()
        )
    }

    pub(super) fn wake(&mut self, now_us: u64) -> Vec<Out> {
        self.turn(now_us, None);
        if self.beat_due <= now_us {
            self.beat_due = now_us + self.membership.timings().heartbeat.as_micros() as u64;
            self.beat();
        }
        let reading = self.reading();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= reading.now);
        let connections: Vec<u32> = self.connections.keys().copied().collect();
        for key in connections {
            if let Some(conn) = self.connections.get_mut(&key).filter(|conn| due(conn.connection.due())) {
                conn.connection.handle_timeout(reading.now);
            }
        }
        let devices: Vec<DeviceId> = self.live.keys().copied().collect();
        for device in devices {
            let live = self.live.get_mut(&device).filter(|live| due(live.endpoint.due(reading)));
            if let Some(live) = live {
                live.endpoint.deadline(reading);
            }
        }
        let boot = self.boot();
        let late: Vec<u64> = self
            .finding
            .iter()
            .filter(|(_, finding)| finding.activation.poll_timeout() <= boot)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let Some(finding) = self.finding.get_mut(&id) else { continue };
            if let Some(owner) = finding.asked_of.take() {
                self.membership.handle_silent(boot, &owner);
            }
            let step = finding.activation.handle_timeout(boot, &self.membership);
            self.step(id, step);
        }
        self.finish()
    }

    pub(super) fn datagram(&mut self, now_us: u64, from: SocketAddr, bytes: Vec<u8>) -> Vec<Out> {
        self.turn(now_us, None);
        self.route(from, None, bytes);
        self.finish()
    }

    pub(super) fn frame(&mut self, now_us: u64, from: &Owner, frame: Frame) -> Vec<Out> {
        self.turn(now_us, None);
        let boot = self.boot();
        if !matches!(frame, Frame::View { .. }) {
            self.membership.handle_answered(from);
        }
        match frame {
            Frame::Present { id, device, association, from: address, bytes, held } => {
                self.presented((from.clone(), held), id, device, association, address, bytes);
            }
            Frame::Release { id, device } => self.release_asked(from.clone(), id, device),
            Frame::Answer { id, answer } => self.answered(id, answer),
            Frame::Relay { from: address, bytes } => self.route(address, Some(from.clone()), bytes),
            Frame::Transmit { to, bytes } => self.out.push(Out::Device { to, bytes }),
            Frame::Claimed { device, term } => self.superseded(device, term),
            Frame::Submit { id, device, operation } => self.submitted(from.clone(), id, device, *operation),
            Frame::Submitted { id, taken } => self.forward_answered(id, taken),
            Frame::Ended { id, state } => self.forward_ended(id, state),
            Frame::View { sees_store } => self.membership.handle_view(boot, from, sees_store),
        }
        self.finish()
    }

    /// A peer's address refuses connections, or another run answers there.
    pub(super) fn refused(&mut self, now_us: u64, owner: &Owner, id: Option<u64>) -> Vec<Out> {
        self.turn(now_us, None);
        self.membership.handle_refused(owner);
        match id {
            Some(id) if self.forwarded.contains_key(&id) => self.forward_answered(id, Taken::Elsewhere),
            Some(id) => self.answered(id, Answer::Dead),
            None => {}
        }
        self.finish()
    }

    pub(super) fn published(
        &mut self,
        now_us: u64,
        device: DeviceId,
        life: u64,
        id: u32,
        ok: bool,
    ) -> Vec<Out> {
        self.turn(now_us, None);
        let reading = self.reading();
        if let Some(live) = self.live.get_mut(&device).filter(|live| live.life == life) {
            let result = if ok { Ok(()) } else { Err(SinkError::QueueFull { queued: 1, limit: 1 }) };
            live.endpoint.published(reading, id, result);
        }
        self.finish()
    }

    fn ask(&mut self, pending: Pending, request: Request) {
        self.next += 1;
        self.pending.insert(self.next, pending);
        self.out.push(Out::Store { id: self.next, request });
    }

    fn tell(&mut self, to: &Owner, frame: Frame) {
        self.out.push(Out::Peer { to: to.clone(), frame });
    }
}

fn place(remote: SocketAddr) -> Place {
    Place { socket: SocketId(0), remote, local: None, via: None }
}
