//! When actions are due: open loop, so that a slow server does not slow the load that it gets.

use std::str::FromStr;
use std::time::Duration;

use crate::clock::{Micros, SECOND};

/// Events per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate(pub(crate) f64);

/// A rate that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no rate: write a number per second, minute or hour, such as 2000/s, 2000 or 90/min")]
pub(crate) struct RateError;

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(RateError),
        };
        let number: f64 = number.trim().replace('_', "").parse().map_err(|_| RateError)?;
        let rate = number / seconds;
        (rate.is_finite() && (0.0..=10_000_000.0).contains(&rate)).then_some(Self(rate)).ok_or(RateError)
    }
}

/// A duration that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no duration: write a number with ms, s, min or h, such as 500ms, 60s or 2min")]
pub(crate) struct DurationError;

/// Reads `500ms`, `60s`, `2m`, `2min`, `1h`, or plain seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, DurationError> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| DurationError)?;
    let seconds = match unit.trim() {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(DurationError),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| DurationError)
}

/// Due times at a fixed rate from a start on. The k-th is due at `start + k / rate` whatever happened to the
/// ones before it; one that is fired late keeps its time, so that lateness shows.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start: Micros,
    rate: f64,
    next: u64,
    end: Option<u64>,
}

impl Schedule {
    /// `end` bounds the number of events; `None` goes on for ever.
    pub(crate) fn new(start: Micros, rate: Rate, end: Option<u64>) -> Self {
        Self { start, rate: rate.0, next: 0, end }
    }

    /// When the next event is due, if there is one.
    pub(crate) fn due(&self) -> Option<Micros> {
        let more = self.rate > 0.0 && self.end.is_none_or(|end| self.next < end);
        more.then(|| self.start + (self.next as f64 * SECOND as f64 / self.rate) as Micros)
    }

    /// Takes the next event if it is due by `now`: its number and its time.
    pub(crate) fn take(&mut self, now: Micros) -> Option<(u64, Micros)> {
        let due = self.due().filter(|&due| due <= now)?;
        self.next += 1;
        Some((self.next - 1, due))
    }
}

/// Visits every device once per round, in an order that jumps through the whole fleet, so that a server's
/// caches meet a fleet and not a sequence.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    devices: u64,
    stride: u64,
}

impl Round {
    pub(crate) fn new(devices: u32) -> Self {
        let devices = u64::from(devices.max(1));
        let golden = (devices as f64 * 0.618_033_988_75) as u64;
        let stride = (golden.max(1)..).find(|&stride| common_divisor(stride, devices) == 1);
        Self { devices, stride: stride.expect("invariant: a coprime number exists") }
    }

    /// The device of turn `turn`.
    pub(crate) fn device(&self, turn: u64) -> u32 {
        (u128::from(turn) * u128::from(self.stride) % u128::from(self.devices)) as u32
    }
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_durations_are_read_as_people_write_them() {
        assert_eq!("2000/s".parse(), Ok(Rate(2000.0)));
        assert_eq!("90/min".parse(), Ok(Rate(1.5)));
        assert_eq!("5_000".parse(), Ok(Rate(5000.0)));
        for bad in ["fast", "-1", "5/day", "inf", ""] {
            assert_eq!(bad.parse::<Rate>(), Err(RateError));
        }
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("5 days"), Err(DurationError));
    }

    #[test]
    fn a_stalled_generator_owes_every_event_at_its_own_time() {
        let mut schedule = Schedule::new(1_000, Rate(1000.0), Some(10));
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1_000), Some((0, 1_000)));
        assert_eq!(schedule.take(1_500), None);
        let late: Vec<_> = std::iter::from_fn(|| schedule.take(60_000)).collect();
        assert_eq!(late.len(), 9);
        assert_eq!(late[0], (1, 2_000));
        assert_eq!(late[8], (9, 10_000));
        assert_eq!(schedule.due(), None);
    }

    #[test]
    fn the_schedule_does_not_drift_over_a_day() {
        let mut schedule = Schedule::new(0, Rate(3.0), None);
        schedule.next = 3 * 86_400;
        assert_eq!(schedule.due(), Some(86_400 * SECOND));
    }

    #[test]
    fn a_round_meets_every_device_once_and_neighbours_rarely() {
        for devices in [1, 2, 3, 10, 1000, 4096] {
            let round = Round::new(devices);
            let mut seen: Vec<_> = (0..u64::from(devices)).map(|turn| round.device(turn)).collect();
            let steps = seen.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
            assert!(devices < 100 || steps == 0);
            seen.sort_unstable();
            assert_eq!(seen, (0..devices).collect::<Vec<_>>());
        }
    }
}
