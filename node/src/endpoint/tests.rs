//! The core by itself: stepped time, writes and publications that end when the test says so.

mod outage;
mod session;

use std::{cell::OnceCell, rc::Rc, sync::Arc, time::Duration};

use godwit_coap::{Code, FailReason, Request, Response, Token};
use godwit_lwm2m::registration::{Policy, Registration};
use godwit_proto::{
    store::v1::Device,
    v1::{Command, command, operation::State},
};
use tokio::sync::broadcast;

use super::{
    access::Access,
    core::Core,
    directory::Directory,
    handle::{NewOperation, SubmitError},
    link::{Call, Downlink, Link, Notification, Security, Uplink},
    message::{Effect, Input, StopReason},
    model_sets::SharedSets,
    services::{Inboxes, Process, Shared},
    starts::Starts,
};
use crate::{
    clock::{self, Reading},
    cluster::neighbours::Alone,
    config::Config,
    identity::{DeviceId, Owner, RegistrationId},
    metrics,
    models::Models,
    profile::{Profile, ProfileRegistry, ProfileSource, builtin},
    seal::Sealer,
    shard::{ActorKey, outbox::SocketId, timers::Timers},
    store::{
        Change, Claimed, DeviceRecord, Refused, StateStore, StoreError,
        embedded::{Embedded, Options},
    },
    telemetry::{Outlet, Publish, Record, Sink, SinkError, Site, Ticket, Turn},
};

const NAME: &str = "urn:test:1";

struct NoProfiles;

impl ProfileSource for NoProfiles {
    fn load(
        &self,
        _: &str,
    ) -> futures_util::future::BoxFuture<'static, Result<Option<godwit_proto::v1::Profile>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Never asked: the tests take publications from the core's effects.
struct NoSink;

impl Sink for NoSink {
    fn publish(&self, _: &[Record], _: Ticket) -> Publish {
        Publish::Durable
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn flush(&self, _: Duration) -> bool {
        true
    }
}

/// One core, its clock, and its effects that have not ended.
struct Bench {
    core: Core,
    now: Reading,
    calls: u16,
    writes: Vec<(u32, Vec<Change>)>,
    publications: Vec<(u32, Vec<Record>)>,
    announced: Vec<Record>,
    downlinks: Vec<Downlink>,
    others: Vec<Effect>,
}

/// A process of so many shards over a store, which keeps no telemetry.
pub(crate) fn process(store: Arc<dyn StateStore>, sealer: Arc<Sealer>, shards: usize) -> Process {
    Process {
        config: Arc::new(Config::default()),
        policy: Policy::default(),
        owner: Owner { node: "n".into(), boot: 1 },
        site: Arc::new(Site::new("c", "n")),
        profiles: Arc::new(ProfileRegistry::new(NoProfiles)),
        models: SharedSets::new(Arc::new(Models::new())),
        outlet: Outlet::new(Arc::new(NoSink)),
        directory: Arc::new(Directory::default()),
        inboxes: Arc::new(Inboxes::new(shards)),
        neighbours: Arc::new(Alone),
        changes: broadcast::channel(16).0,
        operations: broadcast::channel(16).0,
        draining: false.into(),
        empty_profile: builtin("default").unwrap(),
        store,
        sealer,
    }
}

fn services() -> Rc<Shared> {
    let store = Arc::new(Embedded::in_memory(Options::default()).unwrap());
    Rc::new(Shared {
        process: Arc::new(process(store, Arc::new(Sealer::new(&[1; 32]).accepting(&[9; 32])), 1)),
        shard: 0,
        timers: Rc::new(Timers::new(clock::now())),
        metrics: Rc::new(metrics::Shard::new(0)),
        // Room for one device.
        starts: Starts::new(1, ::metrics::Gauge::noop()),
        turn: Turn::default(),
        links: OnceCell::new(),
        pulse: None,
        standing: super::services::Standing::default(),
    })
}

fn profile(name: &str) -> Arc<Profile> {
    builtin(name).unwrap()
}

fn link(port: u16) -> Link {
    Link {
        connection: ActorKey { index: port.into(), generation: 0 },
        socket: SocketId(0),
        remote: ([127, 0, 0, 1], port).into(),
        local: None,
        via: None,
        security: Security::NoSec,
    }
}

fn registration(query: &str) -> Box<Registration> {
    let mut request = Request::post("rd").content(40, "</1/0>,</3/0>,</3303/0>");
    request.uri_query = format!("ep={NAME}&{query}").split('&').map(str::to_owned).collect();
    Box::new(Registration::parse(&request, &Policy::default()).unwrap())
}

impl Bench {
    fn claimed(profile_name: &str, record: DeviceRecord) -> Self {
        let now = clock::read();
        let document = Device { profile: profile_name.into(), ..Device::default() };
        let access = Access::of(&document, true);
        let claimed = Claimed { term: 7, claims: 1, exact: true, record };
        let core = Core::new(
            services(),
            now,
            DeviceId::of(NAME),
            NAME.into(),
            access,
            profile(profile_name),
            claimed,
        );
        Self {
            core,
            now,
            calls: 0,
            writes: Vec::new(),
            publications: Vec::new(),
            announced: Vec::new(),
            downlinks: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Registered and settled, nothing left to send.
    fn registered(profile_name: &str, query: &str) -> Self {
        let mut bench = Self::claimed(profile_name, DeviceRecord::default());
        bench.register(query);
        bench.write_all();
        bench.forget_all();
        bench
    }

    fn apply(&mut self, input: Input) {
        self.core.apply(self.now, input);
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Persist(id, changes) => self.writes.push((id, changes)),
                Effect::Publish(id, records) => self.publications.push((id, records)),
                Effect::Announce(records) => self.announced.extend(records),
                Effect::Downlink(_, downlink) => self.downlinks.push(downlink),
                Effect::LookAgain => self.core.apply(self.now, Input::LookAgain),
                other => self.others.push(other),
            }
        }
    }

    fn say(&mut self, uplink: Uplink) {
        self.apply(Input::Uplink(link(1000), uplink));
    }

