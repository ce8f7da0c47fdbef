//! When a confirmable message is sent again (RFC 7252 §4.2).

use std::time::{Duration, Instant};

use crate::Config;

/// The exponential back-off of one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retransmission {
    deadline: Instant,
    interval: Duration,
    left: u8,
}

/// What a deadline that has passed asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Repeat,
    GiveUp,
}

impl Retransmission {
    /// For a message that leaves at `now`; `jitter` in 0..1 spreads the first interval.
    pub(crate) fn new(now: Instant, config: &Config, jitter: f32) -> Self {
        let spread = (config.ack_random_factor.clamp(1.0, 16.0) - 1.0) * jitter;
        let interval = config.ack_timeout.mul_f32(1.0 + spread);
        Self { deadline: now + interval, interval, left: config.max_retransmit.min(16) }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// To be called when the deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Due {
        let Some(left) = self.left.checked_sub(1) else {
            return Due::GiveUp;
        };
        self.left = left;
        self.interval *= 2;
        self.deadline = now + self.interval;
        Due::Repeat
    }
}

/// A small generator (xorshift64*) for jitter and follow-up tokens, seeded from outside.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // The generator stays at zero once there.
        Self(if seed == 0 { 0x9e37_79b9_7f4a_7c15 } else { seed })
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from 0 to below 1.
    pub(crate) fn fraction(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }
}
