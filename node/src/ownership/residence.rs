//! A device that is live in this process: whether it is to be given up, and whether it still is ours.

use std::{collections::VecDeque, time::Duration};

use super::{Timings, Validity};
use crate::{
    clock::Boot,
    identity::{AssociationId, Owner},
};

/// Consecutive records through one and the same other node after which the device is that node's.
const MOVED_AFTER: u8 = 8;

/// What an owner makes of a record that another node has presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// Passivate it as soon as it is quiet; who presents then finds it passive and claims it.
    GiveUp,
}

/// Where a live device's records come in. A spray keeps the device where it is; a real move costs eight records.
#[derive(Debug, Clone, Default)]
pub struct Residence {
    through: Option<Owner>,
    consecutive: u8,
}

impl Residence {
    /// An accepted record that `by` has presented; only one newer than all before counts. While the store is not seen
    /// (`validity`) nothing moves.
    pub fn presented(&mut self, by: &Owner, newest: bool, validity: &Validity) -> Verdict {
        if newest {
            if self.through.as_ref() != Some(by) {
                (self.through, self.consecutive) = (Some(by.clone()), 0);
            }
            self.consecutive = self.consecutive.saturating_add(1);
        }
        let moved = self.through.as_ref() == Some(by) && self.consecutive >= MOVED_AFTER;
        if moved && *validity == Validity::Valid { Verdict::GiveUp } else { Verdict::Keep }
    }

    /// An accepted record that came to this node itself, newer than all before.
    pub fn heard_here(&mut self) {
        *self = Self::default();
    }
}

/// A shard's loop, which must turn more often than others would suspect it. After a pause somebody else may have claimed
/// what is live here: every device is unsure until its header was read once.
#[derive(Debug, Clone)]
pub struct Pulse {
    gap: Duration,
    last: Boot,
    valid: bool,
    pauses: u32,
}

/// By which a device knows whether there was a pause since it was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed(u32);

impl Pulse {
    /// Begins to count at `now`.
    #[must_use]
    pub fn new(now: Boot, timings: &Timings) -> Self {
        Self { gap: timings.gap, last: now, valid: true, pauses: 0 }
    }

    /// The loop turns, with the clock read anew, *before* anything of this turn is handled. Call it at least every half
    /// [`Timings::gap`], also when nothing happens. `valid`: [`Membership::is_valid`](super::Membership::is_valid); after a
    /// time without, every device is unsure too. The gap, if there was one.
    pub fn turn(&mut self, now: Boot, valid: bool) -> Option<Duration> {
        let gap = now.since(self.last);
        self.last = self.last.max(now);
        let paused = gap > self.gap;
        let was_valid = std::mem::replace(&mut self.valid, valid);
        let back = valid && !was_valid;
        if paused || back {
            self.pauses = self.pauses.wrapping_add(1);
        }
        paused.then_some(gap)
    }

    /// For a device whose claim, write or header read was *sent* in this turn, and succeeded.
    #[must_use]
    pub fn confirmed(&self) -> Confirmed {
        Confirmed(self.pauses)
    }

    /// Whether a device must be looked up before anything it sends is answered.
    #[must_use]
    pub fn is_unsure(&self, confirmed: Confirmed) -> bool {
        confirmed.0 != self.pauses
    }
}

/// Two sessions of one device that alternate: one credential in two devices. Each return to the session before is a flap.
#[derive(Debug, Clone, Default)]
pub struct Flapping {
    current: Option<AssociationId>,
    before: Option<AssociationId>,
    flaps: VecDeque<Boot>,
    raised: Option<Boot>,
}

impl Flapping {
    /// Flaps within this time that raise an event.
    const RAISED_BY: usize = 3;
    const WITHIN: Duration = Duration::from_mins(1);

