//! What all endpoints of a process share, and what those of one shard do.

use std::{
    cell::{Cell, OnceCell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use godwit_lwm2m::registration::Policy;
use tokio::sync::{broadcast, oneshot};

use super::{
    directory::Directory,
    handle::{NewOperation, OperationChange, RegistrationChange, SubmitError, Submitted, Told},
    link::Links,
    model_sets::SharedSets,
    neighbours::Neighbours,
    starts::Starts,
};
use crate::{
    clock,
    config::Config,
    identity::{AssociationId, DeviceId, Owner},
    metrics,
    ownership::{Confirmed, Membership, Pulse, Reply, Validity},
    profile::{Profile, ProfileRegistry},
    seal::Sealer,
    shard::{
        ShardId, Target,
        inbox::Inbox,
        outbox::{PeerId, SocketId, Transmit},
        timers::Timers,
    },
    store::{Member, StateStore},
    telemetry::{Completion, Completions, Outlet, Site, Turn},
};

/// What all endpoints of a process share.
pub struct Process {
    /// The configuration.
    pub config: Arc<Config>,
    /// What a registration may say.
    pub policy: Policy,
    /// Who this process is.
    pub owner: Owner,
    /// Where records come from.
    pub site: Arc<Site>,
    /// The store.
    pub store: Arc<dyn StateStore>,
    /// Opens and seals what the store keeps secret.
    pub sealer: Arc<Sealer>,
    /// Profiles in use.
    pub profiles: Arc<ProfileRegistry>,
    /// Object models.
    pub models: SharedSets,
    /// Where records go.
    pub outlet: Outlet,
    /// Which shard holds which device.
    pub directory: Arc<Directory>,
    /// The shards' inboxes.
    pub inboxes: Arc<Inboxes>,
    /// The other nodes.
    pub neighbours: Arc<dyn Neighbours>,
    /// Changes of registrations.
    pub changes: broadcast::Sender<Told<RegistrationChange>>,
    /// Changes of operations.
    pub operations: broadcast::Sender<Told<OperationChange>>,
    /// Set once the node gives its devices up: datagrams go to a peer from then on, or are dropped where there is none.
    pub draining: AtomicBool,
    /// A profile that asks for nothing, to compute a difference from.
    pub empty_profile: Arc<Profile>,
}

impl Process {
    /// While this node gives its devices up: the peer that goes on with this one.
    pub fn heir(&self, device: DeviceId) -> Option<Arc<Member>> {
        if !self.draining.load(Ordering::Relaxed) {
            return None;
        }
        self.neighbours.membership()?.heir(clock::boot(), device)
    }
}

/// What the endpoints of one shard share.
pub(super) struct Shared {
    pub(super) process: Arc<Process>,
    pub(super) shard: ShardId,
    pub(super) timers: Rc<Timers<Target>>,
    pub(super) metrics: Rc<metrics::Shard>,
    pub(super) starts: Arc<Starts>,
    /// What the endpoints publish before the next write of the sink.
    pub(super) turn: Turn,
    /// The shard's connections, which are made after its endpoints.
    pub(super) links: OnceCell<Rc<dyn Links>>,
    /// `None`: this node stands alone.
    pub(super) pulse: Option<ShardPulse>,
    pub(super) standing: Standing,
}

/// What this node may do in its cluster; looked up now and then.
#[derive(Debug)]
pub(super) struct Standing {
    validity: RefCell<Validity>,
    may_expire: Cell<bool>,
}

impl Default for Standing {
    fn default() -> Self {
        Self { validity: RefCell::new(Validity::Valid), may_expire: Cell::new(true) }
    }
}

impl Standing {
    pub(super) fn set(&self, validity: Validity, may_expire: bool) {
        self.validity.replace(validity);
        self.may_expire.set(may_expire);
    }

    fn look(&self, membership: &Membership) {
        let now = clock::boot();
        self.set(membership.validity(now), membership.may_expire(now));
    }

    /// It sees the store.
    pub(super) fn is_valid(&self) -> bool {
        *self.validity.borrow() == Validity::Valid
    }

    /// Nobody sees the store: what need not be written at once is answered.
    pub(super) fn is_outage(&self) -> bool {
        *self.validity.borrow() == Validity::Outage
    }

    /// Others may see the store, and have what is live here by now: nothing is answered that changes anything.
    pub(super) fn is_frozen(&self) -> bool {
        matches!(*self.validity.borrow(), Validity::CutOff(_) | Validity::Isolated)
    }

    /// The peer that goes on in place of this node, which alone is cut off.
    pub(super) fn substitute(&self) -> Option<Arc<Member>> {
        match &*self.validity.borrow() {
            Validity::CutOff(peer) => Some(peer.clone()),
            _ => None,
        }
    }

    /// See [`Membership::may_expire`].
    pub(super) fn may_expire(&self) -> bool {
        self.may_expire.get()
    }
}

/// Whether the shard's loop has stood still for so long that others may have claimed what is live here.
#[derive(Debug)]
pub(super) struct ShardPulse {
    pulse: RefCell<Pulse>,
    /// This node may act as a member of its cluster; looked up now and then.
    valid: Cell<bool>,
}

impl ShardPulse {
    pub(super) fn new(process: &Process) -> Option<Self> {
        let timings = *process.neighbours.membership()?.timings();
        let pulse = RefCell::new(Pulse::new(clock::boot(), &timings));
        Some(Self { pulse, valid: Cell::new(true) })
    }

    /// How often to [`look`](Self::look), at most.
    pub(super) fn period(process: &Process) -> Option<Duration> {
        Some(process.neighbours.membership()?.timings().gap / 2)
    }

    /// A turn of the loop begins. How long it stood still, if that was too long.
    pub(super) fn turn(&self) -> Option<Duration> {
        self.pulse.borrow_mut().turn(clock::boot(), self.valid.get())
    }

    /// Looks whether this node may act as a member.
    pub(super) fn look(&self, process: &Process, standing: &Standing) -> Option<Duration> {
        let membership = process.neighbours.membership();
        if let Some(membership) = &membership {
            standing.look(membership);
        }
        self.valid.set(membership.is_none_or(|members| members.is_valid(clock::boot())));
        self.turn()
    }

    /// For a device whose claim or header read is sent now.
    pub(super) fn confirmed(&self) -> Confirmed {
        self.pulse.borrow().confirmed()
    }

    /// Whether a device must be looked up before what it sends is answered.
    pub(super) fn is_unsure(&self, confirmed: Confirmed) -> bool {
        self.pulse.borrow().is_unsure(confirmed)
    }
}

/// What other threads tell the endpoints of a shard.
#[derive(Debug)]
pub enum ShardMessage {
    /// A publish has ended.
    Published(Completion),
    /// A command for a device.
    Submit {
        /// The device.
        device: DeviceId,
        /// The command.
        operation: Box<NewOperation>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Submitted, SubmitError>>,
    },
    /// A command is to be taken back.
    Cancel {
        /// The device.
        device: DeviceId,
        /// The operation's id.
        operation: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<godwit_proto::v1::Operation, SubmitError>>,
    },
    /// A device's document has changed.
    DeviceChanged {
        /// The device.
        device: DeviceId,
        /// Dropped when its endpoint knows.
        done: oneshot::Sender<()>,
    },
    /// A device's credential was changed or removed: connections by another version end at once, without a word to
    /// the endpoint. It goes to all shards.
    Revoked {
        /// The device.
        device: DeviceId,
        /// The version whose sessions go on; `None`: none of them does.
        version: Option<u64>,
    },
    /// Nonces may be made up to this second.
    LanesExtended(u32),
    /// A profile has changed.
    ProfileChanged {
        /// Its name.
        name: Arc<str>,
        /// Dropped when all endpoints know.
        done: oneshot::Sender<()>,
    },
    /// Object models have changed.
    ModelsChanged {
        /// Dropped when all endpoints know.
        done: oneshot::Sender<()>,
    },
    /// A datagram for a device that this shard has, which came to another.
    Datagram(Box<Arrived>),
    /// Something is due at a device: an expiry, an operation's end, an event that waits.
    Due(Vec<DeviceId>),
    /// Give a device up, for another shard.
    Release {
        /// The device.
        device: DeviceId,
        /// Dropped when it is free.
        done: oneshot::Sender<()>,
    },
    /// A datagram of a device that this shard has, which came to another node.
    Presented(Box<Presented>),
    /// Another node asks for a device, to `take` it or only whether it is here.
    Asked {
        /// The device.
        device: DeviceId,
        /// Give it up: a newer session or registration of it has come there.
        take: bool,
        /// The other node may claim nothing just now.
        held: bool,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Datagrams that other nodes send by this one.
    Relayed(Vec<(SocketId, Transmit)>),
    /// Stand still for so long, as a process does that is stopped and continued.
    #[cfg(test)]
    StandStill(Duration),
    /// Say that the shard takes messages, by dropping this.
    Ping(oneshot::Sender<()>),
    /// Give all devices up.
    Drain {
        /// Dropped when all are free.
        done: oneshot::Sender<()>,
    },
}

/// A datagram on its way from one shard to another.
#[derive(Debug)]
pub struct Arrived {
    /// The socket; those of one address have the same number on each shard.
    pub socket: SocketId,
    /// The sender.
    pub from: SocketAddr,
    /// The local address that it was sent to.
    pub to: Option<IpAddr>,
    /// The node that received it, if that is another one.
    pub via: Option<PeerId>,
    /// The payload.
    pub bytes: Box<[u8]>,
}

/// A datagram that came to another node.
#[derive(Debug)]
pub struct Presented {
    /// Whose it is.
    pub device: DeviceId,
    /// The DTLS association in whose keys it is; `None`: it is known by its address.
    pub session: Option<AssociationId>,
    /// The datagram, and by which node it came.
    pub arrived: Arrived,
    /// That node can't claim the device: this one goes on as if the datagram had come here.
    pub relay: bool,
    /// It may claim nothing just now.
    pub held: bool,
    /// Where the answer goes.
    pub reply: Reply,
}

/// The inboxes of all shards.
#[derive(Debug)]
pub struct Inboxes(Box<[Inbox<ShardMessage>]>);

impl Inboxes {
    /// Inboxes for so many shards.
    pub fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| Inbox::default()).collect())
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.0.len()
    }

    /// The inbox of a shard.
    pub fn of(&self, shard: ShardId) -> &Inbox<ShardMessage> {
        &self.0[usize::from(shard)]
    }

    /// Asks every shard whether it takes messages; those that have not said so in time.
    pub async fn stalled(&self, within: Duration) -> Vec<ShardId> {
        let asked: Vec<_> = self
            .0
            .iter()
            .map(|inbox| {
                let (answer, answered) = oneshot::channel();
                inbox.push(ShardMessage::Ping(answer));
                answered
            })
            .collect();
        let until = clock::now() + within;
        let mut stalled = Vec::new();
        for (shard, answered) in asked.into_iter().enumerate() {
            // Answered by being dropped.
            if tokio::time::timeout_at(until.into(), answered).await.is_err() {
                stalled.push(shard as ShardId);
            }
        }
        stalled
    }

    /// The shard that gets a device which none holds.
    pub fn usual(&self, device: DeviceId) -> ShardId {
        let [a, b, ..] = *device.as_bytes();
        (usize::from(u16::from_be_bytes([a, b])) % self.0.len()) as ShardId
    }
}

impl Completions for Inboxes {
    fn complete(&self, shard: u16, completions: Vec<Completion>) {
        self.of(shard).extend(completions.into_iter().map(ShardMessage::Published));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shard_that_takes_no_message_is_stalled() {
        let inboxes = Arc::new(Inboxes::new(2));
        let living = inboxes.clone();
        tokio::spawn(async move { living.of(0).take().await });
        assert_eq!(inboxes.stalled(Duration::from_millis(50)).await, [1]);
    }
}
