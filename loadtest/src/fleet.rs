//! A fleet of devices, without sockets or clock: datagrams and due times come in, datagrams go out.
//!
//! An exchange of a device goes `begin → (retransmit)* → finish`: it ends by an answer, a reset, or after the
//! last retransmission. One device has one exchange open at a time.

use std::collections::HashMap;

use crate::clock::{Clock, Micros, SECOND};
use crate::coap::{self, Encoder, Kind, Message, code, option};
use crate::content::{self, Datum};
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
    links: String,
    pub(crate) devices: Vec<Device>,
    pub(crate) observations: Observations,
    pub(crate) targets: Targets,
    /// Registration paths that are too long to fit into a device.
    long_locations: HashMap<u32, Box<[u8]>>,
    /// What servers wrote, where it differs from the model.
    pub(crate) written: HashMap<(u32, Path), Datum>,
    pub(crate) replies: Replies,
    wheel: Wheel,
    due: Vec<Deadline>,
    pub(crate) measure: Measure,
    journal: Option<Journal>,
    clock: Clock,
    pub(crate) scratch: Vec<u8>,
    payload: Vec<u8>,
    name: String,
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

    fn transmit_register(&mut self, index: u32, out: &mut impl Transport) {
        let mid = self.devices[index as usize].mid;
        let make = &self.make;
        self.name.clear();
        self.name.push_str("ep=");
        make.endpoint.write(make.first + u64::from(index), &mut self.name);
        let mut message =
            Encoder::begin(&mut self.scratch, Kind::Confirmable, code::POST, mid, &mid.to_be_bytes());
        message
            .option(option::URI_PATH, b"rd")
            .uint(option::CONTENT_FORMAT, content::LINKS.into())
            .option(option::URI_QUERY, self.name.as_bytes())
            .option(option::URI_QUERY, format!("lt={}", make.lifetime).as_bytes())
            .option(option::URI_QUERY, format!("lwm2m={}", make.version).as_bytes())
            .option(option::URI_QUERY, format!("b={}", make.binding).as_bytes());
        if make.queue {
            message.option(option::URI_QUERY, b"Q");
        }
        message.payload(self.links.as_bytes());
        out.send(index, &self.scratch);
    }

    fn transmit_to_location(&mut self, index: u32, code: u8, out: &mut impl Transport) {
        let device = &self.devices[index as usize];
        let location = match device.location() {
            [] => self.long_locations.get(&index).map_or(&[][..], AsRef::as_ref),
            location => location,
        };
        let token = device.mid.to_be_bytes();
        Encoder::begin(&mut self.scratch, Kind::Confirmable, code, device.mid, &token).encoded_path(location);
        out.send(index, &self.scratch);
    }

    fn transmit_notification(&mut self, index: u32, kind: Kind, out: &mut impl Transport) {
        let device = &self.devices[index as usize];
        let observation = self.observations.observation(device.notifying);
        self.payload.clear();
        let (target, format, count) = (observation.target, observation.format, device.notified);
        match *self.targets.target(target).paths {
            // The hot case: one resource, nothing on the heap.
            [path] if path.ids().len() == 3 && self.written.is_empty() => {
                if let Some(datum) = self.make.model.value(&path, index, count) {
                    content::encode(format, path, &[(path, datum)], &mut self.payload);
                }
            }
            ref paths => {
                let values = self.read(paths, index, count);
                let root = if let [path] = paths { *path } else { Path::ROOT };
                content::encode(format, root, &values, &mut self.payload);
            }
        }
        let device = &self.devices[index as usize];
        let token = self.observations.observation(device.notifying).token();
        Encoder::begin(&mut self.scratch, kind, code::CONTENT, device.mid, token)
            .uint(option::OBSERVE, count & 0xFF_FFFF)
            .uint(option::CONTENT_FORMAT, format.into())
            .payload(&self.payload);
        out.send(index, &self.scratch);
    }

    /// The values at paths as the device has them: what was written, else what the model says.
    pub(crate) fn read(&self, paths: &[Path], index: u32, count: u32) -> Vec<(Path, Datum)> {
        let read = |path| self.make.model.read(path, index, count);
        let mut values: Vec<_> = paths.iter().flat_map(read).collect();
        if paths.len() > 1 {
            values.sort_by_key(|(path, _)| *path);
            values.dedup_by_key(|(path, _)| *path);
        }
        if !self.written.is_empty() {
            for (path, datum) in &mut values {
                if let Some(written) = self.written.get(&(index, *path)) {
                    *datum = written.clone();
                }
            }
        }
        values
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

    /// Keeps Location-Path as the Uri-Path of what follows; `false` when the answer names none.
    fn keep_location(&mut self, index: u32, message: &Message<'_>) -> bool {
        let mut buffer = Vec::with_capacity(24);
        let mut path = Encoder::begin(&mut buffer, Kind::Confirmable, code::EMPTY, 0, &[]);
        for (number, segment) in message.options() {
            if number == option::LOCATION_PATH {
                path.option(option::URI_PATH, segment);
            }
        }
        let options = &buffer[4..];
        if self.devices[index as usize].keep_location(options) {
            self.long_locations.remove(&index);
        } else {
            self.long_locations.insert(index, options.into());
        }
        !options.is_empty()
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
    use crate::model::Values;

    /// Keeps what devices send.
    #[derive(Default)]
    struct Wire(Vec<(u32, Vec<u8>)>);

    impl Transport for Wire {
        fn send(&mut self, device: u32, message: &[u8]) {
            self.0.push((device, message.to_vec()));
        }
    }

    /// A fleet and a scripted server, with time that moves only when told.
    struct Bench {
        fleet: Fleet,
        wire: Wire,
        now: Micros,
    }

    impl Bench {
        fn new(devices: u32, confirmable: bool) -> Self {
            let objects: Vec<String> = ["/1/0", "/3/0", "/3303/0"].map(Into::into).into();
            let make = Make {
                endpoint: "load-{:08}".parse().unwrap(),
                first: 0,
                lifetime: 300,
                version: "1.1".into(),
                binding: "U".into(),
                queue: false,
                confirmable,
                model: Model::new(&objects, Values::Counter).unwrap(),
                timing: Timing::default(),
            };
            let fleet = Fleet::new(make, devices, 1, None, Clock::start());
            Self { fleet, wire: Wire::default(), now: 0 }
        }

        fn fire(&mut self, action: Action, device: u32) -> Fired {
            self.fleet.fire(action, device, self.now, self.now, &mut self.wire)
        }

        fn sent(&mut self) -> Vec<Vec<u8>> {
            std::mem::take(&mut self.wire.0).into_iter().map(|(_, message)| message).collect()
        }

        fn only(&mut self) -> Vec<u8> {
            let mut sent = self.sent();
            assert_eq!(sent.len(), 1);
            sent.remove(0)
        }

        fn receive(&mut self, device: u32, datagram: &[u8]) {
            self.fleet.handle(self.now, self.now, device, datagram, &mut self.wire);
        }

        fn answer(&mut self, device: u32, request: &[u8], code: u8, location: &[&str]) {
            let request = Message::parse(request).unwrap();
            let mut reply = Vec::new();
            let mut encoder =
                Encoder::begin(&mut reply, Kind::Acknowledgement, code, request.mid, request.token);
            for segment in location {
                encoder.option(option::LOCATION_PATH, segment.as_bytes());
            }
            self.receive(device, &reply);
        }

        fn registered(devices: u32, confirmable: bool) -> Self {
            let mut bench = Self::new(devices, confirmable);
            for device in 0..devices {
                bench.fire(Action::Register, device);
                let request = bench.only();
                bench.answer(device, &request, code::CREATED, &["rd", &format!("id{device}")]);
            }
            bench
        }

        fn request(&mut self, code: u8, mid: u16, path: &str, options: &[(u16, u32)]) -> Vec<u8> {
            let mut request = Vec::new();
            let mut encoder = Encoder::begin(&mut request, Kind::Confirmable, code, mid, b"tok");
            for &(number, value) in options.iter().filter(|(number, _)| *number < option::URI_PATH) {
                encoder.uint(number, value);
            }
            for segment in path.split('/').skip(1) {
                encoder.option(option::URI_PATH, segment.as_bytes());
            }
            for &(number, value) in options.iter().filter(|(number, _)| *number > option::URI_PATH) {
                encoder.uint(number, value);
            }
            self.receive(0, &request);
            self.only()
        }

        fn observe(&mut self, path: &str) {
            let reply = self.request(code::GET, 900, path, &[(option::OBSERVE, 0)]);
            assert_eq!(Message::parse(&reply).unwrap().uint(option::OBSERVE), Some(1));
        }

        fn acknowledge(&mut self, kind: Kind, message: &[u8]) {
            let mut reply = Vec::new();
            coap::empty(&mut reply, kind, Message::parse(message).unwrap().mid);
            self.receive(0, &reply);
        }

        fn pass(&mut self, until: Micros) -> Vec<(Micros, Vec<u8>)> {
            let mut sent = Vec::new();
            while self.now < until {
                self.now += 20_000;
                self.fleet.expire(self.now, &mut self.wire);
                let now = self.now;
                sent.extend(self.sent().into_iter().map(|message| (now, message)));
            }
            sent
        }

        fn tally(&self, action: Action) -> &crate::measure::Tally {
            self.fleet.measure.tally(action)
        }
    }

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
    fn a_cancelled_observation_takes_its_open_notification_along() {
        let mut bench = Bench::registered(1, true);
        bench.observe("/3303/0/5700");
        bench.fire(Action::Notify, 0);
        bench.sent();
        bench.request(code::GET, 901, "/3303/0/5700", &[(option::OBSERVE, 1)]);
        assert_eq!((bench.fleet.open(), bench.tally(Action::Notify).superseded), (0, 1));
        assert!(bench.pass(100 * SECOND).is_empty());
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
    fn a_repeated_request_gets_the_same_reply_and_is_done_once() {
        let mut bench = Bench::registered(1, true);
        let first = bench.request(code::GET, 77, "/3303/0/5700", &[]);
        let second = bench.request(code::GET, 77, "/3303/0/5700", &[]);
        assert_eq!(first, second);
        let served = bench.fleet.measure.served;
        assert_eq!((served.reads, served.duplicates), (1, 1));
    }

    #[test]
    fn each_request_of_a_server_gets_the_code_that_a_device_would_give() {
        let mut bench = Bench::registered(1, true);
        let accept = |format: u16| vec![(option::ACCEPT, u32::from(format))];
        for (mid, (code, path, options, want)) in [
            (code::GET, "/3303/0/5700", accept(content::SENML_CBOR), code::CONTENT),
            (code::GET, "/3303/0", accept(content::TLV), code::CONTENT),
            (code::GET, "/3", accept(content::LINKS), code::CONTENT),
            (code::GET, "/3303/0", accept(content::TEXT), code::NOT_ACCEPTABLE),
            (code::GET, "/3303/0", accept(60), code::NOT_ACCEPTABLE),
            (code::GET, "/9/0", vec![], code::NOT_FOUND),
            (code::GET, "/3/0/4", vec![], code::METHOD_NOT_ALLOWED),
            (code::POST, "/3/0/4", vec![], code::CHANGED),
            (code::POST, "/3303/0/5700", vec![], code::METHOD_NOT_ALLOWED),
            (code::PUT, "/3303/0/5700", vec![], code::CHANGED),
            (code::POST, "/3303", vec![], code::CREATED),
            (code::DELETE, "/3303/0", vec![], code::DELETED),
            (code::GET, "/3/0", vec![(option::URI_QUERY + 6, 1)], code::BAD_OPTION),
        ]
        .into_iter()
        .enumerate()
        {
            let reply = bench.request(code, mid as u16, path, &options);
            let reply = Message::parse(&reply).unwrap();
            assert_eq!(code::text(reply.code), code::text(want), "{path}");
            assert_eq!(reply.token, b"tok");
        }
    }

    fn composite(bench: &mut Bench, code: u8, mid: u16, observe: Option<u32>, pack: &str) -> Vec<u8> {
        let mut request = Vec::new();
        let mut encoder = Encoder::begin(&mut request, Kind::Confirmable, code, mid, b"tok");
        if let Some(observe) = observe {
            encoder.uint(option::OBSERVE, observe);
        }
        encoder.uint(option::CONTENT_FORMAT, content::SENML_JSON.into());
        encoder.uint(option::ACCEPT, content::SENML_JSON.into());
        encoder.payload(pack.as_bytes());
        bench.receive(0, &request);
        bench.only()
    }

    #[test]
    fn a_composite_observation_brings_all_its_paths_in_one_notification() {
        let mut bench = Bench::registered(1, true);
        let pack = r#"[{"n":"/3/0/9"},{"n":"/3303/0/5700"},{"n":"/9/9/9"}]"#;
        composite(&mut bench, code::FETCH, 900, Some(0), pack);
        assert_eq!(bench.fire(Action::Notify, 0), Fired::Sent);
        let notification = bench.only();
        let payload = String::from_utf8_lossy(Message::parse(&notification).unwrap().payload).into_owned();
        assert_eq!(payload, r#"[{"n":"/3/0/9","v":2},{"n":"/3303/0/5700","v":2}]"#);
        composite(&mut bench, code::FETCH, 901, Some(1), pack);
        assert_eq!(bench.fleet.observed(), (0, 0));
    }

    #[test]
    fn what_a_server_writes_in_senml_is_read_back() {
        let mut bench = Bench::registered(1, true);
        let pack = r#"[{"n":"/3/0/14","vs":"+05:45"},{"n":"/1/0/1","v":60}]"#;
        let reply = composite(&mut bench, code::IPATCH, 900, None, pack);
        assert_eq!(Message::parse(&reply).unwrap().code, code::CHANGED);
        let reply = bench.request(code::GET, 901, "/3/0/14", &[]);
        assert_eq!(Message::parse(&reply).unwrap().payload, b"+05:45");
        let wrong = r#"[{"n":"/3/0/9","v":60}]"#;
        let reply = composite(&mut bench, code::IPATCH, 902, None, wrong);
        assert_eq!(Message::parse(&reply).unwrap().code, code::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn a_long_answer_goes_out_in_the_blocks_that_were_asked_for() {
        let mut bench = Bench::registered(1, true);
        let links = vec![(option::ACCEPT, u32::from(content::LINKS))];
        let whole = bench.request(code::GET, 1, "/3/0", &links);
        let whole = Message::parse(&whole).unwrap().payload.to_vec();
        let mut body = Vec::new();
        for number in 0.. {
            let block = number << 4 | 1;
            let options = [links[0], (option::BLOCK2, block)];
            let part = bench.request(code::GET, 100 + number as u16, "/3/0", &options);
            let part = Message::parse(&part).unwrap();
            body.extend_from_slice(part.payload);
            if part.uint(option::BLOCK2).unwrap() & 8 == 0 {
                break;
            }
        }
        assert_eq!(body, whole);
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
