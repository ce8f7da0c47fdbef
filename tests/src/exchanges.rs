//! How long devices waited for acknowledgements, by the records on the way.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use crate::{Checker, Datagram};

/// How often a [`Stalls`] looks at the clock.
const TICK: Duration = Duration::from_millis(20);
/// A longer time between two looks is a stall.
const STALL: Duration = Duration::from_millis(250);

/// A confirmable message of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The index of its session in [`Checker::sessions`].
    pub session: usize,
    /// When it was first sent.
    pub first: SystemTime,
    /// The server that it was first sent to.
    pub server: SocketAddr,
    /// How often it was sent.
    pub sent: u32,
    /// When it was first acknowledged.
    pub answered: Option<SystemTime>,
}

impl Exchange {
    /// From the first sending to the answer.
    pub fn took(&self) -> Option<Duration> {
        self.answered?.duration_since(self.first).ok()
    }
}

impl Checker {
    /// Confirmable messages of devices in the datagrams that were read, in the order of their first sending. Those of sessions
    /// whose keys are not known are not among them.
    pub fn exchanges(&self, datagrams: &[Datagram]) -> Vec<Exchange> {
        const CONFIRMABLE: u8 = 0;
        const ACKNOWLEDGEMENT: u8 = 2;
        const RESET: u8 = 3;
        let mut exchanges = Vec::<Exchange>::new();
        let mut by_id = HashMap::new();
        for record in self.records().iter().filter(|record| record.content_type == 23) {
            let Some([head, code, high, low, ..]) = record.content.as_deref() else { continue };
            let (kind, id) = (head >> 4 & 3, [*high, *low]);
            let Datagram { at, server, .. } = datagrams[record.datagram];
            let key = (record.session, id);
            if record.up && kind == CONFIRMABLE && *code != 0 {
                let place = *by_id.entry(key).or_insert_with(|| {
                    let session = record.session;
                    exchanges.push(Exchange { session, first: at, server, sent: 0, answered: None });
                    exchanges.len() - 1
                });
                exchanges[place].sent += 1;
            } else if !record.up
                && matches!(kind, ACKNOWLEDGEMENT | RESET)
                && let Some(exchange) = by_id.get(&key).and_then(|place| exchanges.get_mut(*place))
            {
                exchange.answered.get_or_insert(at);
            }
        }
        exchanges
    }
}

/// The value below which so many percent of these lie; `None` of nothing.
pub fn percentile(values: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(sorted.len() * percent / 100).min(last)])
}

/// Times in which the machine gave this process no turn: what happened then says nothing of the nodes.
#[derive(Debug)]
pub struct Stalls {
    seen: Arc<Mutex<Vec<(SystemTime, SystemTime)>>>,
    end: Arc<AtomicBool>,
}

impl Stalls {
    /// Looks from now on.
    pub fn watch() -> Stalls {
        let (seen, end) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicBool::new(false)));
        let (noted, ended) = (Arc::clone(&seen), Arc::clone(&end));
        thread::spawn(move || {
            let mut before = SystemTime::now();
            while !ended.load(Ordering::Relaxed) {
                thread::sleep(TICK);
                let now = SystemTime::now();
                if now.duration_since(before).is_ok_and(|gap| gap > STALL) {
                    noted.lock().unwrap_or_else(PoisonError::into_inner).push((before, now));
                }
                before = now;
            }
        });
        Stalls { seen, end }
    }

    /// Up to now.
    pub fn seen(&self) -> Vec<(SystemTime, SystemTime)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_sorted_values() {
        let values: Vec<_> = (0..200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 50), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&values, 99), Some(Duration::from_millis(198)));
        assert_eq!(percentile(&values, 100), Some(Duration::from_millis(199)));
        assert_eq!(percentile(&[], 50), None);
    }
}
