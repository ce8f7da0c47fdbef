//! DTLS sessions at the core.

use std::{cell::RefCell, net::SocketAddr};

use godwit_proto::store::v1::{Credential, credential::Mode};

use super::*;
use crate::{
    endpoint::link::{Links, Reach, Refusal, Secured, Security, SessionEnd},
    identity::{AssociationId, SessionId},
    seal::Sealer,
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

#[test]
fn a_handshake_ends_only_when_its_session_is_on_record() {
    let (mut bench, _) = bench(DeviceRecord::default(), true);
    bench.establish(session(1));
    assert!(!bench.said(stored));
    let written = bench.write_all();
    let Change::Session(written) = &written[0] else { panic!("{written:?}") };
    assert_eq!(written.heard_at, bench.now.unix_ms);
    assert_eq!(written.expires_at, bench.now.unix_ms + 30 * 24 * 3_600_000);
    assert!(bench.said(stored));
}

#[test]
fn a_session_that_was_not_stored_is_refused() {
    let (mut bench, _) = bench(DeviceRecord::default(), true);
    bench.establish(session(1));
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("disk".into()))));
    assert_eq!(bench.refusal(), Some(Refusal::Unavailable));
    bench.hear(secured(1), Uplink::SessionClaim { association: association(1) });
    assert!(bench.write_all().is_empty(), "and it is not held");
}

#[test]
fn a_session_of_an_earlier_credential_is_refused() {
    let (mut bench, _) = bench(DeviceRecord::default(), true);
    bench.establish(Session { credential_version: 2, ..session(1) });
    assert_eq!(bench.refusal(), Some(Refusal::Revoked));
    assert!(bench.writes.is_empty());
    bench.forget_all();
    bench.establish(Session { mode: Mode::Rpk, ..session(1) });
    assert_eq!(bench.refusal(), Some(Refusal::Revoked), "not a mode of its credential");
}

#[test]
fn a_third_session_takes_the_place_of_the_one_longest_not_heard() {
    let (mut bench, _) = bench(DeviceRecord::default(), true);
    for n in 1..=2 {
        bench.establish(session(n));
        bench.write_all();
        bench.pass(Duration::from_secs(1));
    }
    bench.register_in(1, 1);
    bench.write_all();
    bench.forget_all();
    bench.pass(Duration::from_secs(1));
    bench.establish(session(3));
    let written = bench.write_all();
    assert_eq!(written[0], Change::RemoveSession(association(2)));
    assert!(bench.said(|downlink| matches!(downlink, Downlink::Close)), "its connection ends");
    assert!(bench.core.link.is_some(), "that of the registration stays");
}

#[test]
fn the_numbers_of_sessions_in_use_ride_on_every_write() {
    let (mut bench, links) = established(1);
    links.numbers.borrow_mut().push((secured(1).connection, association(1), at(65_536)));
    bench.register_in(1, 1);
    let written = bench.write_all();
    assert_eq!(marks(&written, 1), [at(65_536)]);
    assert!(written.iter().any(|change| matches!(change, Change::Marks { keep_answer: false, .. })));
    let address = written.iter().find_map(|change| match change {
        Change::Address { peer, by_address, .. } => Some((*peer, *by_address)),
        _ => None,
    });
    assert_eq!(address, Some((Some(secured(1).remote), false)), "the session finds it, not the address");
}

#[test]
fn a_registration_says_how_its_device_proved_its_name() {
    let mut bench = established(1).0;
    bench.register_in(1, 5);
    let written = bench.write_all();
    let registration = written.iter().find_map(|change| match change {
        Change::Registration(registration) => Some(registration),
        _ => None,
    });
    let registration = registration.unwrap();
    assert_eq!((registration.security_mode, registration.credential_version), (Mode::Psk as u32, 3));
    assert_eq!(registration.session, [1; 8]);
    let applied = written.iter().find_map(|change| match change {
        Change::Applied(applied) => Some(applied),
        _ => None,
    });
    let applied = applied.unwrap();
    assert_eq!((&*applied.source, &*applied.association, applied.number), (&[1; 8][..], &[1; 8][..], 5));
}

