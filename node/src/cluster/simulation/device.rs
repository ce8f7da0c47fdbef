//! A device: the DTLS client of the engine's own crate, and just enough LwM2M to register, update, notify and leave.
//!
//! It never gives up, and does not shake hands because nobody answers: whoever must be served again without a handshake is.
//! Only a handshake after which nothing was ever heard under the new keys is begun again, as its end may not be on record.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use godwit_dtls::{
    Secret,
    client::{Client, Context, Credential, Output, Settings},
};
use ring::rand::SystemRandom;

use super::{
    callers,
    coap::{
        ACK, CHANGED, CON, CONTENT, CONTENT_FORMAT, CREATED, DELETE, DELETED, GET, LOCATION_PATH, Message,
        NOT_FOUND, OBSERVE, POST, RST, URI_PATH,
    },
    node::KEY,
    rng::Rng,
};
use crate::identity::DeviceId;

const SECOND: u64 = 1_000_000;

/// What a device asks or says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Register,
    /// `changes`: more than the lifetime's end.
    Update {
        changes: bool,
    },
    Deregister,
    Notify {
        value: u64,
    },
}

/// What the observer hears of a device.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    /// A message goes out for the first time.
    /// With the lifetime in seconds that it will have.
    Asks { token: Vec<u8>, id: u16, what: What, lifetime: u32 },
    /// Its registration is gone, though it was acknowledged.
    RegistrationLost,
    /// It carries out an Execute.
    CarriesOut { number: u64 },
}

struct Open {
    what: What,
    message: Message,
    begun_us: u64,
    tries: u32,
    due_us: u64,
    timeout_us: u64,
    /// An empty acknowledgement has come: the answer follows by itself.
    acknowledged: bool,
}

/// One device.
pub(super) struct Device {
    pub(super) name: String,
    pub(super) id: DeviceId,
    pub(super) address: SocketAddr,
    client: Client,
    random: SystemRandom,
    base: Instant,
    message_id: u16,
    tokens: u64,
    location: Option<Vec<String>>,
    /// It has asked to be de-registered; whether that was done, it may not know.
    leaving: bool,
    open: Option<Open>,
    observed: BTreeMap<String, Vec<u8>>,
    answered: VecDeque<(u16, Message)>,
    values: u64,
    sequence: u32,
    lifetime: u32,
    /// It lives for short, and forgets with its session what it has answered.
    busy: bool,
    think_us: u64,
    /// Nothing was heard under the keys of the last handshake.
    unproven: bool,
    /// A handshake was begun at this time.
    shaking_us: Option<u64>,
    /// When the last request was made that was answered.
    pub(super) served_us: Option<u64>,
    pub(super) handshakes: u32,
    rng: Rng,
    out: Vec<Vec<u8>>,
    pub(super) heard: Vec<Heard>,
    /// From then on it makes no handshake of its own accord.
    pub(super) calm: bool,
    pub(super) with_cid: bool,
}

impl Device {
    pub(super) fn new(nth: u8, with_cid: bool, base: Instant, seed: u64) -> Self {
        let name = format!("urn:sim:{nth}");
        let settings =
            Settings { suites: vec![godwit_dtls::suite::CipherSuite::PskAes128Ccm8], ..Settings::default() };
        let cid: Option<&[u8]> = with_cid.then_some(&[]);
        Self {
            id: DeviceId::of(&name),
            name,
            address: ([127, 1, nth, 1], 40_000).into(),
            client: Client::new(Arc::new(settings), cid),
            random: SystemRandom::new(),
            base,
            message_id: 100,
            tokens: u64::from(nth) << 32,
            location: None,
            leaving: false,
            open: None,
            observed: BTreeMap::new(),
            answered: VecDeque::new(),
            values: u64::from(nth) * 1_000_000,
            sequence: 1,
            lifetime: 86_400,
            busy: false,
            think_us: 200_000,
            unproven: true,
            shaking_us: None,
            served_us: None,
            handshakes: 0,
            rng: Rng::new(seed),
            out: Vec::new(),
            heard: Vec::new(),
            calm: false,
            with_cid,
        }
    }

    fn instant(&self, now_us: u64) -> Instant {
        self.base + Duration::from_micros(now_us)
    }

    /// Registers for so many seconds from now on.
    pub(super) fn live_for(&mut self, lifetime: u32) {
        (self.lifetime, self.busy) = (lifetime, true);
    }

    /// Speaks from another address from now on.
    pub(super) fn rebind(&mut self) {
        self.address.set_port(self.address.port() + 1);
    }

    /// The id of its registration, while nothing is under way that may change it.
    pub(super) fn registration(&self) -> Option<&str> {
        let changes = |open: &Open| !matches!(open.what, What::Notify { .. });
        let settled = !self.leaving && !self.open.as_ref().is_some_and(changes);
        let location = self.location.as_ref().filter(|_| settled);
        location?.last().map(String::as_str)
    }

