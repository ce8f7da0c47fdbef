//! What the channels of one shard share.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, hash_map::Entry},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use godwit_dtls::{
    Context, Naming, SessionId, SessionName,
    cid::{CID_LEN, Cid},
    nonce::NonceSource,
};
use ring::rand::SystemRandom;
use smallvec::SmallVec;

use super::settings::{Offer, Settings};
use crate::{
    clock, entropy,
    identity::DeviceId,
    shard::{ActorKey, ShardId},
};

/// Names that a channel has minted and not given back.
pub(in crate::connection) type Minted = SmallVec<[Cid; 2]>;

/// Nonces, names and indexes of a shard's secured connections.
pub struct Ground {
    settings: Arc<Settings>,
    offer: RefCell<Offer>,
    shard: ShardId,
    shards: usize,
    nonces: RefCell<NonceSource>,
    random: SystemRandom,
    by_cid: RefCell<HashMap<Cid, ActorKey>>,
    by_device: RefCell<HashMap<DeviceId, SmallVec<[ActorKey; 1]>>>,
    /// The shard's nonces are used up, and it was said.
    starved: Cell<bool>,
}

impl Ground {
    /// The ground of one of `shards` shards; `nonces` is its own.
    pub fn new(settings: Arc<Settings>, shard: ShardId, shards: usize, nonces: NonceSource) -> Rc<Self> {
        Rc::new(Self {
            offer: RefCell::new(settings.offer()),
            settings,
            shard,
            shards,
            nonces: RefCell::new(nonces),
            random: SystemRandom::new(),
            by_cid: RefCell::default(),
            by_device: RefCell::default(),
            starved: Cell::new(false),
        })
    }

    /// What the process shares.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The shard that a Connection ID leads to.
    pub fn shard_of(&self, cid: &Cid) -> ShardId {
        (usize::from(cid.steering()) % self.shards) as ShardId
    }

    /// The connection whose records carry this Connection ID.
    pub fn find(&self, cid: &Cid) -> Option<ActorKey> {
        self.by_cid.borrow().get(cid).copied()
    }

    /// The store has acknowledged the shard's lane up to this second.
    pub fn extend_lane(&self, until: u32) {
        self.nonces.borrow_mut().extend(until);
        if self.starved.replace(false) {
            tracing::info!(until, "records can be sealed again");
        }
    }

    /// The shard's nonces are used up: says so once.
    pub(in crate::connection) fn starve(&self) {
        if !self.starved.replace(true) {
            tracing::error!(
                "the store does not extend this shard's nonces: nothing can be sealed until it does"
            );
        }
    }

    /// Lets an association act.
    pub(in crate::connection) fn with<R>(
        &self,
        now: Instant,
        key: ActorKey,
        minted: &mut Minted,
        act: impl FnOnce(&mut Context<'_>) -> R,
    ) -> R {
        if !self.settings.holds(&self.offer.borrow()) {
            self.offer.replace(self.settings.offer());
        }
        let offer = self.offer.borrow();
        act(&mut Context {
            now,
            unix: clock::unix_ms() / 1000,
            config: &offer.engine,
            nonces: &mut self.nonces.borrow_mut(),
            random: &self.random,
            naming: &mut Names { ground: self, key, minted },
        })
    }

    /// Makes a Connection ID lead to a connection, in place of any other.
    pub(in crate::connection) fn index(&self, cid: Cid, key: ActorKey) {
        self.by_cid.borrow_mut().insert(cid, key);
    }

    /// Gives a Connection ID back.
    pub(in crate::connection) fn forget(&self, cid: Cid, key: ActorKey) {
        if let Entry::Occupied(held) = self.by_cid.borrow_mut().entry(cid)
            && *held.get() == key
        {
            held.remove();
        }
    }

    /// Names a connection as one of a device's.
    pub(in crate::connection) fn attach(&self, device: DeviceId, key: ActorKey) {
        let mut by_device = self.by_device.borrow_mut();
        let own = by_device.entry(device).or_default();
        if !own.contains(&key) {
            own.push(key);
        }
    }

    /// The connection is no longer the device's.
    pub(in crate::connection) fn detach(&self, device: DeviceId, key: ActorKey) {
        if let Entry::Occupied(mut own) = self.by_device.borrow_mut().entry(device) {
            own.get_mut().retain(|other| *other != key);
            if own.get().is_empty() {
                own.remove();
            }
        }
    }

    /// The secured connections of a device.
    pub(crate) fn of_device(&self, device: DeviceId) -> SmallVec<[ActorKey; 1]> {
        self.by_device.borrow().get(&device).cloned().unwrap_or_default()
    }

    /// A Connection ID that leads to this shard and to no connection yet.
    fn mint(&self) -> Cid {
        let turns = (u8::MAX as usize - usize::from(self.shard) % 256) / self.shards + 1;
        loop {
            let [turn, random @ ..] = entropy::bytes::<6>();
            // The shard count does not divide 256 evenly; which of its bytes leads here tells nobody anything.
            let steering = usize::from(self.shard) + usize::from(turn) % turns * self.shards;
            let cid = self.settings.cluster.cids.mint(random, steering as u8);
            if !self.by_cid.borrow().contains_key(&cid) {
                return cid;
            }
        }
    }
}

/// Mints for one connection.
struct Names<'a> {
    ground: &'a Ground,
    key: ActorKey,
    minted: &'a mut Minted,
}

impl Naming for Names<'_> {
    fn name(&mut self) -> Cid {
        let cid = self.ground.mint();
        self.ground.index(cid, self.key);
        self.minted.push(cid);
        cid
    }

    /// Random: the ServerHello carries it before the client has said who it is.
    fn session_id(&mut self, _: &SessionName) -> SessionId {
        SessionId(entropy::bytes())
    }
}

const _: () = assert!(CID_LEN == 8, "the router reads as many");
