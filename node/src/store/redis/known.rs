//! What this process knows of the indexes, so that it need not ask again for what has not changed.
//!
//! ```text
//! due     the earliest entry of each part. Nothing is due before it, unless another node put an earlier one there since:
//!         the part is looked at again after DUE_FOR. What this process puts there it knows at once.
//! counts  how many devices each part has. Nodes say in their heartbeats how often they changed which part: a part that
//!         somebody changed is counted again, and each after COUNTS_FOR, should a node have died before it could say so.
//! ```

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::index::PARTS;
use crate::{clock::Boot, identity::Owner};

/// After so long an earlier entry of another node is seen: with every third look of a node, which are 5 s apart. Another looks
/// at what nobody saw to within as long (`OVERDUE` in `app`), so nothing waits longer for this.
const DUE_FOR: Duration = Duration::from_secs(12);
/// After so long a part is counted again though nobody said that it changed.
const COUNTS_FOR: Duration = Duration::from_secs(300);

/// How many devices a part has of the classes 1, 2 and 3.
pub(super) type Counted = [u64; 3];

/// What is known.
#[derive(Debug)]
pub(super) struct Known {
    parts: Mutex<Vec<Part>>,
    /// How often the other nodes had changed each part by their last heartbeat.
    heard: Mutex<HashMap<Owner, Vec<u32>>>,
}

#[derive(Debug, Clone, Default)]
struct Part {
    /// When it was looked at, and the time of its earliest entry, `u64::MAX` if it has none.
    due: Option<(Boot, u64)>,
    /// What this process has put there: a look that began before a put did not see it.
    puts: u64,
    counts: Option<(Boot, Counted)>,
    /// How often this process has changed which devices it has.
    changes: u32,
    /// The same of anybody.
    all_changes: u64,
}

/// A look at a part that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    part: u8,
    begun: Boot,
    version: u64,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { parts: Mutex::new(vec![Part::default(); PARTS.into()]), heard: Mutex::default() }
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a look for what is due by `until`, Unix milliseconds; `None`: nothing is.
    pub(super) fn look_for_due(&self, now: Boot, part: u8, until: u64) -> Option<Look> {
        let it = &self.parts()[usize::from(part)];
        let nothing = it.due.is_some_and(|(at, first)| first > until && now.since(at) < DUE_FOR);
        (!nothing).then_some(Look { part, begun: now, version: it.puts })
    }

    /// A look found that the earliest entry is of this time, `u64::MAX`: there is none.
    pub(super) fn saw_due(&self, look: Look, first: u64) {
        let it = &mut self.parts()[usize::from(look.part)];
        if it.puts == look.version {
            it.due = Some((look.begun, first));
        }
    }

    /// An entry is being put: drop this when it was, whether that was answered or not.
    pub(super) fn puts_due(&self, part: u8, at: u64) -> Pending<impl FnOnce()> {
        Pending(Some(move || {
            let it = &mut self.parts()[usize::from(part)];
            it.puts += 1;
            if let Some((_, first)) = &mut it.due {
                *first = at.min(*first);
            }
        }))
    }

    /// How many devices a part has, or a look to begin.
    pub(super) fn counts(&self, now: Boot, part: u8) -> Result<Counted, Look> {
        let it = &self.parts()[usize::from(part)];
        match it.counts {
            Some((at, counted)) if now.since(at) < COUNTS_FOR => Ok(counted),
            _ => Err(Look { part, begun: now, version: it.all_changes }),
        }
    }

    /// A look has counted. If devices came and went meanwhile, the part is to be counted again.
    pub(super) fn counted(&self, look: Look, counted: Counted) {
        let it = &mut self.parts()[usize::from(look.part)];
        if it.all_changes == look.version {
            it.counts = Some((look.begun, counted));
        }
    }

    /// This process is changing which devices a part has: drop this when it has, whether that was answered or not.
    pub(super) fn changes_part(&self, part: u8) -> Pending<impl FnOnce()> {
        Pending(Some(move || {
            let it = &mut self.parts()[usize::from(part)];
            it.changes = it.changes.wrapping_add(1);
            it.count_again();
        }))
    }

    /// How often this process has changed each part: what its heartbeat says.
    pub(super) fn changes(&self) -> Vec<u32> {
        self.parts().iter().map(|part| part.changes).collect()
    }

    /// What the heartbeats of the other nodes said.
    pub(super) fn hear(&self, said: HashMap<Owner, Vec<u32>>) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut parts, none) = (self.parts(), Vec::new());
        for (owner, changes) in &said {
            let before = heard.get(owner).unwrap_or(&none);
            for (at, part) in parts.iter_mut().enumerate() {
                if changes.get(at).unwrap_or(&0) != before.get(at).unwrap_or(&0) {
                    part.count_again();
                }
            }
        }
        *heard = said;
    }

    /// Redis may have forgotten something: nothing is known.
    pub(super) fn forget(&self) {
        for part in self.parts().iter_mut() {
            part.due = None;
            part.puts += 1;
            part.count_again();
        }
    }
}