    fn call(&mut self) -> Call {
        self.calls += 1;
        let id = godwit_coap::RequestId::from_raw(self.calls.into());
        Call { id, message_id: self.calls, token: u64::from(self.calls).into(), number: 0 }
    }

    fn register(&mut self, query: &str) {
        let call = self.call();
        self.say(Uplink::Register { call, registration: registration(query) });
    }

    fn write_all(&mut self) -> Vec<Change> {
        let mut written = Vec::new();
        while !self.writes.is_empty() {
            let (id, changes) = self.writes.remove(0);
            written.extend(changes);
            self.apply(Input::Persisted(id, Ok(())));
        }
        written
    }

    fn pass(&mut self, time: Duration) {
        self.now = Reading { now: self.now.now + time, unix_ms: self.now.unix_ms + time.as_millis() as u64 };
        if self.core.poll_timeout(self.now).is_some_and(|due| due <= self.now.now) {
            self.apply(Input::Deadline);
        }
    }

    fn forget_all(&mut self) {
        self.announced.clear();
        self.downlinks.clear();
        self.others.clear();
    }

    fn replies(&self) -> Vec<Code> {
        let code = |downlink: &Downlink| match downlink {
            Downlink::Reply { response, .. } => Some(response.code),
            _ => None,
        };
        self.downlinks.iter().filter_map(code).collect()
    }

    /// Requests sent to the device: token and method with path.
    fn requests(&self) -> Vec<(Token, String)> {
        let request = |downlink: &Downlink| match downlink {
            Downlink::Request { token, request, .. } => {
                Some((*token, format!("{:?} /{}", request.method, request.uri_path.join("/"))))
            }
            _ => None,
        };
        self.downlinks.iter().filter_map(request).collect()
    }

    fn events(&self) -> Vec<&'static str> {
        self.announced.iter().map(|record| record.id.label).collect()
    }

    fn registration_id(&self) -> RegistrationId {
        self.core.registered.as_ref().unwrap().id
    }

    fn submit(&mut self, id: &str, kind: command::Kind, queue: bool) {
        self.apply(Input::Submit(Box::new(NewOperation {
            id: id.to_owned(),
            command: Command { kind: Some(kind) },
            ttl: Duration::from_secs(3600),
            queue,
            at_least_once: false,
        })));
    }

    fn respond(&mut self, response: Response) {
        let token = self.requests().last().expect("a request is open").0;
        self.say(Uplink::Response { token, response: Box::new(response) });
    }

    fn fail(&mut self, reason: FailReason) {
        let token = self.requests().last().expect("a request is open").0;
        self.say(Uplink::Failed { token, reason });
    }

    fn notify(&mut self, token: Token, message_id: u16, sequence: u32, value: &str) {
        self.say(Uplink::Notification(Box::new(Notification {
            token,
            message_id,
            confirmable: true,
            observe: Some(sequence),
            response: Response::new(Code::CONTENT).content(0, value).observe(sequence),
            more: false,
        })));
    }

    fn ended(&self) -> Vec<(State, String)> {
        let end = |effect: &Effect| match effect {
            Effect::Ended(operation) => Some((operation.state(), operation.detail.clone())),
            _ => None,
        };
        self.others.iter().filter_map(end).collect()
    }

    fn stopped(&self) -> Option<StopReason> {
        self.others.iter().find_map(|effect| match effect {
            Effect::Stop(reason) => Some(*reason),
            _ => None,
        })
    }
}

fn read(path: &str) -> command::Kind {
    command::Kind::Read(command::Read { path: path.to_owned(), format: None })
}

fn execute(path: &str) -> command::Kind {
    command::Kind::Execute(command::Execute { path: path.to_owned(), arguments: String::new() })
}

#[test]
fn a_register_is_answered_only_after_its_write() {
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.register("lt=60&lwm2m=1.1");
    assert_eq!(bench.replies(), []);
    assert!(bench.core.registered.is_none());
    let written = bench.write_all();
    assert!(written.iter().any(|change| matches!(change, Change::Applied(_))));
    assert_eq!(bench.replies(), [Code::CREATED]);
    assert_eq!(bench.events(), ["registered"]);
}

#[test]
fn a_registration_whose_update_is_being_written_does_not_end_meanwhile() {
    let mut bench = Bench::registered("default", "lt=60");
    bench.pass(Duration::from_secs(89));
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    assert_eq!(bench.writes.len(), 1);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.writes.len(), 1, "its time is over by what is on record");
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("down".into()))));
    bench.pass(Duration::ZERO);
    assert!(matches!(bench.writes[0].1[0], Change::Event(_)), "the update was not written");
}

#[test]
fn a_register_whose_write_fails_is_not_answered_and_changes_nothing() {
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.register("lt=60");
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("gone".into()))));
    assert!(matches!(bench.downlinks[..], [Downlink::Forget { .. }]));
    assert!(bench.core.registered.is_none());
    assert_eq!(bench.stopped(), None);
}

#[test]
fn a_refused_write_stops_the_endpoint_without_an_answer() {
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.register("lt=60");
    let (id, _) = bench.writes.remove(0);
    let refused = Refused { term: 9, owner: Owner { node: "other".into(), boot: 2 } };
    bench.apply(Input::Persisted(id, Err(refused.into())));
    assert_eq!(bench.replies(), []);
    assert_eq!(bench.stopped(), Some(StopReason::Superseded));
}

#[test]
fn a_repeated_register_gets_the_stored_answer_from_a_later_owner() {
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.register("lt=60");
    let mut record = DeviceRecord::default();
    for change in bench.write_all() {
        match change {
            Change::Registration(registration) => record.registration = Some(*registration),
            Change::Applied(applied) => record.applied = Some(applied),
            _ => {}
        }
    }
    let id = bench.registration_id();
    let mut later = Bench::claimed("default", record);
    later.register("lt=60");
    assert_eq!(later.writes.len(), 0, "nothing is written again");
    let Some(Downlink::Reply { response, .. }) =
        later.downlinks.iter().find(|downlink| matches!(downlink, Downlink::Reply { .. }))
    else {
        panic!("not answered")
    };
    assert_eq!(response.location_path, ["rd", id.as_str()]);
}

