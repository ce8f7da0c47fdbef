//! The spool's thread: writes what is overdue or must wait, takes out what Kafka has, and sends what lies in front.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io, mem,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use godwit_proto::store::v1::SpooledMessage;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::OwnedHeaders,
    producer::BaseRecord,
};

use super::{
    Entry, Flight, Incoming, Place, Slot, Spool, State, Watched,
    disk::{Disk, Extent, QUEUES},
};
use crate::{
    clock,
    telemetry::{
        Completion, SinkError,
        sink::kafka::{
            dead_letters::Letter,
            delivery::{self, Pending},
            message,
            producer::Producer,
        },
    },
};

/// Bytes that are read from the disk at once.
const PORTION: usize = 256 << 10;

/// See the module.
pub(in crate::telemetry::sink::kafka) struct Worker {
    spool: Arc<Spool>,
    disk: Disk,
    queues: [Queue; QUEUES],
    /// To be taken out.
    clearing: Vec<Entry>,
    /// librdkafka gave these up.
    again: BTreeSet<Slot>,
}

/// Numbers in one queue. Those from `unsent` to `next` wait; of those below, librdkafka has what is still there.
#[derive(Debug, Clone, Default)]
struct Queue {
    unsent: u64,
    next: u64,
    /// Entries in front of `next` that librdkafka got before they were written.
    sent: VecDeque<u64>,
}

/// What one round has to do.
#[derive(Default)]
struct Round {
    overdue: Vec<Arc<Flight>>,
    incoming: Vec<Incoming>,
    settled: Vec<Entry>,
    again: Vec<Slot>,
}

impl Worker {
    pub(super) fn new(spool: Arc<Spool>, disk: Disk, extents: &[Extent; QUEUES]) -> Worker {
        let queues =
            extents.map(|extent| Queue { unsent: extent.first, next: extent.next, ..Queue::default() });
        Worker { spool, disk, queues, clearing: Vec::new(), again: BTreeSet::new() }
    }

    /// Works until the spool is closed.
    pub(in crate::telemetry::sink::kafka) fn run(mut self, producer: &Producer) {
        let mut failing = false;
        while let Some(round) = self.spool.round() {
            let Round { overdue, incoming, settled, again } = round;
            self.again.extend(again);
            self.clearing.extend(settled);
            let done = self.write(producer, overdue, incoming).and_then(|()| self.clear());
            let done = done.and_then(|()| self.drain(producer));
            if failing != done.is_err() {
                failing = done.is_err();
                match done {
                    Ok(()) => tracing::info!("the spool works again"),
                    Err(error) => tracing::error!(%error, "the spool fails (sink.kafka.spool.dir)"),
                }
            }
            self.spool.rest();
            producer.reports().outcomes.spool(&self.spool.status());
        }
    }

    /// Writes what is overdue, which was sent before, and behind it what came for the spool; then it is acknowledged.
    fn write(
        &mut self,
        producer: &Producer,
        overdue: Vec<Arc<Flight>>,
        incoming: Vec<Incoming>,
    ) -> io::Result<()> {
        let mut ended = Ended::default();
        let flights = self.spool.admit(overdue, &mut ended);
        let records = flights.len() + incoming.len();
        let mut next = self.queues.each_ref().map(|queue| queue.next);
        let mut number = |queue: u8| {
            let next = &mut next[usize::from(queue)];
            *next += 1;
            Slot { queue, number: *next - 1 }
        };
        let sent: Vec<_> = flights.iter().map(|overdue| number(overdue.watched().queue)).collect();
        let waiting: Vec<_> = incoming.iter().map(|record| number(record.queue)).collect();
        let messages = flights.iter().map(|overdue| overdue.message.clone());
        let fresh = incoming.iter().map(|record| record.message.clone());
        let entries = sent.iter().chain(&waiting).copied().zip(messages.chain(fresh));
        let reports = producer.reports();
        let written = match records {
            0 => Ok(()),
            _ => reports.outcomes.time(|| self.disk.write(entries)),
        };
        match &written {
            Ok(()) => {
                for (queue, next) in self.queues.iter_mut().zip(next) {
                    queue.next = next;
                }
                for (overdue, slot) in flights.iter().zip(sent) {
                    let entry = Entry { slot, bytes: overdue.message.len() as u64 };
                    self.queues[usize::from(slot.queue)].sent.push_back(slot.number);
                    let mut place = overdue.watched().place();
                    match *place {
                        Place::Settled => self.clearing.push(entry),
                        Place::GivenUp => {
                            self.again.insert(slot);
                            ended.end(overdue.pending(), Ok(()));
                        }
                        _ => {
                            *place = Place::Spooled(entry);
                            ended.end(overdue.pending(), Ok(()));
                        }
                    }
                }
                incoming.iter().for_each(|record| ended.end(&record.pending, Ok(())));
                reports.outcomes.spooled(records);
            }
            Err(error) => {
                let error = SinkError::from(error);
                let mut back = Vec::new();
                for overdue in flights {
                    self.spool.forget(overdue.watched().queue, overdue.message.len() as u64);
                    let mut place = overdue.watched().place();
                    match *place {
                        Place::GivenUp => ended.end(overdue.pending(), Err(error.clone())),
                        Place::Writing => {
                            *place = Place::Sent;
                            back.push(Arc::clone(&overdue.flight));
                        }
                        _ => {}
                    }
                }
                self.spool.watch_again(back);
                for record in incoming {
                    self.spool.forget(record.queue, record.message.len() as u64);
                    ended.end(&record.pending, Err(error.clone()));
                }
                reports.outcomes.count(ended.records, &Err(error));
            }
        }
        for (shard, completions) in ended.completions {
            reports.complete(shard, completions);
        }
        written
    }

