//! What connections and endpoints want done.

use std::rc::Rc;

use godwit_proto::v1::operation::State;

use super::{
    super::{
        bug::Bug,
        links::{Item, Links},
        store::Request,
    },
    Node,
    frame::Frame,
    out::{Note, Out},
    place,
    reply::Pending,
};
use crate::{
    connection::simulated::{Connection, Effect},
    endpoint::{
        link::{Link, Secured, Security, Uplink},
        simulated::Wish,
    },
    identity::{AssociationId, DeviceId},
    shard::ActorKey,
    store::{Change, Pointer, Session},
};

impl Node {
    pub(super) fn settle(&mut self) {
        loop {
            let mut busy = false;
            let connections: Vec<u32> = self.connections.keys().copied().collect();
            for key in connections {
                while let Some(effect) =
                    self.connections.get_mut(&key).and_then(|conn| conn.connection.poll())
                {
                    busy = true;
                    self.perform(key, effect);
                }
                if self.connections.get(&key).is_some_and(|conn| conn.connection.ended) {
                    busy = true;
                    self.close(key);
                }
            }
            let devices: Vec<DeviceId> = self.live.keys().copied().collect();
            let reading = self.reading();
            for device in devices {
                while let Some(wish) = self.live.get_mut(&device).and_then(|live| live.endpoint.poll(reading))
                {
                    busy = true;
                    self.grant(device, wish);
                }
            }
            while let Some((key, item)) = self.links.take() {
                busy = true;
                match item {
                    Item::Down(device, downlink) => {
                        if let Some(conn) = self.connections.get_mut(&key) {
                            conn.connection.handle_downlink(reading.now, device, downlink);
                        }
                        // Its words leave before it is retired.
                        while let Some(effect) =
                            self.connections.get_mut(&key).and_then(|conn| conn.connection.poll())
                        {
                            self.perform(key, effect);
                        }
                    }
                    Item::Retire => self.close(key),
                }
            }
            if !busy {
                break;
            }
        }
    }

    pub(super) fn close(&mut self, key: u32) {
        let Some(mut conn) = self.connections.remove(&key) else { return };
        conn.connection.end();
        self.links.remove(key);
        if let Some(address) = conn.by_address
            && self.by_peer.get(&address) == Some(&key)
        {
            self.by_peer.remove(&address);
        }
        let device = conn.connection.device();
        drop(conn);
        let reading = self.reading();
        if let Some(live) = device.and_then(|device| self.live.get_mut(&device)) {
            live.endpoint.unlinked(reading, ActorKey { index: key, generation: 0 });
        }
    }

    fn perform(&mut self, key: u32, effect: Effect) {
        let Some(conn) = self.connections.get(&key) else { return };
        let (device, link, via) = (conn.connection.device(), conn.connection.link, conn.via.clone());
        let term = device.and_then(|device| self.live.get(&device)).map_or(0, |live| live.fence.term);
        match effect {
            Effect::Transmit { bytes, sealed_by } => {
                self.out.push(Out::Note(Note::Sealed { association: sealed_by, bytes: bytes.clone() }));
                let to = link.remote;
                match via {
                    Some(peer) => self.tell(&peer, Frame::Transmit { to, bytes }),
                    None => self.out.push(Out::Device { to, bytes }),
                }
            }
            Effect::Said(plaintext) => {
                if let Some(device) = device {
                    self.out.push(Out::Note(Note::Said { device, term, plaintext }));
                }
            }
            Effect::Accepted { association, number, plaintext } => {
                if let Some(device) = device {
                    let note = Note::Accepted { device, association, number, term, plaintext };
                    self.out.push(Out::Note(note));
                }
            }
            Effect::Uplink(device, uplink) => self.deliver(device, key, uplink),
            Effect::Psk(ticket, identity) => {
                self.ask(Pending::Psk(key, ticket), Request::Resolve(Pointer::PskIdentity(identity)));
            }
            Effect::Resume(ticket, id) => {
                let pending = Pending::Resume(key, ticket, id, false);
                self.ask(pending, Request::Resolve(Pointer::Session(id)));
            }
            Effect::Foreign(call, registration) => {
                let pending = Pending::Foreign(key, call, registration);
                self.ask(pending, Request::Resolve(Pointer::Registration(registration)));
            }
        }
    }