    pub(super) fn due_us(&self) -> u64 {
        let handshake = self
            .client
            .poll_timeout()
            .map(|at| at.saturating_duration_since(self.base).as_micros() as u64 + 1);
        let open = self.open.as_ref().map(|open| open.due_us);
        [handshake, open, Some(self.think_us)].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Datagrams to the server.
    pub(super) fn wake(&mut self, now_us: u64) -> Vec<Vec<u8>> {
        let now = self.instant(now_us);
        if self.client.poll_timeout().is_some_and(|at| at <= now) {
            let mut outputs = Vec::new();
            let random = self.random.clone();
            self.client.handle_timeout(Context { now, random: &random }, &mut outputs);
            self.outputs(now_us, outputs);
        }
        if self.open.as_ref().is_some_and(|open| open.due_us <= now_us) {
            self.repeat(now_us);
        }
        if self.think_us <= now_us {
            self.think_us = now_us + self.rng.range(SECOND / 2, 3 * SECOND);
            self.think(now_us);
        }
        std::mem::take(&mut self.out)
    }

    fn think(&mut self, now_us: u64) {
        if !self.client.is_open() {
            if !self.client.is_handshaking() {
                self.shake_hands(now_us, self.client.session().is_some());
            }
            return;
        }
        if self.open.is_some() || self.client.is_handshaking() {
            return;
        }
        let Some(location) = self.location.clone() else {
            let queries = [format!("ep={}", self.name), format!("lt={}", self.lifetime), "lwm2m=1.1".into()];
            let mut message = self.request(POST, &["rd"], &queries);
            message.options.push((CONTENT_FORMAT, vec![40]));
            message.options.sort_by_key(|(number, _)| *number);
            message.payload = b"</1/0>,</3/0>,</3303/0>".to_vec();
            return self.begin(now_us, What::Register, message);
        };
        let path: Vec<&str> = location.iter().map(String::as_str).collect();
        match self.rng.below(100) {
            0..=2 if !self.calm => self.shake_hands(now_us, true),
            3..=10 => {
                self.leaving = true;
                let message = self.request(DELETE, &path, &[]);
                self.begin(now_us, What::Deregister, message);
            }
            11..=37 => {
                let message = self.request(POST, &path, &[]);
                self.begin(now_us, What::Update { changes: false }, message);
            }
            38..=62 => {
                self.lifetime += 1;
                let message = self.request(POST, &path, &[format!("lt={}", self.lifetime)]);
                self.begin(now_us, What::Update { changes: true }, message);
            }
            _ => self.notify(now_us),
        }
    }

    fn notify(&mut self, now_us: u64) {
        let Some(token) = self.observed.get("3303/0/5700").cloned() else { return };
        self.values += 1;
        self.sequence += 1;
        self.message_id = self.message_id.wrapping_add(1);
        let message = Message {
            kind: CON,
            code: CONTENT,
            id: self.message_id,
            token,
            options: vec![(OBSERVE, self.sequence.to_be_bytes()[1..].to_vec()), (CONTENT_FORMAT, Vec::new())],
            payload: self.values.to_string().into_bytes(),
        };
        self.begin(now_us, What::Notify { value: self.values }, message);
    }

    fn shake_hands(&mut self, now_us: u64, resume: bool) {
        let credential =
            Credential::Psk { identity: self.name.clone().into_bytes(), key: Secret::new(KEY.to_vec()) };
        let (now, random) = (self.instant(now_us), self.random.clone());
        self.shaking_us = Some(now_us);
        let mut outputs = Vec::new();
        self.client.start(Context { now, random: &random }, credential, resume, &mut outputs);
        self.outputs(now_us, outputs);
    }

    fn request(&mut self, code: u8, path: &[&str], queries: &[String]) -> Message {
        self.message_id = self.message_id.wrapping_add(1);
        self.tokens += 1;
        Message::request(code, self.message_id, &self.tokens.to_be_bytes(), path, queries)
    }

    fn begin(&mut self, now_us: u64, what: What, message: Message) {
        let (token, id) = (message.token.clone(), message.id);
        self.heard.push(Heard::Asks { token, id, what: what.clone(), lifetime: self.lifetime });
        let timeout_us = self.rng.range(2 * SECOND, 3 * SECOND);
        self.send(now_us, &message);
        let due_us = now_us + timeout_us;
        self.open =
            Some(Open { what, message, begun_us: now_us, tries: 1, due_us, timeout_us, acknowledged: false });
    }

    fn repeat(&mut self, now_us: u64) {
        let Some(mut open) = self.open.take() else { return };
        if open.tries >= 5 || open.acknowledged {
            // Nobody has answered; it says something else.
            if self.unproven {
                self.shake_hands(now_us, true);
            }
            return;
        }
        open.tries += 1;
        open.timeout_us = (open.timeout_us * 2).min(16 * SECOND);
        open.due_us = now_us + open.timeout_us;
        self.send(now_us, &open.message);
        self.open = Some(open);
    }

    fn send(&mut self, now_us: u64, message: &Message) {
        let (now, random) = (self.instant(now_us), self.random.clone());
        let mut datagram = Vec::new();
        let sealed = self.client.seal(Context { now, random: &random }, &message.encode(), &mut datagram);
        if sealed == Ok(true) {
            self.out.push(datagram);
        }
    }

    pub(super) fn datagram(&mut self, now_us: u64, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (now, random) = (self.instant(now_us), self.random.clone());
        let mut outputs = Vec::new();
        self.client.handle_datagram(Context { now, random: &random }, bytes, &mut outputs);
        self.outputs(now_us, outputs);
        std::mem::take(&mut self.out)
    }

    fn outputs(&mut self, now_us: u64, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Transmit(datagram) => self.out.push(datagram),
                Output::Application(plaintext) => {
                    if let Some(message) = Message::decode(&plaintext) {
                        self.handle(now_us, message);
                    }
                }
                Output::Established { .. } => {
                    self.handshakes += 1;
                    self.unproven = true;
                    // Message ids are a session's own (RFC 7252 §9.1.1).
                    self.answered.retain(|_| !self.busy);
                    self.shaking_us = None;
                    self.think_us = self.think_us.min(now_us + SECOND / 10);
                }
                Output::Closed(_) => self.shaking_us = None,
            }
        }
    }

    fn handle(&mut self, now_us: u64, message: Message) {
        self.unproven = false;
        if message.is_request() {
            return self.serve(now_us, &message);
        }
        if message.kind == CON && message.code == 0 {
            // A ping (RFC 7252 §4.3).
            let reset = Message { kind: RST, id: message.id, ..Message::default() };
            return self.send(now_us, &reset);
        }
        if message.kind == CON {
            let ack = Message { kind: ACK, id: message.id, ..Message::default() };
            self.send(now_us, &ack);
        }
        let Some(open) = &mut self.open else { return };
        if message.code == 0 && message.id == open.message.id {
            match (&open.what, message.kind) {
                (What::Notify { .. }, ACK) => {
                    self.served_us = self.served_us.max(Some(open.begun_us));
                    self.open = None;
                }
                (What::Notify { .. }, RST) => {
                    let token = open.message.token.clone();
                    self.observed.retain(|_, own| *own != token);
                    self.open = None;
                }
                (_, ACK) => {
                    open.acknowledged = true;
                    open.due_us = now_us + 93 * SECOND;
                }
                _ => {}
            }
            return;
        }
        if message.is_response() && message.token == open.message.token {
            let open = self.open.take().expect("just looked at");
            self.answered(open, &message);
        }
    }

    fn answered(&mut self, open: Open, message: &Message) {
        match (&open.what, message.code) {
            (What::Register, CREATED) => {
                self.location = Some(message.texts(LOCATION_PATH));
                self.leaving = false;
            }
            (What::Deregister, DELETED) => {
                self.location = None;
                self.observed.clear();
            }
            (What::Update { .. }, CHANGED) => {}
            (What::Update { .. } | What::Deregister, NOT_FOUND) => {
                self.location = None;
                if !self.leaving {
                    self.heard.push(Heard::RegistrationLost);
                }
                return;
            }
            _ => return,
        }
        self.served_us = self.served_us.max(Some(open.begun_us));
    }

    fn serve(&mut self, now_us: u64, request: &Message) {
        if let Some((_, answer)) = self.answered.iter().find(|(id, _)| *id == request.id) {
            let answer = answer.clone();
            return self.send(now_us, &answer);
        }
        let path = request.texts(URI_PATH).join("/");
        let mut answer = Message {
            kind: ACK,
            code: CONTENT,
            id: request.id,
            token: request.token.clone(),
            ..Message::default()
        };
        if request.code == GET {
            let observe = request.options.iter().find(|(number, _)| *number == OBSERVE).map(|(_, it)| it);
            match observe.map(|value| value.iter().all(|byte| *byte == 0)) {
                Some(true) => {
                    self.observed.insert(path, request.token.clone());
                    answer.options.push((OBSERVE, vec![1]));
                }
                Some(false) => drop(self.observed.remove(&path)),
                None => {}
            }
            answer.options.push((CONTENT_FORMAT, Vec::new()));
            answer.payload = b"21".to_vec();
        } else {
            answer.code = CHANGED;
            let number = callers::argument(&request.payload);
            self.heard.extend(number.map(|number| Heard::CarriesOut { number }));
        }
        self.answered.push_back((request.id, answer.clone()));
        if self.answered.len() > 16 {
            self.answered.pop_front();
        }
        self.send(now_us, &answer);
    }
}