#[test]
fn an_update_that_the_stored_deadline_covers_is_answered_at_once() {
    let mut bench = Bench::registered("default", "lt=1000");
    let registration = bench.registration_id();
    let update = |bench: &mut Bench, request: Request| {
        let call = bench.call();
        bench.say(Uplink::Update { call, registration, request: Box::new(request) });
    };
    bench.pass(Duration::from_secs(200));
    update(&mut bench, Request::post("rd"));
    assert_eq!((bench.replies(), bench.writes.len()), (vec![Code::CHANGED], 0));
    // A quarter of the lifetime is over: from here on each first update is written.
    bench.pass(Duration::from_secs(100));
    update(&mut bench, Request::post("rd"));
    assert_eq!(bench.replies().len(), 1);
    assert!(matches!(bench.writes[0].1[..], [Change::Deadline(Some(_))]));
    bench.write_all();
    assert_eq!(bench.replies().len(), 2);
    // A change is always written first.
    update(&mut bench, Request::post("rd").query("lt=2000"));
    assert_eq!(bench.replies().len(), 2);
    bench.write_all();
    assert_eq!(bench.replies().len(), 3);
    assert_eq!(bench.core.registered.as_ref().unwrap().client.lifetime, 2000);
}

#[test]
fn an_update_of_another_registration_is_not_this_devices() {
    let mut bench = Bench::registered("default", "lt=60");
    let call = bench.call();
    let registration = RegistrationId::parse("aaaaaaaaaaaa").unwrap();
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    assert!(matches!(bench.others[..], [Effect::Foreign(..)]));
}

#[test]
fn a_lifetime_that_is_over_ends_the_registration_with_one_event() {
    let mut bench = Bench::registered("default", "lt=60");
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.writes.len(), 0, "the grace is not over");
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.publications.len(), 0, "the event is published after its write");
    bench.write_all();
    let (id, records) = bench.publications.remove(0);
    assert_eq!(records[0].id.label, "expired");
    assert_eq!(bench.stopped(), None);
    bench.apply(Input::Published(id, Ok(())));
    assert!(bench.others.iter().any(|effect| matches!(effect, Effect::RemoveEvent(_))));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Ended));
}

#[test]
fn a_de_register_is_answered_after_its_write_and_ends_the_endpoint() {
    let mut bench = Bench::registered("default", "lt=60");
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Deregister { call, registration });
    assert_eq!(bench.replies(), []);
    bench.write_all();
    assert_eq!(bench.replies(), [Code::DELETED], "which waits for no sink");
    assert_eq!(bench.stopped(), None);
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Ok(())));
    assert!(bench.others.iter().any(|effect| matches!(effect, Effect::RemoveEvent(_))));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Ended));
}

#[test]
fn a_device_that_registers_again_while_its_end_is_being_told_is_not_given_up() {
    let mut bench = Bench::registered("default", "lt=60");
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Deregister { call, registration });
    bench.write_all();
    bench.register("lt=60");
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Ok(())));
    bench.write_all();
    assert_eq!(bench.replies(), [Code::DELETED, Code::CREATED]);
    assert_eq!(bench.stopped(), None);
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn the_event_of_a_de_register_is_published_by_a_later_owner_should_the_first_die() {
    let mut bench = Bench::registered("default", "lt=60");
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Deregister { call, registration });
    let written = bench.write_all();
    let events = written.into_iter().filter_map(|change| match change {
        Change::Event(event) => Some(event),
        _ => None,
    });
    let record = DeviceRecord { events: events.collect(), ..DeviceRecord::default() };
    let mut later = Bench::claimed("default", record);
    later.apply(Input::Deadline);
    let published = |bench: &Bench| bench.publications[0].1[0].id.to_string();
    assert_eq!(published(&later), published(&bench), "one event, whoever publishes it");
}

#[test]
fn start_actions_follow_the_answer_one_by_one() {
    let mut bench = Bench::claimed("demo", DeviceRecord::default());
    bench.register("lt=60&lwm2m=1.1");
    let written = bench.write_all();
    let pending = written.iter().filter(|change| matches!(change, Change::Observation(_))).count();
    assert_eq!(pending, 2, "observations are on record before they are requested");
    assert_eq!(bench.replies(), [Code::CREATED]);
    assert_eq!(bench.requests().len(), 1, "NSTART");
    assert_eq!(bench.requests()[0].1, "Get /3/0/9");
    bench.respond(Response::new(Code::CONTENT).content(0, "95").observe(1));
    bench.write_all();
    assert_eq!(bench.requests()[1].1, "Get /3303/0/5700");
    assert!(bench.events().contains(&"telemetry"));
    // A refusal stops nothing.
    bench.respond(Response::new(Code::NOT_FOUND));
    bench.write_all();
    assert!(bench.events().contains(&"action_failed"));
    assert_eq!(bench.core.observations.len(), 1);
}

#[test]
fn a_refused_format_is_followed_by_the_next_one() {
    let mut bench = Bench::claimed("demo", DeviceRecord::default());
    bench.register("lt=60&lwm2m=1.1");
    bench.write_all();
    bench.respond(Response::new(Code::NOT_ACCEPTABLE));
    let accept = |downlink: &Downlink| match downlink {
        Downlink::Request { request, .. } => request.accept,
        _ => None,
    };
    let asked: Vec<_> = bench.downlinks.iter().filter_map(accept).collect();
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0], asked[1]);
}

