//! Connections: one actor per peer, which speaks CoAP with it, over DTLS or not.
//!
//! ```text
//! ingress ─ Datagram ─► actor ─ (secure) ─► core (message layer, resources) ─ Uplink ─► endpoint
//! outbox ◄─ Transmit ──── actor ◄ (secure) ◄─ core ◄───────────────────── Downlink ── endpoint
//! ```

mod actor;
mod core;
mod links;
mod progress;
mod resource;
pub mod secure;
mod secured;
#[cfg(test)]
#[path = "../cluster/simulation/connection.rs"]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, sync::Arc, time::Instant};

use actix::{Actor, Addr, prelude::SendError};
use godwit_coap::BlockSize;
use godwit_dtls::cid::Cid;

pub use self::secure::path::Place;
use self::{
    actor::{ConnectionActor, Input},
    core::Connection,
    progress::Progress,
    secure::{Ground, channel::Channel, fate},
    secured::Lower,
};
use crate::{
    admission::Handshake,
    endpoint::{Arrived, Endpoints},
    entropy,
    identity::{AssociationId, DeviceId},
    metrics::{self, labels},
    ownership::Reply,
    shard::{
        ActorKey, Target,
        listener::Listener,
        outbox::{Outbox, SocketId, Transmit},
        table::Table,
        timers::Timers,
    },
};

/// What a CoAP message may have besides its payload, in bytes: header, token, and the options of one block.
const MESSAGE_OVERHEAD: usize = 128;

/// The connections of one shard.
pub struct Connections {
    coap: Arc<godwit_coap::Config>,
    outbox: Rc<Outbox>,
    timers: Rc<Timers<Target>>,
    endpoints: Rc<Endpoints>,
    metrics: Rc<metrics::Shard>,
    /// Where secured connections stand; `None`: this node speaks no DTLS.
    ground: Option<Rc<Ground>>,
    table: Table<Resident>,
    by_peer: RefCell<HashMap<(SocketId, SocketAddr), ActorKey>>,
    /// The shard's sockets.
    bound: Box<[Listener]>,
}

/// A live connection.
struct Resident {
    address: Addr<ConnectionActor>,
    progress: Rc<Progress>,
}

/// What became of a datagram that was offered to the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Its connection has it.
    Delivered,
    /// Its connection's mailbox is full; it was dropped and counted.
    Full,
    /// There is no connection with this peer.
    Unknown,
}

impl Connections {
    /// No connections yet. `bound` are the shard's sockets, with their real ports.
    pub fn new(
        coap: Arc<godwit_coap::Config>,
        outbox: Rc<Outbox>,
        timers: Rc<Timers<Target>>,
        endpoints: Rc<Endpoints>,
        metrics: Rc<metrics::Shard>,
        ground: Option<Rc<Ground>>,
        bound: Box<[Listener]>,
    ) -> Rc<Self> {
        Rc::new(Self {
            coap,
            outbox,
            timers,
            endpoints,
            metrics,
            ground,
            table: Table::default(),
            by_peer: RefCell::default(),
            bound,
        })
    }

    /// Hands a datagram to the connection that its sender's address leads to.
    pub fn offer(&self, from: Place, bytes: &[u8]) -> Offer {
        let Some(key) = self.by_peer.borrow().get(&(from.socket, from.remote)).copied() else {
            return Offer::Unknown;
        };
        self.send_to(key, Input::Datagram { from, bytes: bytes.into(), reply: None })
    }

    /// Hands a record to the connection that its Connection ID leads to.
    pub fn offer_named(&self, cid: &Cid, from: Place, bytes: &[u8]) -> Offer {
        let found = self.ground.as_ref().and_then(|ground| ground.find(cid));
        let Some(key) = found else { return Offer::Unknown };
        self.send_to(key, Input::Datagram { from, bytes: bytes.into(), reply: None })
    }

