//! The population of a run: a fleet, with or without sessions beneath it.

use super::sessions::Sessions;
use crate::clock::Micros;
use crate::driver::Population;
use crate::fleet::Fleet;
use crate::measure::Action;
use crate::socket::{Plain, Transport};

/// What can be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Something that the device says.
    Coap(Action),
    /// An abbreviated handshake.
    Resume,
    /// A full handshake on a live session.
    Handshake,
    /// Another source port.
    Rebind,
}

/// A fleet and its sessions.
pub(crate) struct Devices {
    pub(crate) fleet: Fleet,
    pub(crate) sessions: Option<Sessions>,
    messages: Vec<Vec<u8>>,
}

impl Devices {
    pub(crate) fn new(fleet: Fleet, sessions: Option<Sessions>) -> Self {
        Self { fleet, sessions, messages: Vec::new() }
    }

    /// Nothing waits for the server.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.fleet.open() == 0 && self.sessions.as_ref().is_none_or(|sessions| sessions.underway() == 0)
    }
}

/// A fleet's messages on their way through its sessions.
struct Sealed<'a> {
    sessions: &'a mut Sessions,
    out: &'a mut Plain,
    now: Micros,
}

impl Transport for Sealed<'_> {
    fn send(&mut self, device: u32, message: &[u8]) {
        self.sessions.send(device, message, self.now, self.out);
    }
}

impl Population for Devices {
    type Action = Due;

    fn handle(&mut self, arrived: Micros, now: Micros, device: u32, datagram: &[u8], out: &mut Plain) {
        let Some(sessions) = &mut self.sessions else {
            self.fleet.handle(arrived, now, device, datagram, out);
            return;
        };
        let mut messages = std::mem::take(&mut self.messages);
        sessions.handle(device, datagram, now, out, &mut messages);
        let mut sealed = Sealed { sessions, out, now };
        for message in messages.drain(..) {
            self.fleet.handle(arrived, now, device, &message, &mut sealed);
        }
        self.messages = messages;
    }

    fn expire(&mut self, now: Micros, out: &mut Plain) {
        match &mut self.sessions {
            Some(sessions) => {
                sessions.expire(now, out);
                self.fleet.expire(now, &mut Sealed { sessions, out, now });
            }
            None => self.fleet.expire(now, out),
        }
    }

    fn next_deadline(&self) -> Micros {
        let sessions = self.sessions.as_ref().map_or(Micros::MAX, Sessions::next_deadline);
        self.fleet.next_deadline().min(sessions)
    }

    fn fire(&mut self, due_action: Due, device: u32, due: Micros, now: Micros, out: &mut Plain) {
        match (due_action, &mut self.sessions) {
            (Due::Coap(action), Some(sessions)) => {
                self.fleet.fire(action, device, due, now, &mut Sealed { sessions, out, now });
            }
            (Due::Coap(action), None) => _ = self.fleet.fire(action, device, due, now, out),
            (Due::Resume, Some(sessions)) => sessions.start(device, true, now, out),
            (Due::Handshake, Some(sessions)) => sessions.start(device, false, now, out),
            (Due::Rebind, Some(sessions)) => {
                // Half a round away from what else is due: a handshake at the same time would lose its first answer.
                let devices = self.fleet.devices.len() as u32;
                sessions.rebind((device + devices / 2) % devices, out);
            }
            (Due::Resume | Due::Handshake | Due::Rebind, None) => {}
        }
    }
}