#[test]
fn start_actions_wait_while_the_shard_asks_as_many_devices_as_it_may() {
    let mut bench = Bench::claimed("demo", DeviceRecord::default());
    let starts = bench.core.services.starts.clone();
    let other = starts.enter().unwrap();
    bench.register("lt=60&lwm2m=1.1");
    bench.write_all();
    assert_eq!(bench.replies(), [Code::CREATED], "a register does not wait");
    assert_eq!(bench.requests(), []);
    let awaits =
        |bench: &Bench| bench.others.iter().filter(|effect| matches!(effect, Effect::AwaitStart)).count();
    assert_eq!(awaits(&bench), 1);

    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    assert_eq!(bench.requests().last().unwrap().1, "Get /3/0/0", "nor does a command");
    bench.respond(Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    assert_eq!(awaits(&bench), 1, "one place is enough");

    drop(other);
    bench.apply(Input::Start(starts.enter().unwrap()));
    assert_eq!(bench.requests().last().unwrap().1, "Get /3/0/9");
    assert!(starts.enter().is_none(), "the place is kept while the request is under way");
    bench.respond(Response::new(Code::CONTENT).content(0, "95").observe(1));
    bench.write_all();
    assert_eq!(bench.requests().last().unwrap().1, "Get /3303/0/5700");
    bench.fail(FailReason::Timeout);
    assert!(starts.enter().is_some(), "who does not answer keeps nobody waiting");
}

/// What a sink says that takes nothing more.
const FULL: SinkError = SinkError::QueueFull { queued: 1, limit: 1 };

/// A device with one observation that is made, and its token.
fn observed() -> (Bench, Token) {
    let mut bench = Bench::claimed("demo", DeviceRecord::default());
    bench.register("lt=60&lwm2m=1.1");
    bench.write_all();
    let token = bench.requests()[0].0;
    bench.respond(Response::new(Code::CONTENT).content(0, "95").observe(1));
    bench.write_all();
    bench.respond(Response::new(Code::NOT_FOUND));
    bench.write_all();
    bench.forget_all();
    (bench, token)
}

#[test]
fn a_notification_is_acknowledged_once_it_is_durable() {
    let (mut bench, token) = observed();
    bench.notify(token, 77, 2, "94");
    assert!(bench.downlinks.is_empty());
    let (id, records) = bench.publications.remove(0);
    assert_eq!(records.len(), 1);
    bench.apply(Input::Published(id, Ok(())));
    assert!(matches!(bench.downlinks[..], [Downlink::Acknowledge { message_id: 77 }]));
}

#[test]
fn a_notification_that_the_sink_does_not_take_is_left_without_acknowledgement() {
    let (mut bench, token) = observed();
    bench.notify(token, 77, 2, "94");
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Err(SinkError::QueueFull { queued: 2, limit: 1 })));
    assert!(matches!(bench.downlinks[..], [Downlink::ForgetNotification { message_id: 77 }]));
}

#[test]
fn an_overtaken_notification_is_published_as_stale() {
    let (mut bench, token) = observed();
    bench.notify(token, 1, 5, "90");
    bench.notify(token, 2, 4, "91");
    let stale: Vec<_> = bench.publications.iter().map(|(_, records)| records[0].stale).collect();
    assert_eq!(stale, [false, true]);
}

#[test]
fn a_notification_of_no_observation_is_reset() {
    let (mut bench, _) = observed();
    bench.notify(Token::from(12345), 5, 1, "1");
    assert!(matches!(bench.downlinks[..], [Downlink::Reset { message_id: 5 }]));
}

#[test]
fn a_notification_without_observe_ends_the_observation() {
    let (mut bench, token) = observed();
    bench.say(Uplink::Notification(Box::new(Notification {
        token,
        message_id: 9,
        confirmable: true,
        observe: None,
        response: Response::new(Code::NOT_FOUND),
        more: false,
    })));
    let written = bench.write_all();
    assert!(written.iter().any(|change| matches!(change, Change::RemoveObservation(_))));
    assert_eq!(bench.core.observations.len(), 0);
    assert!(matches!(bench.downlinks[..], [Downlink::Acknowledge { message_id: 9 }]));
}

#[test]
fn a_command_is_on_record_before_it_is_sent_and_its_end_before_the_caller_hears() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1");
    bench.submit("a", read("/3/0/0"), false);
    assert_eq!(bench.requests().len(), 0);
    let written = bench.write_all();
    let Change::Operation(stored) = &written[0] else { panic!("{written:?}") };
    assert_eq!(stored.operation.as_ref().unwrap().state(), State::Sent);
    assert!(!stored.token.is_empty());
    assert_eq!(bench.requests()[0].1, "Get /3/0/0");
    bench.respond(Response::new(Code::CONTENT).content(0, "Godwit"));
    assert_eq!(bench.ended(), []);
    bench.write_all();
    assert_eq!(bench.ended(), [(State::Succeeded, String::new())]);
}

#[test]
fn a_command_that_is_handed_in_again_is_the_same_until_its_record_goes() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    let submit = |bench: &mut Bench| {
        bench.submit("a", execute("/3/0/4"), false);
        bench.write_all();
        match bench.others.drain(..).find(|effect| matches!(effect, Effect::Submitted(..))) {
            Some(Effect::Submitted(_, taken)) => taken.map(|operation| operation.state()),
            _ => panic!("neither taken nor refused"),
        }
    };
    assert_eq!(submit(&mut bench), Ok(State::Sent));
    assert_eq!(submit(&mut bench), Ok(State::Sent));
    assert_eq!(bench.requests().len(), 1);
    bench.respond(Response::new(Code::CHANGED));
    bench.write_all();
    assert_eq!(submit(&mut bench), Err(SubmitError::Ended));
    assert_eq!(bench.requests().len(), 1, "nor is it sent again then");
}

#[test]
fn commands_go_out_in_order_one_at_a_time() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1");
    for (id, path) in [("a", "/3/0/0"), ("b", "/3/0/1"), ("c", "/3/0/2")] {
        bench.submit(id, read(path), true);
    }
    bench.write_all();
    for expected in ["Get /3/0/0", "Get /3/0/1", "Get /3/0/2"] {
        assert_eq!(bench.requests().last().unwrap().1, expected);
        bench.respond(Response::new(Code::CONTENT).content(0, "x"));
        bench.write_all();
    }
    assert_eq!(bench.requests().len(), 3);
}

#[test]
fn a_queued_command_waits_for_a_device_that_does_not_answer() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    bench.fail(FailReason::Timeout);
    bench.write_all();
    assert_eq!(bench.ended(), []);
    assert_eq!(bench.requests().len(), 1, "not again before it is heard");
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    bench.write_all();
    assert_eq!(bench.requests().len(), 2);
}

