//! Datagrams: to the connection that is here, once its device is sure, or to a search.

use std::net::SocketAddr;

use godwit_dtls::{
    cid::{CID_LEN, Cid},
    record::{ContentType, Records},
};
use metrics::Gauge;

use super::{
    super::{bug::Bug, store::Request},
    Conn, Node, WAITING,
    frame::Frame,
    place,
    reply::Pending,
};
use crate::{
    connection::simulated::{Connection, Wanted},
    identity::Owner,
    ownership::{Answer, Validity, Verdict},
    shard::ActorKey,
};

pub(super) struct Held {
    pub(super) connection: u32,
    pub(super) from: SocketAddr,
    pub(super) via: Option<(Owner, u64)>,
    pub(super) bytes: Vec<u8>,
}

impl Node {
    pub(super) fn route(&mut self, from: SocketAddr, via: Option<Owner>, bytes: Vec<u8>) {
        let Some(ground) = self.ground.clone() else { return };
        let validity = self.membership.validity(self.boot());
        if let Validity::CutOff(peer) = &validity
            && via.is_none()
        {
            return self.tell(&peer.owner.clone(), Frame::Relay { from, bytes });
        }
        let Some(Ok(record)) = Records::parse(&bytes, CID_LEN).next() else { return };
        let (kind, epoch) = (record.content_type, record.epoch);
        let cid = <[u8; CID_LEN]>::try_from(record.cid).ok().map(Cid);
        let is_hello = record.fragment.first() == Some(&1);
        match (kind, cid) {
            (ContentType::Tls12Cid, Some(cid)) => match ground.find(&cid) {
                Some(key) => self.offer(key.index, from, via, bytes),
                None => self.find(Wanted::Named(cid), from, via, bytes),
            },
            (ContentType::Tls12Cid, None) => {}
            _ if epoch > 0 => match self.by_peer.get(&from) {
                Some(key) => self.offer(*key, from, via, bytes),
                None => self.find(Wanted::At(from), from, via, bytes),
            },
            (ContentType::Handshake, _) if is_hello => self.hello(from, via, &bytes),
            _ => {
                if let Some(key) = self.by_peer.get(&from) {
                    return self.offer(*key, from, via, bytes);
                }
                let behind = Records::parse(&bytes, CID_LEN).flatten().find(|record| record.epoch > 0);
                let behind = behind.map(|record| (record.content_type, record.cid.to_vec()));
                match behind {
                    Some((ContentType::Tls12Cid, cid)) => {
                        if let Ok(cid) = <[u8; CID_LEN]>::try_from(&cid[..]).map(Cid) {
                            match ground.find(&cid) {
                                Some(key) => self.offer(key.index, from, via, bytes),
                                None => self.find(Wanted::Named(cid), from, via, bytes),
                            }
                        }
                    }
                    Some(_) => self.find(Wanted::At(from), from, via, bytes),
                    None => {}
                }
            }
        }
    }

    fn hello(&mut self, from: SocketAddr, via: Option<Owner>, bytes: &[u8]) {
        let now = self.instant();
        let permit =
            self.settings.admission.handshake(from.ip(), &Gauge::noop()).expect("room for handshakes");
        let place = place(from);
        if let Some(conn) = self.by_peer.get(&from).copied().and_then(|key| self.connections.get_mut(&key)) {
            return conn.connection.handle_hello(now, place, permit, bytes);
        }
        let Some(ground) = self.ground.clone() else { return };
        let key = self.key();
        let connection = Connection::accept(ground, key, place, now, permit, bytes);
        self.insert(key.index, connection, via, Some(from));
    }

    pub(super) fn key(&mut self) -> ActorKey {
        self.next += 1;
        ActorKey { index: self.next as u32, generation: 0 }
    }

    pub(super) fn insert(
        &mut self,
        key: u32,
        connection: Connection,
        via: Option<Owner>,
        by_address: Option<SocketAddr>,
    ) {
        self.links.insert(key, connection.progress.clone());
        if let Some(address) = by_address
            && let Some(earlier) = self.by_peer.insert(address, key)
        {
            self.close(earlier);
        }
        self.connections.insert(key, Conn { connection, via, by_address });
    }

    /// For a connection that is here.
    fn offer(&mut self, key: u32, from: SocketAddr, via: Option<Owner>, bytes: Vec<u8>) {
        self.take(Held { connection: key, from, via: via.map(|owner| (owner, 0)), bytes });
    }

    /// Takes a datagram, once its device is sure. `via`: with the id of the question to answer, unless that is 0.
    pub(super) fn take(&mut self, held: Held) {
        let Some(conn) = self.connections.get(&held.connection) else { return };
        let device = conn.connection.device();
        if let Some((device, live)) = device.and_then(|device| Some((device, self.live.get_mut(&device)?)))
            && self.pulse.is_unsure(live.confirmed)
        {
            match &mut live.held {
                Some(waiting) if waiting.len() < WAITING => waiting.push(held),
                Some(_) => self.busy(held),
                None => {
                    live.held = Some(vec![held]);
                    let pending = Pending::Header(device, live.life, self.pulse.confirmed());
                    self.ask(pending, Request::Load(device));
                }
            }
            return;
        }
        self.accept(held);
    }

    pub(super) fn busy(&mut self, held: Held) {
        if let Some((owner, id)) = held.via.filter(|(_, id)| *id != 0) {
            self.tell(&owner, Frame::Answer { id, answer: Answer::Busy });
        }
    }

    fn accept(&mut self, held: Held) {
        let now = self.instant();
        let Held { connection, from, via, bytes } = held;
        let Some(conn) = self.connections.get_mut(&connection) else { return };
        conn.connection.newest = false;
        if self.bug == Some(Bug::PresentWithoutWindow) && via.is_some() {
            conn.connection.forget_window();
        }
        let taken = conn.connection.handle_datagram(now, place(from), &bytes);
        let (newest, device) = (conn.connection.newest, conn.connection.device());
        if newest {
            conn.via = via.as_ref().map(|(owner, _)| owner.clone());
        }
        if let Some((owner, id)) = &via
            && *id != 0
        {
            let answer = if taken { Answer::Handled } else { Answer::Replay };
            self.tell(owner, Frame::Answer { id: *id, answer });
        }
        let validity = self.membership.validity(self.boot());
        let reading = self.reading();
        if let Some(live) = device.and_then(|device| self.live.get_mut(&device))
            && taken
        {
            match via {
                Some((owner, _)) => {
                    let verdict = live.residence.presented(&owner, newest, &validity);
                    if verdict == Verdict::GiveUp && !live.endpoint.leaving() {
                        live.endpoint.release(reading);
                    }
                }
                None if newest => live.residence.heard_here(),
                None => {}
            }
        }
    }
}
