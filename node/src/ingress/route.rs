//! Which connection gets a datagram, and what becomes of strangers.
//!
//! ```text
//!  known peer ─────────────────────────► its connection
//!  stranger ─► address on record? ─ yes ─► connection of that device ─► activation
//!                    └─ no ─► a request ─► new connection, as long as there is room
//!                             └─ all else ─► answered and forgotten
//! ```

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use godwit_coap::{Code, Event, Peer, Response};

use super::secure::Secure;
use crate::{
    clock,
    connection::{Connections, Offer, Place, secure::Ground},
    endpoint::{Arrived, Endpoints, Process, ShardMessage},
    identity::DeviceId,
    metrics::{
        self,
        labels::{DropReason, Lookup},
    },
    shard::{ShardId, listener::Kind, outbox::SocketId},
    store::Pointer,
};

/// Datagrams of one stranger that wait for the look-up of its address or session.
pub(super) const WAITING: usize = 4;
/// Strangers whose address is being looked up at once.
const LOOKUPS: usize = 4096;
/// Connections without an endpoint that a shard keeps; beyond, strangers are told to come later.
const UNLINKED: usize = 16_384;

type Waiting = Vec<Box<[u8]>>;

/// Routes the datagrams of one shard.
pub(super) struct Router {
    pub(super) shard: ShardId,
    pub(super) process: Arc<Process>,
    pub(super) connections: Rc<Connections>,
    pub(super) endpoints: Rc<Endpoints>,
    pub(super) metrics: Rc<metrics::Shard>,
    /// What is spoken on each socket.
    kinds: Box<[Kind]>,
    pub(super) secure: Option<Secure>,
    /// Datagrams that wait for the look-up of their sender.
    strangers: RefCell<HashMap<(SocketId, SocketAddr), Waiting>>,
}

impl Router {
    /// Routes to these connections what comes in by sockets of these kinds.
    pub(super) fn new(
        shard: ShardId,
        process: Arc<Process>,
        connections: Rc<Connections>,
        endpoints: Rc<Endpoints>,
        metrics: Rc<metrics::Shard>,
        kinds: Box<[Kind]>,
        ground: Option<Rc<Ground>>,
    ) -> Rc<Self> {
        let (secure, strangers) = (ground.map(Secure::new), RefCell::default());
        Rc::new(Self { shard, process, connections, endpoints, metrics, kinds, secure, strangers })
    }

    /// Sends a datagram on its way.
    pub(super) fn route(self: &Rc<Self>, from: Place, bytes: &[u8]) {
        if self.is_closed() {
            return self.metrics.datagrams_dropped[DropReason::Draining].increment(1);
        }
        if let Some(peer) = self.endpoints.substitute() {
            return self.relay(DeviceId::from_bytes([0; 10]), &peer, vec![(from, bytes.into())]);
        }
        if let Some(secure) = self.secure(from.socket) {
            return self.route_secure(secure, from, bytes, false);
        }
        match self.connections.offer(from, bytes) {
            Offer::Delivered => self.metrics.session_lookups[Lookup::Local].increment(1),
            Offer::Full => self.metrics.datagrams_dropped[DropReason::MailboxFull].increment(1),
            Offer::Unknown => self.look_up(from, bytes),
        }
    }

    /// Whether the node drains and no peer goes on with what comes.
    fn is_closed(&self) -> bool {
        let anybody = DeviceId::from_bytes([0; 10]);
        self.process.draining.load(Ordering::Relaxed) && self.process.heir(anybody).is_none()
    }

    /// Takes a datagram that came to another shard.
    pub(super) fn take(self: &Rc<Self>, arrived: &Arrived) {
        let Arrived { socket, from, to, via, bytes } = arrived;
        let from = Place { socket: *socket, remote: *from, local: *to, via: *via };
        if let Some(secure) = self.secure(*socket) {
            self.route_secure(secure, from, bytes, true);
        } else if self.connections.offer(from, bytes) == Offer::Unknown {
            self.metrics.datagrams_dropped[DropReason::Ignored].increment(1);
        }
    }

    /// What routes the datagrams of a socket where DTLS is spoken.
    pub(super) fn secure(&self, socket: SocketId) -> Option<&Secure> {
        self.secure.as_ref().filter(|_| self.kinds.get(usize::from(socket.0)) == Some(&Kind::Dtls))
    }

