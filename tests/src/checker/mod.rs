//! Reads the records of a [`Proxy`](crate::Proxy)'s tap with the keys, and holds what the server sent against the rules: no
//! nonce twice under a key, numbers that rise and stay within what real clients take, one application record a datagram.

mod crypto;
mod hello;
mod session;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    net::SocketAddr,
    path::Path,
};

use data_encoding::HEXLOWER_PERMISSIVE as HEX;

use crate::Datagram;
use crypto::{Header, Keys, Protection, prf, psk_premaster, sha256};
use hello::{Hello, Message, Reader};
pub use session::{Agreed, Seen};
use session::{Handshake, Session};

/// Scandium drops every record from this number on.
const NUMBER_LIMIT: u64 = 1 << 40;
/// wolfSSL takes no wider step.
const STEP_LIMIT: u64 = 1 << 32;

/// Follows every session between clients and one server. Keys come from pre-shared keys, from key logs, and from the
/// sessions that are resumed; where none is known, what stands outside of the protection is checked all the same.
#[derive(Debug, Default)]
pub struct Checker {
    psks: HashMap<Vec<u8>, Vec<u8>>,
    /// By client random.
    logged: HashMap<Vec<u8>, Vec<u8>>,
    /// By session id.
    masters: HashMap<Vec<u8>, Vec<u8>>,
    handshakes: HashMap<SocketAddr, Handshake>,
    sessions: Vec<Session>,
    /// Sessions in order, by the addresses that their clients had.
    by_client: HashMap<SocketAddr, Vec<usize>>,
    /// The newest session by direction and connection id, and which lengths there are.
    by_cid: HashMap<(bool, Vec<u8>), usize>,
    cid_lengths: BTreeSet<(bool, usize)>,
    seen: Vec<Seen>,
    problems: Vec<String>,
}

impl Checker {
    /// Knows no key.
    pub fn new() -> Checker {
        Checker::default()
    }

    /// Knows this pre-shared key.
    pub fn psk(mut self, identity: &str, key: &[u8]) -> Checker {
        self.psks.insert(identity.into(), key.into());
        self
    }

    /// Knows what a key log holds: lines `CLIENT_RANDOM <random> <master secret>`. A file that isn't there holds nothing.
    pub fn key_log(mut self, file: &Path) -> Checker {
        let text = fs::read_to_string(file).unwrap_or_default();
        for line in text.lines() {
            let fields: Vec<_> = line.split(' ').collect();
            if let ["CLIENT_RANDOM", random, master] = fields[..]
                && let (Ok(random), Ok(master)) =
                    (HEX.decode(random.as_bytes()), HEX.decode(master.as_bytes()))
            {
                self.logged.insert(random, master);
            }
        }
        self
    }

    /// Reads datagrams in the order in which they came.
    pub fn read(mut self, datagrams: &[Datagram]) -> Checker {
        for (index, datagram) in datagrams.iter().enumerate() {
            if self.datagram(index, datagram).is_none() && !datagram.up {
                self.problem(index, "the server sent what is no sequence of records");
            }
        }
        self
    }

    /// Each session that was agreed on, in order.
    pub fn sessions(&self) -> Vec<Agreed> {
        self.sessions.iter().map(|session| session.agreed.clone()).collect()
    }

    /// Each protected record, in order.
    pub fn records(&self) -> &[Seen] {
        &self.seen
    }

    /// A record as the client of a session could have sent it, with this content type and record number. For CCM_8 suites whose
    /// keys are known; `None` for others.
    pub fn forge(&self, session: usize, content_type: u8, number: u64, content: &[u8]) -> Option<Vec<u8>> {
        let session = &self.sessions[session];
        let cid = session.agreed.cid(true);
        let sequence = (1 << 48 | number).to_be_bytes();
        let (outer, own, inner) = match cid {
            [] => (content_type, None, content.to_vec()),
            cid => (25, Some(cid), [content, &[content_type]].concat()),
        };
        let version = [0xfe, 0xfd];
        let sealed = session.keys.as_ref()?[0]
            .seal(&Header { content_type: outer, version, sequence, cid: own }, &inner)?;
        let length = (sealed.len() as u16).to_be_bytes();
        Some([&[outer][..], &version, &sequence, cid, &length, &sealed].concat())
    }

    /// What broke a rule.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// How many records could be opened, of how many.
    pub fn opened(&self) -> (usize, usize) {
        (self.seen.iter().filter(|record| record.content.is_some()).count(), self.seen.len())
    }