#[test]
fn an_execute_without_an_answer_is_not_repeated() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", execute("/3/0/4"), true);
    bench.write_all();
    bench.fail(FailReason::Timeout);
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Aborted);
}

#[test]
fn a_caller_who_waits_hears_of_a_timeout() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    bench.fail(FailReason::Timeout);
    bench.write_all();
    assert_eq!(bench.ended(), [(State::Failed, "the device did not answer in time".to_owned())]);
}

#[test]
fn a_sleeping_device_gets_its_commands_at_its_next_uplink() {
    let mut bench = Bench::registered("default", "lt=6000&lwm2m=1.1&Q");
    bench.pass(Duration::from_secs(93));
    assert_eq!(bench.events(), ["asleep"]);
    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    assert_eq!(bench.requests().len(), 0);
    bench.submit("b", read("/3/0/0"), false);
    assert!(matches!(bench.others.last(), Some(Effect::Submitted(_, Err(SubmitError::Asleep)))));
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    bench.write_all();
    assert_eq!(bench.events(), ["asleep", "awake"]);
    assert_eq!(bench.requests().len(), 1);
}

#[test]
fn a_queued_command_expires_with_its_ttl() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1&Q");
    bench.pass(Duration::from_secs(100));
    bench.submit("a", read("/3/0/0"), true);
    bench.write_all();
    // The endpoint is passivated meanwhile or not: either way the deadline is the operation's.
    bench.core.active = bench.now.now + Duration::from_secs(7200);
    bench.pass(Duration::from_secs(3600));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Expired);
}

#[test]
fn more_commands_than_the_limit_are_refused() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1&Q");
    bench.pass(Duration::from_secs(100));
    for n in 0..65 {
        bench.submit(&n.to_string(), read("/3/0/0"), true);
        bench.write_all();
    }
    let refused = bench.others.last();
    assert!(matches!(
        refused,
        Some(Effect::Submitted(_, Err(SubmitError::QueueFull { queued: 64, limit: 64 })))
    ));
}

#[test]
fn a_command_that_no_device_can_do_is_refused_at_once() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1");
    bench.submit("a", read("/3/0/4"), true);
    let Some(Effect::Submitted(_, Err(SubmitError::InvalidCommand(text)))) = bench.others.last() else {
        panic!("{:?}", bench.others)
    };
    assert!(text.contains("/3/0/4"), "{text}");
    assert_eq!(bench.writes.len(), 0);
}

#[test]
fn a_command_in_flight_at_a_crash_is_repeated_byte_for_byte() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    let registration = bench.core.registered.as_ref().unwrap().to_stored(NAME);
    bench.submit("a", execute("/3/0/4"), true);
    let written = bench.write_all();
    let Some(Downlink::Request { token, message_id, request }) = bench.downlinks.last() else { panic!() };
    let Change::Operation(stored) = &written[0] else { panic!() };
    let mut record = DeviceRecord {
        registration: Some(registration),
        operations: vec![(**stored).clone()],
        ..DeviceRecord::default()
    };
    record.header.deadline = Some(bench.now.unix_ms + 600_000);
    let mut later = Bench::claimed("default", record.clone());
    let (call, id) = (later.call(), later.registration_id());
    later.say(Uplink::Update { call, registration: id, request: Box::new(Request::post("rd")) });
    later.write_all();
    let again = later.downlinks.iter().find_map(|downlink| match downlink {
        Downlink::Request { token, message_id, request } => Some((token, message_id, request)),
        _ => None,
    });
    assert_eq!(again, Some((token, message_id, request)));
    // Too late for the device's de-duplication: its outcome is unknown.
    record.operations[0].first_sent -= 46_000;
    let mut late = Bench::claimed("default", record);
    late.apply(Input::Deadline);
    late.write_all();
    assert_eq!(late.ended()[0].0, State::Aborted);
}

/// A record with an Execute that was sent and not answered, and when that was.
fn record_with_sent() -> (DeviceRecord, Reading) {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1");
    let registration = bench.core.registered.as_ref().unwrap().to_stored(NAME);
    bench.submit("a", execute("/3/0/4"), true);
    let written = bench.write_all();
    assert_eq!(bench.requests().len(), 1);
    let Change::Operation(stored) = &written[0] else { panic!() };
    let mut record = DeviceRecord {
        registration: Some(registration),
        operations: vec![(**stored).clone()],
        ..DeviceRecord::default()
    };
    record.header.deadline = Some(bench.now.unix_ms + 86_400_000);
    (record, bench.now)
}

#[test]
fn a_command_that_an_earlier_owner_sent_is_not_called_expired() {
    let (mut record, now) = record_with_sent();
    record.operations[0].due_at = now.unix_ms + 5_000;
    let mut bench = Bench::claimed("default", record);
    bench.pass(Duration::from_secs(6));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Aborted);
}

#[test]
fn a_command_whose_time_is_over_while_its_attempt_is_written_never_leaves() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1");
    bench.submit("a", execute("/3/0/4"), true);
    bench.pass(Duration::from_secs(3600));
    bench.write_all();
    assert_eq!((bench.ended()[0].0, bench.requests().len()), (State::Expired, 0));
}

#[test]
fn what_was_sent_before_a_device_registered_anew_is_not_repeated() {
    let (record, _) = record_with_sent();
    let mut bench = Bench::claimed("default", record);
    bench.register("lt=86400&lwm2m=1.1");
    bench.write_all();
    assert_eq!((bench.ended()[0].0, bench.requests().len()), (State::Aborted, 0));
}

#[test]
fn an_idle_endpoint_is_given_up_with_its_record_exact() {
    let mut bench = Bench::registered("default", "lt=86400");
    bench.pass(Duration::from_secs(600));
    assert!(matches!(bench.writes[0].1[..], [Change::PathNode(_), Change::Passive]));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Idle));
}

