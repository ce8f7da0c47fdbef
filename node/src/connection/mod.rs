//! Connections: one actor per peer, which speaks CoAP with it.
//!
//! ```text
//! ingress ─ Datagram ─► actor ─► core (message layer, resources) ─ Uplink ─► endpoint
//! outbox ◄─ Transmit ──── actor ◄─ core ◄─────────────────────── Downlink ── endpoint
//! ```

mod actor;
mod core;
mod resource;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use actix::{Actor, Addr, prelude::SendError};

use self::{
    actor::{ConnectionActor, Input},
    core::Connection,
};
use crate::{
    endpoint::{
        Endpoints,
        link::{Downlink, Links},
    },
    entropy,
    identity::DeviceId,
    metrics,
    metrics::labels,
    shard::{
        ActorKey, Target,
        outbox::{Outbox, SocketId, Transmit},
        table::Table,
        timers::Timers,
    },
};

/// The connections of one shard.
pub struct Connections {
    coap: Arc<godwit_coap::Config>,
    outbox: Rc<Outbox>,
    timers: Rc<Timers<Target>>,
    endpoints: Rc<Endpoints>,
    metrics: Rc<metrics::Shard>,
    table: Table<Addr<ConnectionActor>>,
    by_peer: RefCell<HashMap<(SocketId, SocketAddr), ActorKey>>,
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
    /// No connections yet.
    pub fn new(
        coap: Arc<godwit_coap::Config>,
        outbox: Rc<Outbox>,
        timers: Rc<Timers<Target>>,
        endpoints: Rc<Endpoints>,
        metrics: Rc<metrics::Shard>,
    ) -> Rc<Self> {
        Rc::new(Self {
            coap,
            outbox,
            timers,
            endpoints,
            metrics,
            table: Table::default(),
            by_peer: RefCell::default(),
        })
    }

    /// Hands a datagram to the connection with its sender.
    pub fn offer(&self, socket: SocketId, from: SocketAddr, to: Option<IpAddr>, bytes: &[u8]) -> Offer {
        let Some(key) = self.by_peer.borrow().get(&(socket, from)).copied() else { return Offer::Unknown };
        let sent = self.table.with(key, |actor| actor.try_send(Input::Datagram { to, bytes: bytes.into() }));
        match sent {
            Some(Ok(())) => Offer::Delivered,
            Some(Err(SendError::Full(_))) => {
                self.metrics.mailbox_drops[labels::Arrow::IngressConnection].increment(1);
                Offer::Full
            }
            Some(Err(SendError::Closed(_))) | None => Offer::Unknown,
        }
    }

    /// Starts a connection with a peer. `device` is whose it is, where that is known; `first_message_id` is where
    /// its own messages begin.
    pub fn open(
        self: &Rc<Self>,
        socket: SocketId,
        remote: SocketAddr,
        local: Option<IpAddr>,
        device: Option<DeviceId>,
    ) -> ActorKey {
        // Endpoints number their requests in the lower halves of the 16 slices of message ids, connections begin in an
        // upper half.
        let first = u16::from_be_bytes(entropy::bytes()) & 0xf000 | 0x0800;
        let core = Connection::new(self.coap.clone(), first, entropy::u64(), device);
        let key = self
            .table
            .insert_with(|key| ConnectionActor::new(self.clone(), key, socket, remote, local, core).start());
        if let Some(earlier) = self.by_peer.borrow_mut().insert((socket, remote), key) {
            self.table.remove(earlier);
        }
        self.metrics.actors[labels::Actor::Connection].increment(1.0);
        key
    }

    /// Tells a connection that its deadline has passed.
    pub fn deadline(&self, key: ActorKey) {
        self.table.with(key, |actor| actor.do_send(Input::Deadline));
    }

    /// CoAP parameters.
    pub fn coap(&self) -> Arc<godwit_coap::Config> {
        self.coap.clone()
    }

    /// Sends a datagram that belongs to no connection.
    pub fn send(&self, socket: SocketId, to: SocketAddr, from: Option<IpAddr>, bytes: Vec<u8>) {
        self.outbox.push(socket, Transmit { to, from, bytes });
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn closed(&self, key: ActorKey, at: (SocketId, SocketAddr)) {
        self.table.remove(key);
        let mut by_peer = self.by_peer.borrow_mut();
        if by_peer.get(&at) == Some(&key) {
            by_peer.remove(&at);
        }
        self.metrics.actors[labels::Actor::Connection].decrement(1.0);
    }
}

impl Links for Connections {
    fn deliver(&self, connection: ActorKey, downlink: Downlink) -> bool {
        self.table.with(connection, |actor| actor.do_send(Input::Downlink(downlink))).is_some()
    }
}
