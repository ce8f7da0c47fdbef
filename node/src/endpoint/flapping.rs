//! Two sessions of one device that take turns: two holders of one credential, most likely.
//!
//! A device that loses its session makes another and never goes back. So a return is the sign, not the change.

use std::time::{Duration, Instant};

use super::core::Core;
use crate::{clock::Reading, identity::SessionId, telemetry::Event};

/// How long a session that was left is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// Of a device that goes on like this an event tells this often; the counter counts each return.
const TOLD_EVERY: Duration = Duration::from_secs(600);

/// The session that a device's newest state-changing request took the place of.
#[derive(Debug)]
pub(super) struct Left {
    session: SessionId,
    at: Instant,
    told: Option<Instant>,
}

impl Core {
    /// The session that the registration is in.
    pub(super) fn registered_in(&self) -> Option<SessionId> {
        self.registered.as_deref()?.proof.as_ref()?.session
    }

    /// Takes note of where the registration went from `before`.
    pub(super) fn note_session(&mut self, now: Reading, before: Option<SessionId>) {
        let (Some(before), Some(after)) = (before, self.registered_in()) else { return };
        if before == after {
            return;
        }
        let left = self.left.take();
        let mut told = left.as_ref().and_then(|left| left.told);
        if left.is_some_and(|left| left.session == after && now.now < left.at + REMEMBERED_FOR) {
            self.services.metrics.dtls.session_returns.increment(1);
            if told.is_none_or(|told| now.now >= told + TOLD_EVERY) {
                told = Some(now.now);
                let cause =
                    self.cause(&[b"session_taken_over", after.as_bytes(), &now.unix_ms.to_be_bytes()]);
                self.announce(now, Event::SessionTakenOver, cause);
            }
        }
        self.left = Some(Box::new(Left { session: before, at: now.now, told }));
    }
}
