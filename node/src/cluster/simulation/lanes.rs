//! Lanes alone: processes that come and go, lose sight of the store or find it turned back, and use up one pair of second
//! and lane after another. The production sources of nonces and the production membership decide; the store is the simulated one.

use std::{collections::HashSet, time::Duration};

use godwit_dtls::nonce::NonceSource;

use super::{
    bug::Bug,
    rng::Rng,
    store::{Reply, Request, Store},
};
use crate::{
    clock::Boot,
    identity::Owner,
    ownership::{Membership, Timings},
    store::Member,
};

const STEPS: u64 = 1_200;

struct Holder {
    membership: Membership,
    source: Option<NonceSource>,
    sees_store: bool,
    drift_ppm: i64,
    restored: u64,
}

impl Holder {
    fn boot(&self, ms: u64) -> Boot {
        let drift = i128::from(ms) * i128::from(self.drift_ppm) / 1_000_000;
        Boot::from_start(Duration::from_millis((i128::from(ms) + drift) as u64))
    }

    fn beat(&mut self, ms: u64, store: &mut Store, bug: Option<Bug>) {
        let boot = self.boot(ms);
        let owner = self.membership.own().clone();
        if !self.sees_store {
            if bug == Some(Bug::NonceAboveUntil)
                && let (Some(source), Some(time)) = (&mut self.source, self.membership.time())
            {
                source.extend(time.second(boot) + 30);
            }
            return;
        }
        let member = Member { restored: self.restored, ..Member::of(owner.clone()) };
        let Reply::Beaten(beat, _) = store.handle(ms, Request::Beat(Box::new(member))) else { return };
        self.restored = beat.back_ms;
        self.membership.handle_beat(boot, boot, *beat);
        match &mut self.source {
            Some(source) if !self.membership.may_extend(boot, source.until()) => {}
            Some(source) => {
                let extend = Request::ExtendLane(owner, source.lane(), source.until());
                if let Reply::Extended(Ok(until)) = store.handle(ms, extend) {
                    source.extend(until);
                }
            }
            None => {
                let wait = self.membership.may_join(boot);
                if (wait == Ok(Duration::ZERO) || bug == Some(Bug::JoinsAtOnce) && wait.is_ok())
                    && let Reply::Lane(Ok(lane)) = store.handle(ms, Request::TakeLane(owner))
                {
                    self.source =
                        Some(NonceSource::new(lane.number, lane.from.saturating_sub(1), lane.until));
                }
            }
        }
    }

    /// Opens a pair, uses it twice, and leaves out the rest.
    fn use_up(&mut self, ms: u64) -> Vec<[u8; 8]> {
        let boot = self.boot(ms);
        let Some(time) = self.membership.time() else { return Vec::new() };
        let second = time.second(boot);
        let Some(source) = &mut self.source else { return Vec::new() };
        let nonces = [source.next(second), source.next(second)].into_iter().flatten().collect();
        source.leave_out(source.left());
        nonces
    }
}

/// Whether a nonce came twice.
fn repeats(seed: u64, bug: Option<Bug>) -> bool {
    let mut rng = Rng::new(seed);
    let timings = Timings::default();
    let mut store = Store::new(timings, bug);
    let mut seen = HashSet::new();
    let mut holders: Vec<Holder> = Vec::new();
    let (mut ms, mut boots) = (0, 0);
    for _ in 0..STEPS {
        ms += rng.range(100, 2_500);
        let chaos = rng.below(300);
        if holders.len() < 4 && (rng.once_in(40) || chaos < 5 && rng.once_in(500)) {
            boots += 1;
            let owner = Owner { node: format!("n{boots}").into(), boot: boots };
            let drift_ppm = rng.range(0, 401) as i64 - 200;
            let membership = Membership::new(owner, timings);
            holders.push(Holder { membership, source: None, sees_store: true, drift_ppm, restored: 0 });
        }
        match chaos {
            0..5 => store.go_back(ms, rng.range(10, 20_000)),
            5..9 if !holders.is_empty() => {
                let gone = rng.below(holders.len());
                holders.remove(gone);
            }
            9..16 if !holders.is_empty() => {
                let nth = rng.below(holders.len());
                holders[nth].sees_store ^= true;
            }
            16 => store.ahead_ms += rng.range(0, 8_000) as i64 - 4_000,
            _ => {}
        }
        if !holders.is_empty() {
            let first = rng.below(holders.len());
            holders.rotate_left(first);
        }
        for holder in &mut holders {
            holder.beat(ms, &mut store, bug);
            for nonce in holder.use_up(ms) {
                if !seen.insert(nonce) {
                    return true;
                }
            }
        }
    }
    false
}

#[test]
fn no_nonce_repeats_whoever_takes_a_lane_and_whatever_the_store_forgets() {
    let count = super::number("GODWIT_SCHEDULES").map_or(150, |count| count / 50);
    let failed: Vec<u64> = (1..=count).filter(|seed| repeats(*seed, None)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn each_planted_bug_of_lanes_is_found() {
    for bug in Bug::IN_LANES {
        let found = (1..=300).find(|seed| repeats(*seed, Some(bug)));
        println!("{bug:?}: found by seed {found:?}");
        assert!(found.is_some(), "{bug:?}");
    }
}
