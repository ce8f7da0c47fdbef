//! What was received before, by message id (RFC 7252 §4.5): pending, or with the answer to repeat.

use std::time::Instant;

use smallvec::SmallVec;

use crate::{Block, RequestId, Token};

/// A stored answer. Most fit without heap memory; an empty one means that nothing is repeated.
pub(crate) type Answer = SmallVec<[u8; 24]>;

/// A message that was received.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) message_id: u16,
    pub(crate) confirmable: bool,
    /// Of the whole datagram: a device that restarts may use an id again for another message, which is no repetition.
    pub(crate) fingerprint: u32,
    pub(crate) expires: Instant,
    /// Whether carrying this out again would do no harm: blocks and notifications, which come in numbers, must not drive
    /// out the answers to requests.
    pub(crate) harmless: bool,
    pub(crate) state: Seen,
}

/// What was made of it.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A request that nobody has answered yet.
    Request(Box<Pending>),
    /// A confirmable notification that nobody has decided on yet.
    Notification,
    /// Done; this is repeated.
    Answered(Answer),
}

/// What answering a request needs to know of it.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: RequestId,
    pub(crate) token: Token,
    /// When an empty acknowledgement must leave; `None` after it has, and for non-confirmable requests.
    pub(crate) ack_at: Option<Instant>,
    /// Of the request's method and options: see `transfer_key`.
    pub(crate) key: u64,
    /// The last block of the request's body, which the response names.
    pub(crate) block1: Option<Block>,
    /// The block of the response's body that is asked for.
    pub(crate) block2: Option<Block>,
}

/// How many harmless entries are kept at the cost of older answers.
const HARMLESS_KEPT: usize = 8;

/// The messages received from one peer within their lifetimes, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Dedup {
    entries: Vec<Entry>,
    /// Bytes of answers on the heap.
    stored: u32,
    /// How many entries are not answered.
    pending: u32,
}

impl Dedup {
    /// The entry of a datagram that is a repetition at `now`.
    pub(crate) fn find(&self, now: Instant, message_id: u16, fingerprint: u32) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| {
            entry.message_id == message_id && entry.fingerprint == fingerprint && now < entry.expires
        })
    }

    /// Remembers a message. An older one that is not pending makes room; `false` if all are pending.
    pub(crate) fn insert(&mut self, now: Instant, entry: Entry, limit: usize, bytes: usize) -> bool {
        if self.entries.first().is_some_and(|oldest| oldest.expires <= now) {
            self.sweep(now);
        }
        if self.entries.len() >= limit {
            match self.victim(|_| true) {
                Some(victim) => self.remove(victim),
                None => return false,
            };
        }
        self.pending += u32::from(entry.is_pending());
        self.stored += entry.heap_bytes();
        self.entries.push(entry);
        self.trim(bytes);
        true
    }

    /// Puts an answer in the place of the newest open notification with this message id; `false` if there is none.
    pub(crate) fn decide(&mut self, now: Instant, message_id: u16, answer: &[u8]) -> bool {
        let found = self.entries.iter_mut().rev().find(|entry| {
            entry.message_id == message_id && now < entry.expires && matches!(entry.state, Seen::Notification)
        });
        let Some(entry) = found else { return false };
        entry.state = Seen::Answered(Answer::from_slice(answer));
        self.stored += entry.heap_bytes();
        self.pending -= 1;
        true
    }

    /// Forgets the newest open notification with this message id. Whether there was one.
    pub(crate) fn forget_notification(&mut self, message_id: u16) -> bool {
        let at = self
            .entries
            .iter()
            .rposition(|entry| entry.message_id == message_id && matches!(entry.state, Seen::Notification));
        at.map(|at| self.remove(at)).is_some()
    }

    /// The newest entry with this message id.
    pub(crate) fn newest(&self, now: Instant, message_id: u16) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.message_id == message_id && now < entry.expires)
    }

    /// The open request with this id: its place, for `answer` and `remove`.
    pub(crate) fn position(&self, id: RequestId) -> Option<usize> {
        self.entries
            .iter()
            .rposition(|entry| matches!(&entry.state, Seen::Request(pending) if pending.id == id))
    }

    pub(crate) fn entry(&self, position: usize) -> &Entry {
        &self.entries[position]
    }

    /// Puts an answer in the place of an open request; the oldest answers make room for its bytes.
    pub(crate) fn answer(&mut self, position: usize, answer: Answer, limit: usize) {
        let entry = &mut self.entries[position];
        self.pending -= u32::from(entry.is_pending());
        self.stored -= entry.heap_bytes();
        entry.state = Seen::Answered(answer);
        self.stored += entry.heap_bytes();
        self.trim(limit);
    }

    /// Lets answers go until those left take at most `limit` bytes. An answer that is alone over the limit goes too: then
    /// a repetition is a new request.
    fn trim(&mut self, limit: usize) {
        while self.stored as usize > limit
            && let Some(victim) = self.victim(|entry| entry.heap_bytes() > 0)
        {
            self.remove(victim);
        }
    }

    pub(crate) fn remove(&mut self, position: usize) -> Entry {
        let entry = self.entries.remove(position);
        self.stored -= entry.heap_bytes();
        self.pending -= u32::from(entry.is_pending());
        entry
    }

    /// Forgets what has outlived its lifetime, pending or not.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let (stored, pending) = (&mut self.stored, &mut self.pending);
        self.entries.retain(|entry| {
            let keep = now < entry.expires;
            if !keep {
                *stored -= entry.heap_bytes();
                *pending -= u32::from(entry.is_pending());
            }
            keep
        });
        if self.entries.is_empty() {
            self.entries = Vec::new();
        }
    }

    /// Calls `due` with the message id of every request whose acknowledgement is due.
    pub(crate) fn acknowledge_due(&mut self, now: Instant, mut due: impl FnMut(u16)) {
        for entry in &mut self.entries {
            if let Seen::Request(pending) = &mut entry.state
                && pending.ack_at.is_some_and(|at| at <= now)
            {
                pending.ack_at = None;
                due(entry.message_id);
            }
        }
    }

    /// The first due acknowledgement, or the end of the newest entry: with steady traffic that moves on and on, so that
    /// old entries cost no timer of their own.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let end = self.entries.last()?.expires;
        if self.pending == 0 {
            return Some(end);
        }
        let acknowledgement = self.entries.iter().filter_map(|entry| match &entry.state {
            Seen::Request(pending) => pending.ack_at,
            _ => None,
        });
        acknowledgement.chain([end]).min()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many messages await a decision of the layers above.
    pub(crate) fn pending(&self) -> usize {
        self.pending as usize
    }

    /// Which entry of those that qualify makes room: the oldest harmless one unless few are left, whose repetitions may
    /// still be under way; else the oldest answered one.
    fn victim(&self, qualifies: impl Fn(&Entry) -> bool) -> Option<usize> {
        let candidates =
            || self.entries.iter().enumerate().filter(|(_, entry)| !entry.is_pending() && qualifies(entry));
        let mut harmless = candidates().filter(|(_, entry)| entry.harmless);
        let oldest = harmless.next();
        let many = harmless.nth(HARMLESS_KEPT - 1).is_some();
        oldest.filter(|_| many).or_else(|| candidates().next()).map(|(position, _)| position)
    }
}

impl Entry {
    fn is_pending(&self) -> bool {
        !matches!(self.state, Seen::Answered(_))
    }

    fn heap_bytes(&self) -> u32 {
        match &self.state {
            // A datagram has less than 64 KiB.
            Seen::Answered(answer) if answer.spilled() => answer.capacity() as u32,
            _ => 0,
        }
    }
}