    /// Hands what came to another node to the connection of that device, by the association in whose keys it is or by its
    /// sender's address.
    ///
    /// # Errors
    /// There is none: the reply comes back.
    pub fn present(
        &self,
        device: DeviceId,
        association: Option<AssociationId>,
        from: Place,
        bytes: &[u8],
        reply: Reply,
    ) -> Result<(), Reply> {
        let by_address = self.by_peer.borrow().get(&(from.socket, from.remote)).copied();
        let key = match (&self.ground, association) {
            (Some(ground), Some(association)) => {
                let by_name = ground.find(&Cid(*association.as_bytes()));
                let own = ground.of_device(device);
                [by_name, by_address].into_iter().flatten().find(|key| own.contains(key))
            }
            (_, None) => by_address,
            (None, Some(_)) => None,
        };
        let Some(key) = key else { return Err(reply) };
        let mut reply = Some(reply);
        let sent = self.table.with(key, |resident| {
            let input = Input::Datagram { from, bytes: bytes.into(), reply: reply.take() };
            resident.address.try_send(input)
        });
        if let Some(Err(SendError::Full(_))) = sent {
            self.metrics.mailbox_drops[labels::Arrow::IngressConnection].increment(1);
        }
        reply.map_or(Ok(()), Err)
    }

    fn send_to(&self, key: ActorKey, input: Input) -> Offer {
        match self.table.with(key, |resident| resident.address.try_send(input)) {
            Some(Ok(())) => Offer::Delivered,
            Some(Err(SendError::Full(_))) => {
                self.metrics.mailbox_drops[labels::Arrow::IngressConnection].increment(1);
                Offer::Full
            }
            Some(Err(SendError::Closed(_))) | None => Offer::Unknown,
        }
    }

    /// Whether there is a connection that this peer's address leads to.
    pub fn has(&self, socket: SocketId, peer: SocketAddr) -> bool {
        self.by_peer.borrow().contains_key(&(socket, peer))
    }

    /// Starts a connection without DTLS. `device` is whose it is, where that is known.
    pub fn open(self: &Rc<Self>, place: Place, device: Option<DeviceId>) -> ActorKey {
        let core = self.core(usize::MAX).linked(device);
        self.start(place, core, true, |_| None)
    }

    /// Begins a handshake, or lets the one under way with this peer go on, by a ClientHello that has a good cookie.
    pub fn accept(self: &Rc<Self>, from: Place, permit: Handshake, hello: &[u8], now: Instant) -> Offer {
        let Some(ground) = self.ground.clone() else { return Offer::Unknown };
        let known = self.by_peer.borrow().get(&(from.socket, from.remote)).copied();
        if let Some(key) = known.filter(|key| self.table.with(*key, |_| ()).is_some()) {
            return self.send_to(key, Input::Hello { from, permit, bytes: hello.into() });
        }
        self.start(from, self.core(usize::MAX), true, |key| {
            let (channel, fate) = Channel::accept(ground, key, from, now, permit, hello);
            fate::count(&self.metrics.dtls, &fate);
            Some(Lower::open(channel, None))
        });
        Offer::Delivered
    }

    /// Starts a connection for a stored session, which asks the device's endpoint for it. `waiting`: datagrams for it,
    /// of which one has authenticated. `cid`: by which its records find it; without one the address does.
    pub fn claim(
        self: &Rc<Self>,
        device: DeviceId,
        association: AssociationId,
        cid: Option<Cid>,
        waiting: Vec<(Place, Box<[u8]>)>,
        now: Instant,
    ) {
        let (Some(ground), Some(place)) = (&self.ground, waiting.first().map(|(from, _)| *from)) else {
            return;
        };
        if let Some(key) = self.using(association, cid, place) {
            // Its endpoint has reached for the device while the record was looked up.
            for (from, bytes) in waiting {
                self.send_to(key, Input::Datagram { from, bytes, reply: None });
            }
            return;
        }
        let key = self.start(place, self.core(usize::MAX), cid.is_none(), |_| {
            Some(Lower::claiming(device, association, cid, waiting, now))
        });
        ground.attach(device, key);
        if let Some(cid) = cid {
            ground.index(cid, key);
        }
    }

