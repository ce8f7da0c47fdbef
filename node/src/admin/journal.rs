//! The last changes of registrations, so that watchers can resume and a slow one is told.
//!
//! One task copies what endpoints broadcast into a ring; watchers read the ring at their own pace. A token is the
//! run of this journal and a place in it. What is older than the ring, or lies behind a gap, can't be resumed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::{broadcast, watch};

use crate::{
    endpoint::handle::{RegistrationChange, Told},
    entropy,
};

/// Changes that are kept, about 1 MB.
const KEPT: usize = 16_384;

/// The ring.
pub(super) struct Journal {
    /// Random; a token of another run is no place in this one.
    run: u64,
    ring: Mutex<Ring>,
    /// The place behind the newest change.
    end: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    /// The place of the first change.
    first: u64,
    changes: VecDeque<RegistrationChange>,
}

/// What is at a place.
#[derive(Debug)]
pub(super) enum At {
    /// A change; the next one is one place on.
    Change(RegistrationChange),
    /// Nothing yet.
    End,
    /// It was lost.
    Gone,
}

impl Journal {
    /// An empty journal that is filled for as long as endpoints tell of changes.
    pub(super) fn follow(changes: broadcast::Receiver<Told<RegistrationChange>>) -> Arc<Self> {
        let journal = Arc::new(Self {
            run: entropy::u64(),
            ring: Mutex::new(Ring::default()),
            end: watch::Sender::new(0),
        });
        tokio::spawn(copy(changes, Arc::downgrade(&journal)));
        journal
    }

    /// The place behind the newest change.
    pub(super) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    /// Wakes when changes come.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// What is at a place.
    pub(super) fn at(&self, place: u64) -> At {
        let ring = self.ring();
        let Some(offset) = place.checked_sub(ring.first) else { return At::Gone };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        ring.changes.get(offset).cloned().map_or(At::End, At::Change)
    }

    /// The token of a place.
    pub(super) fn token(&self, place: u64) -> String {
        format!("{:016x}-{place:x}", self.run)
    }

    /// The place of a token; `None` if it is of another run or lost.
    pub(super) fn place(&self, token: &str) -> Option<u64> {
        let (run, place) = token.split_once('-')?;
        let place = u64::from_str_radix(place, 16).ok()?;
        let known = u64::from_str_radix(run, 16) == Ok(self.run) && place <= self.end();
        (known && place >= self.ring().first).then_some(place)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("invariant: nothing panics while it holds this lock")
    }

    fn push(&self, change: RegistrationChange) {
        {
            let mut ring = self.ring();
            ring.changes.push_back(change);
            if ring.changes.len() > KEPT {
                ring.changes.pop_front();
                ring.first += 1;
            }
        }
        self.end.send_modify(|end| *end += 1);
    }

    /// Makes every earlier place a lost one.
    fn gap(&self) {
        {
            let mut ring = self.ring();
            ring.changes.clear();
            ring.first = self.end() + 1;
        }
        self.end.send_modify(|end| *end += 1);
    }
}

async fn copy(mut changes: broadcast::Receiver<Told<RegistrationChange>>, journal: std::sync::Weak<Journal>) {
    loop {
        let change = changes.recv().await;
        let Some(journal) = journal.upgrade() else { return };
        match change {
            Ok(Told::Change(change)) => journal.push(change),
            Ok(Told::Lost) => journal.gap(),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "changes of registrations were lost to watchers, who begin anew");
                journal.gap();
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{endpoint::handle::RegistrationChangeKind, identity::DeviceId};

    fn change(at: u64) -> RegistrationChange {
        RegistrationChange {
            device: DeviceId::of("x"),
            endpoint: "x".into(),
            kind: RegistrationChangeKind::Updated,
            at,
            here: true,
        }
    }

    fn journal() -> Arc<Journal> {
        let (sender, receiver) = broadcast::channel(1);
        drop(sender);
        Journal::follow(receiver)
    }

    #[tokio::test]
    async fn a_token_leads_back_to_its_place() {
        let journal = journal();
        (0..3).for_each(|at| journal.push(change(at)));
        let place = journal.place(&journal.token(1)).unwrap();
        assert!(matches!(journal.at(place), At::Change(change) if change.at == 1));
        assert!(matches!(journal.at(journal.end()), At::End));
    }

    #[tokio::test]
    async fn tokens_of_another_run_and_of_the_future_lead_nowhere() {
        let (one, other) = (journal(), journal());
        assert_eq!(one.place(&other.token(0)), None);
        assert_eq!(one.place(&one.token(1)), None);
        assert_eq!(one.place("nonsense"), None);
    }

    #[tokio::test]
    async fn what_fell_out_of_the_ring_is_gone() {
        let journal = journal();
        let token = journal.token(0);
        (0..=KEPT as u64).for_each(|at| journal.push(change(at)));
        assert_eq!(journal.place(&token), None);
        assert!(matches!(journal.at(0), At::Gone));
        assert!(matches!(journal.at(1), At::Change(_)));
    }

    #[tokio::test]
    async fn a_gap_makes_earlier_places_lost() {
        let journal = journal();
        journal.push(change(0));
        let token = journal.token(journal.end());
        journal.gap();
        assert_eq!(journal.place(&token), None);
        assert!(matches!(journal.at(journal.end()), At::End));
        journal.push(change(1));
        assert!(matches!(journal.at(journal.end() - 1), At::Change(change) if change.at == 1));
    }
}
