//! The search for whoever serves a device that is not here.

use std::net::SocketAddr;

use super::{
    super::store::Request,
    Node, WAITING,
    command::Order,
    frame::{Frame, Taken},
    out::{Note, Out},
    place,
    reply::Pending,
};
use crate::{
    connection::simulated::{Connection, Place, Wanted},
    endpoint::link::Uplink,
    identity::{AssociationId, DeviceId, Owner},
    ownership::{Activation, Answer, Step, Want},
    store::DeviceRecord,
};

/// A search for whoever serves something.
pub(super) struct Finding {
    pub(super) wanted: Option<Wanted>,
    pub(super) activation: Activation,
    pub(super) device: Option<DeviceId>,
    pub(super) association: Option<AssociationId>,
    pub(super) waiting: Vec<(SocketAddr, Option<Owner>, Vec<u8>)>,
    pub(super) uplinks: Vec<(u32, Uplink)>,
    pub(super) orders: Vec<Order>,
    pub(super) loaded: Option<Box<DeviceRecord>>,
    /// What the first load has found, for a planted bug.
    pub(super) first: Option<Box<DeviceRecord>>,
    /// An answer of a peer is awaited.
    pub(super) asked: Vec<u64>,
    pub(super) asked_of: Option<Owner>,
}

impl Node {
    pub(super) fn find(&mut self, wanted: Wanted, from: SocketAddr, via: Option<Owner>, bytes: Vec<u8>) {
        if let Some(finding) = self.by_wanted.get(&wanted).and_then(|id| self.finding.get_mut(id)) {
            if finding.waiting.len() < WAITING {
                finding.waiting.push((from, via, bytes));
            }
            // While an owner is asked, they wait for its answer: they are presented after those before.
            return;
        }
        let id = self.begin(Want::Packet);
        let finding = self.finding.get_mut(&id).expect("just begun");
        finding.wanted = Some(wanted);
        finding.waiting.push((from, via, bytes));
        self.by_wanted.insert(wanted, id);
        self.ask(Pending::Resolve(id), Request::Resolve(wanted.pointer()));
    }

    pub(super) fn begin(&mut self, want: Want) -> u64 {
        self.next += 1;
        let finding = Finding {
            wanted: None,
            activation: Activation::new(self.boot(), want, &self.membership),
            device: None,
            association: None,
            waiting: Vec::new(),
            uplinks: Vec::new(),
            orders: Vec::new(),
            loaded: None,
            first: None,
            asked: Vec::new(),
            asked_of: None,
        };
        self.finding.insert(self.next, finding);
        self.next
    }

    /// An endpoint is wanted for what a connection has to say.
    pub(super) fn activate(&mut self, device: DeviceId, connection: u32, uplink: Uplink) {
        let same = |finding: &&mut Finding| {
            finding.device == Some(device) && finding.wanted.is_none() && finding.orders.is_empty()
        };
        if let Some(finding) = self.finding.values_mut().find(same) {
            return finding.uplinks.push((connection, uplink));
        }
        let id = self.begin(Want::Packet);
        let finding = self.finding.get_mut(&id).expect("just begun");
        finding.device = Some(device);
        finding.uplinks.push((connection, uplink));
        self.ask(Pending::Load(id), Request::Load(device));
    }

    pub(super) fn resolved(&mut self, id: u64, device: Option<DeviceId>) {
        let Some(finding) = self.finding.get_mut(&id) else { return };
        match device {
            Some(device) => {
                finding.device = Some(device);
                self.ask(Pending::Load(id), Request::Load(device));
            }
            None => self.give_up(id),
        }
    }

    pub(super) fn loaded(&mut self, id: u64, record: Option<Box<DeviceRecord>>) {
        let (boot, now, ground) = (self.boot(), self.instant(), self.ground.clone());
        let Some(finding) = self.finding.get_mut(&id) else { return };
        let device = finding.device.expect("loaded by its id");
        if let Some(wanted) = finding.wanted {
            let (Some(record), Some(ground)) = (&record, ground) else { return self.give_up(id) };
            let datagrams: Vec<(Place, Box<[u8]>)> =
                finding.waiting.iter().map(|(from, _, bytes)| (place(*from), bytes[..].into())).collect();
            match ground.authenticate(now, device, record, wanted, &datagrams) {
                Some((association, _)) => finding.association = Some(association),
                None => return self.give_up(id),
            }
        }
        if finding.first.is_none() {
            finding.first.clone_from(&record);
        }
        finding.loaded = record;
        if self.live.contains_key(&device) {
            return self.join(id, device);
        }
        let header = finding.loaded.as_ref().map(|record| &record.header);
        let step = finding.activation.handle_loaded(boot, header, &self.membership);
        self.step(id, step);
    }

