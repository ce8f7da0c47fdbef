//! What others ask of an owner, and how its ownership ends.

use std::{net::SocketAddr, rc::Rc};

use godwit_dtls::{
    cid::{CID_LEN, Cid},
    record::Records,
};

use super::{
    super::{bug::Bug, links::Links},
    Conn, Node,
    frame::Frame,
    out::{Note, Out},
    place,
    route::Held,
};
use crate::{
    connection::simulated::Connection,
    endpoint::link::Downlink,
    identity::{AssociationId, DeviceId, Owner},
    ownership::{Answer, Validity},
};

impl Node {
    pub(super) fn presented(
        &mut self,
        (by, held): (Owner, bool),
        id: u64,
        device: DeviceId,
        association: AssociationId,
        from: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let term = self.terms.get(&device).copied().unwrap_or(0);
        if matches!(self.membership.validity(self.boot()), Validity::CutOff(_)) {
            if held && self.live.contains_key(&device) {
                return self.tell(&by, Frame::Answer { id, answer: Answer::Busy });
            }
            self.out.push(Out::Note(Note::Released { device, term }));
            if self.bug != Some(Bug::GoneButKept) {
                self.stop(device, true);
            }
            return self.tell(&by, Frame::Answer { id, answer: Answer::Gone { term } });
        }
        let now = self.instant();
        let Some(live) = self.live.get_mut(&device) else {
            return self.tell(&by, Frame::Answer { id, answer: Answer::Gone { term } });
        };
        if live.endpoint.leaving() {
            return live.released.push((by, id));
        }
        let Some(ground) = self.ground.clone() else { return };
        let own = |conn: &Conn| {
            conn.connection.association() == Some(association) && !conn.connection.progress.is_retired()
        };
        let found = self.connections.iter().find(|(_, conn)| own(conn)).map(|(key, _)| *key);
        let record = Records::parse(&bytes, CID_LEN).flatten().find(|record| record.epoch > 0);
        let cid = record.and_then(|record| <[u8; CID_LEN]>::try_from(record.cid).ok()).map(Cid);
        // A handshake under way has no association yet: only its name or its address leads to it.
        let named = cid.and_then(|cid| ground.find(&cid)).map(|key| key.index);
        let at = self.by_peer.get(&from).copied().filter(|_| cid.is_none());
        if let Some(connection) = found.or(named).or(at) {
            return self.take(Held { connection, from, via: Some((by, id)), bytes });
        }
        // Live by another session of the device: this one comes into use too.
        let by_address = cid.is_none().then_some(from);
        let key = self.key();
        let waiting = vec![(place(from), bytes.into_boxed_slice())];
        let connection = Connection::claim(ground, key, device, association, cid, waiting, now);
        self.insert(key.index, connection, Some(by.clone()), by_address);
        self.tell(&by, Frame::Answer { id, answer: Answer::Handled });
    }

    pub(super) fn release_asked(&mut self, by: Owner, id: u64, device: DeviceId) {
        let reading = self.reading();
        match self.live.get_mut(&device) {
            Some(live) => {
                live.released.push((by, id));
                live.endpoint.release(reading);
            }
            None => {
                let term = self.terms.get(&device).copied().unwrap_or(0);
                self.tell(&by, Frame::Answer { id, answer: Answer::Gone { term } });
            }
        }
    }

    /// Somebody has claimed what was ours.
    pub(super) fn superseded(&mut self, device: DeviceId, term: u64) {
        if self.live.get(&device).is_some_and(|live| live.fence.term < term) {
            self.stop(device, true);
        }
    }

    pub(super) fn stop(&mut self, device: DeviceId, superseded: bool) {
        let Some(live) = self.live.remove(&device) else { return };
        let links: Rc<Links> = self.links.clone();
        if let Some(link) = live.endpoint.link() {
            crate::endpoint::link::Links::deliver(&*links, link.connection, device, Downlink::Close);
        }
        drop(crate::endpoint::link::Links::retire(&*links, device));
        if !superseded {
            let term = live.fence.term;
            self.out.push(Out::Note(Note::Released { device, term }));
        }
        let term = live.fence.term;
        for (by, id) in live.released {
            self.tell(&by, Frame::Answer { id, answer: Answer::Gone { term } });
        }
        // What waited for a header begins anew.
        for held in live.held.into_iter().flatten() {
            self.close(held.connection);
            match held.via {
                Some((by, id)) if id != 0 => {
                    self.tell(&by, Frame::Answer { id, answer: Answer::Gone { term } });
                }
                via => self.route(held.from, via.map(|(owner, _)| owner), held.bytes),
            }
        }
    }
}
