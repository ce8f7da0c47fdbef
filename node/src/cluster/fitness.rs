//! Whether a node should get traffic, as far as its cluster goes: not while another would serve better.
//!
//! ```text
//!  the store is seen ──────► ready, unless it is empty or this node's clock is off
//!  lost a moment ago ──────► as before
//!  no node sees it ────────► ready: live sessions go on, and nobody serves better
//!  a peer alone sees it ───┬► not ready, once that has lasted for a heartbeat's time: when the store comes back, not all
//!  nobody is reached ──────┘  hear of it at once
//! ```

use std::{fmt, sync::Arc};

use crate::{
    clock::Boot,
    metrics::cluster::Sight,
    ownership::{Hold, Membership, Validity},
};

/// Why a node should get no traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// See [`Hold::Empty`].
    Empty,
    /// See [`Hold::ClockAhead`].
    ClockAhead(i64),
    /// See [`Validity::CutOff`]; this peer sees the store.
    CutOff(Arc<str>),
    /// See [`Validity::Isolated`].
    Isolated,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Hold::Empty.fmt(f),
            Self::ClockAhead(ms) => Hold::ClockAhead(*ms).fmt(f),
            Self::CutOff(peer) => {
                write!(f, "it does not reach the store, which {peer} does: that one serves its devices")
            }
            Self::Isolated => write!(f, "it reaches neither the store nor another node"),
        }
    }
}

/// What is known of it from look to look.
#[derive(Debug, Default)]
pub struct Fitness {
    unfit: Option<Unfit>,
    /// Since when others may serve better.
    doubtful_since: Option<Boot>,
}

impl Fitness {
    /// Looks. Due at each heartbeat, once the node has joined.
    pub fn judge(&mut self, now: Boot, members: &Membership) -> Option<&Unfit> {
        let alone = match members.validity(now) {
            Validity::CutOff(peer) => Some(Unfit::CutOff(peer.owner.node.clone())),
            Validity::Isolated => Some(Unfit::Isolated),
            Validity::Valid | Validity::Outage => None,
        };
        let before = self.unfit.take();
        self.unfit = match (alone, members.hold(now)) {
            (Some(alone), _) => {
                let since = *self.doubtful_since.get_or_insert(now);
                if now.since(since) >= members.timings().heartbeat { Some(alone) } else { before }
            }
            (None, hold) => {
                self.doubtful_since = None;
                match hold {
                    Some(Hold::Empty) => Some(Unfit::Empty),
                    Some(Hold::ClockAhead(ms)) => Some(Unfit::ClockAhead(ms)),
                    // What the last heartbeat has found may still be so.
                    Some(Hold::Reconnecting) => {
                        before.filter(|unfit| matches!(unfit, Unfit::Empty | Unfit::ClockAhead(_)))
                    }
                    None | Some(Hold::Restoring | Hold::NotValid) => None,
                }
            }
        };
        self.unfit.as_ref()
    }
}

