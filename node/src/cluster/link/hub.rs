//! All peers of a node.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::BoxFuture;
use godwit_proto::{cluster::v1 as wire, cluster::v1::frame::Body, v1::Operation};
use tokio::runtime::Handle;

use super::{peer::Peer, tls::Tls, wire as convert};
use crate::{
    clock::{self, Boot},
    endpoint::{
        handle::{NewOperation, OperationChange, RegistrationChange, SubmitError, Submitted},
        neighbours::{Neighbours, Present},
    },
    identity::{DeviceId, Owner},
    metrics::cluster::{LinkDrop, Links},
    ownership::{Answer, Membership, Timings},
    shard::outbox::{PeerId, SocketId, Transmit},
    store::{Beat, Member},
};

/// The peers of this node and what is known of them.
pub struct Hub {
    pub(super) own: Owner,
    /// Where peers reach this node.
    pub(super) advertised: SocketAddr,
    pub(super) tls: Tls,
    pub(super) metrics: Arc<Links>,
    /// A snapshot, exchanged as a whole: readers hold the lock for no longer than a clone of the pointer.
    membership: RwLock<Arc<Membership>>,
    /// By their ids, from 1 on. A run that is gone keeps its place.
    peers: RwLock<Vec<Arc<Peer>>>,
    changing: Mutex<()>,
    runtime: OnceLock<Handle>,
    closed: AtomicBool,
}

impl Hub {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(own: Owner, advertised: SocketAddr, timings: Timings, tls: Tls) -> Arc<Self> {
        Arc::new(Self {
            membership: RwLock::new(Arc::new(Membership::new(own.clone(), timings))),
            own,
            advertised,
            tls,
            metrics: Arc::default(),
            peers: RwLock::default(),
            changing: Mutex::default(),
            runtime: OnceLock::new(),
            closed: AtomicBool::new(false),
        })
    }

    /// Where peers reach this node.
    #[must_use]
    pub fn advertised(&self) -> SocketAddr {
        self.advertised
    }

    /// The runtime on which links run; before, nothing leaves.
    pub(super) fn attach(&self, runtime: Handle) {
        assert!(self.runtime.set(runtime).is_ok(), "invariant: links run on one thread");
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.all().iter().for_each(|peer| peer.close());
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The members as they are known now.
    #[must_use]
    pub fn members(&self) -> Arc<Membership> {
        self.membership.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this node may claim nothing just now.
    fn is_held(&self) -> bool {
        self.members().hold(clock::boot()).is_some()
    }

    /// Changes what is known of the members.
    pub(in crate::cluster) fn change(&self, change: impl FnOnce(&mut Membership)) {
        let _one: MutexGuard<'_, ()> = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Membership::clone(&self.members());
        change(&mut next);
        *self.membership.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// A heartbeat was answered: new members get their links, and all hear what this node sees of the store.
    pub fn handle_beat(self: &Arc<Self>, sent: Boot, now: Boot, beat: Beat) {
        for member in beat.members.iter().filter(|member| member.owner.node != self.own.node) {
            self.link(&member.owner, member.address);
        }
        self.change(|membership| membership.handle_beat(sent, now, beat));
        self.tell_view();
    }

    /// A heartbeat was not answered: until the next one nothing is claimed.
    pub fn handle_store_lost(self: &Arc<Self>) {
        self.change(Membership::handle_store_lost);
    }

    /// Tells all peers whether this node sees the store.
    pub fn tell_view(&self) {
        let now = clock::boot();
        let members = self.members();
        let sees_store = members.sees_store(now);
        let living = members.others(now);
        self.metrics.members.set(living.len() as f64 + 1.0);
        for peer in self.all() {
            if living.iter().any(|member| member.owner == peer.owner) {
                peer.send(&self.metrics, Body::View(wire::View { sees_store }));
            } else if members.known(&peer.owner).is_none() {
                peer.close();
            }
        }
    }

    /// Tells all peers of changes of registrations here; `gap`: some before these were lost.
    pub fn tell_changes(&self, changes: &[RegistrationChange], gap: bool) {
        self.each_open(|peer, living| {
            let changes = if living { changes.iter().map(convert::change).collect() } else { Vec::new() };
            peer.tell(&self.metrics, wire::Changes { changes, gap }, living);
        });
    }

    /// The same of operations.
    pub fn tell_operations(&self, changes: &[OperationChange], gap: bool) {
        self.each_open(|peer, living| {
            let changes = if living { changes } else { &[] };
            let operations = changes.iter().map(|change| Operation::clone(&change.operation)).collect();
            peer.tell_operations(&self.metrics, wire::Operations { operations, gap }, living);
        });
    }

    /// Peers that have a link, and whether their heartbeats are seen.
    fn each_open(&self, each: impl Fn(&Peer, bool)) {
        let living = self.members().others(clock::boot());
        for peer in self.all().iter().filter(|peer| !peer.is_closed()) {
            each(peer, living.iter().any(|member| member.owner == peer.owner));
        }
    }

    fn all(&self) -> Vec<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, owner: &Owner) -> Option<Arc<Peer>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.iter().rev().find(|peer| peer.owner == *owner && !peer.is_closed()).cloned()
    }

    /// A run that was given up for its silence and is back has another id by now, while its own link to this node, and the
    /// devices that it was the path of, may still go by the earlier one.
    fn of_id(&self, id: PeerId) -> Option<Arc<Peer>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let peer = peers.get(id.0.get() as usize - 1)?;
        let open = |it: &&Arc<Peer>| it.owner == peer.owner && !it.is_closed();
        let now = if peer.is_closed() { peers.iter().rev().find(open) } else { None };
        Some(now.unwrap_or(peer).clone())
    }

