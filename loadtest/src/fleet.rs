//! A fleet of devices, without sockets or clock: datagrams and due times come in, datagrams go out.

use std::collections::HashMap;

use crate::clock::{Clock, Micros};
use crate::coap::Kind;
use crate::content::Datum;
use crate::device::{Device, Phase, Then};
use crate::endpoint::Template;
use crate::exchange::{Exchange, Timing};
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
    pub(crate) wheel: Wheel,
    pub(crate) due: Vec<Deadline>,
    pub(crate) measure: Measure,
    journal: Option<Journal>,
    clock: Clock,
    pub(crate) scratch: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) name: String,
    pub(crate) registered: u32,
    refused: u32,
    pub(crate) open: u32,
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

    /// Registers a device, whatever it was before.
    pub(crate) fn register(&mut self, index: u32, due: Micros, now: Micros, out: &mut impl Transport) {
        let device = &mut self.devices[index as usize];
        self.registered -= u32::from(device.phase == Phase::Registered);
        self.refused -= u32::from(device.phase == Phase::Refused);
        device.phase = Phase::New;
        // A registration replaces the one before with its observations.
        self.observations.remove(&mut device.observations, |_, _| true);
        device.notifying = NONE;
        self.begin(Exchange::Register, index, due, now, out);
    }

    /// Begins an exchange that only a registered device has; `false`: it is not.
    pub(crate) fn begin_registered(
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

    /// Tells the journal, if there is one.
    pub(crate) fn record(&mut self, index: u32, at: Micros, entry: impl FnOnce(u64, String) -> Entry) {
        if let Some(journal) = &mut self.journal {
            let name = self.make.endpoint.name(self.make.first + u64::from(index));
            journal.record(&entry(self.clock.wall_ms(at), name));
        }
    }

    /// The registration failed; it is tried once more at `again`.
    pub(crate) fn refuse(&mut self, index: u32, again: Micros) {
        let device = &mut self.devices[index as usize];
        device.phase = Phase::Refused;
        self.refused += 1;
        self.wheel.arm(again, index, device.mid, Purpose::Retry);
    }

    /// Registers again as soon as nothing is open.
    pub(crate) fn register_afresh(&mut self, index: u32) {
        let device = &mut self.devices[index as usize];
        if device.then == Then::Nothing {
            device.then = Then::Register;
            self.measure.registered_again += 1;
        }
    }

    /// The device has left for good.
    pub(crate) fn depart(&mut self, index: u32) {
        let device = &mut self.devices[index as usize];
        device.phase = Phase::Gone;
        self.registered -= 1;
        self.observations.remove(&mut device.observations, |_, _| true);
        device.notifying = NONE;
    }

    /// Ends the observation that was notified last.
    pub(crate) fn end_observation(&mut self, index: u32) {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;
    use crate::coap::{Message, code, option};

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
}
