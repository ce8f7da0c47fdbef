//! A fleet and a scripted server, for tests: time moves only when told.

use crate::clock::{Clock, Micros};
use crate::coap::{self, Encoder, Kind, Message, code, option};
use crate::exchange::Timing;
use crate::fleet::{Fired, Fleet, Make};
use crate::measure::{Action, Tally};
use crate::model::{Model, Values};
use crate::socket::Transport;

/// Keeps what devices send.
#[derive(Default)]
pub(crate) struct Wire(pub(crate) Vec<(u32, Vec<u8>)>);

impl Transport for Wire {
    fn send(&mut self, device: u32, message: &[u8]) {
        self.0.push((device, message.to_vec()));
    }
}

/// A fleet and a scripted server, with time that moves only when told.
pub(crate) struct Bench {
    pub(crate) fleet: Fleet,
    pub(crate) wire: Wire,
    pub(crate) now: Micros,
}

impl Bench {
    pub(crate) fn new(devices: u32, confirmable: bool) -> Self {
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

    pub(crate) fn fire(&mut self, action: Action, device: u32) -> Fired {
        self.fleet.fire(action, device, self.now, self.now, &mut self.wire)
    }

    pub(crate) fn sent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.wire.0).into_iter().map(|(_, message)| message).collect()
    }

    pub(crate) fn only(&mut self) -> Vec<u8> {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1);
        sent.remove(0)
    }

    pub(crate) fn receive(&mut self, device: u32, datagram: &[u8]) {
        self.fleet.handle(self.now, self.now, device, datagram, &mut self.wire);
    }

    pub(crate) fn answer(&mut self, device: u32, request: &[u8], code: u8, location: &[&str]) {
        let request = Message::parse(request).unwrap();
        let mut reply = Vec::new();
        let mut encoder = Encoder::begin(&mut reply, Kind::Acknowledgement, code, request.mid, request.token);
        for segment in location {
            encoder.option(option::LOCATION_PATH, segment.as_bytes());
        }
        self.receive(device, &reply);
    }

    pub(crate) fn registered(devices: u32, confirmable: bool) -> Self {
        let mut bench = Self::new(devices, confirmable);
        for device in 0..devices {
            bench.fire(Action::Register, device);
            let request = bench.only();
            bench.answer(device, &request, code::CREATED, &["rd", &format!("id{device}")]);
        }
        bench
    }

    pub(crate) fn request(&mut self, code: u8, mid: u16, path: &str, options: &[(u16, u32)]) -> Vec<u8> {
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

    pub(crate) fn observe(&mut self, path: &str) {
        let reply = self.request(code::GET, 900, path, &[(option::OBSERVE, 0)]);
        assert_eq!(Message::parse(&reply).unwrap().uint(option::OBSERVE), Some(1));
    }

    pub(crate) fn acknowledge(&mut self, kind: Kind, message: &[u8]) {
        let mut reply = Vec::new();
        coap::empty(&mut reply, kind, Message::parse(message).unwrap().mid);
        self.receive(0, &reply);
    }

    pub(crate) fn pass(&mut self, until: Micros) -> Vec<(Micros, Vec<u8>)> {
        let mut sent = Vec::new();
        while self.now < until {
            self.now += 20_000;
            self.fleet.expire(self.now, &mut self.wire);
            let now = self.now;
            sent.extend(self.sent().into_iter().map(|message| (now, message)));
        }
        sent
    }

    pub(crate) fn tally(&self, action: Action) -> &Tally {
        self.fleet.measure.tally(action)
    }
}
