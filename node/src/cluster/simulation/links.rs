//! The connections of a simulated node, as its endpoints see them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
};

use crate::{
    connection::simulated::{Ground, Numbered},
    endpoint::link::{Downlink, Link, Reach},
    identity::{AssociationId, DeviceId},
    shard::{ActorKey, outbox::PeerId},
    store::Numbers,
};

/// What waits for a connection, in the order of a mailbox.
pub(super) enum Item {
    Down(DeviceId, Downlink),
    Retire,
}

/// A table, and one mailbox for all.
#[derive(Default)]
pub(super) struct Links {
    table: RefCell<BTreeMap<u32, Rc<Numbered>>>,
    mailbox: RefCell<VecDeque<(u32, Item)>>,
    ground: RefCell<Option<Rc<Ground>>>,
}

impl Links {
    pub(super) fn set_ground(&self, ground: Rc<Ground>) {
        self.ground.replace(Some(ground));
    }

    pub(super) fn insert(&self, key: u32, progress: Rc<Numbered>) {
        self.table.borrow_mut().insert(key, progress);
    }

    pub(super) fn remove(&self, key: u32) {
        self.table.borrow_mut().remove(&key);
    }

    pub(super) fn take(&self) -> Option<(u32, Item)> {
        self.mailbox.borrow_mut().pop_front()
    }
}

impl crate::endpoint::link::Links for Links {
    fn deliver(&self, connection: ActorKey, device: DeviceId, downlink: Downlink) -> bool {
        let table = self.table.borrow();
        let Some(progress) = table.get(&connection.index) else { return false };
        progress.promise();
        self.mailbox.borrow_mut().push_back((connection.index, Item::Down(device, downlink)));
        true
    }

    /// The node makes them itself.
    fn reach(self: Rc<Self>, _: DeviceId, _: SocketAddr, _: Option<SocketAddr>, _: Reach) -> Option<Link> {
        None
    }

    fn local(&self, _: &Link) -> Option<SocketAddr> {
        Some(([127, 0, 0, 1], 5684).into())
    }

    /// The node keeps that beside its connections.
    fn via(&self, _: ActorKey) -> Option<PeerId> {
        None
    }

    fn numbers(&self, connection: ActorKey) -> Option<(AssociationId, Numbers)> {
        self.table.borrow().get(&connection.index)?.numbers()
    }

    fn retire(&self, device: DeviceId) -> Vec<(AssociationId, Numbers)> {
        let ground = self.ground.borrow();
        let own = ground.iter().flat_map(|ground| ground.of_device(device));
        own.filter_map(|key| {
            let progress = self.table.borrow_mut().remove(&key.index)?;
            let exact = progress.retire();
            self.mailbox.borrow_mut().push_back((key.index, Item::Retire));
            exact
        })
        .collect()
    }
}