/// What a node sees of the store.
#[must_use]
pub fn sight(now: Boot, members: &Membership) -> Sight {
    match members.validity(now) {
        Validity::Valid if members.sees_store(now) => Sight::Seen,
        Validity::Valid => Sight::Lost,
        Validity::Outage => Sight::Outage,
        Validity::CutOff(_) => Sight::CutOff,
        Validity::Isolated => Sight::Isolated,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        identity::Owner,
        ownership::Timings,
        store::{Beat, Member},
    };

    const UNIX: u64 = 1_800_000_000_000;

    fn at(seconds: f64) -> Boot {
        Boot::from_start(Duration::from_secs_f64(seconds))
    }

    fn owner(node: &str) -> Owner {
        Owner { node: node.into(), boot: 1 }
    }

    fn beat(seconds: f64, incarnation: Option<u64>, own_ahead_ms: i64) -> Beat {
        let member = |node: &str, clock_ahead_ms: i64| Member {
            clock_ahead_ms,
            restored: UNIX,
            ..Member::of(owner(node))
        };
        Beat {
            time_ms: UNIX + (seconds * 1_000.0) as u64,
            incarnation,
            back_ms: UNIX,
            expires_from_ms: 0,
            members: vec![member("a", own_ahead_ms), member("b", 0), member("c", 0)],
        }
    }

    /// Node `a`, whose last heartbeat was answered at second 0.
    fn joined() -> Membership {
        let mut members = Membership::new(owner("a"), Timings::default());
        members.handle_beat(at(0.0), at(0.0), beat(0.0, Some(7), 0));
        members
    }

    #[test]
    fn a_node_is_ready_for_as_long_as_no_other_sees_the_store_either() {
        let (mut members, mut fitness) = (joined(), Fitness::default());
        members.handle_store_lost();
        for second in 0..100 {
            let now = at(f64::from(second));
            members.handle_view(now, &owner("b"), false);
            assert_eq!(fitness.judge(now, &members), None, "second {second}");
            assert_eq!(sight(now, &members), if second < 8 { Sight::Lost } else { Sight::Outage });
        }
    }

    #[test]
    fn a_node_that_alone_is_cut_off_is_not_ready_until_a_heartbeat_is_answered() {
        let (mut members, mut fitness) = (joined(), Fitness::default());
        members.handle_view(at(8.0), &owner("b"), true);
        assert_eq!(fitness.judge(at(8.0), &members), None, "it may have come back just now");
        members.handle_view(at(9.9), &owner("b"), true);
        assert_eq!(fitness.judge(at(9.9), &members), None);
        assert_eq!(fitness.judge(at(10.0), &members), Some(&Unfit::CutOff("b".into())));
        // The peer is gone too.
        assert_eq!(fitness.judge(at(14.0), &members), Some(&Unfit::Isolated));
        members.handle_beat(at(15.0), at(15.0), beat(15.0, Some(7), 0));
        assert_eq!(fitness.judge(at(15.0), &members), None);
        assert_eq!(sight(at(15.0), &members), Sight::Seen);
    }

    #[test]
    fn a_node_that_hears_a_moment_later_than_others_that_the_store_is_back_stays_ready() {
        let (mut members, mut fitness) = (joined(), Fitness::default());
        for (second, b_sees) in [(60.0, false), (61.0, true), (62.0, true)] {
            members.handle_view(at(second), &owner("b"), b_sees);
            assert_eq!(fitness.judge(at(second), &members), None);
        }
        assert_eq!(sight(at(62.0), &members), Sight::CutOff);
        members.handle_beat(at(62.5), at(62.5), beat(62.5, Some(7), 0));
        assert_eq!(fitness.judge(at(62.5), &members), None);
        // That doubt is over: the next one begins anew.
        members.handle_view(at(71.0), &owner("b"), true);
        assert_eq!(fitness.judge(at(71.0), &members), None);
    }

    #[test]
    fn an_empty_store_and_a_clock_that_is_off_count_until_a_heartbeat_or_an_outage_says_otherwise() {
        for (incarnation, ahead, unfit) in
            [(None, 0, Unfit::Empty), (Some(7), 3_600_000, Unfit::ClockAhead(3_600_000))]
        {
            let (mut members, mut fitness) = (joined(), Fitness::default());
            members.handle_beat(at(2.0), at(2.0), beat(2.0, incarnation, ahead));
            assert_eq!(fitness.judge(at(2.0), &members), Some(&unfit));
            members.handle_store_lost();
            assert_eq!(fitness.judge(at(3.0), &members), Some(&unfit));
            let mut mended = members.clone();
            mended.handle_beat(at(4.0), at(4.0), beat(4.0, Some(7), 0));
            assert_eq!(Fitness { unfit: Some(unfit), ..Fitness::default() }.judge(at(4.0), &mended), None);
            members.handle_view(at(10.0), &owner("b"), false);
            assert_eq!(fitness.judge(at(10.0), &members), None);
        }
    }
}