#[test]
fn nothing_is_given_up_while_an_effect_is_outstanding() {
    let (mut bench, token) = observed();
    bench.notify(token, 3, 9, "1");
    bench.apply(Input::Release(StopReason::Drain));
    assert_eq!(bench.writes.len(), 0);
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Ok(())));
    assert!(matches!(bench.downlinks[..], [Downlink::Acknowledge { .. }]));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Drain));
}

#[test]
fn a_changed_profile_is_applied_as_a_difference() {
    let (mut bench, token) = observed();
    bench.apply(Input::Profile(profile("default")));
    bench.write_all();
    assert_eq!(bench.requests(), [(token, "Get /3/0/9".to_owned())], "cancelled under its token");
    bench.respond(Response::new(Code::CONTENT).content(0, "95"));
    bench.apply(Input::Profile(profile("demo")));
    bench.write_all();
    assert_eq!(bench.requests()[1].1, "Get /3/0/9");
}

#[test]
fn a_notification_that_the_sink_refused_is_not_stale_when_it_is_repeated() {
    let (mut bench, token) = observed();
    let stale = |bench: &Bench| bench.publications.last().unwrap().1[0].stale;
    bench.notify(token, 50, 9, "95");
    let (id, _) = bench.publications[0];
    bench.apply(Input::Published(id, Err(FULL)));
    bench.notify(token, 51, 9, "95");
    assert!(!stale(&bench));
    bench.notify(token, 52, 8, "94");
    assert!(stale(&bench), "an older one is");
}

#[test]
fn the_last_value_of_an_observation_is_not_lost_when_the_sink_refuses_it() {
    let (mut bench, token) = observed();
    let last = |message_id| {
        Uplink::Notification(Box::new(Notification {
            token,
            message_id,
            confirmable: true,
            observe: None,
            response: Response::new(Code::CONTENT).content(0, "95"),
            more: false,
        }))
    };
    bench.say(last(50));
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Err(FULL)));
    assert!(matches!(bench.downlinks.last(), Some(Downlink::ForgetNotification { message_id: 50 })));
    bench.say(last(51));
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Ok(())));
    assert!(matches!(bench.downlinks.last(), Some(Downlink::Acknowledge { message_id: 51 })));
    let removed = Change::RemoveObservation(token.as_bytes().to_vec());
    assert!(bench.write_all().contains(&removed));
}

#[test]
fn a_device_that_was_not_used_in_time_is_given_up_to_be_deleted() {
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.core.access.activate_by = bench.now.unix_ms + 1_000;
    bench.apply(Input::Deadline);
    assert_eq!(bench.writes.len(), 0, "not yet");
    bench.pass(Duration::from_secs(2));
    bench.apply(Input::Deadline);
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Ended));
    let mut bench = Bench::registered("default", "lt=60");
    bench.core.access.activate_by = 1;
    bench.apply(Input::Deadline);
    assert_eq!(bench.stopped(), None, "it was used");
}

#[test]
fn a_device_whose_credential_no_longer_fits_is_given_up() {
    let mut bench = Bench::registered("default", "lt=60");
    let access = Access::of(&Device { disabled: true, ..Device::default() }, true);
    bench.apply(Input::Access(Some(access), None));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Ended));
    let mut bench = Bench::claimed("default", DeviceRecord::default());
    bench.core.access = Access::of(&Device::default(), false);
    bench.register("lt=60");
    assert_eq!(bench.replies(), [Code::FORBIDDEN]);
    assert_eq!(bench.events(), ["refused"]);
}

/// A deadline in the past would be armed, fire and be armed again without end.
fn no_deadline_has_passed(bench: &Bench) {
    let due = bench.core.poll_timeout(bench.now);
    assert!(due.is_none_or(|due| due > bench.now.now), "{:?} ago", due.map(|due| bench.now.now - due));
}

#[test]
fn a_request_under_way_longer_than_its_ttl_or_the_idle_time_arms_no_past_deadline() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1");
    bench.apply(Input::Submit(Box::new(NewOperation {
        id: "a".to_owned(),
        command: Command { kind: Some(read("/3/0/0")) },
        ttl: Duration::from_secs(1),
        queue: false,
        at_least_once: false,
    })));
    bench.write_all();
    for _ in 0..3 {
        bench.pass(Duration::from_secs(2));
        no_deadline_has_passed(&bench);
    }
    bench.pass(Duration::from_secs(700));
    no_deadline_has_passed(&bench);
    assert_eq!(bench.ended(), []);
}

#[test]
fn an_expiry_that_is_being_written_arms_no_past_deadline() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1&Q");
    bench.pass(Duration::from_secs(89));
    bench.apply(Input::Submit(Box::new(NewOperation {
        id: "a".to_owned(),
        command: Command { kind: Some(read("/3/0/0")) },
        ttl: Duration::from_secs(1),
        queue: true,
        at_least_once: false,
    })));
    let (id, _) = bench.writes.remove(0);
    bench.apply(Input::Persisted(id, Ok(())));
    bench.fail(FailReason::Timeout);
    bench.write_all();
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.writes.len(), 1, "the expiry");
    no_deadline_has_passed(&bench);
}

#[test]
fn an_answer_is_taken_however_much_is_outstanding_or_while_leaving() {
    let (mut bench, token) = observed();
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    for n in 0..10 {
        bench.notify(token, 100 + n, 10 + u32::from(n), "1");
    }
    assert_eq!(bench.publications.len(), 8);
    bench.apply(Input::Release(StopReason::Bound));
    bench.respond(Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    assert_eq!(bench.ended(), [(State::Succeeded, String::new())]);
}

#[test]
fn a_request_ends_with_its_connection() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    bench.apply(Input::Unlinked(link(1000).connection));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Failed);
    assert!(bench.core.downlinks.flight.is_none());
}