    /// A state-changing request was taken in this session. `true`: raise an event; at most once a minute.
    pub fn handle_request(&mut self, now: Boot, association: AssociationId) -> bool {
        if self.current == Some(association) {
            return false;
        }
        let returned = self.before == Some(association);
        self.before = self.current.replace(association);
        if !returned {
            return false;
        }
        self.flaps.push_back(now);
        if self.flaps.len() > Self::RAISED_BY {
            self.flaps.pop_front();
        }
        let recent = |at: &Boot| now.since(*at) < Self::WITHIN;
        let raise = self.flaps.len() == Self::RAISED_BY
            && self.flaps.front().is_some_and(recent)
            && !self.raised.as_ref().is_some_and(recent);
        if raise {
            self.raised = Some(now);
        }
        raise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(node: &str) -> Owner {
        Owner { node: node.into(), boot: 1 }
    }

    fn at(ms: u64) -> Boot {
        Boot::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn the_eighth_consecutive_record_through_one_node_moves_the_device() {
        let mut residence = Residence::default();
        let (b, c) = (owner("b"), owner("c"));
        for _ in 0..7 {
            assert_eq!(residence.presented(&b, true, &Validity::Valid), Verdict::Keep);
        }
        // One that is not newer than all before counts neither way.
        assert_eq!(residence.presented(&c, false, &Validity::Valid), Verdict::Keep);
        assert_eq!(residence.presented(&b, true, &Validity::Valid), Verdict::GiveUp);
        assert_eq!(residence.presented(&b, true, &Validity::Valid), Verdict::GiveUp);
    }

    #[test]
    fn a_spray_moves_nothing() {
        let mut residence = Residence::default();
        for n in 0..1_000 {
            let by = owner(if n % 2 == 0 { "b" } else { "c" });
            assert_eq!(residence.presented(&by, true, &Validity::Valid), Verdict::Keep);
        }
        for n in 0..1_000 {
            assert_eq!(residence.presented(&owner("b"), true, &Validity::Valid), Verdict::Keep);
            if n % 7 == 6 {
                residence.heard_here();
            }
        }
    }

    #[test]
    fn nothing_moves_while_the_store_is_not_seen() {
        let mut residence = Residence::default();
        for _ in 0..20 {
            assert_eq!(residence.presented(&owner("b"), true, &Validity::Outage), Verdict::Keep);
        }
        assert_eq!(residence.presented(&owner("b"), true, &Validity::Valid), Verdict::GiveUp);
    }

    #[test]
    fn after_a_pause_every_device_is_unsure_until_it_was_confirmed() {
        let mut pulse = Pulse::new(at(0), &Timings::default());
        let device = pulse.confirmed();
        assert_eq!(pulse.turn(at(400), true), None);
        assert!(!pulse.is_unsure(device));
        assert_eq!(pulse.turn(at(801), true), Some(Duration::from_millis(401)));
        assert!(pulse.is_unsure(device));
        assert!(!pulse.is_unsure(pulse.confirmed()));
        // A clock that was read out of order is no pause.
        assert_eq!(pulse.turn(at(700), true), None);
        assert_eq!(pulse.turn(at(1_100), true), None);
    }

    #[test]
    fn after_a_time_without_the_store_every_device_is_unsure() {
        let mut pulse = Pulse::new(at(0), &Timings::default());
        let device = pulse.confirmed();
        pulse.turn(at(200), false);
        assert!(!pulse.is_unsure(device), "what nobody can confirm goes by the outage rules");
        pulse.turn(at(400), true);
        assert!(pulse.is_unsure(device));
    }

    #[test]
    fn sessions_that_alternate_raise_an_event_once_a_minute() {
        let id = |n: u8| AssociationId::from_bytes([n; 8]);
        let mut flapping = Flapping::default();
        // A device that makes new sessions, or changes over once.
        for n in 0..10 {
            assert!(!flapping.handle_request(at(n), id(n as u8)));
        }
        assert!(!flapping.handle_request(at(10), id(8)));
        let raised: Vec<u64> =
            (0..200).filter(|n| flapping.handle_request(at(1_000 * n), id((n % 2) as u8 + 20))).collect();
        assert_eq!(raised, [3, 63, 123, 183]);
    }
}
