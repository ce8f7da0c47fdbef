//! A fleet of devices, without sockets or clock: datagrams and due times come in, datagrams go out.
//!
//! An exchange of a device goes `begin → (retransmit)* → finish`: it ends by an answer, a reset, or after the
//! last retransmission. One device has one exchange open at a time.

use std::collections::HashMap;

use crate::clock::{Clock, Micros, SECOND};
use crate::coap::{self, Kind, Message, code, option};
use crate::content::Datum;
use crate::device::{Device, Exchange, Phase, Then};
use crate::endpoint::Template;
use crate::journal::{Entry, Journal};
use crate::measure::{Action, Measure};
use crate::model::Model;
use crate::observation::{NONE, Observation, Observations};
use crate::path::Path;
use crate::random::mix;
use crate::replies::Replies;
use crate::socket::Transport;
use crate::target::Targets;
use crate::wheel::{Entry as Deadline, Purpose, Wheel};

/// Retransmission as RFC 7252 §4.8 names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) ack_timeout: Micros,
    pub(crate) random_factor: f64,
    pub(crate) max_retransmit: u8,
    /// How long a device waits before it tries to register again after a refusal or a timeout.
    pub(crate) retry: Micros,
}

impl Default for Timing {
    fn default() -> Self {
        Self { ack_timeout: 2 * SECOND, random_factor: 1.5, max_retransmit: 4, retry: 10 * SECOND }
    }
}

impl Timing {
    /// How long an answer may take after the last transmission could have left: MAX_TRANSMIT_WAIT.
    pub(crate) fn max_transmit_wait(&self) -> Micros {
        let span = (1u64 << (self.max_retransmit + 1)) - 1;
        (self.ack_timeout as f64 * span as f64 * self.random_factor) as Micros
    }
}

/// What all devices of a fleet have in common.
#[derive(Clone, Debug)]
pub(crate) struct Make {
    pub(crate) endpoint: Template,
    /// The number of the first device.
    pub(crate) first: u64,
    pub(crate) lifetime: u32,
    pub(crate) version: String,
    pub(crate) binding: String,
    pub(crate) queue: bool,
    pub(crate) confirmable: bool,
    pub(crate) model: Model,
    pub(crate) timing: Timing,
}

/// What became of an action that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fired {
    Sent,
    /// The device still waits for its last exchange.
    Busy,
    /// Not registered, or nothing to notify.
    Idle,
}

/// All devices and what they share.
pub(crate) struct Fleet {
    pub(crate) make: Make,
    pub(crate) links: String,
    pub(crate) devices: Vec<Device>,
    pub(crate) observations: Observations,
    pub(crate) targets: Targets,
    /// Registration paths that are too long to fit into a device.
    pub(crate) long_locations: HashMap<u32, Box<[u8]>>,
    /// What servers wrote, where it differs from the model.
    pub(crate) written: HashMap<(u32, Path), Datum>,
    pub(crate) replies: Replies,
    wheel: Wheel,
    due: Vec<Deadline>,
    pub(crate) measure: Measure,
    journal: Option<Journal>,
    clock: Clock,
    pub(crate) scratch: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) name: String,
    registered: u32,
    refused: u32,
    open: u32,
}

impl Fleet {
    pub(crate) fn new(make: Make, devices: u32, seed: u64, journal: Option<Journal>, clock: Clock) -> Self {
        let device = |index| Device::new(mix(seed ^ u64::from(index)) as u16);
        Self {
            links: make.model.links(&make.version),
            make,
            devices: (0..devices).map(device).collect(),
            observations: Observations::default(),
            targets: Targets::default(),
            long_locations: HashMap::new(),
            written: HashMap::new(),
            replies: Replies::default(),
            wheel: Wheel::new(),
            due: Vec::new(),
            measure: Measure::default(),
            journal,
            clock,
            scratch: Vec::with_capacity(1500),
            payload: Vec::with_capacity(1024),
            name: String::new(),
            registered: 0,
            refused: 0,
            open: 0,
        }
    }