    /// The connection that uses a session or claims it, by what leads to it.
    fn using(&self, association: AssociationId, cid: Option<Cid>, place: Place) -> Option<ActorKey> {
        let Some(cid) = cid else {
            let key = *self.by_peer.borrow().get(&(place.socket, place.remote))?;
            let used = self.table.with(key, |resident| resident.progress.numbers())??;
            return (used.0 == association).then_some(key);
        };
        let key = self.ground.as_ref()?.find(&cid)?;
        self.table.with(key, |_| key)
    }

    /// Puts an actor into the table; `by_address`: its peer's address leads to it.
    fn start(
        self: &Rc<Self>,
        place: Place,
        core: Connection,
        by_address: bool,
        lower: impl FnOnce(ActorKey) -> Option<Lower>,
    ) -> ActorKey {
        let key = self.table.insert_with(|key| {
            let progress = Rc::new(Progress::default());
            let actor = ConnectionActor::new(self.clone(), key, place, core, lower(key), progress.clone());
            Resident { address: actor.start(), progress }
        });
        if by_address
            && let Some(earlier) = self.by_peer.borrow_mut().insert((place.socket, place.remote), key)
        {
            self.table.remove(earlier);
        }
        self.metrics.actors[labels::Actor::Connection].increment(1.0);
        key
    }

    /// A core whose messages fit into records of `limit` bytes, and that nobody is linked to.
    fn core(&self, limit: usize) -> Connection {
        let coap = match BlockSize::fitting(limit.saturating_sub(MESSAGE_OVERHEAD)) {
            Some(block_size) if block_size < self.coap.block_size => Arc::new(godwit_coap::Config {
                block_size,
                max_payload: block_size.bytes().min(self.coap.max_payload),
                ..(*self.coap).clone()
            }),
            _ => self.coap.clone(),
        };
        // In the lower half of all message ids; endpoints number their requests in the upper one.
        let first = u16::from_be_bytes(entropy::bytes()) & 0x7fff;
        Connection::new(coap, first, entropy::u64())
    }

    /// Makes an address lead to a connection in place of another, or of none.
    fn readdress(&self, key: ActorKey, from: (SocketId, SocketAddr), to: Option<(SocketId, SocketAddr)>) {
        let mut by_peer = self.by_peer.borrow_mut();
        if to != Some(from) && by_peer.get(&from) == Some(&key) {
            by_peer.remove(&from);
        }
        if let Some(to) = to {
            by_peer.insert(to, key);
        }
    }

    /// Ends the connections of a device whose credential was changed; those that this `version` of it has let in go on.
    pub fn revoke(&self, device: DeviceId, version: Option<u64>) {
        for key in self.ground.iter().flat_map(|ground| ground.of_device(device)) {
            self.table.with(key, |resident| resident.address.do_send(Input::Revoked(version)));
        }
    }

    /// Tells a connection that its deadline has passed.
    pub fn deadline(&self, key: ActorKey) {
        self.table.with(key, |resident| resident.address.do_send(Input::Deadline));
    }

    /// Routes datagrams once more: their device is not here after all.
    fn come_back(&self, waiting: Vec<(Place, Box<[u8]>)>) {
        let arrived = waiting.into_iter().map(|(from, bytes)| {
            let Place { socket, remote, local, via } = from;
            Arrived { socket, from: remote, to: local, via, bytes }
        });
        self.endpoints.come_back(arrived);
    }

    /// CoAP parameters.
    pub fn coap(&self) -> Arc<godwit_coap::Config> {
        self.coap.clone()
    }

    /// Sends a datagram that belongs to no connection.
    pub fn send(&self, to: Place, bytes: Vec<u8>) {
        let Place { socket, remote, local, via } = to;
        self.outbox.push(socket, Transmit { to: remote, from: local, via, bytes });
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The shard's sockets.
    pub fn bound(&self) -> &[Listener] {
        &self.bound
    }

    /// The address that a socket is bound to.
    fn bound_of(&self, socket: SocketId) -> Option<SocketAddr> {
        self.bound.get(usize::from(socket.0)).map(|bound| bound.address)
    }

    fn closed(&self, key: ActorKey, at: (SocketId, SocketAddr)) {
        self.table.remove(key);
        self.readdress(key, at, None);
        self.metrics.actors[labels::Actor::Connection].decrement(1.0);
    }
}
