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
        link::{Downlink, Link, Links, Reach, Security},
    },
    entropy,
    identity::{AssociationId, DeviceId},
    metrics,
    metrics::labels,
    shard::{
        ActorKey, Target,
        outbox::{Outbox, SocketId, Transmit},
        table::Table,
        timers::Timers,
    },
    store::Numbers,
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
    /// The local addresses of the shard's sockets.
    bound: Box<[SocketAddr]>,
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
    /// No connections yet. `bound` are the local addresses of the shard's sockets.
    pub fn new(
        coap: Arc<godwit_coap::Config>,
        outbox: Rc<Outbox>,
        timers: Rc<Timers<Target>>,
        endpoints: Rc<Endpoints>,
        metrics: Rc<metrics::Shard>,
        bound: Box<[SocketAddr]>,
    ) -> Rc<Self> {
        Rc::new(Self {
            coap,
            outbox,
            timers,
            endpoints,
            metrics,
            table: Table::default(),
            by_peer: RefCell::default(),
            bound,
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

    /// Whether there is a connection with this peer.
    pub fn has(&self, socket: SocketId, peer: SocketAddr) -> bool {
        self.by_peer.borrow().contains_key(&(socket, peer))
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
        // In the lower half of all message ids; endpoints number their requests in the upper one.
        let first = u16::from_be_bytes(entropy::bytes()) & 0x7fff;
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
    fn deliver(&self, connection: ActorKey, device: DeviceId, downlink: Downlink) -> bool {
        self.table.with(connection, |actor| actor.do_send(Input::Downlink(device, downlink))).is_some()
    }

    fn reach(
        self: Rc<Self>,
        device: DeviceId,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        how: Reach,
    ) -> Option<Link> {
        if !matches!(how, Reach::Plain) {
            return None;
        }
        let socket = socket_for(&self.bound, peer, local)?;
        let local = local.map(|local| local.ip()).filter(|ip| !ip.is_unspecified());
        let open = self.by_peer.borrow().get(&(socket, peer)).copied();
        let connection = open.unwrap_or_else(|| self.open(socket, peer, local, Some(device)));
        Some(Link { connection, socket, remote: peer, local, security: Security::NoSec })
    }

    fn local(&self, link: &Link) -> Option<SocketAddr> {
        let bound = self.bound.get(usize::from(link.socket.0))?;
        Some(SocketAddr::new(link.local.unwrap_or(bound.ip()), bound.port()))
    }

    fn numbers(&self, _: ActorKey) -> Option<(AssociationId, Numbers)> {
        None
    }

    fn retire(&self, _: ActorKey) -> Option<(AssociationId, Numbers)> {
        None
    }
}

/// The socket by which a peer is reached: the one that it sends to, or else the first of its family.
fn socket_for(bound: &[SocketAddr], peer: SocketAddr, local: Option<SocketAddr>) -> Option<SocketId> {
    let any = |bound: &SocketAddr| bound.ip().is_unspecified();
    let reaches = |bound: &SocketAddr| bound.is_ipv4() == peer.is_ipv4() || (bound.is_ipv6() && any(bound));
    let same = |bound: &SocketAddr| {
        local.is_some_and(|local| local.port() == bound.port() && (any(bound) || local.ip() == bound.ip()))
    };
    let at = bound.iter().position(|bound| reaches(bound) && same(bound));
    let at = at.or_else(|| bound.iter().position(reaches))?;
    u8::try_from(at).ok().map(SocketId)
}

#[cfg(test)]
mod address_tests {
    use super::*;

    #[test]
    fn a_peer_is_reached_by_the_socket_that_it_sends_to() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let bound = [address("127.0.0.1:5683"), address("[::]:5685"), address("0.0.0.0:5687")];
        let socket = |peer, local: Option<&str>| {
            socket_for(&bound, address(peer), local.map(address)).map(|socket| socket.0)
        };
        assert_eq!(socket("127.0.0.2:9", Some("127.0.0.1:5683")), Some(0));
        assert_eq!(socket("127.0.0.2:9", Some("10.0.0.1:5687")), Some(2));
        assert_eq!(socket("[::1]:9", Some("[::1]:5685")), Some(1));
        assert_eq!(socket("127.0.0.2:9", Some("10.0.0.1:1")), Some(0), "a setting has changed");
        assert_eq!(socket("[::1]:9", None), Some(1));
        assert_eq!(socket_for(&bound[..1], address("[::1]:9"), None), None);
    }
}
