//! How far a session's numbers went, where others than its actor may look.

use std::cell::Cell;

use crate::{identity::AssociationId, shard::outbox::PeerId, store::Numbers};

/// What a connection's actor shares with the table that it stands in.
#[derive(Debug, Default)]
pub(super) struct Progress {
    session: Cell<Option<Session>>,
    /// What the endpoint has said and the actor has not done yet.
    pending: Cell<u16>,
    retired: Cell<bool>,
    /// The node by which the device was last heard.
    via: Cell<Option<PeerId>>,
}

/// Records that doing one thing for the endpoint may take.
const RECORDS_EACH: u64 = 2;

#[derive(Debug, Clone, Copy)]
struct Session {
    association: AssociationId,
    numbers: Numbers,
    /// The next number that will be sent.
    next: u64,
}

impl Progress {
    /// Notes the numbers after an input; `numbers.write_mark` is the mark that was handed up last.
    pub(super) fn note(&self, association: AssociationId, numbers: Numbers, next: u64) {
        self.session.set(Some(Session { association, numbers, next }));
    }

    /// There is no session any more.
    pub(super) fn clear(&self) {
        self.session.set(None);
    }

    /// The numbers of the session that is in use, for any write that happens now.
    pub(super) fn numbers(&self) -> Option<(AssociationId, Numbers)> {
        self.session.get().map(|session| (session.association, session.numbers))
    }

    /// The numbers as they are, if the session is not used any further.
    pub(super) fn exact(&self) -> Option<(AssociationId, Numbers)> {
        let Session { association, numbers, next } = self.session.get()?;
        Some((association, Numbers { write_mark: next, ..numbers }))
    }

    /// The endpoint has said something to the actor.
    pub(super) fn promise(&self) {
        self.pending.set(self.pending.get().saturating_add(1));
    }

    /// The actor begins to do it.
    pub(super) fn keep(&self) {
        self.pending.set(self.pending.get().saturating_sub(1));
    }

    /// Ends the connection: its actor does what the endpoint has said before, for which numbers are set apart, and takes
    /// nothing more.
    pub(super) fn retire(&self) -> Option<(AssociationId, Numbers)> {
        self.retired.set(true);
        let (association, numbers) = self.exact()?;
        self.clear();
        let write_mark = numbers.write_mark + u64::from(self.pending.get()) * RECORDS_EACH;
        Some((association, Numbers { write_mark, ..numbers }))
    }

    /// The device was heard by way of this node.
    pub(super) fn heard_via(&self, via: Option<PeerId>) {
        self.via.set(via);
    }

    /// The node by which the device was last heard, if that is another one.
    pub(super) fn via(&self) -> Option<PeerId> {
        self.via.get()
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_session_gives_its_exact_numbers_once() {
        let progress = Progress::default();
        let association = AssociationId::from_bytes([1; 8]);
        let numbers = Numbers { write_mark: 70_000, read_floor: 9, read_window: 1 };
        progress.note(association, numbers, 12);
        assert_eq!(progress.numbers(), Some((association, numbers)), "with the headroom that is on record");
        let exact = Numbers { write_mark: 12, ..numbers };
        assert_eq!(progress.retire(), Some((association, exact)));
        assert!(progress.is_retired());
        assert_eq!(progress.retire(), None);
    }

    #[test]
    fn what_the_endpoint_said_before_has_numbers_of_its_own() {
        let progress = Progress::default();
        progress.note(AssociationId::from_bytes([1; 8]), Numbers::default(), 12);
        progress.promise();
        progress.promise();
        progress.keep();
        assert_eq!(progress.retire().unwrap().1.write_mark, 14);
    }
}