#[test]
fn an_equal_request_gets_its_answer_and_an_overtaken_one_none() {
    let mut bench = established(1).0;
    let call = Call { number: 5, ..bench.call() };
    let register = || Uplink::Register { call, registration: registration("lt=600&lwm2m=1.1") };
    bench.hear(secured(1), register());
    bench.write_all();
    bench.forget_all();
    bench.hear(secured(1), register());
    assert_eq!((bench.replies(), bench.writes.len()), (vec![Code::CREATED], 0), "from what was stored");
    bench.forget_all();
    let overtaken = Call { number: 4, ..bench.call() };
    let registration = bench.registration_id();
    bench.hear(secured(1), Uplink::Deregister { call: overtaken, registration });
    assert!(bench.replies().is_empty() && bench.writes.is_empty());
    assert!(bench.said(|downlink| matches!(downlink, Downlink::Forget { .. })));
    let late = Call { number: 6, ..overtaken };
    bench.hear(secured(1), Uplink::Deregister { call: late, registration });
    bench.write_all();
    assert_eq!(bench.replies(), [Code::DELETED]);
}

#[test]
fn a_resumed_session_takes_over_once_its_client_has_finished() {
    let mut bench = registered();
    bench.establish(Session { id: session(1).id, provisional: true, resumed: true, ..session(2) });
    let written = bench.write_all();
    let provisional = written.iter().find_map(|change| match change {
        Change::Session(session) => Some(session.expires_at - bench.now.unix_ms),
        _ => None,
    });
    assert_eq!(provisional, Some(60_000));
    assert_eq!(bench.core.link.map(|link| link.connection), Some(secured(1).connection), "the old one stays");
    bench.forget_all();
    bench.hear(shaking(2), Uplink::SessionPromoted { association: association(2) });
    assert!(!bench.said(stored), "the first answer waits for the write");
    bench.write_all();
    assert!(bench.said(stored));
    assert!(bench.said(|downlink| matches!(downlink, Downlink::Close)), "the old one's connection ends");
    assert_eq!(bench.core.link, Some(secured(2)));
    assert!(bench.core.registered.is_some());
}

/// One that registered in session 1, with a command under way, and has resumed it over `connection` as session 2.
fn resumed_over(connection: &Link) -> Bench {
    let mut bench = registered();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    assert_eq!(bench.requests().len(), 1);
    bench.forget_all();
    let resumed = Session { id: session(1).id, provisional: true, resumed: true, ..session(2) };
    bench.hear(*connection, Uplink::SessionEstablished { session: Box::new(resumed), rotated: false });
    bench.write_all();
    bench.hear(*connection, Uplink::SessionPromoted { association: association(2) });
    bench.write_all();
    bench
}