impl Part {
    fn count_again(&mut self) {
        self.counts = None;
        self.all_changes += 1;
    }
}

/// What becomes known when this is dropped.
pub(super) struct Pending<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Pending<F> {
    /// Nothing came of it.
    pub(super) fn cancel(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Pending<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Boot {
        Boot::from_start(Duration::from_secs(seconds))
    }

    fn see(known: &Known, now: Boot, first: u64) {
        known.saw_due(known.look_for_due(now, 3, u64::MAX).unwrap(), first);
    }

    #[test]
    fn a_part_is_looked_at_again_when_its_earliest_entry_is_due_or_after_a_time() {
        let known = Known::new();
        see(&known, at(0), 700);
        assert!(known.look_for_due(at(11), 3, 699).is_none());
        assert!(known.look_for_due(at(11), 3, 700).is_some());
        assert!(known.look_for_due(at(11), 4, 0).is_some(), "another part");
        assert!(known.look_for_due(at(12), 3, 0).is_some(), "another node may have put an earlier one");
        known.forget();
        assert!(known.look_for_due(at(0), 3, 0).is_some());
    }

    #[test]
    fn what_this_process_puts_is_known_even_where_a_look_was_under_way() {
        let known = Known::new();
        see(&known, at(0), u64::MAX);
        drop(known.puts_due(3, 50));
        drop(known.puts_due(3, 60));
        assert!(known.look_for_due(at(1), 3, 49).is_none());
        assert!(known.look_for_due(at(1), 3, 50).is_some());
        let look = known.look_for_due(at(1), 3, 50).unwrap();
        drop(known.puts_due(3, 20));
        known.saw_due(look, 80);
        assert!(known.look_for_due(at(1), 3, 20).is_some(), "the look began before it was put");
    }

    #[test]
    fn a_part_is_counted_again_when_anybody_changed_it_or_after_a_time() {
        let known = Known::new();
        let count = |seconds, to| known.counted(known.counts(at(seconds), 3).unwrap_err(), to);
        count(0, [1, 2, 3]);
        assert_eq!(known.counts(at(299), 3).unwrap(), [1, 2, 3]);
        assert!(known.counts(at(300), 3).is_err());
        let look = known.counts(at(300), 3).unwrap_err();
        drop(known.changes_part(3));
        known.changes_part(4).cancel();
        known.counted(look, [4, 4, 4]);
        assert!(known.counts(at(300), 3).is_err(), "it changed meanwhile");
        count(300, [5, 5, 5]);
        assert_eq!((known.changes()[3], known.changes()[4]), (1, 0));

        let b = Owner { node: "b".into(), boot: 1 };
        let says = |changes: u32| HashMap::from([(b.clone(), vec![0, 0, 0, changes])]);
        known.hear(says(7));
        assert!(known.counts(at(300), 3).is_err(), "what it did before it was first heard");
        count(300, [6, 6, 6]);
        known.hear(says(7));
        assert_eq!(known.counts(at(300), 3).unwrap(), [6, 6, 6]);
        known.hear(says(8));
        assert!(known.counts(at(300), 3).is_err());
    }
}
