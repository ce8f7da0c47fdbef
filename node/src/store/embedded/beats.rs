//! Heartbeats. A folder has one process, so they need not outlive it; tests share a store between several.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::store::{Beat, Member, Served};

/// Names the data of every embedded store: nobody can exchange it behind a process's back.
const INCARNATION: u64 = 1;

/// The heartbeats of a process's time.
pub(super) struct Beats {
    /// When the store was opened, Unix milliseconds.
    opened: u64,
    held: Mutex<(Vec<Held>, Served)>,
}

struct Held {
    member: Member,
    /// Unix milliseconds.
    until: u64,
}

impl Beats {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { opened: now_ms, held: Mutex::default() }
    }

    pub(super) fn beat(&self, now_ms: u64, member: Member, ttl: Duration) -> Beat {
        let mut guard = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, served) = &mut *guard;
        let expires_from_ms = served.beat(now_ms, member.ready, ttl);
        held.retain(|held| held.until > now_ms && held.member.owner != member.owner);
        let until = now_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        held.push(Held { member, until });
        let members = held.iter().map(|held| held.member.clone()).collect();
        Beat {
            time_ms: now_ms,
            incarnation: Some(INCARNATION),
            back_ms: self.opened,
            expires_from_ms,
            members,
        }
    }
}
