//! Tells peers of the changes of registrations and operations here, so that whoever watches at any node hears of all.

use std::sync::Arc;

use prost::Message as _;
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};

use super::link::Hub;
use crate::endpoint::handle::{OperationChange, RegistrationChange, Told};

/// Changes in one message at most.
const BATCH: usize = 256;
/// Bytes in one message, about: a peer takes 4 MiB.
const BATCH_BYTES: usize = 1 << 20;

/// What peers are told of.
pub trait Change: Clone + Send + 'static {
    /// It happened at this node.
    fn is_here(&self) -> bool;
    /// Bytes in a message, about.
    fn size(&self) -> usize;
    /// Tells all peers; `gap`: some before these were lost.
    fn tell(hub: &Hub, changes: &[Self], gap: bool);
}

impl Change for RegistrationChange {
    fn is_here(&self) -> bool {
        self.here
    }

    fn size(&self) -> usize {
        self.endpoint.len() + 32
    }

    fn tell(hub: &Hub, changes: &[Self], gap: bool) {
        hub.tell_changes(changes, gap);
    }
}

impl Change for OperationChange {
    fn is_here(&self) -> bool {
        self.here
    }

    fn size(&self) -> usize {
        self.operation.encoded_len()
    }

    fn tell(hub: &Hub, changes: &[Self], gap: bool) {
        hub.tell_operations(changes, gap);
    }
}

/// Passes changes on for as long as endpoints tell of them.
pub async fn tell<C: Change>(hub: Arc<Hub>, mut changes: Receiver<Told<C>>) {
    loop {
        let mut batch = Batch::default();
        match changes.recv().await {
            Ok(told) => batch.add(told),
            Err(RecvError::Lagged(_)) => batch.lose(),
            Err(RecvError::Closed) => return,
        }
        while !batch.is_full() {
            match changes.try_recv() {
                Ok(told) => batch.add(told),
                Err(TryRecvError::Lagged(_)) => batch.lose(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if batch.gap || !batch.changes.is_empty() {
            C::tell(&hub, &batch.changes, batch.gap);
        }
    }
}

/// One message.
struct Batch<C> {
    changes: Vec<C>,
    bytes: usize,
    gap: bool,
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Self { changes: Vec::new(), bytes: 0, gap: false }
    }
}

impl<C: Change> Batch<C> {
    fn add(&mut self, told: Told<C>) {
        let Told::Change(change) = told else { return };
        if !change.is_here() {
            return;
        }
        let bytes = change.size();
        if bytes > BATCH_BYTES {
            return self.lose();
        }
        self.bytes += bytes;
        self.changes.push(change);
    }

    /// What came before a gap is told as lost with it.
    fn lose(&mut self) {
        *self = Self { gap: true, ..Self::default() };
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= BATCH || self.bytes >= BATCH_BYTES
    }
}

#[cfg(test)]
mod tests {
    use godwit_proto::v1::Operation;

    use super::*;

    fn change(detail: usize, here: bool) -> Told<OperationChange> {
        let operation = Arc::new(Operation { detail: "x".repeat(detail), ..Operation::default() });
        Told::Change(OperationChange { operation, here })
    }

    #[test]
    fn a_message_has_its_bounds_and_what_fits_into_none_is_a_gap() {
        let mut batch = Batch::default();
        batch.add(change(10, false));
        assert!(batch.changes.is_empty(), "a peer's own");
        (0..BATCH).for_each(|_| batch.add(change(10, true)));
        assert!(batch.is_full() && !batch.gap);
        let mut batch = Batch::default();
        (0..2).for_each(|_| batch.add(change(BATCH_BYTES / 2, true)));
        assert!(batch.is_full());
        batch.add(change(2 * BATCH_BYTES, true));
        assert!(batch.gap && batch.changes.is_empty());
    }
}