    /// Devices that are registered now.
    pub(crate) fn registered(&self) -> u32 {
        self.registered
    }

    /// Devices whose registration failed and has not succeeded since.
    pub(crate) fn refused(&self) -> u32 {
        self.refused
    }

    /// Exchanges that wait for an answer.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    pub(crate) fn observed(&self) -> (u32, usize) {
        (self.observations.devices(), self.observations.count())
    }

    pub(crate) fn journal(&mut self) -> Option<&mut Journal> {
        self.journal.as_mut()
    }

    /// When [`Fleet::expire`] wants to be called.
    pub(crate) fn next_deadline(&self) -> Micros {
        self.wheel.next_slot()
    }

    /// Starts an action of a device that was due at `due`.
    pub(crate) fn fire(
        &mut self,
        action: Action,
        index: u32,
        due: Micros,
        now: Micros,
        out: &mut impl Transport,
    ) -> Fired {
        let tally = self.measure.tally_mut(action);
        tally.due += 1;
        let device = &mut self.devices[index as usize];
        if device.is_busy() {
            match action {
                Action::Register => device.then = Then::Register,
                Action::Deregister => device.then = Then::Deregister,
                Action::Update | Action::Notify => {
                    tally.busy += 1;
                    return Fired::Busy;
                }
            }
            return Fired::Sent;
        }
        let fired = match action {
            Action::Register => {
                self.register(index, due, now, out);
                true
            }
            Action::Update => self.begin_registered(Exchange::Update, index, due, now, out),
            Action::Deregister => self.begin_registered(Exchange::Deregister, index, due, now, out),
            Action::Notify => self.notify(index, due, now, out),
        };
        if fired {
            return Fired::Sent;
        }
        self.measure.tally_mut(action).idle += 1;
        Fired::Idle
    }

    fn register(&mut self, index: u32, due: Micros, now: Micros, out: &mut impl Transport) {
        let device = &mut self.devices[index as usize];
        self.registered -= u32::from(device.phase == Phase::Registered);
        self.refused -= u32::from(device.phase == Phase::Refused);
        device.phase = Phase::New;
        // A registration replaces the one before with its observations.
        self.observations.remove(&mut device.observations, |_, _| true);
        device.notifying = NONE;
        self.begin(Exchange::Register, index, due, now, out);
    }

    fn begin_registered(
        &mut self,
        exchange: Exchange,
        index: u32,
        due: Micros,
        now: Micros,
        out: &mut impl Transport,
    ) -> bool {
        let registered = self.devices[index as usize].phase == Phase::Registered;
        if registered {
            self.begin(exchange, index, due, now, out);
        }
        registered
    }

    fn notify(&mut self, index: u32, due: Micros, now: Micros, out: &mut impl Transport) -> bool {
        let device = &mut self.devices[index as usize];
        if device.phase != Phase::Registered {
            return false;
        }
        let targets = &self.targets;
        let wanted = |o: &Observation| !targets.target(o.target).counters.is_empty();
        let Some(at) = self.observations.turn(&mut device.observations, wanted) else { return false };
        device.notifying = at;
        device.notified = device.count();
        if self.make.confirmable {
            self.begin(Exchange::Notify, index, due, now, out);
        } else {
            device.mid = device.take_mid();
            let tally = self.measure.tally_mut(Action::Notify);
            tally.sent(due, now);
            tally.unconfirmed += 1;
            self.transmit_notification(index, Kind::NonConfirmable, out);
        }
        true
    }

    fn begin(&mut self, exchange: Exchange, index: u32, due: Micros, now: Micros, out: &mut impl Transport) {
        let device = &mut self.devices[index as usize];
        device.mid = device.take_mid();
        device.exchange = exchange;
        device.since = due as u32;
        device.retransmissions = 0;
        device.separate = false;
        self.open += 1;
        if let Some(action) = action(exchange) {
            self.measure.tally_mut(action).sent(due, now);
        }
        self.transmit(index, now, out);
    }

    /// Sends what the open exchange is about and arms its next retransmission.
    fn transmit(&mut self, index: u32, now: Micros, out: &mut impl Transport) {
        let device = &self.devices[index as usize];
        let (mid, retransmissions) = (device.mid, device.retransmissions);
        match device.exchange {
            Exchange::None => return,
            Exchange::Register => self.transmit_register(index, out),
            Exchange::Update => self.transmit_to_location(index, code::POST, out),
            Exchange::Deregister => self.transmit_to_location(index, code::DELETE, out),
            Exchange::Notify => self.transmit_notification(index, Kind::Confirmable, out),
        }
        let timing = self.make.timing;
        // The same for every retransmission of an exchange, RFC 7252 §4.2, without a place to keep it.
        let spread = mix(u64::from(index) << 16 | u64::from(mid)) as u32;
        let factor = 1.0 + (timing.random_factor - 1.0) * f64::from(spread) / f64::from(u32::MAX);
        let timeout = (timing.ack_timeout as f64 * factor) as Micros;
        self.wheel.arm(now + (timeout << retransmissions), index, mid, Purpose::Retransmit);
    }

    /// Retransmits, or gives up, what is due by `now`.
    pub(crate) fn expire(&mut self, now: Micros, out: &mut impl Transport) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(now, &mut due);
        for entry in due.drain(..) {
            let device = &mut self.devices[entry.device as usize];
            if device.mid != entry.mid {
                continue;
            }
            let exhausted = device.retransmissions >= self.make.timing.max_retransmit;
            match (entry.purpose, device.exchange) {
                (Purpose::Retry, Exchange::None) if device.phase == Phase::Refused => {
                    self.measure.registered_again += 1;
                    self.measure.tally_mut(Action::Register).due += 1;
                    self.register(entry.device, now, now, out);
                }
                (Purpose::Retry, _) | (_, Exchange::None) => {}
                (Purpose::Retransmit, exchange) if !device.separate && !exhausted => {
                    device.retransmissions += 1;
                    if let Some(action) = action(exchange) {
                        self.measure.tally_mut(action).retransmissions += 1;
                    }
                    self.transmit(entry.device, now, out);
                }
                (Purpose::Retransmit, _) if device.separate => {}
                (_, exchange) => self.give_up(exchange, entry.device, now, out),
            }
        }
        self.due = due;
    }

    fn give_up(&mut self, exchange: Exchange, index: u32, now: Micros, out: &mut impl Transport) {
        if let Some(action) = action(exchange) {
            self.measure.tally_mut(action).timeouts += 1;
        }
        match exchange {
            Exchange::None => return,
            Exchange::Register => self.refuse(index, now + self.make.timing.retry),
            // As clients do: a server that does not answer an update has perhaps lost the registration.
            Exchange::Update => self.register_afresh(index),
            Exchange::Notify => self.end_observation(index),
            Exchange::Deregister => self.depart(index),
        }
        self.finish(index, now, out);
    }

    /// Takes a datagram of the server for a device. `arrived` is when the kernel had it.
    pub(crate) fn handle(
        &mut self,
        arrived: Micros,
        now: Micros,
        index: u32,
        datagram: &[u8],
        out: &mut impl Transport,
    ) {
        let Some(message) = Message::parse(datagram) else {
            self.measure.malformed += 1;
            return;
        };
        let device = &mut self.devices[index as usize];
        match message.kind {
            Kind::Acknowledgement | Kind::Reset if message.mid != device.mid => {
                self.measure.unmatched += 1;
            }
            Kind::Reset => self.reset(index, now, out),
            Kind::Acknowledgement => match device.exchange {
                Exchange::None => self.measure.unmatched += 1,
                Exchange::Notify => self.notified(index, arrived, now, out),
                _ if message.code == code::EMPTY => {
                    device.separate = true;
                    let wait = self.make.timing.max_transmit_wait();
                    self.wheel.arm(now + wait, index, message.mid, Purpose::GiveUp);
                }
                exchange => self.answered(exchange, index, &message, arrived, now, out),
            },
            Kind::Confirmable if message.code == code::EMPTY => {
                self.answer_empty(Kind::Reset, index, &message, out);
            }
            Kind::NonConfirmable if message.code == code::EMPTY => {}
            _ if code::is_request(message.code) => self.serve(now, index, &message, out),
            kind => {
                let matches = message.token == device.mid.to_be_bytes();
                let exchange = device.exchange;
                if kind == Kind::Confirmable {
                    let reply = if matches { Kind::Acknowledgement } else { Kind::Reset };
                    self.answer_empty(reply, index, &message, out);
                }
                match exchange {
                    Exchange::None | Exchange::Notify => self.measure.unmatched += 1,
                    _ if !matches => self.measure.unmatched += 1,
                    _ => self.answered(exchange, index, &message, arrived, now, out),
                }
            }
        }
    }

    fn answer_empty(&mut self, kind: Kind, index: u32, message: &Message<'_>, out: &mut impl Transport) {
        coap::empty(&mut self.scratch, kind, message.mid);
        out.send(index, &self.scratch);
    }

    fn reset(&mut self, index: u32, now: Micros, out: &mut impl Transport) {
        let exchange = self.devices[index as usize].exchange;
        match exchange {
            // To a non-confirmable notification, or once more to a confirmable one.
            Exchange::None => self.end_observation(index),
            Exchange::Notify => self.end_observation(index),
            Exchange::Register => self.refuse(index, now + self.make.timing.retry),
            Exchange::Update => {}
            Exchange::Deregister => self.depart(index),
        }
        self.measure.tally_mut(action(exchange).unwrap_or(Action::Notify)).resets += 1;
        if exchange != Exchange::None {
            self.finish(index, now, out);
        }
    }

    fn notified(&mut self, index: u32, arrived: Micros, now: Micros, out: &mut impl Transport) {
        let device = &self.devices[index as usize];
        let target = self.observations.observation(device.notifying).target;
        let count = device.notified.into();
        if self.journal.is_some() {
            for path in self.targets.target(target).counters.clone() {
                let path = path.to_string();
                self.record(index, arrived, |t, endpoint| Entry::Value { t, endpoint, path, count });
            }
        }
        self.acknowledge(Action::Notify, index, arrived);
        self.finish(index, now, out);
    }

    fn answered(
        &mut self,
        exchange: Exchange,
        index: u32,
        message: &Message<'_>,
        arrived: Micros,
        now: Micros,
        out: &mut impl Transport,
    ) {
        let Some(action) = action(exchange) else { return };
        let success = code::is_success(message.code);
        match exchange {
            Exchange::Register if success && self.keep_location(index, message) => {
                self.record(index, arrived, |t, endpoint| Entry::Registered { t, endpoint });
                self.devices[index as usize].phase = Phase::Registered;
                self.registered += 1;
            }
            Exchange::Register => {
                let pause = match message.code {
                    code::SERVICE_UNAVAILABLE => {
                        // RFC 7252 §5.10.5: 60 s where the server names no Max-Age.
                        u64::from(message.uint(option::MAX_AGE).unwrap_or(60)) * SECOND
                    }
                    _ => self.make.timing.retry,
                };
                self.refuse(index, now + pause);
            }
            Exchange::Update if success => {
                self.record(index, arrived, |t, endpoint| Entry::Updated { t, endpoint });
            }
            Exchange::Update if message.code == code::NOT_FOUND => self.register_afresh(index),
            Exchange::Deregister => {
                if success {
                    self.record(index, arrived, |t, endpoint| Entry::Deregistered { t, endpoint });
                }
                self.depart(index);
            }
            _ => {}
        }
        if success {
            self.acknowledge(action, index, arrived);
        } else {
            self.measure.tally_mut(action).error(message.code);
        }
        self.finish(index, now, out);
    }

    fn acknowledge(&mut self, action: Action, index: u32, arrived: Micros) {
        let since = self.devices[index as usize].since;
        // Arrival may precede the due time by the grain of the clocks.
        let latency = (arrived as u32).wrapping_sub(since) as i32;
        self.measure.tally_mut(action).acknowledged(latency.max(0) as Micros);
    }

    fn record(&mut self, index: u32, at: Micros, entry: impl FnOnce(u64, String) -> Entry) {
        if let Some(journal) = &mut self.journal {
            let name = self.make.endpoint.name(self.make.first + u64::from(index));
            journal.record(&entry(self.clock.wall_ms(at), name));
        }
    }

    fn refuse(&mut self, index: u32, again: Micros) {
        let device = &mut self.devices[index as usize];
        device.phase = Phase::Refused;
        self.refused += 1;
        self.wheel.arm(again, index, device.mid, Purpose::Retry);
    }

    fn register_afresh(&mut self, index: u32) {
        let device = &mut self.devices[index as usize];
        if device.then == Then::Nothing {
            device.then = Then::Register;
            self.measure.registered_again += 1;
        }
    }

    fn depart(&mut self, index: u32) {
        let device = &mut self.devices[index as usize];
        device.phase = Phase::Gone;
        self.registered -= 1;
        self.observations.remove(&mut device.observations, |_, _| true);
        device.notifying = NONE;
    }

    fn end_observation(&mut self, index: u32) {
        let device = &mut self.devices[index as usize];
        let ended = device.notifying;
        self.observations.remove(&mut device.observations, |at, _| at == ended);
        device.notifying = NONE;
    }

    /// Ends the observation of a target, and its open notification with it.
    pub(crate) fn cancel(&mut self, index: u32, target: u32) {
        let notifying = self.devices[index as usize].notifying;
        if notifying != NONE && self.observations.observation(notifying).target == target {
            self.supersede(index, notifying);
            self.devices[index as usize].notifying = NONE;
        }
        let device = &mut self.devices[index as usize];
        self.observations.remove(&mut device.observations, |_, observation| observation.target == target);
    }

    /// Closes the open notification of an observation that is no more or has another token now.
    pub(crate) fn supersede(&mut self, index: u32, observation: u32) {
        let device = &mut self.devices[index as usize];
        if device.exchange == Exchange::Notify && observation != NONE && device.notifying == observation {
            self.measure.tally_mut(Action::Notify).superseded += 1;
            device.exchange = Exchange::None;
            self.open -= 1;
        }
    }

    /// Closes the exchange and does what was put off meanwhile.
    pub(crate) fn finish(&mut self, index: u32, now: Micros, out: &mut impl Transport) {
        let device = &mut self.devices[index as usize];
        if device.is_busy() {
            device.exchange = Exchange::None;
            self.open -= 1;
        }
        self.follow(index, now, out);
    }

    /// Does what was put off, if nothing is open.
    pub(crate) fn follow(&mut self, index: u32, now: Micros, out: &mut impl Transport) {
        let device = &mut self.devices[index as usize];
        if device.is_busy() {
            return;
        }
        match std::mem::replace(&mut device.then, Then::Nothing) {
            Then::Nothing => {}
            Then::Register => {
                self.measure.tally_mut(Action::Register).due += 1;
                self.register(index, now, now, out);
            }
            Then::Update => {
                self.measure.tally_mut(Action::Update).due += 1;
                self.begin_registered(Exchange::Update, index, now, now, out);
            }
            Then::Deregister => {
                self.begin_registered(Exchange::Deregister, index, now, now, out);
            }
        }
    }
}