    /// The peer that is this run of a node. Its link is made, if there is none yet.
    pub(super) fn link(self: &Arc<Self>, owner: &Owner, address: SocketAddr) -> PeerId {
        if let Some(peer) = self.find(owner) {
            peer.move_to(address);
            return peer.id;
        }
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.iter().find(|peer| peer.owner == *owner && !peer.is_closed()) {
            return peer.id;
        }
        let id = u32::try_from(peers.len() + 1).ok().and_then(NonZeroU32::new);
        let id = PeerId(id.expect("invariant: fewer than 2^32 runs of peers in one run of a node"));
        let (peer, queue) = Peer::new(id, owner.clone(), address);
        peers.push(peer.clone());
        if let Some(runtime) = self.runtime.get() {
            runtime.spawn(super::peer::run(self.clone(), peer, queue));
        }
        id
    }

    /// A link to this run of a peer stands.
    pub(super) fn reached(&self, owner: &Owner) {
        self.change(|membership| membership.handle_answered(owner));
    }

    /// A peer refuses connections, or another run answers in its place.
    pub(super) fn refused(&self, owner: &Owner) {
        self.change(|membership| membership.handle_refused(owner));
    }

    /// What a peer sees of the store.
    pub(super) fn viewed(&self, owner: &Owner, sees_store: bool) {
        self.change(|membership| membership.handle_view(clock::boot(), owner, sees_store));
    }
}

impl Neighbours for Hub {
    fn membership(&self) -> Option<Arc<Membership>> {
        Some(self.members())
    }

    fn silent(&self, owner: &Owner) {
        self.metrics.suspicions.increment(1);
        self.change(|membership| membership.handle_silent(clock::boot(), owner));
    }

    fn present(&self, to: &Member, present: Present) -> BoxFuture<'static, Answer> {
        let Some(peer) = self.find(&to.owner) else { return Box::pin(async { Answer::Dead }) };
        let held = self.is_held();
        peer.ask(&self.metrics, |question| convert::present(question, present, held))
    }

    fn release(&self, to: &Member, device: DeviceId, take: bool) -> BoxFuture<'static, Answer> {
        let Some(peer) = self.find(&to.owner) else { return Box::pin(async { Answer::Dead }) };
        let (device, held) = (device.as_bytes().to_vec(), self.is_held());
        peer.ask(&self.metrics, |question| Body::Release(wire::Release { question, device, take, held }))
    }

    fn transmit(&self, datagrams: Vec<(SocketId, Transmit)>) {
        let mut of_peers: Vec<(PeerId, Vec<(SocketId, Transmit)>)> = Vec::new();
        for (socket, datagram) in datagrams {
            let Some(via) = datagram.via else { continue };
            match of_peers.iter_mut().find(|(peer, _)| *peer == via) {
                Some((_, batch)) => batch.push((socket, datagram)),
                None => of_peers.push((via, vec![(socket, datagram)])),
            }
        }
        for (via, batch) in of_peers {
            match self.of_id(via) {
                Some(peer) => {
                    peer.send(&self.metrics, convert::transmit(batch));
                }
                None => self.metrics.drops[LinkDrop::NoPeer].increment(batch.len() as u64),
            }
        }
    }

    fn submit(
        &self,
        to: &Member,
        device: DeviceId,
        operation: NewOperation,
    ) -> BoxFuture<'static, Result<Submitted, SubmitError>> {
        let (Some(peer), Some(runtime)) = (self.find(&to.owner), self.runtime.get().cloned()) else {
            return Box::pin(async { Err(SubmitError::Elsewhere) });
        };
        Box::pin(peer.submit(runtime, device, operation))
    }

    fn cancel(
        &self,
        to: &Member,
        device: DeviceId,
        operation: String,
    ) -> BoxFuture<'static, Result<Operation, SubmitError>> {
        let (Some(peer), Some(runtime)) = (self.find(&to.owner), self.runtime.get().cloned()) else {
            return Box::pin(async { Err(SubmitError::Elsewhere) });
        };
        Box::pin(peer.cancel(runtime, device, operation))
    }

    fn owner(&self, peer: PeerId) -> Option<Owner> {
        self.of_id(peer).map(|peer| peer.owner.clone())
    }

    fn peer(&self, node: &str) -> Option<PeerId> {
        let members = self.members().others(clock::boot());
        let member = members.iter().find(|member| &*member.owner.node == node)?;
        self.find(&member.owner).map(|peer| peer.id)
    }
}
