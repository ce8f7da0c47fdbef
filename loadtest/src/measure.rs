//! What a run counts and how long things took.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock::{Micros, SECOND};
use crate::coap::code;

/// What devices do of their own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Register,
    Update,
    Notify,
    Deregister,
}

impl Action {
    pub(crate) const ALL: [Self; 4] = [Self::Register, Self::Update, Self::Notify, Self::Deregister];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Update => "update",
            Self::Notify => "notify",
            Self::Deregister => "deregister",
        }
    }
}

/// How late an action may leave and still count as on time.
const LATE: Micros = 1_000;

/// Counts of one action.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Due by the schedule.
    pub(crate) due: u64,
    /// Left for the first time.
    pub(crate) sent: u64,
    /// Ended well: a success code, or for a notification its acknowledgement.
    pub(crate) acknowledged: u64,
    /// Left and expect no answer: non-confirmable notifications.
    pub(crate) unconfirmed: u64,
    pub(crate) retransmissions: u64,
    pub(crate) timeouts: u64,
    pub(crate) resets: u64,
    /// Due while the device still waited for its last exchange.
    pub(crate) busy: u64,
    /// Due for a device that was not registered, or of which nothing was observed.
    pub(crate) idle: u64,
    /// Open notifications whose observation was cancelled or replaced.
    pub(crate) superseded: u64,
    /// Left more than a millisecond after they were due: the generator was too slow.
    pub(crate) late: u64,
    pub(crate) worst_lateness: Micros,
    /// Answers that were no success, by code.
    pub(crate) errors: BTreeMap<u8, u64>,
    /// From when the action was due to its answer's arrival in the kernel, in µs.
    pub(crate) latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            due: 0,
            sent: 0,
            acknowledged: 0,
            unconfirmed: 0,
            retransmissions: 0,
            timeouts: 0,
            resets: 0,
            busy: 0,
            idle: 0,
            superseded: 0,
            late: 0,
            worst_lateness: 0,
            errors: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, 600 * SECOND, 3).expect("invariant: bounds are valid"),
        }
    }
}

impl Tally {
    /// Counts a first transmission that was due at `due`.
    pub(crate) fn sent(&mut self, due: Micros, now: Micros) {
        let lateness = now.saturating_sub(due);
        self.sent += 1;
        self.late += u64::from(lateness > LATE);
        self.worst_lateness = self.worst_lateness.max(lateness);
    }

    pub(crate) fn acknowledged(&mut self, latency: Micros) {
        self.acknowledged += 1;
        self.latency.saturating_record(latency);
    }

    pub(crate) fn error(&mut self, code: u8) {
        *self.errors.entry(code).or_default() += 1;
    }

    /// What the server served, as far as can be known.
    pub(crate) fn completed(&self) -> u64 {
        self.acknowledged + self.unconfirmed
    }

    /// Everything that ended otherwise than it should.
    pub(crate) fn failed(&self) -> u64 {
        self.timeouts + self.resets + self.errors.values().sum::<u64>()
    }
}

/// Counts of a whole run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measure {
    tallies: [Tally; 4],
    /// Requests of the server, by what they were.
    pub(crate) served: Served,
    /// Datagrams that were no CoAP.
    pub(crate) malformed: u64,
    /// Answers and acknowledgements to nothing that is open: mostly to retransmissions.
    pub(crate) unmatched: u64,
    /// Registrations that the server no longer knew, or that were started again after a timeout.
    pub(crate) registered_again: u64,
}

impl Measure {
    pub(crate) fn tally(&self, action: Action) -> &Tally {
        &self.tallies[action as usize]
    }

    pub(crate) fn tally_mut(&mut self, action: Action) -> &mut Tally {
        &mut self.tallies[action as usize]
    }

    /// What a server served: exchanges that ended well, and what asks for no answer.
    pub(crate) fn completed(&self) -> u64 {
        self.tallies.iter().map(Tally::completed).sum()
    }
}

/// The server's requests that devices answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Served {
    pub(crate) reads: u64,
    pub(crate) discovers: u64,
    pub(crate) observes: u64,
    pub(crate) cancels: u64,
    pub(crate) writes: u64,
    pub(crate) executes: u64,
    pub(crate) creates: u64,
    pub(crate) deletes: u64,
    /// Answered with an error code.
    pub(crate) refused: u64,
    /// Recognised by their message id and answered as before.
    pub(crate) duplicates: u64,
}

/// A tally as it is written to JSON; latencies in µs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TallyReport {
    pub(crate) action: &'static str,
    pub(crate) due: u64,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) unconfirmed: u64,
    pub(crate) retransmissions: u64,
    pub(crate) timeouts: u64,
    pub(crate) resets: u64,
    pub(crate) skipped_busy: u64,
    pub(crate) skipped_idle: u64,
    pub(crate) superseded: u64,
    pub(crate) late: u64,
    pub(crate) worst_lateness_us: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) per_second: f64,
    pub(crate) latency_us: Option<LatencyReport>,
}

/// The usual quantiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct LatencyReport {
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl LatencyReport {
    pub(crate) fn new(latency: &Histogram<u64>) -> Option<Self> {
        (!latency.is_empty()).then(|| Self {
            mean: latency.mean(),
            p50: latency.value_at_quantile(0.5),
            p90: latency.value_at_quantile(0.9),
            p99: latency.value_at_quantile(0.99),
            p999: latency.value_at_quantile(0.999),
            max: latency.max(),
        })
    }
}

impl TallyReport {
    /// `elapsed` is the time over which the action was due.
    pub(crate) fn new(action: Action, tally: &Tally, elapsed: Micros) -> Self {
        Self {
            action: action.name(),
            due: tally.due,
            sent: tally.sent,
            acknowledged: tally.acknowledged,
            unconfirmed: tally.unconfirmed,
            retransmissions: tally.retransmissions,
            timeouts: tally.timeouts,
            resets: tally.resets,
            skipped_busy: tally.busy,
            skipped_idle: tally.idle,
            superseded: tally.superseded,
            late: tally.late,
            worst_lateness_us: tally.worst_lateness,
            errors: tally.errors.iter().map(|(&code, &count)| (code::text(code), count)).collect(),
            per_second: tally.completed() as f64 * SECOND as f64 / elapsed.max(1) as f64,
            latency_us: LatencyReport::new(&tally.latency),
        }
    }
}
