//! What the endpoints of one shard publish during one turn of its runtime, so that one write takes all of it.

use std::cell::RefCell;

use tokio::sync::Notify;

use super::{Outlet, Publication, Publish, Ticket};

/// Gathers publications; whoever waits for [`filled`](Turn::filled) ends the turn.
#[derive(Debug, Default)]
pub struct Turn {
    publications: RefCell<Vec<Publication>>,
    filled: Notify,
}

impl Turn {
    /// Adds a publication, which goes out when the actors that are ready have had their turn.
    pub fn push(&self, publication: Publication) {
        let mut publications = self.publications.borrow_mut();
        if publications.is_empty() {
            self.filled.notify_one();
        }
        publications.push(publication);
    }

    /// Waits until something is there to publish. Cancel-safe.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Publishes what was gathered, in its order, and says of each what became of it. `ended` may push again.
    pub fn end(&self, outlet: &Outlet, ended: impl FnMut(Ticket, Publish)) {
        let mut publications = self.publications.take();
        if publications.is_empty() {
            return;
        }
        outlet.publish_turn(&publications, ended);
        publications.clear();
        // Its memory is used again, unless more has come meanwhile.
        let mut next = self.publications.borrow_mut();
        if next.is_empty() {
            *next = publications;
        }
    }
}
