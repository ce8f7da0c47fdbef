//! What the store answers, and what it was asked for.

use godwit_coap::{Code, Response};
use godwit_dtls::{Answer as Provided, Psk, Secret, Ticket};

use super::{
    super::{
        bug::Bug,
        store::{Reply, Request},
    },
    KEY, Node, RECONNECT_US,
    beat::Restoring,
    command::Order,
    out::Out,
};
use crate::{
    clock::Boot,
    connection::simulated as connection,
    endpoint::link::{Call, Downlink, Link},
    identity::{AssociationId, DeviceId, Owner, RegistrationId, SessionId},
    ownership::Confirmed,
    store::{Change, Fence, Session, StoreError},
};

/// What a reply of the store is for.
pub(super) enum Pending {
    Beat(Boot),
    Lane,
    Extend,
    Resolve(u64),
    Load(u64),
    Claim(u64, Option<Owner>, Confirmed),
    Commit {
        device: DeviceId,
        life: u64,
        id: Option<u32>,
        fence: Fence,
        changes: Vec<Change>,
        confirmed: Confirmed,
    },
    Restore(u64, DeviceId),
    Header(DeviceId, u64, Confirmed),
    Psk(u32, Ticket),
    Resume(u32, Ticket, SessionId, bool),
    ReadSession(DeviceId, u64, Link, AssociationId),
    ReachSession(DeviceId, u64, AssociationId, crate::store::Numbers, bool),
    Foreign(u32, Call, RegistrationId),
    Where(Box<Order>),
}

impl Node {
    /// The store has answered, or the connection to it has failed.
    pub(in crate::cluster::simulation) fn reply(&mut self, now_us: u64, id: u64, reply: Reply) -> Vec<Out> {
        self.turn(now_us, None);
        if matches!(reply, Reply::Unavailable) {
            // The connection has broken. Nothing is asked of another process of the store before a heartbeat.
            if self.bug != Some(Bug::ClaimsBeforeHeartbeat) {
                self.membership.handle_store_lost();
                self.beat_due = self.beat_due.min(now_us + RECONNECT_US);
            }
        }
        if let Some(pending) = self.pending.remove(&id) {
            self.replied(pending, reply);
        }
        self.finish()
    }