#[test]
fn a_store_that_cannot_write_is_not_tried_again_and_again() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", read("/3/0/0"), true);
    let mut failed = 0;
    while let Some((id, _)) = (!bench.writes.is_empty()).then(|| bench.writes.remove(0)) {
        bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("disk".into()))));
        failed += 1;
        assert!(failed < 10, "an endless loop");
    }
    bench.submit("b", read("/3/0/0"), true);
    bench.submit("c", read("/3/0/0"), true);
    while let Some((id, _)) = (!bench.writes.is_empty()).then(|| bench.writes.remove(0)) {
        bench.apply(Input::Persisted(id, Err(StoreError::Unavailable("disk".into()))));
        failed += 1;
        assert!(failed < 10, "an endless loop");
    }
}

#[test]
fn a_blockwise_notification_whose_rest_fails_may_be_repeated() {
    let (mut bench, token) = observed();
    bench.say(Uplink::Notification(Box::new(Notification {
        token,
        message_id: 50,
        confirmable: true,
        observe: Some(9),
        response: Response::new(Code::CONTENT).content(0, "part").observe(9),
        more: true,
    })));
    let fetch = bench.downlinks.iter().find_map(|downlink| match downlink {
        Downlink::Continue { token, .. } => Some(*token),
        _ => None,
    });
    bench.say(Uplink::Failed { token: fetch.unwrap(), reason: FailReason::Timeout });
    assert!(matches!(bench.downlinks.last(), Some(Downlink::ForgetNotification { message_id: 50 })));
}

/// The record of a device that is registered from an address.
fn passive(query: &str) -> DeviceRecord {
    let bench = Bench::registered("default", query);
    let mut record = DeviceRecord {
        registration: Some(bench.core.registered.as_ref().unwrap().to_stored(NAME)),
        ..DeviceRecord::default()
    };
    record.header.deadline = Some(bench.now.unix_ms + 6_000_000);
    record.header.peer = Some(link(1000).remote);
    record.header.by_address = true;
    record
}

#[test]
fn a_command_for_a_passive_device_goes_to_its_address_on_record() {
    let mut bench = Bench::claimed("default", passive("lt=6000&lwm2m=1.1"));
    bench.submit("a", read("/3/0/0"), false);
    assert!(bench.others.iter().any(|effect| matches!(
        effect,
        Effect::Reach(address) if address.peer == link(1000).remote
    )));
    bench.write_all();
    assert_eq!(bench.requests().len(), 0);
    bench.apply(Input::Reached(Some(link(1000))));
    bench.write_all();
    assert!(matches!(bench.downlinks[0], Downlink::Link { .. }));
    assert_eq!(bench.requests().len(), 1);
    bench.respond(Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    assert_eq!(bench.ended()[0].0, State::Succeeded);
    assert!(bench.core.link.is_none(), "before the next one it is asked whose the address is");
}

#[test]
fn a_command_for_a_device_whose_address_is_anothers_ends_at_once_or_waits() {
    let mut bench = Bench::claimed("default", passive("lt=6000&lwm2m=1.1"));
    bench.submit("a", read("/3/0/0"), false);
    bench.submit("b", read("/3/0/1"), true);
    bench.apply(Input::Reached(None));
    bench.write_all();
    assert_eq!(bench.ended().len(), 1);
    assert_eq!(bench.ended()[0].0, State::Failed);
    assert_eq!(bench.requests().len(), 0);
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    bench.write_all();
    assert_eq!(bench.requests()[0].1, "Get /3/0/1");
}

#[test]
fn a_passive_device_in_queue_mode_is_taken_to_be_asleep() {
    let mut bench = Bench::claimed("default", passive("lt=6000&lwm2m=1.1&Q"));
    bench.submit("a", read("/3/0/0"), false);
    assert!(matches!(bench.others[..], [Effect::Submitted(_, Err(SubmitError::Asleep))]));
}

#[test]
fn nothing_is_sent_to_a_passive_device_that_was_disabled() {
    let mut bench = Bench::claimed("default", passive("lt=6000&lwm2m=1.1"));
    bench.core.access.disabled = true;
    bench.submit("a", read("/3/0/0"), true);
    assert!(!bench.others.iter().any(|effect| matches!(effect, Effect::Reach(_))));
}

#[test]
fn an_execute_of_an_earlier_owner_is_not_repeated_late() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    bench.submit("a", execute("/3/0/4"), true);
    let written = bench.write_all();
    let Change::Operation(stored) = &written[0] else { panic!() };
    let mut record = passive("lt=600&lwm2m=1.1");
    record.header.by_address = false;
    record.operations = vec![(**stored).clone()];
    let mut later = Bench::claimed("default", record);
    later.pass(Duration::from_secs(60));
    let (call, id) = (later.call(), later.registration_id());
    later.say(Uplink::Update { call, registration: id, request: Box::new(Request::post("rd")) });
    later.write_all();
    assert_eq!(later.requests().len(), 0);
    assert_eq!(later.ended()[0].0, State::Aborted);
}

#[test]
fn an_update_waits_for_the_one_before() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1");
    let registration = bench.registration_id();
    for query in ["lt=2000", "b=UT"] {
        let call = bench.call();
        let request = Box::new(Request::post("rd").query(query));
        bench.say(Uplink::Update { call, registration, request });
    }
    assert_eq!(bench.writes.len(), 1, "made from the old registration, it would take the first one back");
    assert!(matches!(bench.downlinks.last(), Some(Downlink::Forget { .. })));
    bench.write_all();
    assert_eq!(bench.core.registered.as_ref().unwrap().client.lifetime, 2000);
}

#[test]
fn a_registration_after_an_expiry_expires_too() {
    let mut bench = Bench::registered("default", "lt=60");
    bench.pass(Duration::from_secs(90));
    bench.write_all();
    bench.register("lt=60");
    bench.write_all();
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Ok(())));
    assert_eq!(bench.stopped(), None);
    bench.pass(Duration::from_secs(90));
    assert!(bench.writes.iter().any(|(_, changes)| changes.contains(&Change::RemoveRegistration)));
}

