//! Handshake messages put together from fragments that come in any order, twice, or overlapping (RFC 6347 §4.2.3).

use smallvec::SmallVec;

use crate::message::{Fragment, Message, MessageType};

/// Bounds of what one peer's unfinished handshake may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message; 16 KiB by default.
    pub message: usize,
    /// Bytes of all messages that wait, counted by their announced lengths; 24 KiB by default.
    pub total: usize,
    /// Messages beyond the expected one that are kept; 8 by default.
    pub ahead: u16,
    /// Gaps in one message; 32 by default. Fragments that would make more wait for their repetition.
    pub gaps: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { message: 16 << 10, total: 24 << 10, ahead: 8, gaps: 32 }
    }
}

/// What became of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// New bytes of a message that is still needed.
    Kept,
    /// Nothing new of a message that is still needed.
    Known,
    /// Of a message that was handed out already: the peer repeats its flight.
    Repeated,
    /// Of a message too far ahead, or one for which there is no room before the expected one came.
    Later,
    /// Length or type differ from the message's other fragments.
    Contradiction,
    /// The message is longer than the limit, and can never be put together here.
    TooLong,
}

/// One message under way. `body` has the announced length.
#[derive(Debug)]
struct Partial {
    kind: MessageType,
    seq: u16,
    body: Vec<u8>,
    /// Where bytes are there: begin and end, in order, never touching.
    covered: SmallVec<[(usize, usize); 4]>,
}

/// A peer's messages in the order of their sequence numbers.
#[derive(Debug)]
pub struct Reassembly {
    next: u16,
    limits: Limits,
    /// Unordered; at most one for each number from `next` to `next + ahead`.
    waiting: Vec<Partial>,
}

impl Reassembly {
    /// Expects message `first` next. A server's is the number of the ClientHello with the cookie.
    pub fn new(first: u16, limits: Limits) -> Self {
        Reassembly { next: first, limits, waiting: Vec::new() }
    }

    /// The number of the message to be handed out next.
    pub fn expected(&self) -> u16 {
        self.next
    }

    /// Bytes that wait, by announced lengths.
    pub fn buffered(&self) -> usize {
        self.waiting.iter().map(|partial| partial.body.len()).sum()
    }

    /// Takes one fragment; [`Reassembly::pop`] afterwards.
    pub fn accept(&mut self, fragment: &Fragment<'_>) -> Taken {
        let Some(ahead) = fragment.seq.checked_sub(self.next) else { return Taken::Repeated };
        if ahead > self.limits.ahead {
            return Taken::Later;
        }
        if fragment.total > self.limits.message {
            return Taken::TooLong;
        }
        if let Some(partial) = self.waiting.iter_mut().find(|partial| partial.seq == fragment.seq) {
            return partial.take(fragment, self.limits.gaps);
        }
        if fragment.bytes.is_empty() && fragment.total > 0 {
            return Taken::Known;
        }
        if !self.make_room(fragment) {
            return Taken::Later;
        }
        let mut partial = Partial {
            kind: fragment.kind,
            seq: fragment.seq,
            body: vec![0; fragment.total],
            covered: SmallVec::new(),
        };
        partial.take(fragment, self.limits.gaps);
        self.waiting.push(partial);
        Taken::Kept
    }

    /// The expected message once it is whole.
    pub fn pop(&mut self) -> Option<Message> {
        let at = self.waiting.iter().position(|partial| partial.seq == self.next && partial.is_whole())?;
        let Partial { kind, seq, body, .. } = self.waiting.swap_remove(at);
        self.next = self.next.saturating_add(1);
        Some(Message { kind, seq, body })
    }

    /// Forgets messages further ahead for the sake of a nearer one: they will be repeated.
    fn make_room(&mut self, fragment: &Fragment<'_>) -> bool {
        while self.buffered() + fragment.total > self.limits.total {
            let last = self.waiting.iter().enumerate().max_by_key(|(_, partial)| partial.seq);
            match last {
                Some((at, partial)) if partial.seq > fragment.seq => self.waiting.swap_remove(at),
                _ => return false,
            };
        }
        true
    }
}

impl Partial {
    fn is_whole(&self) -> bool {
        self.body.is_empty() || self.covered[..] == [(0, self.body.len())]
    }

    fn take(&mut self, fragment: &Fragment<'_>, gaps: usize) -> Taken {
        if fragment.kind != self.kind || fragment.total != self.body.len() {
            return Taken::Contradiction;
        }
        let (start, end) = (fragment.offset, fragment.offset + fragment.bytes.len());
        if start == end || self.covered.iter().any(|&(from, to)| from <= start && end <= to) {
            return Taken::Known;
        }
        // The ranges that this one touches become one with it.
        let first = self.covered.partition_point(|&(_, to)| to < start);
        let last = self.covered.partition_point(|&(from, _)| from <= end);
        if first == last && self.covered.len() > gaps {
            return Taken::Later;
        }
        let touched = &self.covered[first..last];
        let from = touched.first().map_or(start, |&(from, _)| from.min(start));
        let to = touched.last().map_or(end, |&(_, to)| to.max(end));
        self.covered.drain(first..last);
        self.covered.insert(first, (from, to));
        self.body[start..end].copy_from_slice(fragment.bytes);
        Taken::Kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const LIMITS: Limits = Limits { message: 1000, total: 1500, ahead: 3, gaps: 4 };

    fn fragment(seq: u16, total: usize, offset: usize, bytes: &[u8]) -> Fragment<'_> {
        Fragment { kind: MessageType::CERTIFICATE, total, seq, offset, bytes }
    }

