//! One node: the production cores of one shard, and what actors, sockets and links do between them.
//!
//! ```text
//!  datagram ─► connection here? ─► unsure? header read ─► channel ─► core ─► endpoint ─► store, sink
//!      └ none ─► resolve, load, authenticate ─► Activation ─► claim, present, relay, leave
//! ```
//! A crash drops it; what it had asked of the store may have happened all the same.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use godwit_coap::{Code, Response};
use godwit_dtls::{
    Answer as Provided, Psk, Secret, Ticket,
    cid::{CID_LEN, Cid},
    nonce::NonceSource,
    record::{ContentType, Records},
};
use metrics::Gauge;

use super::{
    bug::Bug,
    links::{Item, Links},
    store::{Reply, Request, START},
};
use crate::{
    clock::{self, Boot, Reading},
    cluster::{
        Activation, Answer, Membership, Pulse, Residence, Standing, Step, Timings, Validity, Verdict, Want,
        residence::Confirmed,
    },
    connection::simulated::{self as connection, Connection, Effect, Ground, Place, Settings, Wanted},
    endpoint::{
        link::{Call, Downlink, Link, Secured, Security, Uplink},
        simulated::{Endpoint, Services, Wish},
    },
    identity::{AssociationId, DeviceId, Owner, RegistrationId, SessionId},
    shard::{ActorKey, outbox::SocketId},
    store::{
        Beat, Change, Claim, Claimed, DeviceRecord, Fence, Member, Pointer, Session, StoreError,
        recent::Recent, value,
    },
    telemetry::{Record, SinkError},
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

/// What nodes tell each other.
#[derive(Debug, Clone)]
pub(super) enum Frame {
    Present {
        id: u64,
        device: DeviceId,
        association: AssociationId,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// Give a device up: it shakes hands with the asker.
    Release {
        id: u64,
        device: DeviceId,
    },
    Answer {
        id: u64,
        answer: Answer,
    },
    /// As if it had come to the other.
    Relay {
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    Transmit {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// What was the other's is claimed.
    Claimed {
        device: DeviceId,
        term: u64,
    },
    View {
        sees_store: bool,
    },
}

impl Frame {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Present { id, device, .. } => format!("present {id} of {device}"),
            Self::Release { id, device } => format!("release {id} of {device}"),
            Self::Answer { id, answer } => format!("answer {id}: {answer:?}"),
            Self::Relay { .. } => "relay".into(),
            Self::Transmit { .. } => "transmit".into(),
            Self::Claimed { device, term } => format!("claimed {device} in {term}"),
            Self::View { sees_store } => format!("sees the store: {sees_store}"),
        }
    }
}

/// What a node wants of the world.
#[derive(Debug)]
pub(super) enum Out {
    Device { to: SocketAddr, bytes: Vec<u8> },
    Peer { to: Owner, frame: Frame },
    Store { id: u64, request: Request },
    Sink { device: DeviceId, life: u64, id: u32, records: Vec<Record> },
    Note(Note),
}

/// What the observer is told.
#[derive(Debug)]
pub(super) enum Note {
    Claimed { device: DeviceId, term: u64, exact: bool, record: Box<DeviceRecord> },
    Accepted { device: DeviceId, association: AssociationId, number: u64, term: u64, plaintext: Vec<u8> },
    Sealed { association: Option<AssociationId>, bytes: Vec<u8> },
    Said { device: DeviceId, term: u64, plaintext: Vec<u8> },
    Released { device: DeviceId, term: u64 },
    Presented,
}

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

struct Held {
    connection: u32,
    from: SocketAddr,
    via: Option<(Owner, u64)>,
    bytes: Vec<u8>,
}

struct Conn {
    connection: Connection,
    /// Behind which node the device is.
    via: Option<Owner>,
    by_address: Option<SocketAddr>,
}

/// A search for whoever serves something.
struct Finding {
    wanted: Option<Wanted>,
    activation: Activation,
    device: Option<DeviceId>,
    association: Option<AssociationId>,
    waiting: Vec<(SocketAddr, Option<Owner>, Vec<u8>)>,
    uplinks: Vec<(u32, Uplink)>,
    loaded: Option<Box<DeviceRecord>>,
    /// What the first load has found, for a planted bug.
    first: Option<Box<DeviceRecord>>,
    /// An answer of a peer is awaited.
    asked: Vec<u64>,
    asked_of: Option<Owner>,
}

/// What is written again to a store that came back.
#[derive(Default)]
struct Restoring {
    back: u64,
    /// Of whom writes are under way: theirs waits for the ends of those.
    left: Vec<DeviceId>,
    asked: usize,
}

/// What a reply of the store is for.
enum Pending {
    Beat(Boot),
    Lane,
    Extend,
    Resolve(u64),
    Load(u64),
    Claim(u64, Option<Owner>, Confirmed),
    Commit {
        device: DeviceId,
        life: u64,
        id: Option<u32>,
        fence: Fence,
        changes: Vec<Change>,
        confirmed: Confirmed,
    },
    Restore(u64, DeviceId),
    Header(DeviceId, u64, Confirmed),
    Psk(u32, Ticket),
    Resume(u32, Ticket, SessionId, bool),
    ReadSession(DeviceId, u64, Link, AssociationId),
    ReachSession(DeviceId, u64, AssociationId, crate::store::Numbers, bool),
    Foreign(u32, Call, RegistrationId),
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
    pub(super) base: Instant,
    pub(super) bug: Option<Bug>,
}

impl Node {
    pub(super) fn new(now_us: u64, start: Start) -> Self {
        let links = Rc::new(Links::default());
        let sealer = &start.settings.sealer;
        let services = Services::new(&start.owner, sealer, links.clone(), start.base);
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
            documents: start.documents,
            next: 1,
            out: Vec::new(),
            bug: start.bug,
        };
        node.pulse = Pulse::new(node.boot(), node.membership.timings());
        node
    }

    // Its clocks.

    fn drifted_us(&self) -> u64 {
        let drift = i128::from(self.now_us) * i128::from(self.drift_ppm) / 1_000_000;
        (i128::from(self.now_us) + drift) as u64
    }

    fn boot(&self) -> Boot {
        Boot::from_start(Duration::from_micros(self.drifted_us()))
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.drifted_us())
    }

    fn wall_ms(&self) -> u64 {
        (START + self.drifted_us() / 1000).saturating_add_signed(self.wall_ahead_ms)
    }

    fn reading(&self) -> Reading {
        let boot = self.boot();
        let unix_ms = self.membership.time().map_or_else(|| self.wall_ms(), |time| time.unix_ms(boot));
        Reading { now: self.instant(), unix_ms }
    }

    /// The loop turns. Up to `awake_us` it has turned in time.
    fn turn(&mut self, now_us: u64, paused_at: Option<u64>) {
        let awake = paused_at.unwrap_or(now_us);
        while self.turned_us + TURN_US < awake {
            self.turned_us += TURN_US;
            self.now_us = self.turned_us;
            self.pulse.turn(self.boot(), self.membership.is_valid(self.boot()));
        }
        (self.now_us, self.turned_us) = (now_us, now_us);
        let (boot, valid) = (self.boot(), self.membership.is_valid(self.boot()));
        if self.bug == Some(Bug::PauseNotNoticed) {
            self.pulse = Pulse::new(boot, self.membership.timings());
        } else {
            self.pulse.turn(boot, valid);
        }
        clock::simulated::set(Some(self.reading()));
        let may_expire = self.membership.may_expire(boot);
        self.services.set_standing(self.membership.validity(boot), may_expire);
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

    /// When it wants to be woken.
    pub(super) fn due_us(&self) -> u64 {
        let reading = self.reading();
        let mut due = self.beat_due;
        let at = |instant: Instant| {
            let ahead = instant.saturating_duration_since(reading.now).as_micros() as u64;
            self.now_us + ahead + ahead / 5_000 + 1
        };
        for conn in self.connections.values() {
            due = due.min(conn.connection.due().map_or(u64::MAX, at));
        }
        for live in self.live.values() {
            due = due.min(live.endpoint.due(reading).map_or(u64::MAX, at));
        }
        let boot = self.boot();
        for finding in self.finding.values() {
            let ahead = finding.activation.patience(boot).as_micros() as u64;
            due = due.min(self.now_us + ahead + ahead / 5_000 + 1);
        }
        due.max(self.now_us + 1)
    }

    // What happens to it.

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
            Frame::Present { id, device, association, from: address, bytes } => {
                self.presented(from.clone(), id, device, association, address, bytes);
            }
            Frame::Release { id, device } => self.release_asked(from.clone(), id, device),
            Frame::Answer { id, answer } => self.answered(id, answer),
            Frame::Relay { from: address, bytes } => self.route(address, Some(from.clone()), bytes),
            Frame::Transmit { to, bytes } => self.out.push(Out::Device { to, bytes }),
            Frame::Claimed { device, term } => self.superseded(device, term),
            Frame::View { sees_store } => self.membership.handle_view(boot, from, sees_store),
        }
        self.finish()
    }

    /// A peer's address refuses connections, or another run answers there.
    pub(super) fn refused(&mut self, now_us: u64, owner: &Owner, id: Option<u64>) -> Vec<Out> {
        self.turn(now_us, None);
        self.membership.handle_refused(owner);
        if let Some(id) = id {
            self.answered(id, Answer::Dead);
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

    // Heartbeats.

    fn beat(&mut self) {
        let boot = self.boot();
        let ahead = self.membership.time().map_or(0, |time| {
            i64::try_from(self.wall_ms()).unwrap_or(0) - i64::try_from(time.unix_ms(boot)).unwrap_or(0)
        });
        let member = Member {
            owner: self.owner.clone(),
            address: self.address,
            listeners: Vec::new(),
            ready: self.ground.is_some(),
            draining: false,
            clock_ahead_ms: ahead,
            restored: self.restored,
        };
        self.ask(Pending::Beat(boot), Request::Beat(Box::new(member)));
        if self.lane.is_some() {
            if self.bug == Some(Bug::NonceAboveUntil)
                && let (Some(ground), Some(time)) = (&self.ground, self.membership.time())
            {
                ground.extend_lane(time.second(boot) + 30);
            }
        } else if !self.lane_asked && self.may_join() {
            self.lane_asked = true;
            self.ask(Pending::Lane, Request::TakeLane(self.owner.clone()));
        }
        let sees_store = self.membership.is_valid(boot);
        for member in self.membership.others(boot) {
            self.tell(&member.owner, Frame::View { sees_store });
        }
    }

    fn may_join(&self) -> bool {
        let at_once = self.bug == Some(Bug::JoinsAtOnce) && self.membership.is_valid(self.boot());
        at_once || self.membership.may_join(self.boot()) == Ok(Duration::ZERO)
    }

    fn beaten(&mut self, sent: Boot, beat: Beat, lost: Vec<(DeviceId, u64)>) {
        let back = beat.back_ms;
        self.membership.handle_beat(sent, self.boot(), beat);
        clock::simulated::set(Some(self.reading()));
        for (device, term) in lost {
            self.superseded(device, term);
        }
        if let Some((number, until)) = self.lane
            && self.membership.may_extend(self.boot(), until)
        {
            self.ask(Pending::Extend, Request::ExtendLane(self.owner.clone(), number, until));
        }
        if self.restored == back {
            self.recent.forget(sent);
        } else if self.restoring.back != back {
            self.restore(back);
        }
    }

    /// Writes again what the store may have forgotten.
    fn restore(&mut self, back: u64) {
        let left = match self.bug {
            Some(Bug::NothingRestored) => Vec::new(),
            _ => self.recent.devices(),
        };
        self.restoring = Restoring { back, left, asked: 0 };
        self.restore_next();
    }

    fn restore_next(&mut self) {
        let busy = |pending: &Pending, of: DeviceId| matches!(pending, Pending::Commit { device, .. } if *device == of);
        let back = self.restoring.back;
        for device in std::mem::take(&mut self.restoring.left) {
            if self.pending.values().any(|pending| busy(pending, device)) {
                self.restoring.left.push(device);
            } else if let Some(again) = self.recent.again(device) {
                self.restoring.asked += 1;
                self.ask(Pending::Restore(back, device), Request::Rewrite(device, Box::new(again)));
            }
        }
        if self.restoring.left.is_empty() && self.restoring.asked == 0 && self.restored != back && back != 0 {
            self.restored = back;
        }
    }

    fn laned(&mut self, number: u16, from: u32, until: u32) {
        let nonces = NonceSource::new(number, from.saturating_sub(1), until);
        let ground = Ground::new(self.settings.clone(), 0, 1, nonces);
        self.links.set_ground(ground.clone());
        self.ground = Some(ground);
        self.lane = Some((number, until));
    }

    // Datagrams.

    fn route(&mut self, from: SocketAddr, via: Option<Owner>, bytes: Vec<u8>) {
        let Some(ground) = self.ground.clone() else { return };
        let validity = self.membership.validity(self.boot());
        if let Validity::CutOff(peer) = &validity
            && via.is_none()
        {
            return self.tell(&peer.owner.clone(), Frame::Relay { from, bytes });
        }
        let Some(Ok(record)) = Records::parse(&bytes, CID_LEN).next() else { return };
        let (kind, epoch) = (record.content_type, record.epoch);
        let cid = <[u8; CID_LEN]>::try_from(record.cid).ok().map(Cid);
        let is_hello = record.fragment.first() == Some(&1);
        match (kind, cid) {
            (ContentType::Tls12Cid, Some(cid)) => match ground.find(&cid) {
                Some(key) => self.offer(key.index, from, via, bytes),
                None => self.find(Wanted::Named(cid), from, via, bytes),
            },
            (ContentType::Tls12Cid, None) => {}
            _ if epoch > 0 => match self.by_peer.get(&from) {
                Some(key) => self.offer(*key, from, via, bytes),
                None => self.find(Wanted::At(from), from, via, bytes),
            },
            (ContentType::Handshake, _) if is_hello => self.hello(from, via, &bytes),
            _ => {
                if let Some(key) = self.by_peer.get(&from) {
                    return self.offer(*key, from, via, bytes);
                }
                let behind = Records::parse(&bytes, CID_LEN).flatten().find(|record| record.epoch > 0);
                let behind = behind.map(|record| (record.content_type, record.cid.to_vec()));
                match behind {
                    Some((ContentType::Tls12Cid, cid)) => {
                        if let Ok(cid) = <[u8; CID_LEN]>::try_from(&cid[..]).map(Cid) {
                            match ground.find(&cid) {
                                Some(key) => self.offer(key.index, from, via, bytes),
                                None => self.find(Wanted::Named(cid), from, via, bytes),
                            }
                        }
                    }
                    Some(_) => self.find(Wanted::At(from), from, via, bytes),
                    None => {}
                }
            }
        }
    }

    fn hello(&mut self, from: SocketAddr, via: Option<Owner>, bytes: &[u8]) {
        let now = self.instant();
        let permit =
            self.settings.admission.handshake(from.ip(), &Gauge::noop()).expect("room for handshakes");
        let place = place(from);
        if let Some(conn) = self.by_peer.get(&from).copied().and_then(|key| self.connections.get_mut(&key)) {
            return conn.connection.handle_hello(now, place, permit, bytes);
        }
        let Some(ground) = self.ground.clone() else { return };
        let key = self.key();
        let connection = Connection::accept(ground, key, place, now, permit, bytes);
        self.insert(key.index, connection, via, Some(from));
    }

    fn key(&mut self) -> ActorKey {
        self.next += 1;
        ActorKey { index: self.next as u32, generation: 0 }
    }

    fn insert(
        &mut self,
        key: u32,
        connection: Connection,
        via: Option<Owner>,
        by_address: Option<SocketAddr>,
    ) {
        self.links.insert(key, connection.progress.clone());
        if let Some(address) = by_address
            && let Some(earlier) = self.by_peer.insert(address, key)
        {
            self.close(earlier);
        }
        self.connections.insert(key, Conn { connection, via, by_address });
    }

    /// For a connection that is here.
    fn offer(&mut self, key: u32, from: SocketAddr, via: Option<Owner>, bytes: Vec<u8>) {
        self.take(Held { connection: key, from, via: via.map(|owner| (owner, 0)), bytes });
    }

    /// Takes a datagram, once its device is sure. `via`: with the id of the question to answer, unless that is 0.
    fn take(&mut self, held: Held) {
        let Some(conn) = self.connections.get(&held.connection) else { return };
        let device = conn.connection.device();
        if let Some((device, live)) = device.and_then(|device| Some((device, self.live.get_mut(&device)?)))
            && self.pulse.is_unsure(live.confirmed)
        {
            match &mut live.held {
                Some(waiting) if waiting.len() < WAITING => waiting.push(held),
                Some(_) => self.busy(held),
                None => {
                    live.held = Some(vec![held]);
                    let pending = Pending::Header(device, live.life, self.pulse.confirmed());
                    self.ask(pending, Request::Load(device));
                }
            }
            return;
        }
        self.accept(held);
    }

    fn busy(&mut self, held: Held) {
        if let Some((owner, id)) = held.via.filter(|(_, id)| *id != 0) {
            self.tell(&owner, Frame::Answer { id, answer: Answer::Busy });
        }
    }

    fn accept(&mut self, held: Held) {
        let now = self.instant();
        let Held { connection, from, via, bytes } = held;
        let Some(conn) = self.connections.get_mut(&connection) else { return };
        conn.connection.newest = false;
        if self.bug == Some(Bug::PresentWithoutWindow) && via.is_some() {
            conn.connection.forget_window();
        }
        let taken = conn.connection.handle_datagram(now, place(from), &bytes);
        let (newest, device) = (conn.connection.newest, conn.connection.device());
        if newest {
            conn.via = via.as_ref().map(|(owner, _)| owner.clone());
        }
        if let Some((owner, id)) = &via
            && *id != 0
        {
            let answer = if taken { Answer::Handled } else { Answer::Replay };
            self.tell(owner, Frame::Answer { id: *id, answer });
        }
        let validity = self.membership.validity(self.boot());
        let reading = self.reading();
        if let Some(live) = device.and_then(|device| self.live.get_mut(&device))
            && taken
        {
            match via {
                Some((owner, _)) => {
                    let verdict = live.residence.presented(&owner, newest, &validity);
                    if verdict == Verdict::GiveUp && !live.endpoint.leaving() {
                        live.endpoint.release(reading);
                    }
                }
                None if newest => live.residence.heard_here(),
                None => {}
            }
        }
    }

    // Looking for whoever serves.

    fn find(&mut self, wanted: Wanted, from: SocketAddr, via: Option<Owner>, bytes: Vec<u8>) {
        if let Some(finding) = self.by_wanted.get(&wanted).and_then(|id| self.finding.get_mut(id)) {
            if finding.waiting.len() < WAITING {
                finding.waiting.push((from, via, bytes));
            }
            // While an owner is asked, they wait for its answer: they are presented after those before.
            return;
        }
        let id = self.begin(Want::Packet);
        let finding = self.finding.get_mut(&id).expect("just begun");
        finding.wanted = Some(wanted);
        finding.waiting.push((from, via, bytes));
        self.by_wanted.insert(wanted, id);
        self.ask(Pending::Resolve(id), Request::Resolve(wanted.pointer()));
    }

    fn begin(&mut self, want: Want) -> u64 {
        self.next += 1;
        let finding = Finding {
            wanted: None,
            activation: Activation::new(self.boot(), want, &self.membership),
            device: None,
            association: None,
            waiting: Vec::new(),
            uplinks: Vec::new(),
            loaded: None,
            first: None,
            asked: Vec::new(),
            asked_of: None,
        };
        self.finding.insert(self.next, finding);
        self.next
    }

    /// An endpoint is wanted for what a connection has to say.
    fn activate(&mut self, device: DeviceId, connection: u32, uplink: Uplink) {
        let same = |finding: &&mut Finding| finding.device == Some(device) && finding.wanted.is_none();
        if let Some(finding) = self.finding.values_mut().find(same) {
            return finding.uplinks.push((connection, uplink));
        }
        let id = self.begin(Want::Packet);
        let finding = self.finding.get_mut(&id).expect("just begun");
        finding.device = Some(device);
        finding.uplinks.push((connection, uplink));
        self.ask(Pending::Load(id), Request::Load(device));
    }

    fn resolved(&mut self, id: u64, device: Option<DeviceId>) {
        let Some(finding) = self.finding.get_mut(&id) else { return };
        match device {
            Some(device) => {
                finding.device = Some(device);
                self.ask(Pending::Load(id), Request::Load(device));
            }
            None => self.give_up(id),
        }
    }

    fn loaded(&mut self, id: u64, record: Option<Box<DeviceRecord>>) {
        let (boot, now, ground) = (self.boot(), self.instant(), self.ground.clone());
        let Some(finding) = self.finding.get_mut(&id) else { return };
        let device = finding.device.expect("loaded by its id");
        if let Some(wanted) = finding.wanted {
            let (Some(record), Some(ground)) = (&record, ground) else { return self.give_up(id) };
            let datagrams: Vec<(Place, Box<[u8]>)> =
                finding.waiting.iter().map(|(from, _, bytes)| (place(*from), bytes[..].into())).collect();
            match ground.authenticate(now, device, record, wanted, &datagrams) {
                Some((association, _)) => finding.association = Some(association),
                None => return self.give_up(id),
            }
        }
        if finding.first.is_none() {
            finding.first.clone_from(&record);
        }
        finding.loaded = record;
        if self.live.contains_key(&device) {
            return self.join(id, device);
        }
        let header = finding.loaded.as_ref().map(|record| &record.header);
        let step = finding.activation.handle_loaded(boot, header, &self.membership);
        self.step(id, step);
    }

    fn step(&mut self, id: u64, step: Step) {
        let Some(finding) = self.finding.get_mut(&id) else { return };
        let device = finding.device;
        match (step, device) {
            (Step::Claim { seen }, Some(device)) => self.claim(id, device, seen),
            (Step::LoadAgain, Some(device)) => self.ask(Pending::Load(id), Request::Load(device)),
            (Step::Present(member), Some(device)) => self.present(id, device, member.owner.clone()),
            (Step::Relay(member), _) => {
                for (from, _, bytes) in std::mem::take(&mut finding.waiting) {
                    self.tell(&member.owner, Frame::Relay { from, bytes });
                }
                self.give_up(id);
            }
            _ => self.give_up(id),
        }
    }

    fn present(&mut self, id: u64, device: DeviceId, owner: Owner) {
        let mut frames = Vec::new();
        let Some(finding) = self.finding.get_mut(&id) else { return };
        finding.asked.clear();
        finding.asked_of = Some(owner.clone());
        match finding.association {
            Some(association) => {
                for (from, _, bytes) in &finding.waiting {
                    self.next += 1;
                    finding.asked.push(self.next);
                    let (from, bytes) = (*from, bytes.clone());
                    frames.push(Frame::Present { id: self.next, device, association, from, bytes });
                    self.out.push(Out::Note(Note::Presented));
                }
            }
            None => {
                self.next += 1;
                finding.asked.push(self.next);
                frames.push(Frame::Release { id: self.next, device });
            }
        }
        for asked in finding.asked.clone() {
            self.asked.insert(asked, id);
        }
        for frame in frames {
            self.tell(&owner, frame);
        }
    }

    fn answered(&mut self, asked: u64, answer: Answer) {
        let Some(id) = self.asked.remove(&asked) else { return };
        let boot = self.boot();
        let Some(finding) = self.finding.get_mut(&id) else { return };
        let Some(at) = finding.asked.iter().position(|other| *other == asked) else { return };
        finding.asked.remove(at);
        if matches!(answer, Answer::Handled | Answer::Replay | Answer::Busy) && finding.association.is_some()
        {
            // That datagram is done with; the answers keep their order.
            if at < finding.waiting.len() {
                finding.waiting.remove(at);
            }
            if !finding.asked.is_empty() {
                return;
            }
            if let (false, Some(device), Some(owner)) =
                (finding.waiting.is_empty(), finding.device, finding.asked_of.clone())
            {
                return self.present(id, device, owner);
            }
        }
        finding.asked.clear();
        finding.asked_of = None;
        let step = finding.activation.handle_answer(boot, answer, &self.membership);
        self.step(id, step);
    }

    fn claim(&mut self, id: u64, device: DeviceId, seen: u64) {
        let Some(finding) = self.finding.get_mut(&id) else { return };
        if self.bug == Some(Bug::ThawWithoutClaim)
            && let Some(record) = &finding.loaded
            && record.header.passive
            && record.header.owner.as_ref() == Some(&self.owner)
        {
            let (term, claims) = (record.header.term, record.header.claims);
            let claimed = Claimed { term, claims, exact: true, record: (**record).clone() };
            let confirmed = self.pulse.confirmed();
            return self.claimed(id, None, confirmed, Ok(Box::new(claimed)));
        }
        let header = finding.loaded.as_ref().map(|record| &record.header);
        let before = header.filter(|header| !header.passive).and_then(|header| header.owner.clone());
        let claim = Claim { create: true, seen: Some(seen) };
        let pending = Pending::Claim(id, before, self.pulse.confirmed());
        self.ask(pending, Request::Claim(device, self.owner.clone(), claim));
    }

    fn claimed(
        &mut self,
        id: u64,
        before: Option<Owner>,
        confirmed: Confirmed,
        result: Result<Box<Claimed>, StoreError>,
    ) {
        let (reading, boot) = (self.reading(), self.boot());
        let Some(finding) = self.finding.get_mut(&id) else { return };
        let device = finding.device.expect("claimed by its id");
        let mut claimed = match result {
            Ok(claimed) => *claimed,
            Err(StoreError::Refused(_)) => {
                let step = finding.activation.handle_claim_refused(boot);
                return self.step(id, step);
            }
            Err(_) => return self.give_up(id),
        };
        let fence = Fence { owner: self.owner.clone(), term: claimed.term, claims: claimed.claims };
        self.recent.note_claim(boot, device, fence.clone(), &claimed.record);
        if self.bug == Some(Bug::ClaimByEarlierLoad)
            && let Some(loaded) = &finding.first
        {
            claimed.record = (**loaded).clone();
        }
        if self.bug == Some(Bug::EveryClaimExact) {
            claimed.exact = true;
        }
        if self.bug == Some(Bug::StaleFloor) {
            for session in &mut claimed.record.sessions {
                (session.numbers.read_floor, session.numbers.read_window) = (0, 0);
            }
        }
        let (term, exact) = (claimed.term, claimed.exact);
        let record = Box::new(claimed.record.clone());
        self.out.push(Out::Note(Note::Claimed { device, term, exact, record }));
        if let Some(before) = before.filter(|before| *before != self.owner)
            && let Standing::Alive(_) | Standing::Suspect = self.membership.standing(self.boot(), &before)
        {
            self.tell(&before, Frame::Claimed { device, term });
        }
        let endpoint = Endpoint::new(&self.services, reading, device, PROFILE, claimed);
        self.next += 1;
        let live = Live {
            endpoint,
            fence,
            life: self.next,
            confirmed,
            residence: Residence::default(),
            held: None,
            released: Vec::new(),
            since_jump: (!exact).then_some(0),
        };
        self.terms.insert(device, term);
        if let Some(earlier) = self.live.insert(device, live) {
            drop(earlier);
        }
        self.join(id, device);
    }

    /// What was looked for is here.
    fn join(&mut self, id: u64, device: DeviceId) {
        let now = self.instant();
        let Some(finding) = self.finding.remove(&id) else { return };
        if let Some(wanted) = finding.wanted {
            self.by_wanted.remove(&wanted);
            let (Some(ground), Some(association)) = (self.ground.clone(), finding.association) else {
                return;
            };
            let via = finding.waiting.first().and_then(|(_, via, _)| via.clone());
            let waiting: Vec<(Place, Box<[u8]>)> =
                finding.waiting.into_iter().map(|(from, _, bytes)| (place(from), bytes.into())).collect();
            if waiting.is_empty() {
                return;
            }
            let by_address = match wanted {
                Wanted::Named(_) => None,
                Wanted::At(address) => Some(address),
            };
            let key = self.key();
            let connection = Connection::claim(ground, key, device, association, wanted.cid(), waiting, now);
            self.insert(key.index, connection, via, by_address);
        }
        for (connection, uplink) in finding.uplinks {
            self.deliver(device, connection, uplink);
        }
    }

    fn give_up(&mut self, id: u64) {
        let now = self.instant();
        let Some(finding) = self.finding.remove(&id) else { return };
        if let Some(wanted) = finding.wanted {
            self.by_wanted.remove(&wanted);
        }
        for (connection, uplink) in finding.uplinks {
            if let Some(conn) = self.connections.get_mut(&connection) {
                conn.connection.undelivered(now, &uplink);
            }
        }
    }

    // As an owner.

    fn presented(
        &mut self,
        by: Owner,
        id: u64,
        device: DeviceId,
        association: AssociationId,
        from: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let term = self.terms.get(&device).copied().unwrap_or(0);
        let (now, cut_off) =
            (self.instant(), matches!(self.membership.validity(self.boot()), Validity::CutOff(_)));
        let Some(live) = self.live.get_mut(&device).filter(|_| !cut_off) else {
            return self.tell(&by, Frame::Answer { id, answer: Answer::Gone { term } });
        };
        if live.endpoint.leaving() {
            return live.released.push((by, id));
        }
        let Some(ground) = self.ground.clone() else { return };
        let own = |conn: &Conn| {
            conn.connection.association() == Some(association) && !conn.connection.progress.is_retired()
        };
        let found = self.connections.iter().find(|(_, conn)| own(conn)).map(|(key, _)| *key);
        let record = Records::parse(&bytes, CID_LEN).flatten().find(|record| record.epoch > 0);
        let cid = record.and_then(|record| <[u8; CID_LEN]>::try_from(record.cid).ok()).map(Cid);
        // A handshake under way has no association yet: only its name or its address leads to it.
        let named = cid.and_then(|cid| ground.find(&cid)).map(|key| key.index);
        let at = self.by_peer.get(&from).copied().filter(|_| cid.is_none());
        if let Some(connection) = found.or(named).or(at) {
            return self.take(Held { connection, from, via: Some((by, id)), bytes });
        }
        // Live by another session of the device: this one comes into use too.
        let by_address = cid.is_none().then_some(from);
        let key = self.key();
        let waiting = vec![(place(from), bytes.into_boxed_slice())];
        let connection = Connection::claim(ground, key, device, association, cid, waiting, now);
        self.insert(key.index, connection, Some(by.clone()), by_address);
        self.tell(&by, Frame::Answer { id, answer: Answer::Handled });
    }

    fn release_asked(&mut self, by: Owner, id: u64, device: DeviceId) {
        let reading = self.reading();
        match self.live.get_mut(&device) {
            Some(live) => {
                live.released.push((by, id));
                live.endpoint.release(reading);
            }
            None => {
                let term = self.terms.get(&device).copied().unwrap_or(0);
                self.tell(&by, Frame::Answer { id, answer: Answer::Gone { term } });
            }
        }
    }

    /// Somebody has claimed what was ours.
    fn superseded(&mut self, device: DeviceId, term: u64) {
        if self.live.get(&device).is_some_and(|live| live.fence.term < term) {
            self.stop(device, true);
        }
    }

    fn stop(&mut self, device: DeviceId, superseded: bool) {
        let Some(live) = self.live.remove(&device) else { return };
        let links: Rc<Links> = self.links.clone();
        if let Some(link) = live.endpoint.link() {
            crate::endpoint::link::Links::deliver(&*links, link.connection, device, Downlink::Close);
        }
        drop(crate::endpoint::link::Links::retire(&*links, device));
        if !superseded {
            let term = live.fence.term;
            self.out.push(Out::Note(Note::Released { device, term }));
        }
        let term = live.fence.term;
        for (by, id) in live.released {
            self.tell(&by, Frame::Answer { id, answer: Answer::Gone { term } });
        }
        // What waited for a header begins anew.
        for held in live.held.into_iter().flatten() {
            self.close(held.connection);
            match held.via {
                Some((by, id)) if id != 0 => {
                    self.tell(&by, Frame::Answer { id, answer: Answer::Gone { term } });
                }
                via => self.route(held.from, via.map(|(owner, _)| owner), held.bytes),
            }
        }
    }

    // The cores' effects.

    fn settle(&mut self) {
        loop {
            let mut busy = false;
            let connections: Vec<u32> = self.connections.keys().copied().collect();
            for key in connections {
                while let Some(effect) =
                    self.connections.get_mut(&key).and_then(|conn| conn.connection.poll())
                {
                    busy = true;
                    self.perform(key, effect);
                }
                if self.connections.get(&key).is_some_and(|conn| conn.connection.ended) {
                    busy = true;
                    self.close(key);
                }
            }
            let devices: Vec<DeviceId> = self.live.keys().copied().collect();
            let reading = self.reading();
            for device in devices {
                while let Some(wish) = self.live.get_mut(&device).and_then(|live| live.endpoint.poll(reading))
                {
                    busy = true;
                    self.grant(device, wish);
                }
            }
            while let Some((key, item)) = self.links.take() {
                busy = true;
                match item {
                    Item::Down(device, downlink) => {
                        if let Some(conn) = self.connections.get_mut(&key) {
                            conn.connection.handle_downlink(reading.now, device, downlink);
                        }
                        // Its words leave before it is retired.
                        while let Some(effect) =
                            self.connections.get_mut(&key).and_then(|conn| conn.connection.poll())
                        {
                            self.perform(key, effect);
                        }
                    }
                    Item::Retire => self.close(key),
                }
            }
            if !busy {
                break;
            }
        }
    }

    fn close(&mut self, key: u32) {
        let Some(mut conn) = self.connections.remove(&key) else { return };
        conn.connection.end();
        self.links.remove(key);
        if let Some(address) = conn.by_address
            && self.by_peer.get(&address) == Some(&key)
        {
            self.by_peer.remove(&address);
        }
        let device = conn.connection.device();
        drop(conn);
        let reading = self.reading();
        if let Some(live) = device.and_then(|device| self.live.get_mut(&device)) {
            live.endpoint.unlinked(reading, ActorKey { index: key, generation: 0 });
        }
    }

    fn perform(&mut self, key: u32, effect: Effect) {
        let Some(conn) = self.connections.get(&key) else { return };
        let (device, link, via) = (conn.connection.device(), conn.connection.link, conn.via.clone());
        let term = device.and_then(|device| self.live.get(&device)).map_or(0, |live| live.fence.term);
        match effect {
            Effect::Transmit { bytes, sealed_by } => {
                self.out.push(Out::Note(Note::Sealed { association: sealed_by, bytes: bytes.clone() }));
                let to = link.remote;
                match via {
                    Some(peer) => self.tell(&peer, Frame::Transmit { to, bytes }),
                    None => self.out.push(Out::Device { to, bytes }),
                }
            }
            Effect::Said(plaintext) => {
                if let Some(device) = device {
                    self.out.push(Out::Note(Note::Said { device, term, plaintext }));
                }
            }
            Effect::Accepted { association, number, plaintext } => {
                if let Some(device) = device {
                    let note = Note::Accepted { device, association, number, term, plaintext };
                    self.out.push(Out::Note(note));
                }
            }
            Effect::Uplink(device, uplink) => self.deliver(device, key, uplink),
            Effect::Psk(ticket, identity) => {
                self.ask(Pending::Psk(key, ticket), Request::Resolve(Pointer::PskIdentity(identity)));
            }
            Effect::Resume(ticket, id) => {
                let pending = Pending::Resume(key, ticket, id, false);
                self.ask(pending, Request::Resolve(Pointer::Session(id)));
            }
            Effect::Foreign(call, registration) => {
                let pending = Pending::Foreign(key, call, registration);
                self.ask(pending, Request::Resolve(Pointer::Registration(registration)));
            }
        }
    }

    fn deliver(&mut self, device: DeviceId, connection: u32, uplink: Uplink) {
        let reading = self.reading();
        let Some(conn) = self.connections.get_mut(&connection) else { return };
        let link = conn.connection.link;
        match self.live.get_mut(&device) {
            Some(live) => live.endpoint.uplink(reading, link, uplink),
            None if uplink.awaiting().is_some() => self.activate(device, connection, uplink),
            None => conn.connection.undelivered(reading.now, &uplink),
        }
    }

    fn grant(&mut self, device: DeviceId, wish: Wish) {
        let reading = self.reading();
        let Some(live) = self.live.get_mut(&device) else { return };
        let life = live.life;
        match wish {
            Wish::Persist(id, changes) => self.persist(device, id, changes),
            Wish::Publish(id, records) => self.out.push(Out::Sink { device, life, id, records }),
            Wish::Downlink(link, downlink) => {
                let links: Rc<Links> = self.links.clone();
                if !crate::endpoint::link::Links::deliver(&*links, link.connection, device, downlink) {
                    live.endpoint.unlinked(reading, link.connection);
                }
            }
            Wish::ReadSession(link, association) => {
                self.ask(Pending::ReadSession(device, life, link, association), Request::Load(device));
            }
            Wish::ReachSession { association, whole, numbers, exact } => match whole {
                Some(session) => self.reach(device, association, &session, numbers, exact),
                None => {
                    let pending = Pending::ReachSession(device, life, association, numbers, exact);
                    self.ask(pending, Request::Load(device));
                }
            },
            Wish::Foreign(link, call, registration) => {
                let pending = Pending::Foreign(link.connection.index, call, registration);
                self.ask(pending, Request::Resolve(Pointer::Registration(registration)));
            }
            Wish::Stop { superseded } => self.stop(device, superseded),
        }
    }

    fn persist(&mut self, device: DeviceId, id: u32, mut changes: Vec<Change>) {
        let reading = self.reading();
        let Some(live) = self.live.get_mut(&device) else { return };
        let writes = live.since_jump.as_mut().map_or(u32::MAX, |writes| {
            *writes += 1;
            *writes
        });
        match self.bug {
            Some(Bug::JumpNotWritten) if writes <= 6 => {
                changes.retain(|it| !matches!(it, Change::Marks { .. }));
            }
            Some(Bug::MarkNotWritten) => changes.retain(|it| !matches!(it, Change::Marks { .. })),
            Some(Bug::AnswerNotStored) => changes.retain(|it| !matches!(it, Change::Applied(_))),
            Some(Bug::InexactPassive) if changes.contains(&Change::Passive) => {
                changes.retain(|it| !matches!(it, Change::Marks { .. }));
            }
            _ => {}
        }
        let early = self.bug == Some(Bug::AnswerBeforeWrite);
        let pending = Pending::Commit {
            device,
            life: live.life,
            id: (!early).then_some(id),
            fence: live.fence.clone(),
            changes: changes.clone(),
            confirmed: self.pulse.confirmed(),
        };
        let request = Request::Commit(device, live.fence.clone(), changes);
        if early {
            live.endpoint.persisted(reading, id, Ok(()));
        }
        self.ask(pending, request);
    }

    fn reach(
        &mut self,
        device: DeviceId,
        association: AssociationId,
        session: &Session,
        numbers: crate::store::Numbers,
        exact: bool,
    ) {
        let (reading, key) = (self.reading(), self.key());
        let session = Session { numbers, ..session.clone() };
        let made = session.peer.zip(self.ground.clone()).and_then(|(peer, ground)| {
            Connection::reach(ground, key, device, &session, exact, place(peer), reading.now)
        });
        let link = made.map(|connection| {
            let link = connection.link;
            let by_address = session.cid.is_empty().then_some(session.peer).flatten();
            self.insert(key.index, connection, None, by_address);
            let (mode, credential) = (session.mode, session.credential_version);
            Link { security: Security::Dtls(Secured { association, mode, credential }), ..link }
        });
        if let Some(live) = self.live.get_mut(&device) {
            live.endpoint.reached(reading, link);
        }
    }

    // The store.

    fn ask(&mut self, pending: Pending, request: Request) {
        self.next += 1;
        self.pending.insert(self.next, pending);
        self.out.push(Out::Store { id: self.next, request });
    }

    fn tell(&mut self, to: &Owner, frame: Frame) {
        self.out.push(Out::Peer { to: to.clone(), frame });
    }

    /// The store has answered, or the connection to it has failed.
    pub(super) fn reply(&mut self, now_us: u64, id: u64, reply: Reply) -> Vec<Out> {
        self.turn(now_us, None);
        if matches!(reply, Reply::Unavailable) {
            // The connection has broken. Nothing is asked of another process of the store before a heartbeat.
            self.membership.handle_store_lost();
            self.beat_due = self.beat_due.min(now_us + RECONNECT_US);
        }
        if let Some(pending) = self.pending.remove(&id) {
            self.replied(pending, reply);
        }
        self.finish()
    }

    fn replied(&mut self, pending: Pending, reply: Reply) {
        let (boot, reading) = (self.boot(), self.reading());
        match (pending, reply) {
            (Pending::Beat(sent), Reply::Beaten(beat, lost)) => self.beaten(sent, *beat, lost),
            (Pending::Lane, reply) => {
                self.lane_asked = false;
                if let Reply::Lane(Ok(lane)) = reply {
                    self.laned(lane.number, lane.from, lane.until);
                }
            }
            (Pending::Extend, Reply::Extended(Ok(until))) => {
                if let Some(ground) = &self.ground {
                    ground.extend_lane(until);
                }
                self.lane = self.lane.map(|(number, _)| (number, until));
            }
            (Pending::Restore(back, device), reply) if self.restoring.back == back => {
                if matches!(reply, Reply::Committed(Err(StoreError::Refused(_)))) {
                    self.recent.drop_device(device);
                }
                match reply {
                    Reply::Committed(_) => {
                        self.restoring.asked -= 1;
                        self.restore_next();
                    }
                    // Once more at the next heartbeat.
                    _ => self.restoring = Restoring::default(),
                }
            }
            (Pending::Restore(..), _) => {}
            (Pending::Resolve(id), Reply::Resolved(device)) => self.resolved(id, device),
            (Pending::Load(id), Reply::Loaded(record)) => self.loaded(id, record),
            (Pending::Resolve(id) | Pending::Load(id), _) => {
                let Some(finding) = self.finding.get_mut(&id) else { return };
                let step = finding.activation.handle_load_failed(boot, &self.membership);
                self.step(id, step);
            }
            (Pending::Claim(id, before, confirmed), Reply::Claimed(result)) => {
                self.claimed(id, before, confirmed, result);
            }
            (Pending::Claim(id, ..), _) => self.give_up(id),
            (Pending::Commit { device, life, id, fence, changes, confirmed }, reply) => {
                let mut result = match reply {
                    Reply::Committed(result) => result,
                    _ => Err(StoreError::Unavailable("down".into())),
                };
                if self.bug == Some(Bug::RefusedWriteCounts) && matches!(result, Err(StoreError::Refused(_)))
                {
                    result = Ok(());
                }
                if result.is_ok() {
                    self.recent.note(boot, device, &fence, changes);
                }
                self.restore_next();
                let Some(live) = self.live.get_mut(&device).filter(|live| live.life == life) else { return };
                if result.is_ok() {
                    live.confirmed = confirmed;
                }
                if let Some(id) = id {
                    live.endpoint.persisted(reading, id, result);
                }
            }
            (Pending::Header(device, life, confirmed), reply) => {
                self.header_read(device, life, confirmed, reply);
            }
            (Pending::Psk(key, ticket), reply) => {
                let device = match reply {
                    Reply::Resolved(device) => device,
                    _ => None,
                };
                let document = device.and_then(|device| self.documents.get(&device));
                let subject = document.and_then(connection::subject);
                let psk = subject.map(|subject| Psk { key: Secret::new(KEY.to_vec()), subject });
                self.provide(key, ticket, Provided::Psk(psk));
            }
            (Pending::Resume(key, ticket, id, false), Reply::Resolved(Some(device))) => {
                self.ask(Pending::Resume(key, ticket, id, true), Request::Load(device));
            }
            (Pending::Resume(key, ticket, id, _), reply) => {
                let record = match reply {
                    Reply::Loaded(record) => record,
                    _ => None,
                };
                let sessions = record.iter().flat_map(|record| &record.sessions);
                let session = sessions
                    .filter(|session| session.id == id && !session.provisional)
                    .find(|session| !session.has_expired(reading.unix_ms));
                let owner = record.as_ref().and_then(|record| record.document.as_ref());
                let device = owner.map(|document| DeviceId::of(&document.endpoint));
                let stored = session
                    .zip(device)
                    .and_then(|(session, device)| connection::resumable(&self.settings, device, session));
                self.provide(key, ticket, Provided::Session(stored.map(Box::new)));
            }
            (Pending::ReadSession(device, life, link, association), reply) => {
                let read = session_of(reply, association);
                if let Some(live) = self.live.get_mut(&device).filter(|live| live.life == life) {
                    live.endpoint.session_read(reading, link, association, read);
                }
            }
            (Pending::ReachSession(device, life, association, numbers, exact), reply) => {
                if self.live.get(&device).is_none_or(|live| live.life != life) {
                    return;
                }
                match session_of(reply, association) {
                    Some(session) => self.reach(device, association, &session, numbers, exact),
                    None => {
                        if let Some(live) = self.live.get_mut(&device) {
                            live.endpoint.reached(reading, None);
                        }
                    }
                }
            }
            (Pending::Foreign(key, call, registration), reply) => {
                let gone = match reply {
                    // The id of an ended registration leads to its device for a while.
                    Reply::Resolved(Some(device)) => {
                        return self.ask(Pending::Foreign(key, call, registration), Request::Load(device));
                    }
                    Reply::Resolved(None) => true,
                    Reply::Loaded(record) => {
                        let current = record.and_then(|record| record.registration);
                        current.is_none_or(|current| current.id != registration.as_str())
                    }
                    _ => false,
                };
                let downlink = match gone {
                    true => {
                        let response = Response::diagnostic(Code::NOT_FOUND, "no such registration");
                        Downlink::Reply { id: call.id, response }
                    }
                    false => Downlink::Forget { id: call.id },
                };
                if let Some(conn) = self.connections.get_mut(&key) {
                    conn.connection.answer(reading.now, downlink);
                }
            }
            (Pending::Beat(_) | Pending::Extend, _) => {}
        }
    }

    fn provide(&mut self, key: u32, ticket: Ticket, answer: Provided) {
        let now = self.instant();
        if let Some(conn) = self.connections.get_mut(&key) {
            conn.connection.resolved(now, ticket, answer);
        }
    }

    fn header_read(&mut self, device: DeviceId, life: u64, confirmed: Confirmed, reply: Reply) {
        let Some(live) = self.live.get_mut(&device).filter(|live| live.life == life) else { return };
        let Reply::Loaded(record) = reply else {
            // Unsure it stays; the devices repeat what was dropped.
            for held in live.held.take().into_iter().flatten() {
                self.busy(held);
            }
            return;
        };
        let header = record.map(|record| record.header).unwrap_or_default();
        if header.term > live.fence.term {
            return self.stop(device, true);
        }
        live.confirmed = confirmed;
        for held in live.held.take().into_iter().flatten() {
            self.take(held);
        }
    }
}

fn place(remote: SocketAddr) -> Place {
    Place { socket: SocketId(0), remote, local: None, via: None }
}

fn session_of(reply: Reply, association: AssociationId) -> Option<Box<Session>> {
    let Reply::Loaded(Some(record)) = reply else { return None };
    record.sessions.into_iter().find(|session| session.association == association).map(Box::new)
}
