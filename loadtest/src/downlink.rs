//! What devices make of their server's datagrams: an answer ends an exchange, a request is served.

use crate::clock::{Micros, SECOND};
use crate::coap::{self, Kind, Message, code, option};
use crate::device::Phase;
use crate::exchange::Exchange;
use crate::fleet::Fleet;
use crate::journal::Entry;
use crate::measure::Action;
use crate::socket::Transport;
use crate::wheel::Purpose;

impl Fleet {
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
        self.measure.tally_mut(exchange.action().unwrap_or(Action::Notify)).resets += 1;
        if exchange != Exchange::None {
            self.finish(index, now, out);
        }
    }

    fn notified(&mut self, index: u32, arrived: Micros, now: Micros, out: &mut impl Transport) {
        let device = &self.devices[index as usize];
        let target = self.observations.observation(device.notifying).target;
        let count = device.notified.into();
        if self.journal().is_some() {
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
        let Some(action) = exchange.action() else { return };
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;
    use crate::coap::Encoder;
    use crate::fleet::Fired;
    use crate::random::mix;

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
