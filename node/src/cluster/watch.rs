//! Tells peers of the changes of registrations here, so that whoever watches at any node hears of all.

use std::sync::Arc;

use tokio::sync::broadcast::{Receiver, error::RecvError, error::TryRecvError};

use super::link::Hub;
use crate::endpoint::handle::Told;

/// Changes in one message at most.
const BATCH: usize = 256;

/// Passes changes on for as long as endpoints tell of them.
pub async fn tell(hub: Arc<Hub>, mut changes: Receiver<Told>) {
    loop {
        let (mut batch, mut gap) = (Vec::new(), false);
        match changes.recv().await {
            Ok(told) => batch.extend(own(told)),
            Err(RecvError::Lagged(_)) => gap = true,
            Err(RecvError::Closed) => return,
        }
        while batch.len() < BATCH {
            match changes.try_recv() {
                Ok(told) => batch.extend(own(told)),
                Err(TryRecvError::Lagged(_)) => {
                    // What came before the gap is told as lost with it.
                    batch.clear();
                    gap = true;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if gap || !batch.is_empty() {
            hub.tell_changes(&batch, gap);
        }
    }
}

fn own(told: Told) -> Option<crate::endpoint::handle::RegistrationChange> {
    match told {
        Told::Change(change) => Some(change).filter(|change| change.here),
        Told::Lost => None,
    }
}
