//! What a run counts of its sessions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock::{Micros, SECOND};
use crate::measure::LatencyReport;

/// Counts and durations of handshakes.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) started: u64,
    pub(super) retransmitted: u64,
    /// Asked for although the session was open, to be resumed.
    pub(super) full: Histogram<u64>,
    pub(super) resumed: Histogram<u64>,
    /// A session was offered, and the server chose a new one.
    pub(super) not_resumed: u64,
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) closed_by_server: u64,
    /// Started over because nothing was heard.
    pub(super) given_up: u64,
    pub(super) rebinds: u64,
    /// Messages that never left, as their handshake failed.
    pub(super) unsent: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, 300 * SECOND, 3).expect("invariant: bounds are valid");
        Self {
            started: 0,
            retransmitted: 0,
            full: histogram(),
            resumed: histogram(),
            not_resumed: 0,
            failures: BTreeMap::new(),
            closed_by_server: 0,
            given_up: 0,
            rebinds: 0,
            unsent: 0,
        }
    }

    /// Handshakes that ended well.
    pub(super) fn completed(&self) -> u64 {
        self.full.len() + self.resumed.len()
    }

    pub(super) fn established(&mut self, resumed: bool, offered: bool, took: Micros) {
        self.not_resumed += u64::from(offered && !resumed);
        let histogram = if resumed { &mut self.resumed } else { &mut self.full };
        histogram.saturating_record(took);
    }
}

/// The same, for JSON; latencies in µs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TallyReport {
    started: u64,
    full: u64,
    resumed: u64,
    not_resumed: u64,
    failures: BTreeMap<String, u64>,
    retransmitted_flights: u64,
    closed_by_server: u64,
    given_up: u64,
    rebinds: u64,
    unsent: u64,
    /// Sessions that could carry data at the end.
    open: u32,
    full_latency_us: Option<LatencyReport>,
    resumed_latency_us: Option<LatencyReport>,
}

impl TallyReport {
    pub(super) fn new(tally: &Tally, open: u32) -> Self {
        Self {
            started: tally.started,
            full: tally.full.len(),
            resumed: tally.resumed.len(),
            not_resumed: tally.not_resumed,
            failures: tally.failures.clone(),
            retransmitted_flights: tally.retransmitted,
            closed_by_server: tally.closed_by_server,
            given_up: tally.given_up,
            rebinds: tally.rebinds,
            unsent: tally.unsent,
            open,
            full_latency_us: LatencyReport::new(&tally.full),
            resumed_latency_us: LatencyReport::new(&tally.resumed),
        }
    }

    /// A sentence for people.
    pub(crate) fn describe(&self) -> String {
        let latency = |latency: Option<LatencyReport>| {
            latency.map_or_else(String::new, |l| format!(" (p50 {} µs, p99 {} µs)", l.p50, l.p99))
        };
        let mut text = format!(
            "dtls: {} full handshakes{}, {} resumed{}, {} flights sent again, {} sessions open",
            self.full,
            latency(self.full_latency_us),
            self.resumed,
            latency(self.resumed_latency_us),
            self.retransmitted_flights,
            self.open,
        );
        for (count, what) in [
            (self.not_resumed, "offered sessions were not resumed"),
            (self.closed_by_server, "sessions were closed by the server"),
            (self.given_up, "sessions were given up for silence"),
            (self.rebinds, "changes of port"),
            (self.unsent, "messages never left"),
        ] {
            if count > 0 {
                let _infallible = write!(text, ", {count} {what}");
            }
        }
        for (reason, count) in &self.failures {
            let _infallible = write!(text, "\nnote: {count} handshakes or sessions failed: {reason}");
        }
        text
    }
}
