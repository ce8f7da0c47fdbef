//! The way out of an endpoint: once nothing is outstanding its record is made exact and passive, and then the actor
//! stops.
//!
//! ```text
//!  release, hand_over ─► nothing outstanding ─► Persist, with the numbers of all sessions ─► Then::Stop ─► stop
//!  superseded ─────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use super::{
    core::Core,
    message::{Effect, StopReason, Then},
};
use crate::{clock::Reading, store::Change};

/// How far an endpoint is on its way out.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Why; `None`: it stays.
    reason: Option<StopReason>,
    /// Another node receives what the device sends.
    moving: bool,
    /// Its last write is out, or it may write no more.
    stop_written: bool,
}

impl Core {
    /// Whether the endpoint is on its way out and takes nothing new.
    pub(super) fn leaving(&self) -> bool {
        self.leaving.reason.is_some()
    }

    /// Gives the device up once nothing is outstanding.
    pub(super) fn release(&mut self, _now: Reading, reason: StopReason) {
        self.leaving.reason.get_or_insert(reason);
    }

    /// Gives the device up if it has no registration, nor one that is being written.
    pub(super) fn release_unregistered(&mut self, now: Reading) {
        if self.registered.is_none() && !self.answers_wait() {
            self.release(now, StopReason::Ended);
        }
    }

    /// Another node receives what the device sends: gives it up as soon as nothing is under way.
    pub(super) fn hand_over(&mut self) {
        self.leaving.moving = true;
    }

    /// Goes on with the way out, as far as what is outstanding lets it.
    pub(super) fn leave_if_quiet(&mut self, now: Reading) {
        if self.leaving.moving && self.is_quiet() {
            self.leaving.reason.get_or_insert(StopReason::Moved);
        }
        let Some(reason) = self.leaving.reason else { return };
        // A connection that is being made would use numbers that are about to be given up.
        if self.leaving.stop_written || !self.waiting.is_empty() || self.reaching {
            return;
        }
        // What is still to be said to the device needs the connection that is about to retire.
        if self.effects.iter().any(|effect| matches!(effect, Effect::Downlink(..))) {
            return self.effect(Effect::LookAgain);
        }
        self.leaving.stop_written = true;
        let path = self.path_node();
        let mut changes = self.retire_sessions();
        changes.extend(path.map(Change::PathNode));
        let owing = self.registered.as_deref().filter(|registered| registered.owed.is_some());
        changes.extend(owing.map(|registered| Change::Deadline(Some(registered.deadline(now)))));
        changes.extend(self.take_owed_ends().1);
        changes.push(Change::Passive);
        self.persist(changes, Then::Stop(reason));
    }

    /// Whether nothing is under way between the device, the store and the sink.
    fn is_quiet(&self) -> bool {
        let downlinks = &self.downlinks;
        self.waiting.is_empty()
            && downlinks.flight.is_none()
            && !downlinks.preparing
            && !self.observations.has_partial()
    }

    /// The device is another owner's, or nobody's: nothing more is written.
    pub(super) fn superseded(&mut self) {
        self.leaving.reason = Some(StopReason::Superseded);
        self.stop(StopReason::Superseded);
    }

    /// Ends the actor, whose last write has ended or which may write no more.
    pub(super) fn stop(&mut self, reason: StopReason) {
        self.leaving.stop_written = true;
        self.effect(Effect::Stop(reason));
    }
}