    pub(super) fn look_up(self: &Rc<Self>, place: Place, bytes: &[u8]) {
        let Place { socket, remote: from, local: to, via } = place;
        let mut strangers = self.strangers.borrow_mut();
        if let Some(waiting) = strangers.get_mut(&(socket, from)) {
            if waiting.len() < WAITING {
                waiting.push(bytes.into());
            } else {
                self.metrics.datagrams_dropped[DropReason::Admission].increment(1);
            }
            return;
        }
        if strangers.len() >= LOOKUPS {
            self.metrics.datagrams_dropped[DropReason::Admission].increment(1);
            return;
        }
        strangers.insert((socket, from), vec![bytes.into()]);
        let found = self.process.store.resolve(Pointer::Address(from));
        let router = self.clone();
        actix::spawn(async move {
            let device = found.await;
            let waiting = router.strangers.borrow_mut().remove(&(socket, from)).unwrap_or_default();
            let requests = waiting.iter().any(|bytes| is_request(bytes));
            match device {
                // Its endpoint has reached out for it meanwhile.
                Ok(_) if router.connections.has(socket, from) => {}
                // Answers what another shard has sent to the address on record. A request moves the device here.
                Ok(Some(device)) if !requests && router.elsewhere(device).is_some() => {
                    router.metrics.session_lookups[Lookup::Shard].increment(1);
                    let holder = router.elsewhere(device).unwrap_or(router.shard);
                    let arrived = waiting.into_iter().map(|bytes| Arrived { socket, from, to, via, bytes });
                    let arrived = arrived.map(|arrived| ShardMessage::Datagram(Box::new(arrived)));
                    return router.process.inboxes.of(holder).extend(arrived);
                }
                Ok(Some(device)) if router.may_be_abroad(device) => {
                    return router.serve_plain(place, device, waiting).await;
                }
                Ok(Some(device)) => {
                    router.metrics.session_lookups[Lookup::Store].increment(1);
                    router.connections.open(place, Some(device));
                }
                Ok(None) => {
                    router.metrics.session_lookups[Lookup::Miss].increment(1);
                    // Whoever registers now shall do it where the device can stay.
                    let anybody = DeviceId::from_bytes([0; 10]);
                    if let Some(heir) = router.process.heir(anybody) {
                        let waiting = waiting.into_iter().map(|bytes| (place, bytes)).collect();
                        return router.relay(anybody, &heir, waiting);
                    }
                    let room = router.connections.len() < router.endpoints.len() + UNLINKED;
                    if !room || !requests {
                        return waiting.iter().for_each(|bytes| router.dismiss(place, bytes));
                    }
                    router.connections.open(place, None);
                }
                // What the device repeats is looked up anew.
                Err(error) => {
                    tracing::debug!(%error, "an address could not be looked up");
                    return;
                }
            }
            for bytes in waiting {
                router.connections.offer(place, &bytes);
            }
        });
    }

    /// The other shard that has a device.
    pub(super) fn elsewhere(&self, device: DeviceId) -> Option<ShardId> {
        self.process.directory.find(device).filter(|holder| *holder != self.shard)
    }

    /// Answers a stranger without keeping anything: RST to what answers nothing of ours, 5.03 to requests for which
    /// there is no room.
    fn dismiss(&self, place: Place, bytes: &[u8]) {
        let now = clock::now();
        let mut peer = Peer::new(self.connections.coap(), 0, 0);
        peer.handle_datagram(now, bytes);
        while let Some(event) = peer.poll_event() {
            match event {
                Event::Request { id, .. } => {
                    self.metrics.datagrams_dropped[DropReason::Admission].increment(1);
                    let busy = Response::diagnostic(Code::SERVICE_UNAVAILABLE, "overloaded").max_age(30);
                    // An error says that the request was closed meanwhile.
                    let _ = peer.respond(now, id, busy);
                }
                Event::Notification { message_id, .. } => {
                    peer.reset(now, message_id);
                }
                _ => {}
            }
        }
        while let Some(answer) = peer.poll_transmit() {
            self.connections.send(place, answer);
        }
    }
}

/// Whether the code of a datagram is that of a request (RFC 7252 §3: class 0, not empty).
fn is_request(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|code| (1..32).contains(code))
}
