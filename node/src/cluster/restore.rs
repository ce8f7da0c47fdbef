//! What this process wrote lately: to be written again to a store that comes back with an older state.
//!
//! Every write is fenced, and says what is, not what changes by how much. So all of them can be made again, in the order in
//! which they were made: what another owner has claimed since is refused, everything else ends as the last of them left it.

use std::{collections::VecDeque, time::Duration};

use crate::{
    clock::Boot,
    identity::DeviceId,
    store::{Change, Fence},
};

/// One write or claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Whose record.
    pub device: DeviceId,
    /// In which term.
    pub fence: Fence,
    /// What; nothing for a claim, which the fence alone restores.
    pub changes: Vec<Change>,
}

/// The writes of a shard, oldest first.
#[derive(Debug)]
pub struct Recent {
    keep: Duration,
    writes: VecDeque<(Boot, Written)>,
}

impl Recent {
    /// Keeps what was acknowledged within `keep`: as long as the store may lose by a failure, and a heartbeat more.
    #[must_use]
    pub fn new(keep: Duration) -> Self {
        Self { keep, writes: VecDeque::new() }
    }

    /// A claim or a write was acknowledged. Call it in the order of the acknowledgements.
    pub fn note(&mut self, now: Boot, written: Written) {
        self.forget(now);
        self.writes.push_back((now, written));
    }

    /// All that is to be written again, in this order and before any new write. They stay: the store may fail once more.
    pub fn again(&mut self, now: Boot) -> impl Iterator<Item = &Written> {
        self.forget(now);
        self.writes.iter().map(|(_, written)| written)
    }

    /// How many there are; each costs as much memory as its changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    fn forget(&mut self, now: Boot) {
        while self.writes.front().is_some_and(|(at, _)| now.since(*at) > self.keep) {
            self.writes.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Owner;

    fn at(seconds: u64) -> Boot {
        Boot::from_start(Duration::from_secs(seconds))
    }

    fn written(term: u64) -> Written {
        let owner = Owner { node: "a".into(), boot: 1 };
        let fence = Fence { owner, term, claims: 1 };
        Written { device: DeviceId::of("x"), fence, changes: vec![Change::Activated] }
    }

    #[test]
    fn writes_come_again_in_their_order_until_they_are_too_old() {
        let mut recent = Recent::new(Duration::from_secs(60));
        for second in 0..5 {
            recent.note(at(second), written(second));
        }
        let terms = |recent: &mut Recent, now| recent.again(now).map(|it| it.fence.term).collect::<Vec<_>>();
        assert_eq!(terms(&mut recent, at(60)), [0, 1, 2, 3, 4]);
        assert_eq!(terms(&mut recent, at(62)), [2, 3, 4]);
        assert_eq!(recent.len(), 3);
        recent.note(at(200), written(9));
        assert_eq!(recent.len(), 1);
    }
}
