//! Which connection gets a datagram of DTLS.
//!
//! ```text
//!  type 25 ─► tag of its CID ─ good ─► connection by CID ─ none ─► store, by CID ──────┐
//!                  └ wrong ─► dropped                                                  ├─► authentic? ─► claim
//!  epoch 1 and up ─► connection by address ─ none ─► store, by address ────────────────┘       └ no ─► dropped
//!  epoch 0, ClientHello ─► gate ─ good cookie ─► permit ─► handshake
//!                            └ none ─► HelloVerifyRequest
//!  epoch 0, anything else ─► connection by address ─ none ─► what else is in the datagram, or dropped
//! ```
//! Strangers allocate nothing: not before their cookie is good, or their record has opened under a stored session's keys.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use godwit_dtls::{
    cid::CID_LEN,
    gate::{DropReason as NoHello, Gate, Verdict},
    record::{ContentType, Records},
};

use super::route::{Router, WAITING};
use crate::{
    admission::{Activation, Admission, Full},
    clock,
    connection::{
        Offer, Place,
        secure::{Ground, activation::Wanted},
    },
    endpoint::{Arrived, ShardMessage},
    identity::{AssociationId, DeviceId},
    metrics::{
        dtls::{Cookie, RecordDrop, Refusal},
        labels::{DropReason, Lookup},
    },
    shard::ShardId,
    store::DeviceRecord,
};

/// A datagram, and where it came in.
pub(super) type Came = (Place, Box<[u8]>);
pub(super) type Waiting = Vec<Came>;

/// What routing needs of DTLS.
pub(super) struct Secure {
    ground: Rc<Ground>,
    gate: RefCell<Gate>,
    admission: Arc<Admission>,
    /// Datagrams that wait for the look-up of their session.
    waiting: RefCell<HashMap<Wanted, Waiting>>,
}

impl Secure {
    pub(super) fn new(ground: Rc<Ground>) -> Self {
        let settings = ground.settings();
        let gate = RefCell::new(Gate::new(settings.cluster.cookie.expose()));
        let admission = settings.admission.clone();
        Self { ground, gate, admission, waiting: RefCell::default() }
    }

    /// What waits for the look-up of a session, at its end.
    pub(super) fn take(&self, wanted: Wanted) -> Waiting {
        self.waiting.borrow_mut().remove(&wanted).unwrap_or_default()
    }

    /// The session of a device to which what waits belongs, and the datagram that proves it.
    pub(super) fn authenticate(
        &self,
        device: DeviceId,
        record: &DeviceRecord,
        wanted: Wanted,
    ) -> Option<(AssociationId, Came)> {
        let waiting = self.waiting.borrow();
        let waiting = waiting.get(&wanted)?;
        let (association, at) = self.ground.authenticate(clock::now(), device, record, wanted, waiting)?;
        Some((association, waiting[at].clone()))
    }
}

/// What the first record of a datagram is.
enum First {
    Named(Wanted),
    Protected,
    /// Epoch 0, a handshake message: perhaps a ClientHello.
    Handshake,
    Plain,
    Malformed,
}

impl First {
    fn of(datagram: &[u8]) -> Self {
        let Some(Ok(record)) = Records::parse(datagram, CID_LEN).next() else { return Self::Malformed };
        match record.content_type {
            ContentType::Tls12Cid => match <[u8; CID_LEN]>::try_from(record.cid) {
                Ok(cid) => Self::Named(Wanted::Named(godwit_dtls::cid::Cid(cid))),
                Err(_) => Self::Malformed,
            },
            _ if record.epoch > 0 => Self::Protected,
            ContentType::Handshake => Self::Handshake,
            _ => Self::Plain,
        }
    }
}

impl Router {
    /// Sends a datagram of a DTLS socket on its way. `passed_on`: by another shard, which knows that it is for this one.
    pub(super) fn route_secure(self: &Rc<Self>, secure: &Secure, from: Place, bytes: &[u8], passed_on: bool) {
        let dropped = &self.metrics.dtls.records_dropped;
        match First::of(bytes) {
            First::Malformed => dropped[RecordDrop::Malformed].increment(1),
            First::Named(wanted) => self.route_named(secure, wanted, from, bytes, passed_on),
            First::Protected => {
                if self.offer_by_address(from, bytes) == Offer::Unknown {
                    self.find(secure, Wanted::At(from.remote), from, bytes, passed_on);
                }
            }
            First::Handshake => self.route_handshake(secure, from, bytes, passed_on),
            First::Plain => self.route_plaintext(secure, from, bytes, passed_on),
        }
    }

    fn route_named(
        self: &Rc<Self>,
        secure: &Secure,
        wanted: Wanted,
        from: Place,
        bytes: &[u8],
        passed_on: bool,
    ) {
        let Wanted::Named(cid) = wanted else { return };
        if !secure.ground.settings().cluster.cids.check(&cid.0) {
            return self.metrics.dtls.records_dropped[RecordDrop::CidTag].increment(1);
        }
        match self.connections.offer_named(&cid, from, bytes) {
            Offer::Delivered => self.metrics.session_lookups[Lookup::Local].increment(1),
            Offer::Full => self.metrics.datagrams_dropped[DropReason::MailboxFull].increment(1),
            Offer::Unknown => {
                let named = secure.ground.shard_of(&cid);
                if named != self.shard && !passed_on {
                    // The kernel did not steer it.
                    return self.pass_on(named, [(from, bytes.into())]);
                }
                self.find(secure, wanted, from, bytes, passed_on);
            }
        }
    }

