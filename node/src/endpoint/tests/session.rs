//! DTLS sessions at the core.

mod claim;
mod credential;
mod handshake;
mod passivation;
mod request;
mod resumption;

use std::{cell::RefCell, net::SocketAddr};

use godwit_proto::store::v1::{Credential, credential::Mode};

use super::*;
use crate::{
    endpoint::link::{Links, Reach, Refusal, Secured, Security, SessionEnd},
    identity::{AssociationId, SessionId},
    shard::outbox::PeerId,
    store::{Numbers, Session},
};

/// Connections whose numbers the test sets.
#[derive(Default)]
struct Connections {
    numbers: RefCell<Vec<(ActorKey, AssociationId, Numbers)>>,
}

impl Links for Connections {
    fn via(&self, _: ActorKey) -> Option<PeerId> {
        None
    }

    fn deliver(&self, _: ActorKey, _: DeviceId, _: Downlink) -> bool {
        true
    }

    fn reach(self: Rc<Self>, _: DeviceId, _: SocketAddr, _: Option<SocketAddr>, _: Reach) -> Option<Link> {
        None
    }

    fn local(&self, _: &Link) -> Option<SocketAddr> {
        None
    }

    fn numbers(&self, connection: ActorKey) -> Option<(AssociationId, Numbers)> {
        let all = self.numbers.borrow();
        all.iter()
            .find(|(of, ..)| *of == connection)
            .map(|(_, association, numbers)| (*association, *numbers))
    }

    fn retire(&self, _: DeviceId) -> Vec<(AssociationId, Numbers)> {
        self.numbers.take().into_iter().map(|(_, association, numbers)| (association, numbers)).collect()
    }
}

fn association(n: u8) -> AssociationId {
    AssociationId::from_bytes([n; 8])
}

fn session(n: u8) -> Session {
    Session {
        association: association(n),
        id: SessionId::from_bytes([n; 32]),
        provisional: false,
        resumed: false,
        closed: false,
        numbers: Numbers::default(),
        established_at: 1,
        heard_at: 0,
        expires_at: 0,
        cid: vec![n; 8],
        peer_cid: None,
        peer: Some(link(n.into()).remote),
        local: None,
        mode: Mode::Psk,
        suite: 0xc0a8,
        credential_version: 3,
        sealed: Vec::new(),
        answer: vec![1],
    }
}

/// The connection by the `n`th session.
fn secured(n: u8) -> Link {
    let secured = Secured { association: association(n), mode: Mode::Psk, credential: 3 };
    Link { security: Security::Dtls(secured), ..link(n.into()) }
}

/// The same while it shakes hands.
fn shaking(n: u8) -> Link {
    link(n.into())
}

fn document(version: u64) -> Device {
    let credential = Credential {
        modes: vec![Mode::Psk as i32],
        version,
        psk_identity: b"me".to_vec(),
        ..Credential::default()
    };
    Device { endpoint: NAME.into(), credential: Some(credential), ..Device::default() }
}

/// A device that may speak by PSK alone, whose credential is at version 3.
fn bench(record: DeviceRecord, exact: bool) -> (Bench, Rc<Connections>) {
    let links = Rc::new(Connections::default());
    let services = services();
    assert!(services.links.set(links.clone()).is_ok());
    let now = clock::read();
    let claimed = Claimed { term: 7, claims: 1, exact, record };
    let access = Access::of(&document(3), false);
    let core = Core::new(services, now, DeviceId::of(NAME), NAME.into(), access, profile("default"), claimed);
    (Bench { core, now, ..Bench::claimed("default", DeviceRecord::default()) }, links)
}

/// The same with sessions 1 to `n`.
fn established(n: u8) -> (Bench, Rc<Connections>) {
    let (mut bench, links) = bench(DeviceRecord::default(), true);
    for n in 1..=n {
        bench.establish(session(n));
        bench.write_all();
    }
    (bench, links)
}

/// The same, registered in session 1.
fn registered() -> Bench {
    let mut bench = established(1).0;
    bench.register_in(1, 1);
    bench.write_all();
    bench.forget_all();
    bench
}

impl Bench {
    fn hear(&mut self, link: Link, uplink: Uplink) {
        self.apply(Input::Uplink(link, uplink));
    }

    fn establish(&mut self, session: Session) {
        let link = Link { remote: session.peer.unwrap(), ..shaking(session.association.as_bytes()[0]) };
        self.hear(link, Uplink::SessionEstablished { session: Box::new(session), rotated: false });
    }

    fn register_in(&mut self, n: u8, number: u64) {
        let call = Call { number, ..self.call() };
        self.hear(secured(n), Uplink::Register { call, registration: registration("lt=600&lwm2m=1.1") });
    }

    fn respond_over(&mut self, link: Link, response: Response) {
        let token = self.requests().last().expect("a request is open").0;
        self.hear(link, Uplink::Response { token, response: Box::new(response), notified: false });
    }

    fn said(&self, wanted: fn(&Downlink) -> bool) -> bool {
        self.downlinks.iter().any(wanted)
    }

    fn refusal(&self) -> Option<Refusal> {
        self.downlinks.iter().find_map(|downlink| match downlink {
            Downlink::SessionRefused { reason, .. } => Some(*reason),
            _ => None,
        })
    }
}

fn stored(downlink: &Downlink) -> bool {
    matches!(downlink, Downlink::SessionStored { .. })
}

/// What was written of a session's numbers.
fn marks(changes: &[Change], n: u8) -> Vec<Numbers> {
    let of = |change: &Change| match change {
        Change::Marks { association: of, numbers, .. } if *of == association(n) => Some(*numbers),
        _ => None,
    };
    changes.iter().filter_map(of).collect()
}

fn at(write_mark: u64) -> Numbers {
    Numbers { write_mark, ..Numbers::default() }
}

/// The record of one that registered in session 1.
fn record_of(first: &Bench) -> DeviceRecord {
    let mut record = DeviceRecord {
        registration: Some(first.core.registered.as_ref().unwrap().to_stored(NAME)),
        sessions: vec![session(2), Session { numbers: at(9), ..session(1) }],
        ..DeviceRecord::default()
    };
    record.header.deadline = Some(first.now.unix_ms + 6_000_000);
    record
}

/// One that registered in session 1, and was passivated with exact numbers.
fn passive() -> (Bench, Rc<Connections>) {
    bench(record_of(&registered()), true)
}