    #[test]
    fn fragments_may_come_backwards_and_overlap() {
        let mut reassembly = Reassembly::new(2, LIMITS);
        assert_eq!(reassembly.accept(&fragment(2, 6, 4, b"ef")), Taken::Kept);
        assert_eq!(reassembly.accept(&fragment(2, 6, 1, b"bcd")), Taken::Kept);
        assert_eq!(reassembly.accept(&fragment(2, 6, 2, b"cd")), Taken::Known);
        assert_eq!(reassembly.pop(), None);
        assert_eq!(reassembly.accept(&fragment(2, 6, 0, b"abcde")), Taken::Kept);
        assert_eq!(reassembly.pop().unwrap().body, b"abcdef");
        assert_eq!(reassembly.accept(&fragment(2, 6, 0, b"a")), Taken::Repeated);
        assert_eq!(reassembly.buffered(), 0);
    }

    #[test]
    fn messages_come_out_in_the_order_of_their_numbers() {
        let mut reassembly = Reassembly::new(1, LIMITS);
        assert_eq!(reassembly.accept(&fragment(2, 3, 0, b"two")), Taken::Kept);
        assert_eq!(reassembly.accept(&fragment(3, 0, 0, b"")), Taken::Kept);
        assert_eq!(reassembly.accept(&fragment(3, 0, 0, b"")), Taken::Known);
        assert_eq!(reassembly.pop(), None);
        assert_eq!(reassembly.accept(&fragment(1, 3, 0, b"one")), Taken::Kept);
        assert_eq!(
            std::iter::from_fn(|| reassembly.pop()).map(|message| message.seq).collect::<Vec<_>>(),
            [1, 2, 3]
        );
    }

    #[test]
    fn a_fragment_that_contradicts_the_others_is_not_taken() {
        let mut reassembly = Reassembly::new(0, LIMITS);
        reassembly.accept(&fragment(0, 6, 0, b"abc"));
        assert_eq!(reassembly.accept(&fragment(0, 7, 3, b"defg")), Taken::Contradiction);
        let other = Fragment { kind: MessageType::FINISHED, ..fragment(0, 6, 3, b"def") };
        assert_eq!(reassembly.accept(&other), Taken::Contradiction);
        assert_eq!(reassembly.accept(&fragment(0, 6, 3, b"def")), Taken::Kept);
        assert_eq!(reassembly.pop().unwrap().body, b"abcdef");
    }

    #[test]
    fn the_expected_message_finds_room_before_later_ones() {
        let mut reassembly = Reassembly::new(0, LIMITS);
        assert_eq!(reassembly.accept(&fragment(1, 700, 0, b"a")), Taken::Kept);
        assert_eq!(reassembly.accept(&fragment(2, 700, 0, b"b")), Taken::Kept);
        assert_eq!(reassembly.accept(&fragment(3, 700, 0, b"c")), Taken::Later);
        assert_eq!(reassembly.accept(&fragment(0, 1000, 0, b"d")), Taken::Kept);
        assert_eq!(reassembly.buffered(), 1000);
        assert_eq!(reassembly.accept(&fragment(0, 1001, 0, b"d")), Taken::TooLong);
        assert_eq!(reassembly.accept(&fragment(4, 1, 0, b"e")), Taken::Later);
    }

    #[test]
    fn a_message_of_many_gaps_waits_for_larger_fragments() {
        let mut reassembly = Reassembly::new(0, LIMITS);
        let taken: Vec<_> = (0..7).map(|at| reassembly.accept(&fragment(0, 100, at * 2, b"x"))).collect();
        assert_eq!(taken[..5], [Taken::Kept; 5]);
        assert_eq!(taken[5..], [Taken::Later; 2]);
        assert_eq!(reassembly.accept(&fragment(0, 100, 0, &[b'y'; 100])), Taken::Kept);
        assert_eq!(reassembly.pop().unwrap().body, [b'y'; 100]);
    }

    proptest! {
        #[test]
        fn whatever_the_order_of_the_fragments_the_messages_are_whole(
            bodies in vec(vec(any::<u8>(), 0..90), 1..4),
            cuts in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..60),
            last in any::<prop::sample::Index>(),
        ) {
            let mut reassembly = Reassembly::new(5, Limits { gaps: 99, ..LIMITS });
            let mut out = Vec::new();
            let send = |reassembly: &mut Reassembly, which: usize, from: usize, to: usize, out: &mut Vec<Message>| {
                let body = &bodies[which];
                reassembly.accept(&fragment(5 + which as u16, body.len(), from, &body[from..to]));
                assert!(reassembly.buffered() <= LIMITS.total);
                out.extend(std::iter::from_fn(|| reassembly.pop()));
            };
            for (which, one, other) in &cuts {
                let which = which.index(bodies.len());
                let (one, other) = (one.index(bodies[which].len() + 1), other.index(bodies[which].len() + 1));
                send(&mut reassembly, which, one.min(other), one.max(other), &mut out);
            }
            for which in 0..bodies.len() {
                let which = (which + last.index(bodies.len())) % bodies.len();
                send(&mut reassembly, which, 0, bodies[which].len(), &mut out);
            }
            prop_assert_eq!(out.iter().map(|message| &message.body).collect::<Vec<_>>(), bodies.iter().collect::<Vec<_>>());
            prop_assert_eq!(reassembly.buffered(), 0);
        }
    }
}
