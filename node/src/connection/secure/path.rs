//! Where a session's device is, and how far that address is trusted (RFC 9146 §6).
//!
//! ```text
//!             newest record from elsewhere, session has a CID
//!  Confirmed ─────────────────────────────────────────────────► Provisional: answers only, three times what came
//!      ▲                                                            │
//!      └── another newest record from there, or back where it was ──┘
//! ```
//! Only an authenticated record that is newer than all before it moves the device, so a repeated one moves nothing. Right
//! after a claim without exact numbers an old record may pass for a new one: then the device must also have answered
//! something that was sent to the new address.

use std::net::{IpAddr, SocketAddr};

use crate::shard::outbox::{PeerId, SocketId};

/// How many times the bytes that came from an unproven address may be sent to it (RFC 9146 §6, RFC 9000 §8.1).
const AMPLIFICATION: usize = 3;

/// One way to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The node's socket.
    pub socket: SocketId,
    /// The device's address.
    pub remote: SocketAddr,
    /// The node's address that the device sends to.
    pub local: Option<IpAddr>,
    /// The node by which it leads, if that is another one.
    pub via: Option<PeerId>,
}

impl Place {
    /// Whether both lead to the same device address; which of the node's addresses it used does not matter, nor by which
    /// node.
    fn is(&self, other: &Self) -> bool {
        (self.socket, self.remote) == (other.socket, other.remote)
    }
}

/// A device's place and how it came to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::connection) struct Path {
    place: Place,
    trust: Trust,
    /// Records find the session by its connection id, so that its address may change.
    movable: bool,
    /// The numbers of the session are exact: a record newer than all known ones is new.
    exact: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Trust {
    Confirmed,
    Provisional {
        /// Bytes that may still be sent.
        credit: usize,
        /// The device must answer something that was sent here.
        unanswered: bool,
        /// The last place that was confirmed.
        before: Place,
    },
}

/// What an authenticated record did to the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connection) enum Moved {
    /// Nothing: it came from where the device is.
    Stayed,
    /// It came from elsewhere, which is used now but not trusted yet.
    Provisional,
    /// The device's new address is its address now.
    Confirmed,
    /// It came from elsewhere, and the device stays where it is.
    Refused,
}

impl Path {
    /// The path of a handshake, or of a stored session. `movable`: the session has a connection id.
    pub(in crate::connection) fn new(place: Place, movable: bool, exact: bool) -> Self {
        Self { place, trust: Trust::Confirmed, movable, exact }
    }

    /// Where to send to.
    pub(in crate::connection) fn place(&self) -> Place {
        self.place
    }

    /// Takes note of an authenticated record of `bytes` bytes. `newest`: newer than every one before.
    pub(in crate::connection) fn received(&mut self, from: Place, bytes: usize, newest: bool) -> Moved {
        if from.is(&self.place) {
            self.place.local = from.local.or(self.place.local);
            if newest {
                self.place.via = from.via;
            }
            return self.heard_again(bytes, newest);
        }
        if !self.movable || !newest {
            return Moved::Refused;
        }
        let before = match self.trust {
            // It never left: somebody else had repeated its record from elsewhere.
            Trust::Provisional { before, .. } if before.is(&from) => {
                self.place = from;
                self.trust = Trust::Confirmed;
                return Moved::Confirmed;
            }
            Trust::Provisional { before, .. } => before,
            Trust::Confirmed => self.place,
        };
        self.place = from;
        self.trust = Trust::Provisional {
            credit: bytes.saturating_mul(AMPLIFICATION),
            unanswered: !self.exact,
            before,
        };
        Moved::Provisional
    }

    fn heard_again(&mut self, bytes: usize, newest: bool) -> Moved {
        let Trust::Provisional { credit, unanswered, .. } = &mut self.trust else { return Moved::Stayed };
        *credit = credit.saturating_add(bytes.saturating_mul(AMPLIFICATION));
        if !newest || *unanswered {
            return Moved::Stayed;
        }
        self.trust = Trust::Confirmed;
        Moved::Confirmed
    }

    /// The device has answered something that was sent to its present place.
    pub(in crate::connection) fn answered(&mut self) {
        if let Trust::Provisional { unanswered, .. } = &mut self.trust {
            *unanswered = false;
        }
        self.exact = true;
    }