/// The connection has begun its life in the handshake, where nothing was proved yet.
#[test]
fn a_command_goes_out_over_the_session_that_was_resumed_from_elsewhere() {
    let mut bench = resumed_over(&shaking(2));
    assert_eq!(bench.core.link, Some(secured(2)));
    assert_eq!(bench.requests().len(), 1, "what the old address had not answered goes to the new one");
    let at = |wanted: fn(&Downlink) -> bool| bench.downlinks.iter().rposition(wanted);
    let linked = at(|downlink| matches!(downlink, Downlink::Link { .. }));
    assert!(at(stored) < linked, "with its session the connection begins anew");
    bench.apply(Input::Unlinked(secured(1).connection));
    bench.respond_over(secured(2), Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    bench.forget_all();
    bench.submit("b", read("/3/0/1"), false);
    bench.write_all();
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn a_command_goes_out_over_the_session_that_was_resumed_over_the_same_connection() {
    let same = Link { security: secured(1).security, ..secured(1) };
    let mut bench = resumed_over(&same);
    assert_eq!(bench.requests().len(), 1, "the connection has forgotten what it had open");
    let closed =
        Uplink::SessionClosed { association: association(1), numbers: at(7), end: SessionEnd::Closed };
    bench.hear(same, closed);
    bench.write_all();
    assert_eq!(bench.core.link, Some(Link { security: secured(2).security, ..same }));
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn a_command_goes_out_over_a_new_session_in_which_nothing_was_said_yet() {
    let mut bench = established(2).0;
    bench.register_in(1, 1);
    bench.write_all();
    let closed =
        Uplink::SessionClosed { association: association(1), numbers: at(7), end: SessionEnd::Closed };
    bench.hear(secured(1), closed);
    bench.write_all();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    assert_eq!(
        (bench.requests().len(), bench.core.link),
        (1, Some(secured(2))),
        "not by a second connection"
    );
}

#[test]
fn a_revoked_session_leaves_nothing_under_way() {
    let mut bench = registered();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    bench.apply(Input::Access(Some(Access::of(&document(4), false)), None));
    bench.write_all();
    assert!(bench.core.downlinks.flight.is_none());
    assert_eq!(bench.ended()[0].0, State::Failed);
}

#[test]
fn an_endpoint_waits_for_a_connection_that_is_being_made_before_it_leaves() {
    let (mut bench, _) = passive();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    bench.apply(Input::Release(StopReason::Moved));
    assert!(bench.writes.is_empty());
    bench.apply(Input::Reached(Some(secured(1))));
    assert_eq!(bench.write_all().last(), Some(&Change::Passive));
}

#[test]
fn a_resumption_over_the_same_connection_does_not_end_it() {
    let mut bench = registered();
    let same = Link { security: secured(2).security, ..secured(1) };
    let resumed = Session { id: session(1).id, provisional: true, resumed: true, ..session(2) };
    bench.hear(same, Uplink::SessionEstablished { session: Box::new(resumed), rotated: false });
    bench.write_all();
    bench.forget_all();
    bench.hear(same, Uplink::SessionPromoted { association: association(2) });
    bench.write_all();
    assert!(!bench.said(|downlink| matches!(downlink, Downlink::Close)));
    assert_eq!(bench.core.link.map(|link| link.security), Some(secured(2).security));
}

#[test]
fn all_sessions_of_a_connection_that_is_gone_can_be_claimed() {
    let mut bench = registered();
    let resumed = Session { id: session(1).id, provisional: true, resumed: true, ..session(2) };
    bench.hear(secured(1), Uplink::SessionEstablished { session: Box::new(resumed), rotated: false });
    bench.write_all();
    bench.apply(Input::Unlinked(secured(1).connection));
    bench.write_all();
    bench.forget_all();
    for n in 1..=2 {
        bench.hear(shaking(2 + n), Uplink::SessionClaim { association: association(n) });
    }
    assert_eq!(bench.refusal(), None);
}

#[test]
fn the_newest_request_that_changes_something_wins() {
    let mut bench = established(2).0;
    bench.register_in(1, 1);
    bench.write_all();
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.hear(secured(2), Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    let written = bench.write_all();
    assert!(written.iter().any(|change| matches!(change, Change::Registration(_))), "{written:?}");
    assert_eq!(bench.core.link.map(|link| link.connection), Some(secured(2).connection));
    assert!(!bench.events().contains(&"updated"), "nothing that it said has changed");
}

#[test]
fn a_return_to_a_session_that_was_left_is_told_at_times() {
    let mut bench = established(2).0;
    let mut told = Vec::new();
    for (step, (n, minutes)) in
        [(1, 1), (2, 1), (2, 1), (1, 1), (2, 5), (1, 5), (2, 1)].into_iter().enumerate()
    {
        bench.forget_all();
        bench.register_in(n, step as u64 + 1);
        bench.write_all();
        told.push(bench.events().contains(&"session_taken_over"));
        bench.pass(Duration::from_secs(60 * minutes));
        bench.write_all();
    }
    // At first it is a device that has lost its session; from the fourth on, each comes back to one that was left.
    assert_eq!(told, [false, false, false, true, false, false, true], "every ten minutes");
}

/// Two holders of one credential may come to different nodes.
#[test]
fn a_return_is_told_by_a_node_that_did_not_see_the_session_left() {
    let mut record = record_of(&registered());
    let mut told = Vec::new();
    for (step, n) in [1, 2, 1, 2].into_iter().enumerate() {
        let (mut bench, _) = bench(record, true);
        bench.register_in(n, step as u64 + 2);
        bench.write_all();
        told.push(bench.events().contains(&"session_taken_over"));
        record = record_of(&bench);
    }
    assert_eq!(told, [false, false, true, false], "and every ten minutes");
}

#[test]
fn a_stored_session_goes_on_exactly_or_with_a_jump() {
    let whole = Session { numbers: at(10), expires_at: u64::MAX, ..session(1) };
    let record = || DeviceRecord { sessions: vec![whole.clone()], ..DeviceRecord::default() };
    for (exact, next) in [(true, 10), (false, (1 << 20) + 3)] {
        let (mut bench, _) = bench(record(), exact);
        bench.hear(secured(1), Uplink::SessionClaim { association: association(1) });
        let given = |bench: &Bench| {
            bench.downlinks.iter().find_map(|downlink| match downlink {
                Downlink::SessionClaimed { session, exact } => Some((session.numbers, *exact)),
                _ => None,
            })
        };
        assert_eq!(given(&bench).is_some(), exact, "a jump waits for the store");
        let written = marks(&bench.write_all(), 1);
        assert_eq!(given(&bench), Some((at(next), exact)));
        assert_eq!(written.is_empty(), exact, "a jump is on record before another crash repeats it");
    }
}

#[test]
fn a_session_whose_jump_is_not_on_record_is_not_given_out() {
    let whole = Session { numbers: at(10), expires_at: u64::MAX, ..session(1) };
    let (mut bench, _) = bench(DeviceRecord { sessions: vec![whole], ..DeviceRecord::default() }, false);
    bench.apply(Input::Deadline);
    bench.write_all();
    let claim = || Uplink::SessionClaim { association: association(1) };
    bench.hear(secured(1), claim());
    let (id, written) = bench.writes.pop().unwrap();
    assert_eq!(marks(&written, 1), [at((1 << 20) + 3)]);
    bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("disk".into()))));
    assert_eq!(bench.refusal(), Some(Refusal::Unavailable));
    assert!(!bench.said(|downlink| matches!(downlink, Downlink::SessionClaimed { .. })));
    bench.forget_all();
    bench.hear(secured(2), claim());
    assert_eq!(marks(&bench.write_all(), 1), [at((1 << 20) + 3)], "nobody has used them");
    assert!(bench.said(|downlink| matches!(downlink, Downlink::SessionClaimed { exact: false, .. })));
    assert_eq!(bench.refusal(), None);
}

#[test]
fn a_claim_seals_anew_what_lies_under_an_older_key() {
    let (device, keys) = (DeviceId::of(NAME), b"keys");
    let sealed = Sealer::new(&[9; 32]).seal_session(device, association(1), keys);
    let record = DeviceRecord {
        sessions: vec![Session { sealed, expires_at: u64::MAX, ..session(1) }],
        ..DeviceRecord::default()
    };
    let (mut bench, _) = bench(record, true);
    bench.apply(Input::Deadline);
    let written = bench.write_all();
    let Some(Change::Session(written)) = written.first() else { panic!("{written:?}") };
    let opened = Sealer::new(&[1; 32]).open_session(device, association(1), &written.sealed);
    assert_eq!(opened, Ok(keys.to_vec()));
}

#[test]
fn a_session_that_is_gone_closed_or_revoked_is_not_given_out() {
    let record = DeviceRecord {
        sessions: vec![
            Session { closed: true, ..session(1) },
            Session { credential_version: 2, ..session(2) },
            Session { expires_at: 1, ..session(3) },
        ],
        ..DeviceRecord::default()
    };
    let (mut bench, _) = bench(record, true);
    for (n, refusal) in [(1, Refusal::Unknown), (2, Refusal::Unknown), (3, Refusal::Unknown)] {
        bench.forget_all();
        bench.hear(secured(n), Uplink::SessionClaim { association: association(n) });
        assert_eq!(bench.refusal(), Some(refusal), "{n}");
    }
    let written = bench.write_all();
    for n in 2..=3 {
        assert!(written.contains(&Change::RemoveSession(association(n))), "the claim has cleared it away");
    }
}

#[test]
fn a_changed_credential_ends_its_sessions_at_once() {
    let mut bench = registered();
    bench.apply(Input::Access(Some(Access::of(&document(4), false)), None));
    assert_eq!(bench.refusal(), Some(Refusal::Revoked));
    assert!(bench.write_all().contains(&Change::RemoveSession(association(1))));
    assert!(bench.core.link.is_none());
    assert_eq!(bench.events(), ["credential_changed"]);
    bench.forget_all();
    bench.register_in(1, 2);
    assert_eq!(bench.replies(), [Code::FORBIDDEN]);
}

#[test]
fn a_psk_device_is_refused_on_the_plain_port() {
    let (mut bench, _) = bench(DeviceRecord::default(), true);
    bench.register("lt=600&lwm2m=1.1");
    assert_eq!(bench.replies(), [Code::FORBIDDEN]);
    assert_eq!(bench.events(), ["refused"]);
}

#[test]
fn a_name_that_is_not_the_credentials_is_refused_with_an_event() {
    let mut bench = established(1).0;
    let mut other = registration("lt=60");
    other.endpoint = Some("urn:test:2".into());
    let call = bench.call();
    bench.hear(secured(1), Uplink::Register { call, registration: other });
    assert_eq!((bench.replies(), bench.events()), (vec![Code::FORBIDDEN], vec!["refused"]));
    assert!(bench.writes.is_empty() && bench.core.registered.is_none());
}

#[test]
fn no_end_of_a_session_ends_the_registration() {
    for end in [SessionEnd::Idle, SessionEnd::Closed, SessionEnd::Forbidden] {
        let mut bench = registered();
        let closed = Uplink::SessionClosed { association: association(1), numbers: at(7), end };
        bench.hear(secured(1), closed);
        bench.apply(Input::Unlinked(secured(1).connection));
        let written = bench.write_all();
        assert!(bench.core.registered.is_some());
        assert_eq!(written.contains(&Change::CloseSession(association(1))), end == SessionEnd::Closed);
        assert_eq!(written.contains(&Change::RemoveSession(association(1))), end == SessionEnd::Forbidden);
        assert_eq!(bench.said(stored), end == SessionEnd::Closed);
        let marked = if end == SessionEnd::Forbidden { vec![] } else { vec![at(7)] };
        assert_eq!(marks(&written, 1), marked, "{end:?}");
    }
}

#[test]
fn passivation_writes_exact_numbers_of_all_sessions() {
    let (mut bench, links) = established(2);
    links.numbers.borrow_mut().push((secured(1).connection, association(1), at(70)));
    bench.apply(Input::Release(StopReason::Idle));
    let written = bench.write_all();
    assert_eq!(written.last(), Some(&Change::Passive));
    assert_eq!(marks(&written, 1), [at(70)]);
    assert_eq!(marks(&written, 2), [at((1 << 20) + 3)], "its connection was lost");
    assert_eq!(bench.stopped(), Some(StopReason::Idle));
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

/// Its connection begins anew with the session, and would forget a request that it was given before.
#[test]
fn what_was_under_way_at_a_crash_is_repeated_once_the_session_goes_on() {
    let mut first = registered();
    first.submit("a", execute("/3/0/4"), true);
    let written = first.write_all();
    let Some(Downlink::Request { token, message_id, .. }) = first.downlinks.last() else { panic!() };
    let operation = written.iter().find_map(|change| match change {
        Change::Operation(operation) => Some((**operation).clone()),
        _ => None,
    });
    let record = DeviceRecord { operations: operation.into_iter().collect(), ..record_of(&first) };
    let (mut later, _) = bench(record, false);
    later.write_all();
    later.hear(secured(1), Uplink::SessionClaim { association: association(1) });
    later.apply(Input::Deadline);
    assert!(later.downlinks.is_empty(), "the jump is not on record");
    later.write_all();
    let [
        Downlink::SessionClaimed { .. },
        Downlink::Link { .. },
        Downlink::Request { token: again, message_id: id, .. },
    ] = &later.downlinks[..]
    else {
        panic!("{:?}", later.downlinks)
    };
    assert_eq!((again, id), (token, message_id));
    later.respond_over(secured(1), Response::new(Code::CHANGED));
    later.write_all();
    assert_eq!(later.ended()[0].0, State::Succeeded);
}

#[test]
fn a_session_that_is_being_read_for_one_connection_is_not_opened_by_another() {
    let (mut bench, _) = passive();
    let claim = |bench: &mut Bench, n| {
        let link = Link { connection: link(n).connection, ..secured(1) };
        bench.hear(link, Uplink::SessionClaim { association: association(1) });
        link
    };
    let first = claim(&mut bench, 11);
    assert!(bench.said(|downlink| matches!(downlink, Downlink::SessionClaimed { .. })));
    bench.apply(Input::Unlinked(first.connection));
    bench.write_all();
    bench.forget_all();
    let second = claim(&mut bench, 12);
    assert!(matches!(bench.others[..], [Effect::ReadSession(..)]));
    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    assert!(!bench.others.iter().any(|effect| matches!(effect, Effect::ReachSession { .. })));
    claim(&mut bench, 13);
    assert_eq!(bench.refusal(), Some(Refusal::Unavailable));
    bench.apply(Input::SessionRead(second, association(1), Some(Box::new(session(1)))));
    bench.write_all();
    assert_eq!(bench.core.link.map(|link| link.connection), Some(second.connection));
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn a_session_that_is_read_while_its_device_is_given_up_is_not_opened() {
    let (mut bench, _) = passive();
    let claim = |bench: &mut Bench, n| {
        let link = Link { connection: link(n).connection, ..secured(1) };
        bench.hear(link, Uplink::SessionClaim { association: association(1) });
        link
    };
    let first = claim(&mut bench, 11);
    bench.apply(Input::Unlinked(first.connection));
    bench.write_all();
    bench.forget_all();
    let second = claim(&mut bench, 12);
    assert!(matches!(bench.others[..], [Effect::ReadSession(..)]));
    bench.apply(Input::Release(StopReason::Idle));
    assert!(bench.writes.iter().any(|(_, changes)| changes.contains(&Change::Passive)));
    bench.apply(Input::SessionRead(second, association(1), Some(Box::new(session(1)))));
    assert!(!bench.said(|downlink| matches!(downlink, Downlink::SessionClaimed { .. })));
    assert_eq!(bench.refusal(), Some(Refusal::Unavailable));
}

#[test]
fn a_command_reaches_a_passive_device_by_its_session() {
    let (mut bench, _) = passive();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    let reached = bench.others.iter().find_map(|effect| match effect {
        Effect::ReachSession { association, numbers, whole, .. } => {
            Some((*association, *numbers, whole.is_some()))
        }
        _ => None,
    });
    assert_eq!(reached, Some((association(1), at(9), true)), "the one that it registered in");
    bench.apply(Input::Reached(Some(secured(1))));
    bench.write_all();
    assert_eq!(bench.requests().len(), 1);
    bench.respond_over(secured(1), Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Succeeded);
    assert!(bench.core.link.is_some(), "a session is the device's for good");
}

impl Bench {
    fn respond_over(&mut self, link: Link, response: Response) {
        let token = self.requests().last().expect("a request is open").0;
        self.hear(link, Uplink::Response { token, response: Box::new(response) });
    }
}

#[test]
fn the_use_of_a_rotated_secret_drops_the_one_before() {
    for rotated in [false, true] {
        let (mut bench, _) = bench(DeviceRecord::default(), true);
        let session = Box::new(session(1));
        bench.hear(secured(1), Uplink::SessionEstablished { session, rotated });
        assert!(bench.others.is_empty(), "not before it is established");
        bench.write_all();
        assert_eq!(bench.others.iter().any(|it| matches!(it, Effect::SettleRotation)), rotated);
    }
}

#[test]
fn a_command_is_repeated_over_the_session_that_it_went_over_and_no_other() {
    let mut before = registered();
    before.submit("a", execute("/3/0/4"), true);
    let written = before.write_all();
    assert_eq!(before.requests().len(), 1);
    let operations = written.iter().filter_map(|change| match change {
        Change::Operation(stored) => Some((**stored).clone()),
        _ => None,
    });
    let mut record = DeviceRecord {
        registration: Some(before.core.registered.as_ref().unwrap().to_stored(NAME)),
        operations: operations.collect(),
        sessions: vec![
            Session { expires_at: u64::MAX, ..session(1) },
            Session { expires_at: u64::MAX, ..session(2) },
        ],
        ..DeviceRecord::default()
    };
    record.header.deadline = Some(before.now.unix_ms + 600_000);
    for (by, ended, requests) in [(1, vec![], 1), (2, vec![State::Aborted], 0)] {
        let mut bench = bench(record.clone(), false).0;
        bench.hear(secured(by), Uplink::SessionClaim { association: association(by) });
        bench.write_all();
        let (call, registration) = (Call { number: 9, ..bench.call() }, bench.registration_id());
        let request = Box::new(Request::post("rd"));
        bench.hear(secured(by), Uplink::Update { call, registration, request });
        bench.write_all();
        let states: Vec<_> = bench.ended().into_iter().map(|(state, _)| state).collect();
        assert_eq!((states, bench.requests().len()), (ended, requests), "by session {by}");
    }
}