    fn replied(&mut self, pending: Pending, reply: Reply) {
        let (boot, reading) = (self.boot(), self.reading());
        match (pending, reply) {
            (Pending::Beat(sent), Reply::Beaten(beat, lost)) => self.beaten(sent, *beat, lost),
            (Pending::Lane, reply) => {
                self.lane_asked = false;
                if let Reply::Lane(Ok(lane)) = reply {
                    self.laned(lane.number, lane.from, lane.until);
                }
            }
            (Pending::Extend, Reply::Extended(Ok(until))) => {
                if let Some(ground) = &self.ground {
                    ground.extend_lane(until);
                }
                self.lane = self.lane.map(|(number, _)| (number, until));
            }
            (Pending::Restore(back, device), reply) if self.restoring.back == back => {
                if matches!(reply, Reply::Committed(Err(StoreError::Refused(_)))) {
                    self.recent.drop_device(device);
                }
                match reply {
                    Reply::Committed(_) => {
                        self.restoring.asked -= 1;
                        self.restore_next();
                    }
                    // Once more at the next heartbeat.
                    _ => self.restoring = Restoring::default(),
                }
            }
            (Pending::Restore(..), _) => {}
            (Pending::Resolve(id), Reply::Resolved(device)) => self.resolved(id, device),
            (Pending::Load(id), Reply::Loaded(record)) => self.loaded(id, record),
            (Pending::Resolve(id) | Pending::Load(id), _) => {
                let Some(finding) = self.finding.get_mut(&id) else { return };
                let step = finding.activation.handle_load_failed(boot, &self.membership);
                self.step(id, step);
            }
            (Pending::Claim(id, before, confirmed), Reply::Claimed(result)) => {
                self.claimed(id, before, confirmed, result);
            }
            (Pending::Claim(id, ..), _) => self.give_up(id),
            (Pending::Commit { device, life, id, fence, changes, confirmed }, reply) => {
                let mut result = match reply {
                    Reply::Committed(result) => result,
                    _ => Err(StoreError::Unavailable("down".into())),
                };
                if self.bug == Some(Bug::RefusedWriteCounts) && matches!(result, Err(StoreError::Refused(_)))
                {
                    result = Ok(());
                }
                if result.is_ok() {
                    self.recent.note(boot, device, &fence, changes);
                }
                self.restore_next();
                let Some(live) = self.live.get_mut(&device).filter(|live| live.life == life) else { return };
                if result.is_ok() {
                    live.confirmed = confirmed;
                }
                if let Some(id) = id {
                    live.endpoint.persisted(reading, id, result);
                    if self.bug == Some(Bug::EndForgotten) {
                        live.endpoint.forget_ends();
                    }
                }
            }
            (Pending::Header(device, life, confirmed), reply) => {
                self.header_read(device, life, confirmed, reply);
            }
            (Pending::Psk(key, ticket), reply) => {
                let device = match reply {
                    Reply::Resolved(device) => device,
                    _ => None,
                };
                let document = device.and_then(|device| self.documents.get(&device));
                let subject = document.and_then(connection::subject);
                let psk = subject.map(|subject| Psk { key: Secret::new(KEY.to_vec()), subject });
                self.provide(key, ticket, Provided::Psk(psk));
            }
            (Pending::Resume(key, ticket, id, false), Reply::Resolved(Some(device))) => {
                self.ask(Pending::Resume(key, ticket, id, true), Request::Load(device));
            }
            (Pending::Resume(key, ticket, id, _), reply) => {
                let record = match reply {
                    Reply::Loaded(record) => record,
                    _ => None,
                };
                let sessions = record.iter().flat_map(|record| &record.sessions);
                let session = sessions
                    .filter(|session| session.id == id && !session.provisional)
                    .find(|session| !session.has_expired(reading.unix_ms));
                let owner = record.as_ref().and_then(|record| record.document.as_ref());
                let device = owner.map(|document| DeviceId::of(&document.endpoint));
                let stored = session
                    .zip(device)
                    .and_then(|(session, device)| connection::resumable(&self.settings, device, session));
                self.provide(key, ticket, Provided::Session(stored.map(Box::new)));
            }
            (Pending::ReadSession(device, life, link, association), reply) => {
                let read = session_of(reply, association);
                if let Some(live) = self.live.get_mut(&device).filter(|live| live.life == life) {
                    live.endpoint.session_read(reading, link, association, read);
                }
            }
            (Pending::ReachSession(device, life, association, numbers, exact), reply) => {
                if self.live.get(&device).is_none_or(|live| live.life != life) {
                    return;
                }
                match session_of(reply, association) {
                    Some(session) => self.reach(device, association, &session, numbers, exact),
                    None => {
                        if let Some(live) = self.live.get_mut(&device) {
                            live.endpoint.reached(reading, None);
                        }
                    }
                }
            }
            (Pending::Foreign(key, call, registration), reply) => {
                let gone = match reply {
                    // The id of an ended registration leads to its device for a while.
                    Reply::Resolved(Some(device)) => {
                        return self.ask(Pending::Foreign(key, call, registration), Request::Load(device));
                    }
                    Reply::Resolved(None) => true,
                    Reply::Loaded(record) => {
                        let current = record.and_then(|record| record.registration);
                        current.is_none_or(|current| current.id != registration.as_str())
                    }
                    _ => false,
                };
                let downlink = match gone {
                    true => {
                        let response = Response::diagnostic(Code::NOT_FOUND, "no such registration");
                        Downlink::Reply { id: call.id, response }
                    }
                    false => Downlink::Forget { id: call.id },
                };
                if let Some(conn) = self.connections.get_mut(&key) {
                    conn.connection.answer(reading.now, downlink);
                }
            }
            (Pending::Where(order), reply) => self.located(*order, reply),
            (Pending::Beat(_) | Pending::Extend, _) => {}
        }
    }

    fn provide(&mut self, key: u32, ticket: Ticket, answer: Provided) {
        let now = self.instant();
        if let Some(conn) = self.connections.get_mut(&key) {
            conn.connection.resolved(now, ticket, answer);
        }
    }

    fn header_read(&mut self, device: DeviceId, life: u64, confirmed: Confirmed, reply: Reply) {
        let Some(live) = self.live.get_mut(&device).filter(|live| live.life == life) else { return };
        let Reply::Loaded(record) = reply else {
            // Unsure it stays; the devices repeat what was dropped.
            for held in live.held.take().into_iter().flatten() {
                self.busy(held);
            }
            return;
        };
        let header = record.map(|record| record.header).unwrap_or_default();
        if header.term > live.fence.term {
            return self.stop(device, true);
        }
        live.confirmed = confirmed;
        for held in live.held.take().into_iter().flatten() {
            self.take(held);
        }
    }
}

fn session_of(reply: Reply, association: AssociationId) -> Option<Box<Session>> {
    let Reply::Loaded(Some(record)) = reply else { return None };
    record.sessions.into_iter().find(|session| session.association == association).map(Box::new)
}
