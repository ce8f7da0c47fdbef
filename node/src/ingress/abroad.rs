//! Datagrams of devices that other nodes have, and datagrams of ours that came to other nodes.
//!
//! ```text
//!  not live here ─► load ─► authentic? ─► whose? ─┬─ nobody's, ours, a dead node's ─► claim
//!                     ▲                           └─ a living node's ─► Present ─► handled there; it answers by way of us
//!                     └───────────── it has given the device up ◄──────────┘
//!  Presented ─► live here ─► its connection, with the other node as its path
//!                 └─ not, or no longer: Gone
//! ```

use std::{rc::Rc, sync::atomic::Ordering};

use super::{
    route::Router,
    secure::{Secure, Waiting},
};
use crate::{
    connection::{Offer, Place, secure::activation::Wanted},
    endpoint::{Arrived, Presence, Presented, neighbours::Present, search::Search},
    identity::{AssociationId, DeviceId},
    metrics::{
        cluster::Path,
        dtls::RecordDrop,
        labels::{DropReason, Lookup},
    },
    ownership::{Answer, Step, Want},
    shard::listener::Kind,
    store::{DeviceRecord, Member},
};

impl Router {
    /// From a session's device to whoever has it: looks on until the device is claimed here or its datagrams are another
    /// node's. `record`: the device's, as it was found just now.
    pub(super) async fn serve(
        self: &Rc<Self>,
        secure: &Secure,
        wanted: Wanted,
        device: DeviceId,
        record: DeviceRecord,
    ) {
        let mut search = Search::new(&self.process.neighbours, Want::Packet);
        let mut first = Some(record);
        loop {
            let loaded = match first.take() {
                Some(record) => Ok(Some(record)),
                None => self.process.store.load(device).await,
            };
            let (mut step, found) = match loaded {
                Ok(Some(record)) => {
                    let found = secure.authenticate(device, &record, wanted);
                    let Some(found) = found else {
                        return self.drop_waiting(secure, wanted, RecordDrop::Forged);
                    };
                    (search.loaded(Some(&record.header)), Some(found))
                }
                Ok(None) => return self.drop_waiting(secure, wanted, RecordDrop::NoSession),
                Err(error) => {
                    tracing::debug!(%error, "a session could not be loaded");
                    (search.load_failed(), None)
                }
            };
            if let (Step::Present(owner), Some((association, first))) = (&step, &found) {
                let owner = owner.clone();
                let present = self.present_of(device, Some(*association), first, false);
                let handed;
                (step, handed) = self.ask_owner(&mut search, &owner, device, present).await;
                if handed {
                    self.metrics.session_lookups[Lookup::Node].increment(1);
                    self.present_rest(secure, wanted, device, (*association, first), &owner);
                    return;
                }
            }
            match (step, found) {
                (Step::Claim { .. }, Some((association, _))) => {
                    if self.process.draining.load(Ordering::Relaxed) {
                        return match self.process.heir(device) {
                            Some(heir) => self.relay(device, &heir, secure.take(wanted)),
                            None => self.drop_waiting(secure, wanted, RecordDrop::Left),
                        };
                    }
                    self.metrics.session_lookups[Lookup::Store].increment(1);
                    let waiting = secure.take(wanted);
                    let now = crate::clock::now();
                    return self.connections.claim(device, association, wanted.cid(), waiting, now);
                }
                (Step::LoadAgain | Step::Present(_), _) => {}
                (Step::Relay(peer), _) => return self.relay(device, &peer, secure.take(wanted)),
                (Step::Leave(why), _) => {
                    tracing::debug!(?why, "datagrams are left to their device to repeat");
                    return self.drop_waiting(secure, wanted, RecordDrop::Left);
                }
                (Step::Claim { .. }, None) => {
                    return self.drop_waiting(secure, wanted, RecordDrop::NoSession);
                }
            }
        }
    }

    /// Presents a datagram to its device's owner; one that a peer has left to us, `None`, has the owner give the device up: it may be
    /// that peer, about to have done so. `true`: the owner has the datagram.
    async fn ask_owner(
        &self,
        search: &mut Search,
        owner: &Member,
        device: DeviceId,
        present: Option<Present>,
    ) -> (Step, bool) {
        let presented = present.is_some();
        let asked = match present {
            Some(present) => self.process.neighbours.present(owner, present),
            None => self.process.neighbours.release(owner, device, false),
        };
        let step = search.ask(owner, asked, false).await;
        let handed = presented && matches!(step, Step::Leave(_));
        (step, handed)
    }

    /// The question about a datagram; `None`: it came from a peer.
    fn present_of(
        &self,
        device: DeviceId,
        session: Option<AssociationId>,
        (from, bytes): &(Place, Box<[u8]>),
        relay: bool,
    ) -> Option<Present> {
        let Place { socket, remote, local, via: None } = *from else { return None };
        self.metrics.cluster.paths[if relay { Path::Relayed } else { Path::Presented }].increment(1);
        Some(Present { device, session, socket, peer: remote, local, bytes: bytes.clone(), relay })
    }

    /// Hands the datagrams that came behind the first one to the owner as well. Nothing follows from its answers.
    fn present_rest(
        &self,
        secure: &Secure,
        wanted: Wanted,
        device: DeviceId,
        (association, first): (AssociationId, &(Place, Box<[u8]>)),
        owner: &Member,
    ) {
        let mut waiting = secure.take(wanted);
        if let Some(at) = waiting.iter().position(|(_, bytes)| *bytes == first.1) {
            waiting.remove(at);
        }
        let presents = waiting.iter().filter_map(|it| self.present_of(device, Some(association), it, false));
        presents.for_each(|present| self.hand(owner, present));
    }

