//! One side's flight: its messages cut to records and datagrams, sent again until the peer's next flight comes
//! (RFC 6347 §4.2.4).

use std::time::{Duration, Instant};

use crate::{
    message::{Fragment, HEADER_LEN, Message},
    record::ContentType,
};

/// A repeated flight of the peer's brings ours again at most this often.
const REPEAT_AT_MOST: Duration = Duration::from_secs(1);

/// One thing to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A message in this epoch: Finished in 1, the others in 0.
    Handshake(u16, Message),
    /// A record of its own, in epoch 0; what follows is in epoch 1.
    ChangeCipherSpec,
}

/// How long to wait for the peer before sending again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first time; 2 s by default (RFC 7925 §11 speaks of 9 s).
    pub first: Duration,
    /// Doubled each time, up to this; 60 s by default.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_secs(2), cap: Duration::from_secs(60) }
    }
}

/// What bounds records and datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of a datagram: the MTU without the headers of IP and UDP.
    pub datagram: usize,
    /// Bytes of a record's plaintext: 2^14 or what max_fragment_length says.
    pub plaintext: usize,
    /// What header and protection add to a plaintext at most, in epoch 0 and epoch 1.
    pub overhead: [usize; 2],
}

/// The plaintext of one record of a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// 0 or 1.
    pub epoch: u16,
    /// Handshake or ChangeCipherSpec.
    pub content_type: ContentType,
    /// To be sealed with the next record number: a number never comes again, not even in a repetition.
    pub plaintext: &'a [u8],
}

/// Messages that are sent together, and again together.
#[derive(Debug, Clone)]
pub struct Flight {
    items: Vec<Item>,
    sent: Option<Instant>,
    timer: Option<Timer>,
}

#[derive(Debug, Clone, Copy)]
struct Timer {
    backoff: Backoff,
    wait: Duration,
    due: Option<Instant>,
}

impl Flight {
    /// A flight that the peer answers: it repeats by timer, from its first sending to [`Flight::answered`].
    pub fn awaiting_answer(items: Vec<Item>, backoff: Backoff) -> Self {
        let timer = Timer { backoff, wait: backoff.first, due: None };
        Flight { items, sent: None, timer: Some(timer) }
    }

    /// The last flight of a handshake: it repeats only if the peer repeats its own.
    pub fn last(items: Vec<Item>) -> Self {
        Flight { items, sent: None, timer: None }
    }

    /// What it sends, in order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Each datagram at its first sending or any later. `seal` appends a record; its error ends the sending.
    ///
    /// A message that fits into one datagram is never cut. Several records share a datagram.
    pub fn datagrams<E>(
        &self,
        sizes: Sizes,
        mut seal: impl FnMut(Piece<'_>, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Vec<Vec<u8>>, E> {
        let mut datagrams = Vec::new();
        let mut current = Vec::new();
        let mut put = |piece: Piece<'_>| {
            let overhead = sizes.overhead[usize::from(piece.epoch).min(1)];
            if !current.is_empty() && current.len() + overhead + piece.plaintext.len() > sizes.datagram {
                datagrams.push(std::mem::take(&mut current));
            }
            seal(piece, &mut current)
        };
        let mut plaintext = Vec::new();
        for item in &self.items {
            match item {
                Item::ChangeCipherSpec => {
                    put(Piece { epoch: 0, content_type: ContentType::ChangeCipherSpec, plaintext: &[1] })?;
                }
                Item::Handshake(epoch, message) => {
                    let overhead = sizes.overhead[usize::from(*epoch).min(1)];
                    let room = sizes.datagram.saturating_sub(overhead).min(sizes.plaintext);
                    let room = room.saturating_sub(HEADER_LEN).max(1);
                    for fragment in fragments(message, room) {
                        plaintext.clear();
                        fragment.encode(&mut plaintext);
                        put(Piece {
                            epoch: *epoch,
                            content_type: ContentType::Handshake,
                            plaintext: &plaintext,
                        })?;
                    }
                }
            }
        }
        if !current.is_empty() {
            datagrams.push(current);
        }
        Ok(datagrams)
    }

    /// To be called whenever the datagrams left: arms the timer, from the first wait or the one it has grown to.
    pub fn mark_sent(&mut self, now: Instant) {
        self.sent = Some(now);
        if let Some(timer) = &mut self.timer {
            timer.due = now.checked_add(timer.wait);
        }
    }

    /// When [`Flight::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timer.as_ref().and_then(|timer| timer.due)
    }

    /// Whether to send again now; the next wait is twice as long.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        match &mut self.timer {
            Some(timer) if timer.due.is_some_and(|due| due <= now) => {
                timer.wait = timer.wait.saturating_mul(2).min(timer.backoff.cap);
                timer.due = None;
                true
            }
            _ => false,
        }
    }

    /// Whether to send again now because the peer repeated what this flight answers. At most once a second, so that a
    /// flight of many datagrams, or an attacker's copies of one, bring it once.
    #[must_use]
    pub fn handle_repeated(&self, now: Instant) -> bool {
        self.sent.is_some_and(|sent| now.saturating_duration_since(sent) >= REPEAT_AT_MOST)
    }

    /// The peer's next flight began: the timer stops.
    pub fn answered(&mut self) {
        self.timer = None;
    }
}

