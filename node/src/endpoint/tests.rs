//! The core by itself: stepped time, writes and publications that end when the test says so.

mod commands;
mod expiry;
mod handover;
mod observation;
mod outage;
mod passivation;
mod process;
mod registration;
mod session;
mod sink;
mod start;

use std::{rc::Rc, sync::Arc, time::Duration};

use godwit_coap::{Code, FailReason, Request, Response, Token};
use godwit_lwm2m::registration::{Policy, Registration};
use godwit_proto::{
    store::v1::Device,
    v1::{Command, command, operation::State},
};

pub(crate) use self::process::process;
use self::process::services;
use super::{
    access::Access,
    core::Core,
    handle::{NewOperation, SubmitError},
    link::{Call, Downlink, Link, Notification, Security, Uplink},
    message::{Effect, Input, StopReason},
};
use crate::{
    clock::{self, Reading},
    identity::{DeviceId, RegistrationId},
    profile::{Profile, builtin},
    shard::{ActorKey, outbox::SocketId},
    store::{Change, Claimed, DeviceRecord, StoreError},
    telemetry::Record,
};

const NAME: &str = "urn:test:1";

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
        self.say(Uplink::Response { token, response: Box::new(response), notified: false });
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
