//! The protocol's times. One factor scales them all, so that a test may run the same protocol in less time.

use std::time::Duration;

/// The times of liveness, ownership and lanes. All nodes of a cluster must have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// Between two heartbeats; 2 s.
    pub heartbeat: Duration,
    /// How long the store keeps a heartbeat; 10 s. A member without one is dead.
    pub ttl: Duration,
    /// How long a node may act as a member after it *sent* the last heartbeat that was acknowledged; 8 s, shorter than
    /// `ttl`, so that it stops before the others take over.
    pub valid: Duration,
    /// How long an owner may leave a `Present` unanswered; 500 ms.
    pub suspect_after: Duration,
    /// How long claims against a silent owner go ahead without asking it; 1 s.
    pub suspect_for: Duration,
    /// A longer gap between two turns of a shard's loop makes its devices unsure; 400 ms, less than `suspect_after`.
    pub gap: Duration,
    /// How long an activation may take; 1.5 s: the device repeats at 2 to 3 s.
    pub activation: Duration,
    /// How far a clock may be from the median of all; 5 s.
    pub outlier: Duration,
    /// How far ahead of the store's clock a lane may be used; 30 s. Whole seconds, at least 2.
    pub lane_ahead: Duration,
    /// How long a lane rests before its next holder, and how long a starting process waits before it takes lanes from a
    /// store that has just come back; 60 s, longer than `lane_ahead` and a heartbeat.
    pub lane_rest: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(2),
            ttl: Duration::from_secs(10),
            valid: Duration::from_secs(8),
            suspect_after: Duration::from_millis(500),
            suspect_for: Duration::from_secs(1),
            gap: Duration::from_millis(400),
            activation: Duration::from_millis(1500),
            outlier: Duration::from_secs(5),
            lane_ahead: Duration::from_secs(30),
            lane_rest: Duration::from_secs(60),
        }
    }
}

impl Timings {
    /// The defaults times `percent` / 100. What depends on the machine's scheduling (`suspect_after`, `suspect_for`, `gap`,
    /// `activation`) and the clocks' `outlier` stay as they are; a lane is used at least 2 s ahead.
    #[must_use]
    pub fn scaled(percent: u32) -> Self {
        let whole = Self::default();
        let scale = |span: Duration| span * percent / 100;
        Self {
            heartbeat: scale(whole.heartbeat),
            ttl: scale(whole.ttl),
            valid: scale(whole.valid),
            lane_ahead: scale(whole.lane_ahead).max(Duration::from_secs(2)),
            lane_rest: scale(whole.lane_rest).max(Duration::from_secs(4)),
            ..whole
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_keeps_the_order_on_which_the_protocol_rests() {
        for percent in [10, 25, 50, 100, 300] {
            let it = Timings::scaled(percent);
            assert!(it.valid + it.heartbeat <= it.ttl, "{percent}");
            assert!(it.heartbeat * 2 < it.valid, "{percent}");
            assert!(it.gap < it.suspect_after, "{percent}");
            assert!(it.lane_ahead + it.heartbeat < it.lane_rest, "{percent}");
        }
    }
}
