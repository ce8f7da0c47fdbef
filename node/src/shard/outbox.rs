//! Datagrams on their way out of one shard, gathered so that one system call sends many.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
};

use tokio::sync::Notify;

/// One datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The receiver.
    pub to: SocketAddr,
    /// The local address to send from; `None` lets the kernel choose.
    pub from: Option<IpAddr>,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// Names one of the shard's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u8);

/// Collects what the actors send during one turn of the shard's runtime.
#[derive(Debug, Default)]
pub struct Outbox {
    queues: RefCell<Vec<Vec<Transmit>>>,
    filled: Notify,
}

impl Outbox {
    /// An outbox for `sockets` sockets.
    pub fn new(sockets: usize) -> Self {
        Self { queues: RefCell::new(vec![Vec::new(); sockets]), filled: Notify::new() }
    }

    /// Queues a datagram; it leaves when the actors that are ready have had their turn.
    pub fn push(&self, socket: SocketId, datagram: Transmit) {
        let mut queues = self.queues.borrow_mut();
        let empty = queues.iter().all(Vec::is_empty);
        queues[usize::from(socket.0)].push(datagram);
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
}