fn action(exchange: Exchange) -> Option<Action> {
    match exchange {
        Exchange::None => None,
        Exchange::Register => Some(Action::Register),
        Exchange::Update => Some(Action::Update),
        Exchange::Notify => Some(Action::Notify),
        Exchange::Deregister => Some(Action::Deregister),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;
    use crate::coap::Encoder;

    #[test]
    fn a_registration_carries_what_the_fleet_is_and_an_update_goes_to_its_location() {
        let mut bench = Bench::new(1, true);
        bench.fire(Action::Register, 0);
        let bytes = bench.only();
        let request = Message::parse(&bytes).unwrap();
        let queries: Vec<_> = request
            .options()
            .filter(|(number, _)| *number == option::URI_QUERY)
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect();
        assert_eq!(queries, ["ep=load-00000000", "lt=300", "lwm2m=1.1", "b=U"]);
        assert_eq!(request.uint(option::CONTENT_FORMAT), Some(40));
        assert!(request.payload.ends_with(b"</1/0>,</3/0>,</3303/0>"));

        bench.answer(0, &bytes, code::CREATED, &["rd", "a-long-identifier-that-fits-nowhere"]);
        bench.fire(Action::Update, 0);
        let bytes = bench.only();
        let path: Vec<_> = Message::parse(&bytes).unwrap().options().collect();
        assert_eq!(path, [(11, &b"rd"[..]), (11, &b"a-long-identifier-that-fits-nowhere"[..])]);
    }

    #[test]
    fn an_unanswered_notification_is_repeated_at_growing_distances_and_given_up() {
        let mut bench = Bench::registered(1, true);
        bench.observe("/3303/0/5700");
        assert_eq!(bench.fire(Action::Notify, 0), Fired::Sent);
        let first = bench.only();
        let repeated = bench.pass(100 * SECOND);
        assert_eq!(repeated.len(), 4);
        assert!(repeated.iter().all(|(_, message)| *message == first));
        let timeout = repeated[0].0;
        assert!((2 * SECOND..=3 * SECOND + 50_000).contains(&timeout));
        assert!(repeated[3].0.abs_diff(15 * timeout) < 300_000);
        assert_eq!((bench.tally(Action::Notify).timeouts, bench.fleet.open()), (1, 0));
        assert_eq!(bench.fire(Action::Notify, 0), Fired::Idle);
    }

    #[test]
    fn a_device_that_waits_for_an_acknowledgement_skips_its_next_value() {
        let mut bench = Bench::registered(1, true);
        bench.observe("/3303/0/5700");
        bench.fire(Action::Notify, 0);
        let first = bench.only();
        assert_eq!(bench.fire(Action::Notify, 0), Fired::Busy);
        assert_eq!(bench.sent().len(), 0);
        bench.acknowledge(Kind::Acknowledgement, &first);
        bench.fire(Action::Notify, 0);
        let second = bench.only();
        let (first, second) = (Message::parse(&first).unwrap(), Message::parse(&second).unwrap());
        assert_eq!((first.payload, second.payload), (&b"2"[..], &b"3"[..]));
        assert_eq!(first.token, b"tok");
        assert_eq!((bench.tally(Action::Notify).acknowledged, bench.tally(Action::Notify).busy), (1, 1));
    }

    #[test]
    fn a_reset_ends_the_observation_of_either_kind_of_notification() {
        for confirmable in [true, false] {
            let mut bench = Bench::registered(1, confirmable);
            bench.observe("/3303/0/5700");
            bench.fire(Action::Notify, 0);
            let notification = bench.only();
            bench.acknowledge(Kind::Reset, &notification);
            assert_eq!(bench.fleet.observed(), (0, 0));
            assert_eq!(bench.fire(Action::Notify, 0), Fired::Idle);
        }
    }

    #[test]
    fn a_forgotten_registration_is_made_again_without_its_observations() {
        let mut bench = Bench::registered(1, true);
        bench.observe("/3303/0/5700");
        bench.fire(Action::Update, 0);
        let update = bench.only();
        bench.answer(0, &update, code::NOT_FOUND, &[]);
        let register = bench.only();
        assert_eq!(Message::parse(&register).unwrap().code, code::POST);
        assert_eq!((bench.fleet.registered(), bench.fleet.observed()), (0, (0, 0)));
        bench.answer(0, &register, code::CREATED, &["rd", "new"]);
        assert_eq!(bench.fleet.registered(), 1);
        assert_eq!(bench.fleet.measure.registered_again, 1);
    }

    #[test]
    fn an_overloaded_server_is_tried_again_after_its_max_age() {
        let mut bench = Bench::new(1, true);
        bench.fire(Action::Register, 0);
        let register = bench.only();
        let mut reply = Vec::new();
        let message = Message::parse(&register).unwrap();
        Encoder::begin(
            &mut reply,
            Kind::Acknowledgement,
            code::SERVICE_UNAVAILABLE,
            message.mid,
            message.token,
        )
        .uint(option::MAX_AGE, 5);
        bench.receive(0, &reply);
        assert_eq!(bench.fleet.refused(), 1);
        let again = bench.pass(6 * SECOND);
        assert_eq!(again.len(), 1);
        assert!(again[0].0 >= 5 * SECOND);
        bench.answer(0, &again[0].1, code::CREATED, &["rd", "x"]);
        assert_eq!((bench.fleet.refused(), bench.fleet.registered()), (0, 1));
    }

    #[test]
    fn a_separate_response_is_acknowledged_and_ends_the_exchange() {
        let mut bench = Bench::new(1, true);
        bench.fire(Action::Register, 0);
        let register = bench.only();
        bench.acknowledge(Kind::Acknowledgement, &register);
        assert!(bench.pass(20 * SECOND).is_empty());
        let message = Message::parse(&register).unwrap();
        let mut reply = Vec::new();
        Encoder::begin(&mut reply, Kind::Confirmable, code::CREATED, 4242, message.token)
            .option(option::LOCATION_PATH, b"rd")
            .option(option::LOCATION_PATH, b"x");
        bench.receive(0, &reply);
        assert_eq!(bench.only(), [0x60, 0, 0x10, 0x92]);
        bench.receive(0, &reply);
        assert_eq!(bench.only(), [0x60, 0, 0x10, 0x92]);
        assert_eq!((bench.fleet.registered(), bench.tally(Action::Register).acknowledged), (1, 1));
    }

    #[test]
    fn a_departing_device_first_ends_what_is_open() {
        let mut bench = Bench::registered(1, true);
        bench.fire(Action::Update, 0);
        let update = bench.only();
        bench.fire(Action::Deregister, 0);
        assert!(bench.sent().is_empty());
        bench.answer(0, &update, code::CHANGED, &[]);
        let leave = bench.only();
        assert_eq!(Message::parse(&leave).unwrap().code, code::DELETE);
        bench.answer(0, &leave, code::DELETED, &[]);
        assert_eq!((bench.fleet.registered(), bench.fleet.open()), (0, 0));
    }

    #[test]
    fn no_datagram_makes_a_device_panic() {
        let mut bench = Bench::registered(2, true);
        bench.observe("/3303/0/5700");
        let valid: Vec<Vec<u8>> = vec![
            bench.request(code::GET, 5, "/3303/0", &[(option::OBSERVE, 0)]),
            bench.request(code::PUT, 6, "/3/0/14", &[(option::CONTENT_FORMAT, 11542)]),
        ];
        for seed in 0..200_000 {
            let mut bytes = valid[seed as usize % 2].clone();
            for change in 0..1 + seed % 4 {
                let random = mix(seed * 8 + change);
                let at = random as usize % bytes.len();
                bytes[at] = (random >> 32) as u8;
            }
            bench.receive((seed % 2) as u32, &bytes);
            bench.wire.0.clear();
        }
    }
}
