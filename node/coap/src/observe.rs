//! The order of notifications (RFC 7641 §3.4).

use std::time::{Duration, Instant};

/// Whether a notification is newer than what was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Newer: use it.
    Fresh,
    /// Overtaken on the way: acknowledge it, but its value is old.
    Stale,
}

/// The newest notification of one observation. The caller keeps one per observation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObserveOrder {
    last: Option<(u32, Instant)>,
}

impl ObserveOrder {
    /// After this long any number counts as newer: the server's counter may have gone round or started over.
    const HORIZON: Duration = Duration::from_secs(128);

    /// Half of the 24-bit number space.
    const HALF: u32 = 1 << 23;

    /// Judges the number `sequence` (24 bits, higher ones are ignored) that arrived at `now`, and remembers a fresh
    /// one.
    pub fn accept(&mut self, now: Instant, sequence: u32) -> Freshness {
        let sequence = sequence & 0x00ff_ffff;
        let fresh = self.last.is_none_or(|(last, at)| {
            (last < sequence && sequence - last < Self::HALF)
                || (last > sequence && last - sequence > Self::HALF)
                || now.saturating_duration_since(at) > Self::HORIZON
        });
        if !fresh {
            return Freshness::Stale;
        }
        self.last = Some((sequence, now));
        Freshness::Fresh
    }
}