    /// Takes out what Kafka has.
    fn clear(&mut self) -> io::Result<()> {
        if self.clearing.is_empty() {
            return Ok(());
        }
        self.disk.clear(self.clearing.iter().map(|entry| entry.slot))?;
        for entry in mem::take(&mut self.clearing) {
            self.spool.forget(entry.slot.queue, entry.bytes);
        }
        Ok(())
    }

    /// Sends what was given up, then what waits, in the order of each queue, as far as the window allows.
    fn drain(&mut self, producer: &Producer) -> io::Result<()> {
        while let Some(slot) = self.again.first().copied() {
            let entry = self.disk.read(slot, 1)?.into_iter().next().filter(|(found, _)| *found == slot);
            if let Some((slot, message)) = entry
                && !self.spool.send(producer, Entry { slot, bytes: message.len() as u64 }, &message)
            {
                return Ok(());
            }
            self.again.pop_first();
        }
        for (index, queue) in self.queues.iter_mut().enumerate() {
            while queue.unsent < queue.next && self.spool.has_window() {
                let from = Slot { queue: index as u8, number: queue.unsent };
                let entries = self.disk.read(from, PORTION)?;
                if entries.is_empty() {
                    queue.unsent = queue.next;
                    queue.sent.clear();
                }
                for (slot, message) in entries {
                    let entry = Entry { slot, bytes: message.len() as u64 };
                    while queue.sent.front().is_some_and(|number| *number < slot.number) {
                        queue.sent.pop_front();
                    }
                    if queue.sent.front() == Some(&slot.number) {
                        queue.sent.pop_front();
                    } else if !self.spool.send(producer, entry, &message) {
                        return Ok(());
                    }
                    queue.unsent = slot.number + 1;
                }
            }
        }
        Ok(())
    }
}

/// An overdue message as the disk gets it.
struct Overdue {
    flight: Arc<Flight>,
    message: Vec<u8>,
}

impl Overdue {
    fn watched(&self) -> &Watched {
        self.flight.watched().expect("invariant: only watched flights are overdue")
    }

    fn pending(&self) -> &Arc<Pending> {
        match &*self.flight {
            Flight::Live(live) => &live.pending,
            Flight::Drained(_) | Flight::Copy => unreachable!("invariant: only live flights are overdue"),
        }
    }
}

impl Flight {
    fn watched(&self) -> Option<&Watched> {
        match self {
            Flight::Live(live) => live.watched.as_deref(),
            Flight::Drained(_) | Flight::Copy => None,
        }
    }
}

/// Publishes that ended, by shard.
#[derive(Default)]
struct Ended {
    records: usize,
    completions: BTreeMap<u16, Vec<Completion>>,
}

impl Ended {
    fn end(&mut self, pending: &Pending, result: Result<(), SinkError>) {
        self.records += 1;
        if let Some(result) = pending.end(result) {
            let completion = Completion { ticket: pending.ticket, result };
            self.completions.entry(pending.ticket.shard).or_default().push(completion);
        }
    }
}

impl Spool {
    /// Waits for something to do, at most a fifteenth of the budget; `None` when the spool is closed.
    fn round(&self) -> Option<Round> {
        let tick = (self.budget / 15).clamp(Duration::from_millis(10), Duration::from_millis(100));
        let mut state = self.lock();
        let sealing = state.sealing && !state.flights.is_empty();
        if state.incoming.is_empty() && state.settled.is_empty() && !sealing && !state.closed {
            state.idle = true;
            state = self.filled.wait_timeout(state, tick).unwrap_or_else(PoisonError::into_inner).0;
            state.idle = false;
        }
        if state.closed {
            return None;
        }
        state.busy = true;
        state.incoming_bytes = 0;
        Some(Round {
            overdue: self.overdue(&mut state),
            incoming: mem::take(&mut state.incoming),
            settled: mem::take(&mut state.settled),
            again: mem::take(&mut state.again),
        })
    }

