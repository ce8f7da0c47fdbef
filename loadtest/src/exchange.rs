//! The exchange of a device with its server, and its retransmission.
//!
//! It goes `begin → (retransmit)* → finish`: it ends by an answer, a reset, or after the last retransmission. One
//! device has one exchange open at a time.

use crate::clock::{Micros, SECOND};
use crate::coap::{Kind, code};
use crate::device::{Phase, Then};
use crate::fleet::Fleet;
use crate::measure::Action;
use crate::observation::NONE;
use crate::random::mix;
use crate::socket::Transport;
use crate::wheel::Purpose;

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

/// The exchange that a device has open; there is at most one (NSTART 1, RFC 7252 §4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    None,
    Register,
    Update,
    Notify,
    Deregister,
}

impl Exchange {
    /// What it is measured as.
    pub(crate) fn action(self) -> Option<Action> {
        match self {
            Exchange::None => None,
            Exchange::Register => Some(Action::Register),
            Exchange::Update => Some(Action::Update),
            Exchange::Notify => Some(Action::Notify),
            Exchange::Deregister => Some(Action::Deregister),
        }
    }
}

impl Fleet {
    /// Opens an exchange that was due at `due`, and sends it.
    pub(crate) fn begin(
        &mut self,
        exchange: Exchange,
        index: u32,
        due: Micros,
        now: Micros,
        out: &mut impl Transport,
    ) {
        let device = &mut self.devices[index as usize];
        device.mid = device.take_mid();
        device.exchange = exchange;
        device.since = due as u32;
        device.retransmissions = 0;
        device.separate = false;
        self.open += 1;
        if let Some(action) = exchange.action() {
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
                    if let Some(action) = exchange.action() {
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
        if let Some(action) = exchange.action() {
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

    /// Measures an exchange that ended well.
    pub(crate) fn acknowledge(&mut self, action: Action, index: u32, arrived: Micros) {
        let since = self.devices[index as usize].since;
        // Arrival may precede the due time by the grain of the clocks.
        let latency = (arrived as u32).wrapping_sub(since) as i32;
        self.measure.tally_mut(action).acknowledged(latency.max(0) as Micros);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;
    use crate::coap::Message;
    use crate::fleet::Fired;

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
}