    /// Whether the device's present place is still to be proven by an answer.
    pub(in crate::connection) fn wants_answer(&self) -> bool {
        matches!(self.trust, Trust::Provisional { unanswered: true, .. })
    }

    /// Whether a datagram may leave now, which is counted as sent then. `asked`: it answers the device.
    pub(in crate::connection) fn may_send(&mut self, bytes: usize, asked: bool) -> bool {
        match &mut self.trust {
            Trust::Confirmed => true,
            Trust::Provisional { credit, .. } => {
                let allowed = asked && bytes <= *credit;
                if allowed {
                    *credit -= bytes;
                }
                allowed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(port: u16) -> Place {
        Place { socket: SocketId(1), remote: ([127, 0, 0, 1], port).into(), local: None, via: None }
    }

    fn path() -> Path {
        Path::new(place(1), true, true)
    }

    #[test]
    fn a_second_newer_record_confirms_a_new_address() {
        let mut path = path();
        assert_eq!(path.received(place(2), 100, true), Moved::Provisional);
        assert_eq!(path.place(), place(2));
        assert_eq!(path.received(place(2), 100, false), Moved::Stayed, "an older record proves nothing");
        assert!(!path.may_send(10, false));
        assert_eq!(path.received(place(2), 100, true), Moved::Confirmed);
        assert!(path.may_send(100_000, false));
    }

    #[test]
    fn an_unproven_address_gets_three_times_what_it_sent_and_only_answers() {
        let mut path = path();
        path.received(place(2), 100, true);
        assert!(!path.may_send(1, false), "nothing that it did not ask for");
        assert!(path.may_send(200, true));
        assert!(!path.may_send(101, true));
        assert!(path.may_send(100, true));
        assert!(!path.may_send(1, true));
        path.received(place(2), 10, false);
        assert!(path.may_send(30, true));
    }

    #[test]
    fn a_repeated_or_old_record_moves_nothing() {
        let mut path = path();
        assert_eq!(path.received(place(2), 100, false), Moved::Refused);
        assert_eq!(path.place(), place(1));
        assert!(path.may_send(1000, false));
    }

    #[test]
    fn the_newest_record_says_by_which_node_the_device_is_reached() {
        let peer = |n| PeerId(std::num::NonZeroU32::new(n).unwrap());
        let by = |n| Place { via: Some(peer(n)), ..place(1) };
        for movable in [false, true] {
            let mut path = Path::new(place(1), movable, true);
            assert_eq!(path.received(by(1), 10, true), Moved::Stayed);
            assert_eq!(path.place(), by(1));
            path.received(by(2), 10, false);
            assert_eq!(path.place(), by(1), "a late one");
            path.received(place(1), 10, true);
            assert_eq!(path.place().via, None);
        }
    }

    #[test]
    fn without_connection_id_the_address_stays() {
        let mut path = Path::new(place(1), false, true);
        assert_eq!(path.received(place(2), 100, true), Moved::Refused);
        assert_eq!(path.place(), place(1));
    }

    /// Whoever repeats a device's newest record from an address of its own, and is faster, gets one answer at most.
    #[test]
    fn a_device_that_never_left_is_believed_at_once() {
        let mut path = path();
        path.received(place(666), 50, true);
        assert_eq!(path.received(place(1), 50, true), Moved::Confirmed);
        assert!(path.may_send(1000, false));
        assert_eq!(path.received(place(666), 50, false), Moved::Refused);
        path.received(place(666), 50, true);
        path.received(place(667), 50, true);
        assert_eq!(path.received(place(1), 50, true), Moved::Confirmed, "over several addresses too");
    }

    #[test]
    fn after_an_inexact_claim_a_new_address_must_answer_first() {
        let mut path = Path::new(place(1), true, false);
        assert_eq!(path.received(place(2), 100, true), Moved::Provisional);
        assert!(path.wants_answer());
        assert_eq!(path.received(place(2), 100, true), Moved::Stayed);
        assert!(!path.may_send(1, false));
        path.answered();
        assert_eq!(path.received(place(2), 100, true), Moved::Confirmed);
        path.received(place(3), 100, true);
        assert!(!path.wants_answer(), "by now a record newer than all is new");
    }

    #[test]
    fn the_address_on_record_stays_trusted_after_a_claim() {
        let mut path = Path::new(place(1), true, false);
        assert_eq!(path.received(place(1), 100, true), Moved::Stayed);
        assert!(path.may_send(1000, false));
    }
}
