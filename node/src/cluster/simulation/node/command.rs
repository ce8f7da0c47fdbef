//! Commands of callers: to the device's owner, wherever that is, and what becomes of them back.
//!
//! ```text
//!  caller ─► live here? ─► endpoint
//!     └ no ─► load ─┬─► its owner lives, or the node where it was heard last ─► Submit ─► as from a caller there
//!                   └─► nobody has it ─► Activation ─► claim ─► endpoint
//! ```
//! As the process's service does it, but that it follows a device that moves without a rest.

use godwit_proto::v1::operation::State;

use super::{
    super::{
        callers::Told,
        store::{Reply, Request},
    },
    Node,
    frame::{Frame, Taken},
    out::Out,
    reply::Pending,
};
use crate::{
    endpoint::handle::NewOperation,
    identity::{DeviceId, Owner},
    ownership::{Standing, Want},
};

/// Nodes to which a device that moves is followed.
const FOLLOWS: u8 = 4;

/// Who waits for what becomes of a command.
#[derive(Debug, Clone)]
pub(super) enum Asker {
    /// A caller here.
    Caller,
    /// One at this node, which knows the command by this number.
    Node(Owner, u64),
}

/// A command on its way to its device.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) device: DeviceId,
    operation: NewOperation,
    asker: Asker,
    left: u8,
}

impl Node {
    /// A caller hands a command in.
    pub(in crate::cluster::simulation) fn submit(
        &mut self,
        now_us: u64,
        device: DeviceId,
        operation: NewOperation,
    ) -> Vec<Out> {
        self.turn(now_us, None);
        self.hand_in(Order { device, operation, asker: Asker::Caller, left: FOLLOWS });
        self.finish()
    }

    /// Another node does, for a caller there: it has looked for the device already.
    pub(super) fn submitted(&mut self, by: Owner, id: u64, device: DeviceId, operation: NewOperation) {
        let order = Order { device, operation, asker: Asker::Node(by, id), left: 0 };
        match self.live.contains_key(&device) {
            true => self.take_order(order),
            false => self.look_for(order),
        }
    }

    fn hand_in(&mut self, order: Order) {
        let device = order.device;
        match self.live.contains_key(&device) {
            true => self.take_order(order),
            false => self.ask(Pending::Where(Box::new(order)), Request::Load(device)),
        }
    }

    /// What is on record of the device that a command is for.
    pub(super) fn located(&mut self, order: Order, reply: Reply) {
        let Reply::Loaded(record) = reply else { return self.ordered(order, Taken::No) };
        let (boot, header) = (self.boot(), record.map(|record| record.header).unwrap_or_default());
        let there = if header.passive {
            let path = header.path_node.filter(|node| *node != self.owner.node);
            path.and_then(|path| self.membership.others(boot).into_iter().find(|it| it.owner.node == path))
        } else {
            match header.owner.map(|owner| self.membership.standing(boot, &owner)) {
                Some(Standing::Alive(member)) => Some(member),
                _ => None,
            }
        };
        let Some(member) = there else { return self.look_for(order) };
        self.next += 1;
        let (id, device, operation) = (self.next, order.device, order.operation.clone());
        self.forwarded.insert(id, order);
        self.tell(&member.owner, Frame::Submit { id, device, operation: Box::new(operation) });
    }

    fn look_for(&mut self, order: Order) {
        let device = order.device;
        let id = self.begin(Want::Command);
        let finding = self.finding.get_mut(&id).expect("just begun");
        finding.device = Some(device);
        finding.orders.push(order);
        self.ask(Pending::Load(id), Request::Load(device));
    }

    /// The device is live here.
    pub(super) fn take_order(&mut self, order: Order) {
        let reading = self.reading();
        match self.live.get_mut(&order.device).filter(|live| !live.endpoint.leaving()) {
            Some(live) => {
                self.callers.insert(order.operation.id.clone(), order.asker);
                live.endpoint.submit(reading, order.operation);
            }
            None => self.ordered(order, Taken::Elsewhere),
        }
    }

    /// The command did not come to its device's endpoint.
    pub(super) fn ordered(&mut self, mut order: Order, taken: Taken) {
        if taken == Taken::Elsewhere && order.left > 0 {
            order.left -= 1;
            return self.hand_in(order);
        }
        self.answer_asker(order.asker, &order.operation.id, taken);
    }

    fn answer_asker(&mut self, asker: Asker, operation: &str, taken: Taken) {
        match asker {
            Asker::Node(owner, id) => self.tell(&owner, Frame::Submitted { id, taken }),
            Asker::Caller => {
                let told = if taken == Taken::Yes { Told::Taken } else { Told::Refused };
                self.out.push(Out::Told { operation: operation.to_owned(), told });
            }
        }
    }

    /// An endpoint has taken a command, or refused it.
    pub(super) fn endpoint_took(&mut self, operation: &str, ok: bool) {
        let Some(asker) = self.callers.get(operation).cloned() else { return };
        if !ok {
            self.callers.remove(operation);
        }
        self.answer_asker(asker, operation, if ok { Taken::Yes } else { Taken::No });
    }

    /// A command has ended at its endpoint.
    pub(super) fn endpoint_ended(&mut self, operation: String, state: State) {
        match self.callers.remove(&operation) {
            Some(Asker::Caller) => self.out.push(Out::Told { operation, told: Told::Ended(state) }),
            Some(Asker::Node(owner, id)) => self.tell(&owner, Frame::Ended { id, state }),
            // An earlier owner's, whose caller waits no more.
            None => {}
        }
    }

    /// What another node says of a command that went there.
    pub(super) fn forward_answered(&mut self, id: u64, taken: Taken) {
        if taken == Taken::Yes {
            let operation = self.forwarded.get(&id).map(|order| order.operation.id.clone());
            let told = Told::Taken;
            self.out.extend(operation.map(|operation| Out::Told { operation, told }));
        } else if let Some(order) = self.forwarded.remove(&id) {
            self.ordered(order, taken);
        }
    }

    pub(super) fn forward_ended(&mut self, id: u64, state: State) {
        let operation = self.forwarded.remove(&id).map(|order| order.operation.id);
        let told = Told::Ended(state);
        self.out.extend(operation.map(|operation| Out::Told { operation, told }));
    }
}
