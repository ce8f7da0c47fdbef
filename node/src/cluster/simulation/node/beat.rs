//! The heartbeat: who lives, which lane the node has, and what a store that came back is told again.

use std::time::Duration;

use godwit_dtls::nonce::NonceSource;

use super::{
    super::{bug::Bug, store::Request},
    Node,
    frame::Frame,
    reply::Pending,
};
use crate::{
    clock::{self, Boot},
    connection::simulated::Ground,
    identity::DeviceId,
    store::{Beat, Member},
};

/// What is written again to a store that came back.
#[derive(Default)]
pub(super) struct Restoring {
    pub(super) back: u64,
    /// Of whom writes are under way: theirs waits for the ends of those.
    pub(super) left: Vec<DeviceId>,
    pub(super) asked: usize,
}

impl Node {
    pub(super) fn beat(&mut self) {
        let boot = self.boot();
        let ahead = self.membership.time().map_or(0, |time| {
            i64::try_from(self.wall_ms()).unwrap_or(0) - i64::try_from(time.unix_ms(boot)).unwrap_or(0)
        });
        let member = Member {
            address: self.address,
            ready: self.ground.is_some(),
            clock_ahead_ms: ahead,
            restored: self.restored,
            ..Member::of(self.owner.clone())
        };
        self.ask(Pending::Beat(boot), Request::Beat(Box::new(member)));
        if self.lane.is_some() {
            if self.bug == Some(Bug::NonceAboveUntil)
                && let (Some(ground), Some(time)) = (&self.ground, self.membership.time())
            {
                ground.extend_lane(time.second(boot) + 30);
            }
        } else if !self.lane_asked && self.may_join() {
            self.lane_asked = true;
            self.ask(Pending::Lane, Request::TakeLane(self.owner.clone()));
        }
        let sees_store = self.membership.sees_store(boot);
        for member in self.membership.others(boot) {
            self.tell(&member.owner, Frame::View { sees_store });
        }
    }

    fn may_join(&self) -> bool {
        let at_once = self.bug == Some(Bug::JoinsAtOnce) && self.membership.is_valid(self.boot());
        at_once || self.membership.may_join(self.boot()) == Ok(Duration::ZERO)
    }

    pub(super) fn beaten(&mut self, sent: Boot, mut beat: Beat, lost: Vec<(DeviceId, u64)>) {
        let back = beat.back_ms;
        if self.bug == Some(Bug::ClaimsBeforeRewritten) {
            beat.members.iter_mut().for_each(|member| member.restored = back);
        }
        self.membership.handle_beat(sent, self.boot(), beat);
        clock::simulated::set(Some(self.reading()));
        for (device, term) in lost {
            self.superseded(device, term);
        }
        if let Some((number, until)) = self.lane
            && self.membership.may_extend(self.boot(), until)
        {
            self.ask(Pending::Extend, Request::ExtendLane(self.owner.clone(), number, until));
        }
        if self.restored == back {
            self.recent.forget(sent);
        } else if self.restoring.back != back {
            self.restore(back);
        }
    }

    /// Writes again what the store may have forgotten.
    fn restore(&mut self, back: u64) {
        let left = match self.bug {
            Some(Bug::NothingRestored) => Vec::new(),
            _ => self.recent.devices(),
        };
        self.restoring = Restoring { back, left, asked: 0 };
        self.restore_next();
    }

    pub(super) fn restore_next(&mut self) {
        let busy = |pending: &Pending, of: DeviceId| matches!(pending, Pending::Commit { device, .. } if *device == of);
        let back = self.restoring.back;
        for device in std::mem::take(&mut self.restoring.left) {
            if self.pending.values().any(|pending| busy(pending, device)) {
                self.restoring.left.push(device);
            } else if let Some(again) = self.recent.again(device) {
                self.restoring.asked += 1;
                self.ask(Pending::Restore(back, device), Request::Rewrite(device, Box::new(again)));
            }
        }
        if self.restoring.left.is_empty() && self.restoring.asked == 0 && self.restored != back && back != 0 {
            self.restored = back;
        }
    }

    pub(super) fn laned(&mut self, number: u16, from: u32, until: u32) {
        let nonces = NonceSource::new(number, from.saturating_sub(1), until);
        let ground = Ground::new(self.settings.clone(), 0, 1, nonces);
        self.links.set_ground(ground.clone());
        self.ground = Some(ground);
        self.lane = Some((number, until));
    }
}
