//! Two sessions of one device that take turns: two holders of one credential, most likely.
//!
//! A device that loses its session makes another and never goes back. So a return is the sign, not the change. What was
//! left is on record with the registration: the two may come to different nodes.

use super::{core::Core, registered::Registered};
use crate::{clock::Reading, identity::SessionTag, store::value, telemetry::Event};

/// How long a session that was left is remembered, in milliseconds.
const REMEMBERED_FOR: u64 = 3_600_000;
/// Of a device that goes on like this an event tells this often; the counter counts each return.
const TOLD_EVERY: u64 = 600_000;

/// The session that a device's newest state-changing request took the place of. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    session: SessionTag,
    at: u64,
    /// When the device last returned to a session that it had left.
    returned: Option<u64>,
    /// When an event last told so.
    told: Option<u64>,
}

impl Left {
    /// What [`to_stored`](Self::to_stored) wrote.
    pub(super) fn from_stored(stored: &value::registration::Left) -> Option<Self> {
        let time = |at: u64| (at != 0).then_some(at);
        let (returned, told) = (time(stored.returned), time(stored.told));
        Some(Self { session: SessionTag::read(&stored.session)?, at: stored.at, returned, told })
    }

    /// For the record.
    pub(super) fn to_stored(&self) -> value::registration::Left {
        value::registration::Left {
            session: self.session.as_bytes().to_vec(),
            at: self.at,
            returned: self.returned.unwrap_or_default(),
            told: self.told.unwrap_or_default(),
        }
    }
}

impl Core {
    /// The session that the registration is in.
    pub(super) fn registered_in(&self) -> Option<SessionTag> {
        self.registered.as_deref()?.session()
    }

    /// Puts down in a registration that is about to be written which session it leaves.
    pub(super) fn leave_session(&self, now: Reading, next: &mut Registered) {
        let Some(current) = self.registered.as_deref() else { return };
        next.left.clone_from(&current.left);
        let (Some(before), Some(after)) = (current.session(), next.session()) else { return };
        if before == after {
            return;
        }
        let left = current.left.as_deref();
        let since = |at: u64| now.unix_ms.saturating_sub(at);
        let returns = left.is_some_and(|left| left.session == after && since(left.at) < REMEMBERED_FOR);
        let mut told = left.and_then(|left| left.told);
        let mut returned = left.and_then(|left| left.returned);
        if returns {
            returned = Some(now.unix_ms);
            if told.is_none_or(|told| since(told) >= TOLD_EVERY) {
                told = returned;
            }
        }
        next.left = Some(Box::new(Left { session: before, at: now.unix_ms, returned, told }));
    }

    /// Counts and tells of the return to a session that the registration in force, just written, has put down since `before`.
    pub(super) fn note_session(&mut self, now: Reading, before: Option<&Left>) {
        let Some(registered) = self.registered.as_deref() else { return };
        let (Some(left), Some(session)) = (registered.left.as_deref(), registered.session()) else { return };
        let news =
            |of: fn(&Left) -> Option<u64>| of(left).filter(|_| before.is_none_or(|it| of(it) != of(left)));
        let (returned, told) = (news(|left| left.returned), news(|left| left.told));
        if returned.is_some() {
            self.services.metrics.dtls.session_returns.increment(1);
        }
        if let Some(told) = told {
            let cause = self.cause(&[b"session_taken_over", session.as_bytes(), &told.to_be_bytes()]);
            self.announce(now, Event::SessionTakenOver, cause);
        }
    }
}
