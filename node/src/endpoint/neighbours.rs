//! The other nodes of the cluster, as the rooms that serve devices see them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use godwit_proto::v1::Operation;

use super::handle::{NewOperation, SubmitError, Submitted};
use crate::{
    identity::{AssociationId, DeviceId, Owner},
    ownership::{Answer, Membership},
    shard::outbox::{PeerId, SocketId, Transmit},
    store::Member,
};

/// Something of a device that the node which received it can't judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Whose it is.
    pub device: DeviceId,
    /// The DTLS association in whose keys it is; `None`: it is known by its address.
    pub session: Option<AssociationId>,
    /// Where it came in.
    pub socket: SocketId,
    /// The device's address.
    pub peer: std::net::SocketAddr,
    /// The node's address that it was sent to.
    pub local: Option<std::net::IpAddr>,
    /// The datagram.
    pub bytes: Box<[u8]>,
    /// The receiver goes on as if it had come there: this node can't claim.
    pub relay: bool,
}

/// Other nodes. Nothing here blocks; a future that is dropped gives up waiting.
pub trait Neighbours: Send + Sync + 'static {
    /// Who is alive; `None`: this node stands alone, and whatever it finds is its own.
    fn membership(&self) -> Option<Arc<Membership>>;

    /// A node has left something unanswered for too long.
    fn silent(&self, owner: &Owner);

    /// Hands what a device has sent to its owner.
    fn present(&self, to: &Member, present: Present) -> BoxFuture<'static, Answer>;

    /// Asks whether a node has a device: [`Answer::Handled`], or [`Answer::Gone`]. With `take` it gives the device up
    /// first, for a newer session or registration of it has come here. Waits for the end of its writes.
    fn release(&self, to: &Member, device: DeviceId, take: bool) -> BoxFuture<'static, Answer>;

    /// Sends datagrams by the nodes that their `via` names, as far as these can be reached.
    fn transmit(&self, datagrams: Vec<(SocketId, Transmit)>);

    /// Hands in a command for a device that another node has or is to claim. [`SubmitError::Elsewhere`]: look again.
    fn submit(
        &self,
        to: &Member,
        device: DeviceId,
        operation: NewOperation,
    ) -> BoxFuture<'static, Result<Submitted, SubmitError>>;

    /// Takes a command back at the node that has the device.
    fn cancel(
        &self,
        to: &Member,
        device: DeviceId,
        operation: String,
    ) -> BoxFuture<'static, Result<Operation, SubmitError>>;

    /// Which run of which node it is.
    fn owner(&self, peer: PeerId) -> Option<Owner>;

    /// The living run of a node, to send by.
    fn peer(&self, node: &str) -> Option<PeerId>;
}

/// No other nodes: the store is this process's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Neighbours for Alone {
    fn membership(&self) -> Option<Arc<Membership>> {
        None
    }

    fn silent(&self, _: &Owner) {}

    fn present(&self, _: &Member, _: Present) -> BoxFuture<'static, Answer> {
        Box::pin(async { Answer::Dead })
    }

    fn release(&self, _: &Member, _: DeviceId, _: bool) -> BoxFuture<'static, Answer> {
        Box::pin(async { Answer::Dead })
    }

    fn transmit(&self, _: Vec<(SocketId, Transmit)>) {}

    fn submit(
        &self,
        _: &Member,
        _: DeviceId,
        _: NewOperation,
    ) -> BoxFuture<'static, Result<Submitted, SubmitError>> {
        Box::pin(async { Err(SubmitError::Elsewhere) })
    }

    fn cancel(
        &self,
        _: &Member,
        _: DeviceId,
        _: String,
    ) -> BoxFuture<'static, Result<Operation, SubmitError>> {
        Box::pin(async { Err(SubmitError::Elsewhere) })
    }

    fn owner(&self, _: PeerId) -> Option<Owner> {
        None
    }

    fn peer(&self, _: &str) -> Option<PeerId> {
        None
    }
}