/// Cut as evenly as it comes, each at most `room` bytes; an empty message is one empty fragment.
fn fragments(message: &Message, room: usize) -> impl Iterator<Item = Fragment<'_>> {
    let total = message.body.len();
    let count = total.div_ceil(room).max(1);
    (0..count).map(move |index| {
        let offset = index * room;
        let bytes = &message.body[offset..total.min(offset + room)];
        Fragment { kind: message.kind, total, seq: message.seq, offset, bytes }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::{Fragments, MessageType},
        reassembly::{Limits, Reassembly},
        record::{Header, Records},
    };

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "an instant to start from; time is stepped")]
        Instant::now()
    }

    fn message(kind: MessageType, seq: u16, len: usize) -> Item {
        Item::Handshake(0, Message::new(kind, seq, |out| out.extend((0..len).map(|at| at as u8))))
    }

    fn datagrams(flight: &Flight, sizes: Sizes) -> Vec<Vec<u8>> {
        let mut number = 0;
        flight
            .datagrams(sizes, |piece, out| {
                let header = Header { epoch: piece.epoch, ..Header::plain(piece.content_type, number) };
                number += 1;
                header.encode_plain(piece.plaintext, out);
                Ok::<_, ()>(())
            })
            .unwrap()
    }

    const SIZES: Sizes = Sizes { datagram: 200, plaintext: 1 << 14, overhead: [13, 13] };

    #[test]
    fn a_flight_is_cut_to_datagrams_and_put_together_again() {
        let flight = Flight::last(vec![
            message(MessageType::SERVER_HELLO, 1, 80),
            message(MessageType::CERTIFICATE, 2, 600),
            message(MessageType::SERVER_HELLO_DONE, 3, 0),
        ]);
        for size in [40, 64, 120, 200, 576, 1200] {
            for plaintext in [64, 512, 1 << 14] {
                let sent = datagrams(&flight, Sizes { datagram: size, plaintext, ..SIZES });
                let mut reassembly = Reassembly::new(1, Limits::default());
                for datagram in &sent {
                    assert!(datagram.len() <= size);
                    for record in Records::parse(datagram, 0) {
                        let record = record.unwrap();
                        assert!(record.fragment.len() <= plaintext);
                        for fragment in Fragments::parse(record.fragment) {
                            reassembly.accept(&fragment.unwrap());
                        }
                    }
                }
                for item in flight.items() {
                    let Item::Handshake(_, message) = item else { unreachable!() };
                    assert_eq!(reassembly.pop().as_ref(), Some(message));
                }
            }
        }
    }

    #[test]
    fn what_fits_into_a_datagram_is_not_cut_and_shares_it() {
        let flight = Flight::last(vec![
            message(MessageType::SERVER_HELLO, 1, 80),
            message(MessageType::SERVER_KEY_EXCHANGE, 2, 150),
            Item::ChangeCipherSpec,
            message(MessageType::SERVER_HELLO_DONE, 3, 0),
        ]);
        let lengths: Vec<_> = datagrams(&flight, SIZES).iter().map(Vec::len).collect();
        assert_eq!(lengths, [13 + 12 + 80, 13 + 12 + 150 + 14, 13 + 12]);
    }

    #[test]
    fn an_error_of_the_sealing_ends_the_sending() {
        let flight = Flight::last(vec![Item::ChangeCipherSpec, Item::ChangeCipherSpec]);
        let mut calls = 0;
        let result = flight.datagrams(SIZES, |_, _| {
            calls += 1;
            Err("no number left")
        });
        assert_eq!((result, calls), (Err("no number left"), 1));
    }

    #[test]
    fn waits_double_up_to_the_cap_and_end_with_the_answer() {
        let mut now = start();
        let mut flight = Flight::awaiting_answer(vec![Item::ChangeCipherSpec], Backoff::default());
        assert_eq!(flight.poll_timeout(), None, "not sent yet");
        flight.mark_sent(now);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let due = flight.poll_timeout().unwrap();
            waits.push((due - now).as_secs());
            assert!(!flight.handle_timeout(due - Duration::from_millis(1)));
            now = due;
            assert!(flight.handle_timeout(now));
            assert!(!flight.handle_timeout(now), "once for each time it is due");
            flight.mark_sent(now);
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
        flight.answered();
        assert_eq!(flight.poll_timeout(), None);
    }

    #[test]
    fn repeated_flights_of_the_peer_bring_ours_once_a_second() {
        let now = start();
        let mut flight = Flight::last(vec![Item::ChangeCipherSpec]);
        assert!(!flight.handle_repeated(now), "nothing was sent yet");
        flight.mark_sent(now);
        assert_eq!(flight.poll_timeout(), None, "a last flight has no timer");
        assert!(!flight.handle_repeated(now + Duration::from_millis(999)));
        let later = now + Duration::from_secs(1);
        assert!(flight.handle_repeated(later));
        flight.mark_sent(later);
        assert!(!flight.handle_repeated(later));
    }
}
