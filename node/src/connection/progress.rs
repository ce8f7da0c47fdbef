//! How far a session's numbers went, where others than its actor may look.

use std::cell::Cell;

use crate::{identity::AssociationId, store::Numbers};

/// What a connection's actor shares with the table that it stands in.
#[derive(Debug, Default)]
pub(super) struct Progress {
    session: Cell<Option<Session>>,
    retired: Cell<bool>,
}

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

    /// Ends the connection: its actor takes nothing more.
    pub(super) fn retire(&self) -> Option<(AssociationId, Numbers)> {
        self.retired.set(true);
        let exact = self.exact();
        self.clear();
        exact
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
}
