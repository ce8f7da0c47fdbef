//! The sessions of a fleet, one client per device.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use godwit_dtls::client::{Client, Context, Output, Settings};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::credentials::Identities;
use super::keylog::KeyLog;
use super::tally::{Tally, TallyReport};
use crate::clock::{Clock, Micros, micros};
use crate::socket::{Plain, Transport as _};

/// A handshake under way, as the fleet sees it.
#[derive(Debug, Default)]
struct Underway {
    since: Micros,
    offered: bool,
    /// The latest message that waits for the session; an older one will be repeated by its sender.
    message: Vec<u8>,
}

/// All sessions, and what their handshakes share.
pub(crate) struct Sessions {
    clients: Vec<Client>,
    identities: Identities,
    underway: HashMap<u32, Underway>,
    /// When flights are to be sent again; entries of handshakes that are over are stale.
    timers: BinaryHeap<Reverse<(Micros, u32)>>,
    /// Messages in a row without an answer, by device.
    unanswered: Vec<u8>,
    give_up_after: u8,
    clock: Clock,
    random: SystemRandom,
    key_log: Option<KeyLog>,
    tally: Tally,
    outputs: Vec<Output>,
    scratch: Vec<u8>,
}

impl Sessions {
    /// `cid`: how long the devices' own Connection IDs are; `None` offers none.
    pub(crate) fn new(
        settings: Settings,
        identities: Identities,
        devices: u32,
        cid: Option<u8>,
        give_up_after: u8,
        key_log: Option<KeyLog>,
        clock: Clock,
    ) -> Self {
        let random = SystemRandom::new();
        let settings = Arc::new(settings);
        let client = |_| {
            let mut bytes = [0; 32];
            // Without randomness the handshake fails too, and says so.
            let _ = random.fill(&mut bytes);
            Client::new(settings.clone(), cid.map(|len| &bytes[..usize::from(len)]))
        };
        Self {
            clients: (0..devices).map(client).collect(),
            identities,
            underway: HashMap::new(),
            timers: BinaryHeap::new(),
            unanswered: vec![0; devices as usize],
            give_up_after,
            clock,
            random,
            key_log,
            tally: Tally::new(),
            outputs: Vec::new(),
            scratch: Vec::with_capacity(2048),
        }
    }

    /// Handshakes that ended well so far.
    pub(crate) fn completed(&self) -> u64 {
        self.tally.completed()
    }

    /// Handshakes under way.
    pub(crate) fn underway(&self) -> usize {
        self.underway.len()
    }

    pub(crate) fn report(&self) -> TallyReport {
        TallyReport::new(&self.tally, self.clients.iter().filter(|client| client.is_open()).count() as u32)
    }

    pub(crate) fn key_log(&mut self) -> Option<&mut KeyLog> {
        self.key_log.as_mut()
    }

    /// Seals and sends a message, or lets it wait for a handshake.
    pub(crate) fn send(&mut self, device: u32, message: &[u8], now: Micros, out: &mut Plain) {
        if let Some(underway) = self.underway.get_mut(&device) {
            underway.message = message.to_vec();
            return;
        }
        let silent = &mut self.unanswered[device as usize];
        let given_up = self.give_up_after > 0 && *silent >= self.give_up_after;
        if given_up || !self.clients[device as usize].is_open() {
            self.tally.given_up += u64::from(given_up);
            self.start(device, true, now, out);
            if let Some(underway) = self.underway.get_mut(&device) {
                underway.message = message.to_vec();
            }
            return;
        }
        *silent = silent.saturating_add(1);
        self.seal(device, message, now, out);
    }

    fn seal(&mut self, device: u32, message: &[u8], now: Micros, out: &mut Plain) {
        let cx = Context { now: self.clock.instant(now), random: &self.random };
        self.scratch.clear();
        if self.clients[device as usize].seal(cx, message, &mut self.scratch) == Ok(true) {
            out.send(device, &self.scratch);
        } else {
            self.tally.unsent += 1;
        }
    }