    pub(super) fn deliver(&mut self, device: DeviceId, connection: u32, uplink: Uplink) {
        let reading = self.reading();
        let Some(conn) = self.connections.get_mut(&connection) else { return };
        let link = conn.connection.link;
        match self.live.get_mut(&device) {
            Some(live) => {
                live.endpoint.uplink(reading, link, uplink);
                if self.bug == Some(Bug::DebtForgotten) {
                    live.endpoint.forget_debt();
                }
            }
            None if uplink.awaiting().is_some() => self.activate(device, connection, uplink),
            None => conn.connection.undelivered(reading.now, &uplink),
        }
    }

    fn grant(&mut self, device: DeviceId, wish: Wish) {
        let reading = self.reading();
        let Some(live) = self.live.get_mut(&device) else { return };
        let life = live.life;
        match wish {
            Wish::Persist(id, changes) => self.persist(device, id, changes),
            Wish::Publish(id, records) => self.out.push(Out::Sink { device, life, id, records }),
            Wish::Downlink(link, downlink) => {
                let links: Rc<Links> = self.links.clone();
                if !crate::endpoint::link::Links::deliver(&*links, link.connection, device, downlink) {
                    live.endpoint.unlinked(reading, link.connection);
                }
            }
            Wish::ReadSession(link, association) => {
                self.ask(Pending::ReadSession(device, life, link, association), Request::Load(device));
            }
            Wish::ReachSession { association, whole, numbers, exact } => match whole {
                Some(session) => self.reach(device, association, &session, numbers, exact),
                None => {
                    let pending = Pending::ReachSession(device, life, association, numbers, exact);
                    self.ask(pending, Request::Load(device));
                }
            },
            Wish::Foreign(link, call, registration) => {
                let pending = Pending::Foreign(link.connection.index, call, registration);
                self.ask(pending, Request::Resolve(Pointer::Registration(registration)));
            }
            Wish::Submitted(operation, ok) => self.endpoint_took(&operation, ok),
            Wish::Ended(operation, state) => self.endpoint_ended(operation, state),
            Wish::Stop { superseded } => self.stop(device, superseded),
        }
    }

    fn persist(&mut self, device: DeviceId, id: u32, mut changes: Vec<Change>) {
        let reading = self.reading();
        let Some(live) = self.live.get_mut(&device) else { return };
        let writes = live.since_jump.as_mut().map_or(u32::MAX, |writes| {
            *writes += 1;
            *writes
        });
        match self.bug {
            Some(Bug::JumpNotWritten) if writes <= 6 => {
                changes.retain(|it| !matches!(it, Change::Marks { .. }));
            }
            Some(Bug::MarkNotWritten) => changes.retain(|it| !matches!(it, Change::Marks { .. })),
            Some(Bug::AnswerNotStored) => changes.retain(|it| !matches!(it, Change::Applied(_))),
            Some(Bug::AttemptNotWritten) => changes.iter_mut().for_each(forget_attempt),
            Some(Bug::InexactPassive) if changes.contains(&Change::Passive) => {
                changes.retain(|it| !matches!(it, Change::Marks { .. }));
            }
            _ => {}
        }
        let early = self.bug == Some(Bug::AnswerBeforeWrite);
        let pending = Pending::Commit {
            device,
            life: live.life,
            id: (!early).then_some(id),
            fence: live.fence.clone(),
            changes: changes.clone(),
            confirmed: self.pulse.confirmed(),
        };
        let request = Request::Commit(device, live.fence.clone(), changes);
        if early {
            live.endpoint.persisted(reading, id, Ok(()));
        }
        self.ask(pending, request);
    }

    pub(super) fn reach(
        &mut self,
        device: DeviceId,
        association: AssociationId,
        session: &Session,
        numbers: crate::store::Numbers,
        exact: bool,
    ) {
        let (reading, key) = (self.reading(), self.key());
        let session = Session { numbers, ..session.clone() };
        let made = session.peer.zip(self.ground.clone()).and_then(|(peer, ground)| {
            Connection::reach(ground, key, device, &session, exact, place(peer), reading.now)
        });
        let link = made.map(|connection| {
            let link = connection.link;
            let by_address = session.cid.is_empty().then_some(session.peer).flatten();
            self.insert(key.index, connection, None, by_address);
            let (mode, credential) = (session.mode, session.credential_version);
            Link { security: Security::Dtls(Secured { association, mode, credential }), ..link }
        });
        if let Some(live) = self.live.get_mut(&device) {
            live.endpoint.reached(reading, link);
        }
    }
}

fn forget_attempt(change: &mut Change) {
    if let Change::Operation(stored) = change
        && let Some(operation) = stored.operation.as_mut().filter(|it| it.state() == State::Sent)
    {
        operation.set_state(State::Queued);
    }
}
