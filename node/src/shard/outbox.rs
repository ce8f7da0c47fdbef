//! Datagrams on their way out of one shard, gathered so that one system call sends many.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use tokio::sync::Notify;

/// One datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The receiver.
    pub to: SocketAddr,
    /// The local address to send from; `None` lets the kernel choose.
    pub from: Option<IpAddr>,
    /// The node by which it leaves, if that is another one.
    pub via: Option<PeerId>,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// Names one run of another node, by which a device's datagrams come and go. Never used for another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub NonZeroU32);

/// Names one of the shard's sockets. All nodes of a cluster listen alike, so it names the same one on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u8);

/// Collects what the actors send during one turn of the shard's runtime.
#[derive(Debug, Default)]
pub struct Outbox {
    queues: RefCell<Vec<Vec<Transmit>>>,
    /// What leaves by other nodes.
    relayed: RefCell<Vec<(SocketId, Transmit)>>,
    filled: Notify,
}

impl Outbox {
    /// An outbox for `sockets` sockets.
    pub fn new(sockets: usize) -> Self {
        Self {
            queues: RefCell::new(vec![Vec::new(); sockets]),
            relayed: RefCell::default(),
            filled: Notify::new(),
        }
    }

    /// Queues a datagram; it leaves when the actors that are ready have had their turn.
    pub fn push(&self, socket: SocketId, datagram: Transmit) {
        let mut relayed = self.relayed.borrow_mut();
        let mut queues = self.queues.borrow_mut();
        let empty = relayed.is_empty() && queues.iter().all(Vec::is_empty);
        if datagram.via.is_some() {
            relayed.push((socket, datagram));
        } else {
            queues[usize::from(socket.0)].push(datagram);
        }
        if empty {
            self.filled.notify_one();
        }
    }

    /// Waits until something is there to send. Cancel-safe.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Exchanges what `socket` has to send for an empty `buffer`, so that both keep their memory.
    pub fn swap(&self, socket: SocketId, buffer: &mut Vec<Transmit>) {
        std::mem::swap(&mut self.queues.borrow_mut()[usize::from(socket.0)], buffer);
    }

    /// Takes what leaves by other nodes, each with the socket that it leaves from there.
    pub fn take_relayed(&self) -> Vec<(SocketId, Transmit)> {
        std::mem::take(&mut *self.relayed.borrow_mut())
    }
}
