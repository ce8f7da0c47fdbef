//! What handshakes agree on, and what a session's records must keep to.

use std::collections::BTreeMap;

use super::{HashSet, Header, Hello, Keys, Message, NUMBER_LIMIT, Protection, STEP_LIMIT};

/// What a handshake agreed on, from its hellos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// The suite's number.
    pub suite: u16,
    /// Abbreviated: the server answered with the session id that the client offered.
    pub resumed: bool,
    /// The session id.
    pub session: Vec<u8>,
    /// The connection id in records to the server; none where the extension was not agreed on.
    pub server_cid: Option<Vec<u8>>,
    /// The connection id in records to the client.
    pub client_cid: Option<Vec<u8>>,
    /// RFC 7627.
    pub extended_master_secret: bool,
    /// RFC 7366.
    pub encrypt_then_mac: bool,
    /// The certificate types agreed on (RFC 7250), the client's and the server's: 0 X.509, 2 raw public keys.
    pub certificate_types: [u8; 2],
}

impl Agreed {
    /// The connection id of one direction, empty where there is none.
    pub(super) fn cid(&self, up: bool) -> &[u8] {
        let cid = if up { &self.server_cid } else { &self.client_cid };
        cid.as_deref().unwrap_or_default()
    }
}

/// A protected record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The index of its datagram.
    pub datagram: usize,
    /// From the client?
    pub up: bool,
    /// The index of its session in [`Checker::sessions`](super::Checker::sessions).
    pub session: usize,
    /// The content type that stands outside: 25 with a connection id.
    pub outer_type: u8,
    /// The content type inside; the outer one where the record could not be opened.
    pub content_type: u8,
    /// The record number.
    pub number: u64,
    /// The content, where the keys are known.
    pub content: Option<Vec<u8>>,
}

/// The messages of a handshake under way.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    pub(super) client: Option<Hello>,
    pub(super) session: Option<usize>,
    pub(super) up: BTreeMap<u16, Message>,
    pub(super) down: BTreeMap<u16, Message>,
}

impl Handshake {
    /// Takes a fragment; its message, when this completes it.
    pub(super) fn add(&mut self, up: bool, fragment: Message) -> Option<Message> {
        let messages = if up { &mut self.up } else { &mut self.down };
        let known = messages.get(&fragment.sequence);
        if known.is_some_and(|known| {
            known.alike(&fragment) && known.body().is_some_and(|_| same(known, &fragment))
        }) {
            return None;
        }
        let mut message = match known {
            Some(known) if known.alike(&fragment) && known.body().is_none() => known.clone(),
            _ => fragment.clone(),
        };
        message.merge(&fragment);
        messages.insert(message.sequence, message.clone());
        message.body().is_some().then_some(message)
    }

    /// Everything from the ClientHello to the ClientKeyExchange, once nothing is missing; and that message.
    pub(super) fn transcript(&self) -> Option<(Vec<u8>, &Message)> {
        let mut transcript = Vec::new();
        let mut up = self.up.values();
        let hello = up.next().filter(|message| message.kind == 1 && message.body().is_some())?;
        transcript.extend(hello.whole());
        let first = self.down.values().find(|message| message.kind == 2)?.sequence;
        for (message, expected) in self.down.range(first..).map(|(_, message)| message).zip(first..) {
            if message.sequence != expected || message.body().is_none() {
                return None;
            }
            transcript.extend(message.whole());
            if message.kind == 14 {
                break;
            }
        }
        for (message, expected) in up.zip(hello.sequence + 1..) {
            if message.sequence != expected || message.body().is_none() {
                return None;
            }
            transcript.extend(message.whole());
            if message.kind == 16 {
                return Some((transcript, message));
            }
        }
        None
    }
}

/// Does a whole message hold just what this fragment holds?
fn same(whole: &Message, fragment: &Message) -> bool {
    let mut merged = whole.clone();
    merged.merge(fragment);
    merged == *whole
}

/// A session and what its records showed.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client_random: Vec<u8>,
    pub(super) server_random: Vec<u8>,
    pub(super) agreed: Agreed,
    pub(super) protection: Option<Protection>,
    /// The client's and the server's.
    pub(super) keys: Option<[Keys; 2]>,
    nonces: HashSet<Vec<u8>>,
    newest: Option<u64>,
}

impl Session {
    pub(super) fn agree(client: Hello, server: Hello) -> Session {
        let encrypt_then_mac = server.extension(22).is_some();
        let agreed_cid = server.cid().is_some();
        let certificate_type =
            |kind| server.extension(kind).and_then(|data| data.first().copied()).unwrap_or(0);
        let agreed = Agreed {
            suite: server.suite,
            resumed: !server.session.is_empty() && client.session == server.session,
            server_cid: server.cid(),
            client_cid: client.cid().filter(|_| agreed_cid),
            extended_master_secret: server.extension(23).is_some(),
            encrypt_then_mac,
            certificate_types: [certificate_type(19), certificate_type(20)],
            session: server.session,
        };
        Session {
            client_random: client.random,
            server_random: server.random,
            protection: Protection::of(agreed.suite, encrypt_then_mac),
            agreed,
            keys: None,
            nonces: HashSet::new(),
            newest: None,
        }
    }

    /// Holds a record of the server against the rules.
    pub(super) fn check(&mut self, header: &Header, number: u64, fragment: &[u8]) -> Vec<String> {
        let mut problems = Vec::new();
        match self.protection.and_then(|protection| protection.nonce(fragment)) {
            None => problems.push(format!("record {number} has no nonce")),
            Some(nonce) if !self.nonces.insert(nonce.to_vec()) => {
                problems.push(format!("record {number} repeats the nonce {nonce:02x?}"));
            }
            Some(_) => {}
        }
        if number >= NUMBER_LIMIT {
            problems.push(format!("record number {number} is above what clients take"));
        }
        match self.newest.replace(number) {
            Some(before) if before >= number => {
                problems.push(format!("record number {number} after {before}"));
            }
            before if number - before.unwrap_or(0) >= STEP_LIMIT => {
                problems.push(format!("a step from record number {before:?} to {number}"));
            }
            _ => {}
        }
        let cid = !self.agreed.cid(false).is_empty();
        if cid != (header.content_type == 25) {
            problems.push(format!(
                "record {number} of content type {}, connection id {cid}",
                header.content_type
            ));
        }
        if header.sequence[..2] != [0, 1] {
            problems.push(format!("record {number} in epoch {:?}", &header.sequence[..2]));
        }
        problems
    }
}
