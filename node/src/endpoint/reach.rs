//! The connection by which a device is reached: one that it has made itself, or one that is made from its record.
//!
//! One that is made from an address is only lent: it is given back when nothing is left to send, for by the next
//! request the address may be another device's.

use std::{net::SocketAddr, sync::Arc};

use godwit_coap::FailReason;

use super::{
    core::Core,
    link::{Downlink, Link},
    message::Effect,
};
use crate::{
    clock::Reading,
    shard::{ActorKey, outbox::PeerId},
};

/// Where a device was last registered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    /// Its address.
    pub(super) peer: SocketAddr,
    /// The node's, that it sends to.
    pub(super) local: Option<SocketAddr>,
}

impl Core {
    /// Makes a connection this device's, in place of the one before.
    pub(super) fn link_to(&mut self, now: Reading, link: Link) {
        self.lent = false;
        if let Some(old) = self.link.replace(link)
            && (old.connection, old.security) != (link.connection, link.security)
        {
            self.abandon_flight(now);
            if old.connection != link.connection {
                // The device has left that address: nothing of it will be repeated from there.
                self.downlink(old, Downlink::Close);
            }
        }
        let uplink_body = self.profile.uplink_body();
        self.downlink(link, Downlink::Link { device: self.device, uplink_body });
    }

    /// Leaves the link that these words fit, with what was sent over it.
    pub(super) fn unlink(&mut self, now: Reading, is_left: impl FnOnce(&Link) -> bool) {
        if let Some(link) = self.link.take_if(|own| is_left(own)) {
            self.observations.drop_partial(link.connection);
            self.abandon_flight(now);
        }
    }

    /// A connection is gone, or another device's: what was sent or asked over it gets no answer.
    pub(super) fn handle_unlinked(&mut self, now: Reading, connection: ActorKey) {
        self.observations.drop_partial(connection);
        self.session_lost(connection);
        if self.link.is_some_and(|link| link.connection == connection) {
            self.link = None;
            if let Some(flight) = self.downlinks.flight.take() {
                self.land_failed(now, *flight, FailReason::Timeout);
            }
        }
    }

    /// Asks for a connection to where the device is by its record: nothing was heard of it since the activation.
    pub(super) fn reach(&mut self, now: Reading) {
        if self.reaching {
            return;
        }
        if self.registered.as_ref().is_some_and(|registered| registered.proof.is_some()) {
            if !self.reach_by_session(now) {
                self.out_of_reach(now);
            }
            return;
        }
        match self.address {
            Some(address) => {
                self.reaching = true;
                self.effect(Effect::Reach(address));
            }
            None => self.out_of_reach(now),
        }
    }

    pub(super) fn handle_reached(&mut self, now: Reading, link: Option<Link>) {
        self.reaching = false;
        if let Some(link) = link {
            self.session_reached(link);
        }
        match link {
            // The device has come by itself.
            _ if self.link.is_some() || self.leaving() => {}
            Some(link) => {
                self.link_to(now, link);
                // A session is the device's for good; an address may become another's.
                self.lent = link.security.secured().is_none();
            }
            None => self.out_of_reach(now),
        }
    }

    /// Gives up a link that was made from the record, when nothing is left to send: before the next request it is
    /// asked again whose the address is.
    pub(super) fn return_link(&mut self) {
        if self.lent
            && let Some(link) = self.link.take()
        {
            self.lent = false;
            self.downlink(link, Downlink::Close);
        }
    }

    /// The node where the device was last heard; `None`: it was not heard since the activation.
    pub(super) fn path_node(&self) -> Option<Arc<str>> {
        let link = self.link?;
        let via = self.services.links.get().map_or(link.via, |links| links.via(link.connection));
        Some(self.node_of(via))
    }

    /// The name of the node by which a device is reached.
    pub(super) fn node_of(&self, via: Option<PeerId>) -> Arc<str> {
        let process = &self.services.process;
        via.and_then(|peer| process.neighbours.owner(peer))
            .map_or_else(|| process.owner.node.clone(), |it| it.node)
    }
}