    /// Fails unless no rule was broken.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.problems.is_empty(), "{}", self.problems.join("\n"));
    }

    fn problem(&mut self, datagram: usize, what: &str) {
        self.problems.push(format!("datagram {datagram}: {what}"));
    }

    fn datagram(&mut self, index: usize, datagram: &Datagram) -> Option<()> {
        let mut reader = Reader(&datagram.bytes);
        let mut applications = 0;
        while !reader.0.is_empty() {
            let content_type = reader.number(1)? as u8;
            let version = reader.take(2)?.try_into().ok()?;
            let sequence: [u8; 8] = reader.take(8)?.try_into().ok()?;
            let owner = match content_type {
                25 => Some(self.owner(datagram.up, reader.0)?),
                _ => None,
            };
            if let Some(owner) = owner.filter(|_| datagram.up) {
                self.at(datagram.client, owner);
            }
            let cid = match owner {
                Some(owner) => Some(reader.take(self.sessions[owner].agreed.cid(datagram.up).len())?),
                None => None,
            };
            let fragment = reader.vector(2)?;
            let header = Header { content_type, version, sequence, cid };
            if sequence[..2] == [0, 0] {
                self.epoch_0(index, datagram, &header, fragment);
            } else {
                applications += usize::from(self.protected(index, datagram, owner, &header, fragment) == 23);
            }
        }
        if applications > 1 && !datagram.up {
            self.problem(index, "two application records in one datagram");
        }
        Some(())
    }

    /// The newest session whose connection id stands here.
    fn owner(&self, up: bool, rest: &[u8]) -> Option<usize> {
        let lengths = self.cid_lengths.range((up, 1)..=(up, usize::MAX));
        let known = lengths.filter_map(|(_, length)| self.by_cid.get(&(up, rest.get(..*length)?.to_vec())));
        known.max().copied()
    }

    /// The client of a session is at this address.
    fn at(&mut self, client: SocketAddr, session: usize) {
        let sessions = self.by_client.entry(client).or_default();
        if !sessions.contains(&session) {
            sessions.push(session);
        }
    }

    fn epoch_0(&mut self, index: usize, datagram: &Datagram, header: &Header, fragment: &[u8]) {
        if header.content_type != 22 {
            return;
        }
        let mut reader = Reader(fragment);
        while !reader.0.is_empty() {
            let Some(message) = Message::fragment(&mut reader) else {
                if !datagram.up {
                    self.problem(index, "a handshake message that can't be read");
                }
                return;
            };
            self.message(datagram, message);
        }
    }

    fn message(&mut self, datagram: &Datagram, fragment: Message) {
        let handshake = self.handshakes.entry(datagram.client).or_default();
        let Some(message) = handshake.add(datagram.up, fragment) else { return };
        match (datagram.up, message.kind) {
            (true, 1) => {
                let Some(hello) = message.body().and_then(Hello::client) else { return };
                // The same hello again, or the one with the cookie, goes on with the handshake that it began.
                *handshake = Handshake { client: Some(hello), ..Handshake::default() };
                handshake.up = BTreeMap::from([(message.sequence, message)]);
            }
            (false, 2) => {
                let Some(server) = message.body().and_then(Hello::server) else { return };
                let Some(client) = handshake.client.clone() else { return };
                let at = self.sessions.len();
                handshake.session = Some(at);
                let session = Session::agree(client, server);
                for up in [true, false] {
                    let cid = session.agreed.cid(up);
                    self.cid_lengths.insert((up, cid.len()));
                    self.by_cid.insert((up, cid.to_vec()), at);
                }
                self.sessions.push(session);
                self.at(datagram.client, at);
            }
            _ => {}
        }
        self.derive(datagram.client);
    }

    /// Finds the keys of the session that a handshake agrees on, as soon as they can be known.
    fn derive(&mut self, client: SocketAddr) -> Option<()> {
        let handshake = self.handshakes.get(&client)?;
        let index = handshake.session?;
        let session = &self.sessions[index];
        if session.keys.is_some() {
            return None;
        }
        let agreed = &session.agreed;
        let master = if let Some(master) = self.logged.get(&session.client_random) {
            master.clone()
        } else if agreed.resumed {
            self.masters.get(&agreed.session)?.clone()
        } else {
            let (transcript, exchange) = handshake.transcript()?;
            let identity = Reader(exchange.body()?).vector(2)?;
            let premaster = psk_premaster(self.psks.get(identity)?);
            let randoms = [&session.client_random[..], &session.server_random].concat();
            match agreed.extended_master_secret {
                true => prf(&premaster, b"extended master secret", &sha256(&transcript), 48),
                false => prf(&premaster, b"master secret", &randoms, 48),
            }
        };
        let protection = session.protection?;
        let keys = Keys::derive(protection, &master, &session.client_random, &session.server_random);
        self.masters.insert(agreed.session.clone(), master);
        self.sessions[index].keys = Some(keys);
        Some(())
    }

    /// Opens a record where its keys are known, and checks it; its content type.
    fn protected(
        &mut self,
        index: usize,
        datagram: &Datagram,
        owner: Option<usize>,
        header: &Header,
        fragment: &[u8],
    ) -> u8 {
        let up = datagram.up;
        let candidates: Vec<usize> = match owner {
            Some(owner) => vec![owner],
            None => self.by_client.get(&datagram.client).into_iter().flatten().rev().copied().collect(),
        };
        let opened = candidates.iter().find_map(|&at| {
            let keys = self.sessions[at].keys.as_ref()?;
            Some((at, keys[usize::from(!up)].open(header, fragment)?))
        });
        // Without keys it is the newest session's, in plain sight.
        let unknown = || candidates.first().copied().filter(|newest| self.sessions[*newest].keys.is_none());
        let (at, content) = match opened {
            Some((at, (content_type, bytes))) => (at, Some((content_type, bytes))),
            None => match unknown() {
                Some(at) => (at, None),
                None => {
                    if !up {
                        self.problem(index, "a record of the server that no known key opens");
                    }
                    return header.content_type;
                }
            },
        };
        let sequence = u64::from_be_bytes(header.sequence);
        let number = sequence & ((1 << 48) - 1);
        let content_type = content.as_ref().map_or(header.content_type, |(content_type, _)| *content_type);
        if !up {
            let session = &mut self.sessions[at];
            let problems = session.check(header, number, fragment);
            self.problems.extend(problems.into_iter().map(|what| format!("datagram {index}: {what}")));
        }
        self.seen.push(Seen {
            datagram: index,
            up,
            session: at,
            outer_type: header.content_type,
            content_type,
            number,
            content: content.map(|(_, bytes)| bytes),
        });
        content_type
    }
}

#[cfg(test)]
mod tests;