#[test]
fn an_operation_whose_time_is_over_before_its_attempt_is_stored_is_not_sent() {
    let mut bench = Bench::registered("default", "lt=86400&lwm2m=1.1");
    bench.apply(Input::Submit(Box::new(NewOperation {
        id: "a".to_owned(),
        command: Command { kind: Some(execute("/3/0/4")) },
        ttl: Duration::from_secs(1),
        queue: true,
        at_least_once: false,
    })));
    bench.pass(Duration::from_secs(2));
    bench.write_all();
    assert_eq!(bench.requests().len(), 0);
    assert_eq!(bench.ended()[0].0, State::Expired);
}

#[test]
fn a_register_is_not_taken_for_the_update_that_was_answered_before() {
    let mut bench = Bench::registered("default", "lt=60&lwm2m=1.1");
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd").query("lt=70")) });
    bench.write_all();
    // The device has started over, and counts its messages from the beginning.
    bench.calls -= 1;
    bench.register("lt=60");
    assert_eq!(bench.writes.len(), 1);
}

#[test]
fn what_the_sink_did_not_take_is_observed_again_when_the_device_has_given_up() {
    let (mut bench, token) = observed();
    bench.notify(token, 1, 2, "94");
    let (id, _) = bench.publications.remove(0);
    bench.apply(Input::Published(id, Err(SinkError::QueueFull { queued: 2, limit: 1 })));
    let written = bench.write_all();
    assert!(matches!(written[..], [Change::Observation(_)]), "a later owner knows of it");
    bench.pass(Duration::from_secs(20));
    let update = |bench: &mut Bench| {
        let (call, registration) = (bench.call(), bench.registration_id());
        bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
        bench.write_all();
    };
    update(&mut bench);
    assert_eq!(bench.requests().len(), 0, "it still repeats the notification");
    bench.pass(Duration::from_secs(60));
    update(&mut bench);
    bench.pass(Duration::from_secs(30));
    update(&mut bench);
    assert_eq!(bench.requests(), [(token, "Get /3/0/9".to_owned())]);
    assert!(bench.events().contains(&"observation_suspect"));
    bench.respond(Response::new(Code::CONTENT).content(0, "95").observe(9));
    bench.write_all();
    // One that comes through after a failure is no suspect.
    for result in [Err(SinkError::QueueFull { queued: 2, limit: 1 }), Ok(())] {
        bench.notify(token, 3, 10, "96");
        let (id, _) = bench.publications.remove(0);
        bench.apply(Input::Published(id, result));
        bench.write_all();
    }
    bench.pass(Duration::from_secs(80));
    bench.forget_all();
    update(&mut bench);
    bench.pass(Duration::from_secs(40));
    update(&mut bench);
    assert_eq!(bench.requests().len(), 0);
}

#[test]
fn a_sink_that_takes_nothing_holds_up_values_and_nothing_else() {
    let (mut bench, token) = observed();
    for n in 0..10 {
        bench.notify(token, 100 + n, 10 + u32::from(n), "1");
    }
    let call = bench.call();
    let request = Request::post("dp").content(110, r#"[{"n":"/3/0/9","v":1}]"#);
    bench.say(Uplink::Send { call, request: Box::new(request) });
    assert_eq!(bench.publications.len(), 8, "what comes beyond is not taken");
    bench.forget_all();
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd").query("lt=7000")) });
    bench.write_all();
    assert_eq!(bench.replies(), [Code::CHANGED]);
    bench.submit("a", read("/3/0/0"), false);
    bench.write_all();
    bench.respond(Response::new(Code::CONTENT).content(0, "Godwit"));
    bench.write_all();
    assert_eq!(bench.ended(), [(State::Succeeded, String::new())]);
}

#[test]
fn what_devices_do_not_go_on_with_is_not_waited_for() {
    let (mut bench, token) = observed();
    for n in 0..8 {
        bench.notify(token, 100 + n, 10 + u32::from(n), "1");
    }
    bench.pass(Duration::from_secs(50));
    let (call, registration) = (bench.call(), bench.registration_id());
    bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
    bench.write_all();
    bench.forget_all();
    bench.pass(Duration::from_secs(42));
    assert!(bench.downlinks.is_empty() && bench.writes.is_empty());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.downlinks.len(), 8);
    assert!(bench.downlinks.iter().all(|it| matches!(it, Downlink::ForgetNotification { .. })));
    let written = bench.write_all();
    assert!(matches!(written[..], [Change::Observation(_)]), "a later owner knows of it");
    // Their reports, when they come, mean nothing any more.
    bench.forget_all();
    for (id, _) in std::mem::take(&mut bench.publications) {
        bench.apply(Input::Published(id, Ok(())));
    }
    assert!(bench.downlinks.is_empty() && bench.writes.is_empty());
    bench.apply(Input::Release(StopReason::Drain));
    bench.write_all();
    assert_eq!(bench.stopped(), Some(StopReason::Drain), "nothing holds the device back");
}

#[test]
fn what_was_durable_too_late_is_observed_again() {
    let (mut bench, token) = observed();
    bench.notify(token, 1, 2, "94");
    let (id, _) = bench.publications.remove(0);
    // As long as Kafka was away. The device gave up after 93 s.
    let update = |bench: &mut Bench| {
        let (call, registration) = (bench.call(), bench.registration_id());
        bench.say(Uplink::Update { call, registration, request: Box::new(Request::post("rd")) });
        bench.write_all();
    };
    bench.pass(Duration::from_secs(50));
    update(&mut bench);
    bench.pass(Duration::from_secs(44));
    bench.apply(Input::Published(id, Ok(())));
    bench.write_all();
    update(&mut bench);
    assert_eq!(bench.requests(), [(token, "Get /3/0/9".to_owned())]);
    assert!(bench.events().contains(&"observation_suspect"));
}

#[test]
fn an_observation_that_was_not_made_is_not_made_by_a_later_owner() {
    let mut bench = Bench::registered("default", "lt=600&lwm2m=1.1");
    let observe = command::Kind::Observe(command::Observe { path: "/3/0/9".to_owned(), format: None });
    bench.submit("a", observe, false);
    bench.write_all();
    bench.fail(FailReason::Timeout);
    let written = bench.write_all();
    assert!(written.iter().any(|change| matches!(change, Change::RemoveObservation(_))));
    assert_eq!(bench.core.observations.len(), 0);
}
