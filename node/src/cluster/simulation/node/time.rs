//! A node's clocks: when it is, and when it wants to be woken.

use std::time::{Duration, Instant};

use super::{
    super::{bug::Bug, store::START},
    Node, TURN_US,
};
use crate::{
    clock::{self, Boot, Reading},
    ownership::Pulse,
};

impl Node {
    fn drifted_us(&self) -> u64 {
        let drift = i128::from(self.now_us) * i128::from(self.drift_ppm) / 1_000_000;
        (i128::from(self.now_us) + drift) as u64
    }

    pub(super) fn boot(&self) -> Boot {
        Boot::from_start(Duration::from_micros(self.drifted_us()))
    }

    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.drifted_us())
    }

    pub(super) fn wall_ms(&self) -> u64 {
        (START + self.drifted_us() / 1000).saturating_add_signed(self.wall_ahead_ms)
    }

    pub(super) fn reading(&self) -> Reading {
        let boot = self.boot();
        let unix_ms = self.membership.time().map_or_else(|| self.wall_ms(), |time| time.unix_ms(boot));
        Reading { now: self.instant(), unix_ms }
    }

    /// The loop turns. Up to `awake_us` it has turned in time.
    pub(super) fn turn(&mut self, now_us: u64, paused_at: Option<u64>) {
        let awake = paused_at.unwrap_or(now_us);
        while self.turned_us + TURN_US < awake {
            self.turned_us += TURN_US;
            self.now_us = self.turned_us;
            self.pulse.turn(self.boot(), self.membership.is_valid(self.boot()));
        }
        (self.now_us, self.turned_us) = (now_us, now_us);
        let (boot, valid) = (self.boot(), self.membership.is_valid(self.boot()));
        if self.bug == Some(Bug::PauseNotNoticed) {
            self.pulse = Pulse::new(boot, self.membership.timings());
        } else {
            self.pulse.turn(boot, valid);
        }
        clock::simulated::set(Some(self.reading()));
        let may_expire = self.membership.may_expire(boot) || self.bug == Some(Bug::ExpiresInOutage);
        self.services.set_standing(self.membership.validity(boot), may_expire);
    }

    /// When it wants to be woken.
    pub(in crate::cluster::simulation) fn due_us(&self) -> u64 {
        let reading = self.reading();
        let mut due = self.beat_due;
        let at = |instant: Instant| {
            let ahead = instant.saturating_duration_since(reading.now).as_micros() as u64;
            self.now_us + ahead + ahead / 5_000 + 1
        };
        for conn in self.connections.values() {
            due = due.min(conn.connection.due().map_or(u64::MAX, at));
        }
        for live in self.live.values() {
            due = due.min(live.endpoint.due(reading).map_or(u64::MAX, at));
        }
        let boot = self.boot();
        for finding in self.finding.values() {
            let ahead = finding.activation.patience(boot).as_micros() as u64;
            due = due.min(self.now_us + ahead + ahead / 5_000 + 1);
        }
        due.max(self.now_us + 1)
    }
}