    /// Takes from the flights those whose budget is over, and with them all others of their queues and of queues that hold
    /// something: what comes behind them goes to the disk, so they must stand there before it.
    fn overdue(&self, state: &mut State) -> Vec<Arc<Flight>> {
        let now = clock::now();
        let mut hot = [false; QUEUES];
        for (hot, holds) in hot.iter_mut().zip(&state.holds) {
            *hot = *holds > 0;
        }
        for watched in state.flights.iter().filter_map(|flight| flight.watched()) {
            let over = state.sealing || now.saturating_duration_since(watched.since) >= self.budget;
            if over && *watched.place() == Place::Sent {
                hot[usize::from(watched.queue)] = true;
            }
        }
        let mut overdue = Vec::new();
        state.flights.retain(|flight| {
            let Some(watched) = flight.watched() else { return false };
            let mut place = watched.place();
            match *place {
                Place::Sent if hot[usize::from(watched.queue)] => {
                    *place = Place::Writing;
                    overdue.push(Arc::clone(flight));
                    false
                }
                Place::Sent => true,
                _ => false,
            }
        });
        overdue
    }

    /// Those for which there is room, encoded. The others stay what they were: on their way, and not acknowledged.
    fn admit(&self, overdue: Vec<Arc<Flight>>, ended: &mut Ended) -> Vec<Overdue> {
        let (mut admitted, mut refused) = (Vec::new(), Vec::new());
        // Where one finds no room the others are not encoded, time and again, to find none.
        let mut full = None;
        for flight in overdue {
            let Some(watched) = flight.watched() else { continue };
            if full.is_none() {
                let message = message::stored(&watched.record, &watched.topic, watched.values);
                match self.reserve(&mut self.lock(), watched.queue, 1, message.len() as u64) {
                    Ok(()) => {
                        admitted.push(Overdue { flight, message });
                        continue;
                    }
                    Err(error) => full = Some(error),
                }
            }
            let Some(full) = &full else { continue };
            let mut place = watched.place();
            match *place {
                Place::Writing => *place = Place::Sent,
                Place::GivenUp => {
                    if let Flight::Live(live) = &*flight {
                        ended.end(&live.pending, Err(full.clone()));
                    }
                    continue;
                }
                // A report came meanwhile.
                _ => continue,
            }
            drop(place);
            refused.push(flight);
        }
        self.watch_again(refused);
        admitted
    }

    /// Flights that stay where they were, in front of those that came since.
    fn watch_again(&self, mut flights: Vec<Arc<Flight>>) {
        if flights.is_empty() {
            return;
        }
        let mut state = self.lock();
        flights.append(&mut state.flights);
        state.flights = flights;
    }

    fn forget(&self, queue: u8, bytes: u64) {
        Spool::release(&mut self.lock(), queue, bytes);
    }

    /// A round is over.
    fn rest(&self) {
        self.lock().busy = false;
        self.written.notify_all();
    }

    /// Whether more entries may be on their way.
    fn has_window(&self) -> bool {
        self.sent.load(Ordering::Relaxed) < self.waiting / 4
    }

    /// Hands an entry to librdkafka; says whether that took it.
    fn send(&self, producer: &Producer, entry: Entry, message: &[u8]) -> bool {
        let reports = producer.reports();
        let Some(SpooledMessage { topic, key, headers, value }) = message::restored(message) else {
            tracing::error!(slot = ?entry.slot, "an entry of the spool can't be read and is dropped");
            self.settled(entry, false);
            return true;
        };
        let headers = message::late(&headers);
        let weight = message::weight(key.len(), value.len());
        let record = BaseRecord::with_opaque_to(&topic, Arc::new(Flight::Drained(entry)))
            .key(&key)
            .payload(&value)
            .headers(headers);
        reports.add(weight);
        self.sent.fetch_add(entry.bytes, Ordering::Relaxed);
        let Err((error, record)) = producer.send(record) else { return true };
        reports.take(weight);
        match error {
            KafkaError::MessageProduction(code) if delivery::is_permanent(code) => {
                let buried = reports.bury(&Letter {
                    reason: code,
                    topic: &topic,
                    key: &key,
                    headers: record.headers.as_ref().map(OwnedHeaders::as_borrowed),
                    payload: &value,
                });
                if buried.is_ok() {
                    self.settled(entry, true);
                    return true;
                }
            }
            KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {}
            error => tracing::warn!(%error, "kafka: an entry of the spool can't be sent"),
        }
        self.sent.fetch_sub(entry.bytes, Ordering::Relaxed);
        false
    }
}