    fn offer_by_address(&self, from: Place, bytes: &[u8]) -> Offer {
        let offer = self.connections.offer(from, bytes);
        match offer {
            Offer::Delivered => self.metrics.session_lookups[Lookup::Local].increment(1),
            Offer::Full => self.metrics.datagrams_dropped[DropReason::MailboxFull].increment(1),
            Offer::Unknown => {}
        }
        offer
    }

    fn route_handshake(self: &Rc<Self>, secure: &Secure, from: Place, bytes: &[u8], passed_on: bool) {
        if self.process.draining.load(Ordering::Relaxed) {
            // The client says hello again, and is led elsewhere by then.
            return self.metrics.datagrams_dropped[DropReason::Draining].increment(1);
        }
        let unix = clock::unix_ms() / 1000;
        let dtls = &self.metrics.dtls;
        let verdict = secure.gate.borrow_mut().handle(unix, from.remote, bytes);
        match verdict {
            Verdict::Admit => {
                dtls.cookies[Cookie::Accepted].increment(1);
                match secure.admission.handshake(from.remote.ip(), &dtls.in_flight) {
                    Ok(permit) => {
                        let offer = self.connections.accept(from, permit, bytes, clock::now());
                        if offer == Offer::Full {
                            self.metrics.datagrams_dropped[DropReason::MailboxFull].increment(1);
                        }
                    }
                    Err(Full::Total) => dtls.refusals[Refusal::InFlight].increment(1),
                    Err(Full::Prefix) => dtls.refusals[Refusal::Prefix].increment(1),
                }
            }
            Verdict::Answer(request) => {
                if secure.admission.cookie(unix) {
                    dtls.cookies[Cookie::Sent].increment(1);
                    self.connections.send(from, request);
                } else {
                    dtls.cookies[Cookie::Limited].increment(1);
                }
            }
            Verdict::Drop(NoHello::Malformed) => dtls.records_dropped[RecordDrop::Malformed].increment(1),
            Verdict::Drop(NoHello::TooShort) => dtls.records_dropped[RecordDrop::Unexpected].increment(1),
            // A later fragment of a ClientHello, or a later message: for whoever shakes hands from there.
            Verdict::Drop(_) => self.route_plaintext(secure, from, bytes, passed_on),
        }
    }

    /// A record of epoch 0 that is no ClientHello. A client that repeats its last flight may have a protected record behind it.
    fn route_plaintext(self: &Rc<Self>, secure: &Secure, from: Place, bytes: &[u8], passed_on: bool) {
        if self.offer_by_address(from, bytes) != Offer::Unknown {
            return;
        }
        let protected = Records::parse(bytes, CID_LEN).flatten().find(|record| record.epoch > 0);
        match protected.map(|record| (record.content_type, record.cid)) {
            Some((ContentType::Tls12Cid, cid)) => {
                if let Ok(cid) = <[u8; CID_LEN]>::try_from(cid) {
                    let wanted = Wanted::Named(godwit_dtls::cid::Cid(cid));
                    self.route_named(secure, wanted, from, bytes, passed_on);
                }
            }
            Some(_) => self.find(secure, Wanted::At(from.remote), from, bytes, passed_on),
            None => self.metrics.dtls.records_dropped[RecordDrop::NoSession].increment(1),
        }
    }

    fn pass_on(&self, shard: ShardId, datagrams: impl IntoIterator<Item = (Place, Box<[u8]>)>) {
        self.metrics.session_lookups[Lookup::Shard].increment(1);
        self.metrics.dtls.steered.increment(1);
        let arrived = datagrams.into_iter().map(|(from, bytes)| {
            let Place { socket, remote, local, via } = from;
            ShardMessage::Datagram(Box::new(Arrived { socket, from: remote, to: local, via, bytes }))
        });
        self.process.inboxes.of(shard).extend(arrived);
    }

    /// Looks for a session that this shard has not in memory.
    fn find(self: &Rc<Self>, secure: &Secure, wanted: Wanted, from: Place, bytes: &[u8], passed_on: bool) {
        let mut waiting = secure.waiting.borrow_mut();
        match waiting.entry(wanted) {
            Entry::Occupied(mut waiting) if waiting.get().len() < WAITING => {
                waiting.get_mut().push((from, bytes.into()));
            }
            Entry::Occupied(_) => self.metrics.datagrams_dropped[DropReason::Admission].increment(1),
            Entry::Vacant(vacant) => match secure.admission.activation() {
                Some(permit) => {
                    vacant.insert(vec![(from, bytes.into())]);
                    actix::spawn(self.clone().activate(wanted, passed_on, permit));
                }
                None => self.metrics.datagrams_dropped[DropReason::Admission].increment(1),
            },
        }
    }

    async fn activate(self: Rc<Self>, wanted: Wanted, passed_on: bool, permit: Activation) {
        let Some(secure) = &self.secure else { return };
        match self.process.store.find(wanted.pointer()).await {
            Ok(Some((device, record))) => match self.elsewhere(device).filter(|_| !passed_on) {
                Some(holder) => self.pass_on(holder, secure.take(wanted)),
                None => self.serve(secure, wanted, device, record).await,
            },
            Ok(None) => {
                self.metrics.session_lookups[Lookup::Miss].increment(1);
                let dropped = secure.take(wanted).len() as u64;
                self.metrics.dtls.records_dropped[RecordDrop::NoSession].increment(dropped);
            }
            Err(error) => {
                tracing::debug!(%error, "a session could not be looked up");
                secure.take(wanted);
            }
        }
        drop(permit);
    }
}