    /// Starts a handshake, unless one is under way.
    pub(crate) fn start(&mut self, device: u32, resume: bool, now: Micros, out: &mut Plain) {
        if self.underway.contains_key(&device) {
            return;
        }
        let Some(credential) = self.identities.credential(device, &self.random) else { return };
        let client = &mut self.clients[device as usize];
        let offered = resume && client.session().is_some_and(|session| !session.session_id().is_empty());
        self.unanswered[device as usize] = 0;
        self.tally.started += 1;
        self.underway.insert(device, Underway { since: now, offered, message: Vec::new() });
        let cx = Context { now: self.clock.instant(now), random: &self.random };
        client.start(cx, credential, resume, &mut self.outputs);
        self.perform(device, now, out, &mut Vec::new());
    }

    /// Takes a datagram; appends the messages in it.
    pub(crate) fn handle(
        &mut self,
        device: u32,
        datagram: &[u8],
        now: Micros,
        out: &mut Plain,
        messages: &mut Vec<Vec<u8>>,
    ) {
        let cx = Context { now: self.clock.instant(now), random: &self.random };
        self.clients[device as usize].handle_datagram(cx, datagram, &mut self.outputs);
        self.perform(device, now, out, messages);
    }

    /// Sends unanswered flights again.
    pub(crate) fn expire(&mut self, now: Micros, out: &mut Plain) {
        let at = self.clock.instant(now);
        while let Some(&Reverse((_, device))) = self.timers.peek().filter(|timer| timer.0.0 <= now) {
            self.timers.pop();
            let client = &mut self.clients[device as usize];
            // Else the flight was answered, or is a later one with an entry of its own.
            if client.poll_timeout().is_some_and(|timeout| timeout <= at) {
                let cx = Context { now: at, random: &self.random };
                client.handle_timeout(cx, &mut self.outputs);
                self.tally.retransmitted += u64::from(client.is_handshaking());
                self.perform(device, now, out, &mut Vec::new());
            }
        }
    }

    /// When [`Sessions::expire`] wants to be called next.
    pub(crate) fn next_deadline(&self) -> Micros {
        self.timers.peek().map_or(Micros::MAX, |timer| timer.0.0)
    }

    /// The device's next datagrams leave from another port.
    pub(crate) fn rebind(&mut self, device: u32, out: &mut Plain) {
        self.tally.rebinds += 1;
        out.rebind(device);
    }

    /// Tells the server that the sessions end.
    pub(crate) fn close(&mut self, now: Micros, out: &mut Plain) {
        for device in 0..self.clients.len() as u32 {
            let cx = Context { now: self.clock.instant(now), random: &self.random };
            self.clients[device as usize].close(cx, &mut self.outputs);
            self.perform(device, now, out, &mut Vec::new());
        }
        out.flush();
    }

    fn perform(&mut self, device: u32, now: Micros, out: &mut Plain, messages: &mut Vec<Vec<u8>>) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let mut sent = false;
        for output in outputs.drain(..) {
            match output {
                Output::Transmit(datagram) => {
                    sent = true;
                    out.send(device, &datagram);
                }
                Output::Established { resumed } => self.established(device, resumed, now, out),
                Output::Application(message) => {
                    self.unanswered[device as usize] = 0;
                    messages.push(message);
                }
                Output::Closed(None) => self.tally.closed_by_server += 1,
                Output::Closed(Some(failure)) => {
                    *self.tally.failures.entry(failure.to_string()).or_default() += 1;
                    if let Some(underway) = self.underway.remove(&device) {
                        self.tally.unsent += u64::from(!underway.message.is_empty());
                    }
                }
            }
        }
        self.outputs = outputs;
        if sent && let Some(due) = self.clients[device as usize].poll_timeout() {
            // Rounded up, so that the flight is due when its entry is.
            let due = now + micros(due.saturating_duration_since(self.clock.instant(now))) + 1;
            self.timers.push(Reverse((due, device)));
        }
    }

    fn established(&mut self, device: u32, resumed: bool, now: Micros, out: &mut Plain) {
        if let (Some(log), Some(session)) = (&mut self.key_log, self.clients[device as usize].session()) {
            log.record(session);
        }
        let Some(underway) = self.underway.remove(&device) else { return };
        self.tally.established(resumed, underway.offered, now - underway.since);
        if !underway.message.is_empty() {
            self.seal(device, &underway.message, now, out);
        }
    }
}