    /// Has a peer go on with what this node can't serve.
    pub(super) fn relay(&self, device: DeviceId, peer: &Member, waiting: Waiting) {
        let presents = waiting.iter().filter_map(|it| self.present_of(device, None, it, true));
        presents.for_each(|present| self.hand(peer, present));
    }

    fn hand(&self, to: &Member, present: Present) {
        let handed = self.process.neighbours.present(to, present);
        actix::spawn(async move {
            // Nothing follows from the answer.
            let _ = handed.await;
        });
    }

    fn drop_waiting(&self, secure: &Secure, wanted: Wanted, why: RecordDrop) {
        let dropped = secure.take(wanted).len() as u64;
        self.metrics.dtls.records_dropped[why].increment(dropped);
    }

    /// Whether a device without a connection here may be another node's.
    pub(super) fn may_be_abroad(&self, device: DeviceId) -> bool {
        self.process.directory.find(device).is_none() && self.process.neighbours.membership().is_some()
    }

    /// The same for a device without DTLS, which its address has named.
    pub(super) async fn serve_plain(self: Rc<Self>, place: Place, device: DeviceId, waiting: Vec<Box<[u8]>>) {
        let mut search = Search::new(&self.process.neighbours, Want::Packet);
        let datagrams = || waiting.iter().map(|bytes| (place, bytes.clone()));
        loop {
            let mut step = match self.process.store.load(device).await {
                Ok(record) => search.loaded(record.as_ref().map(|record| &record.header)),
                Err(error) => {
                    tracing::debug!(%error, "a device could not be loaded");
                    search.load_failed()
                }
            };
            if let Step::Present(owner) = &step {
                let owner = owner.clone();
                let mut presents = datagrams().filter_map(|it| self.present_of(device, None, &it, false));
                let first = presents.next();
                let handed;
                (step, handed) = self.ask_owner(&mut search, &owner, device, first).await;
                if handed {
                    self.metrics.session_lookups[Lookup::Node].increment(1);
                    return presents.for_each(|present| self.hand(&owner, present));
                }
            }
            match step {
                Step::Claim { .. } if self.process.draining.load(Ordering::Relaxed) => {
                    let Some(heir) = self.process.heir(device) else { return };
                    return self.relay(device, &heir, datagrams().collect());
                }
                // Answers to a node that is gone claim nothing: whoever does asks again. A connection that waited here for more
                // would keep from the next owner what comes for it.
                Step::Claim { .. } if waiting.iter().all(|bytes| is_answer(bytes)) => {
                    let dropped = waiting.len() as u64;
                    return self.metrics.datagrams_dropped[DropReason::Left].increment(dropped);
                }
                Step::Claim { .. } => {
                    self.metrics.session_lookups[Lookup::Store].increment(1);
                    if !self.connections.has(place.socket, place.remote) {
                        self.connections.open(place, Some(device));
                    }
                    for bytes in &waiting {
                        self.connections.offer(place, bytes);
                    }
                    return;
                }
                Step::LoadAgain | Step::Present(_) => {}
                Step::Relay(peer) => return self.relay(device, &peer, datagrams().collect()),
                Step::Leave(why) => {
                    tracing::debug!(?why, "datagrams are left to their device to repeat");
                    let dropped = waiting.len() as u64;
                    return self.metrics.datagrams_dropped[DropReason::Left].increment(dropped);
                }
            }
        }
    }

    /// Takes a datagram that came to another node.
    pub(super) fn present(self: &Rc<Self>, presented: Presented) {
        let Presented { device, session, arrived, relay, held, reply } = presented;
        let Arrived { socket, from, to, via, bytes } = arrived;
        let from = Place { socket, remote: from, local: to, via };
        self.metrics.cluster.paths[Path::Received].increment(1);
        let secure = self.secure(socket);
        let known = self.connections.bound().get(usize::from(socket.0)).map(|bound| bound.kind);
        if known.is_none() || (session.is_some() && known != Some(Kind::Dtls)) {
            tracing::warn!(
                listener = socket.0,
                "a peer listens otherwise than this node: compare their settings"
            );
            return reply.answer(Answer::Replay);
        }
        if relay {
            reply.answer(Answer::Handled);
            return match secure {
                Some(secure) => self.route_secure(secure, from, &bytes, false),
                None if self.connections.offer(from, &bytes) == Offer::Unknown => self.look_up(from, &bytes),
                None => {}
            };
        }
        match self.endpoints.presence(device, held) {
            Presence::Absent => return reply.gone(),
            Presence::Frozen => return reply.answer(Answer::Busy),
            Presence::Leaving => return self.endpoints.when_released(device, reply),
            Presence::Here => {}
        }
        let Err(reply) = self.connections.present(device, session, from, &bytes, reply) else { return };
        // It is live without a connection by this session, or from this address.
        reply.answer(Answer::Handled);
        match secure {
            Some(secure) => self.route_secure(secure, from, &bytes, true),
            None => {
                self.connections.open(from, Some(device));
                self.connections.offer(from, &bytes);
            }
        }
    }
}

/// Whether a datagram is an acknowledgement or a reset (RFC 7252 §3: types 2 and 3).
fn is_answer(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first >> 4 & 3 >= 2)
}