    pub(super) fn step(&mut self, id: u64, step: Step) {
        let Some(finding) = self.finding.get_mut(&id) else { return };
        let device = finding.device;
        match (step, device) {
            (Step::Claim { seen }, Some(device)) => self.claim(id, device, seen),
            (Step::LoadAgain, Some(device)) => self.ask(Pending::Load(id), Request::Load(device)),
            // A command goes to a living owner by itself.
            (Step::Present(_), Some(_)) if !finding.orders.is_empty() => self.give_up(id),
            (Step::Present(member), Some(device)) => self.present(id, device, member.owner.clone()),
            (Step::Relay(member), _) => {
                for (from, _, bytes) in std::mem::take(&mut finding.waiting) {
                    self.tell(&member.owner, Frame::Relay { from, bytes });
                }
                self.give_up(id);
            }
            _ => self.give_up(id),
        }
    }

    fn present(&mut self, id: u64, device: DeviceId, owner: Owner) {
        let mut frames = Vec::new();
        let held = self.membership.hold(self.boot()).is_some();
        let Some(finding) = self.finding.get_mut(&id) else { return };
        finding.asked.clear();
        finding.asked_of = Some(owner.clone());
        match finding.association {
            Some(association) => {
                for (from, _, bytes) in &finding.waiting {
                    self.next += 1;
                    finding.asked.push(self.next);
                    let (from, bytes) = (*from, bytes.clone());
                    frames.push(Frame::Present { id: self.next, device, association, from, bytes, held });
                    self.out.push(Out::Note(Note::Presented));
                }
            }
            None => {
                self.next += 1;
                finding.asked.push(self.next);
                frames.push(Frame::Release { id: self.next, device });
            }
        }
        for asked in finding.asked.clone() {
            self.asked.insert(asked, id);
        }
        for frame in frames {
            self.tell(&owner, frame);
        }
    }

    pub(super) fn answered(&mut self, asked: u64, answer: Answer) {
        let Some(id) = self.asked.remove(&asked) else { return };
        let boot = self.boot();
        let Some(finding) = self.finding.get_mut(&id) else { return };
        let Some(at) = finding.asked.iter().position(|other| *other == asked) else { return };
        finding.asked.remove(at);
        if matches!(answer, Answer::Handled | Answer::Replay | Answer::Busy) && finding.association.is_some()
        {
            // That datagram is done with; the answers keep their order.
            if at < finding.waiting.len() {
                finding.waiting.remove(at);
            }
            if !finding.asked.is_empty() {
                return;
            }
            if let (false, Some(device), Some(owner)) =
                (finding.waiting.is_empty(), finding.device, finding.asked_of.clone())
            {
                return self.present(id, device, owner);
            }
        }
        finding.asked.clear();
        finding.asked_of = None;
        let step = finding.activation.handle_answer(boot, answer, &self.membership);
        self.step(id, step);
    }

    /// What was looked for is here.
    pub(super) fn join(&mut self, id: u64, device: DeviceId) {
        let now = self.instant();
        let Some(finding) = self.finding.remove(&id) else { return };
        if let Some(wanted) = finding.wanted {
            self.by_wanted.remove(&wanted);
            let (Some(ground), Some(association)) = (self.ground.clone(), finding.association) else {
                return;
            };
            let via = finding.waiting.first().and_then(|(_, via, _)| via.clone());
            let waiting: Vec<(Place, Box<[u8]>)> =
                finding.waiting.into_iter().map(|(from, _, bytes)| (place(from), bytes.into())).collect();
            if waiting.is_empty() {
                return;
            }
            let by_address = match wanted {
                Wanted::Named(_) => None,
                Wanted::At(address) => Some(address),
            };
            let key = self.key();
            let connection = Connection::claim(ground, key, device, association, wanted.cid(), waiting, now);
            self.insert(key.index, connection, via, by_address);
        }
        for (connection, uplink) in finding.uplinks {
            self.deliver(device, connection, uplink);
        }
        for order in finding.orders {
            self.take_order(order);
        }
    }

    pub(super) fn give_up(&mut self, id: u64) {
        let now = self.instant();
        let Some(finding) = self.finding.remove(&id) else { return };
        if let Some(wanted) = finding.wanted {
            self.by_wanted.remove(&wanted);
        }
        for (connection, uplink) in finding.uplinks {
            if let Some(conn) = self.connections.get_mut(&connection) {
                conn.connection.undelivered(now, &uplink);
            }
        }
        for order in finding.orders {
            self.ordered(order, Taken::Elsewhere);
        }
    }
}
