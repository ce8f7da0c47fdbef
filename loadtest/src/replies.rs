//! Replies that were given, for requests that come again: RFC 7252 §4.2 and §4.5.

use std::collections::{HashMap, VecDeque};

use crate::clock::{Micros, SECOND};

/// EXCHANGE_LIFETIME, RFC 7252 §4.8.2.
const LIFETIME: Micros = 247 * SECOND;

/// Replies of the whole fleet that are kept at most; then the oldest go first.
const CAPACITY: usize = 65_536;

/// Replies by device and message id.
#[derive(Default)]
pub(crate) struct Replies {
    known: HashMap<(u32, u16), Box<[u8]>>,
    order: VecDeque<(Micros, u32, u16)>,
}

impl Replies {
    /// The reply to a request that was answered before.
    pub(crate) fn find(&mut self, now: Micros, device: u32, mid: u16) -> Option<&[u8]> {
        while let Some(&(at, device, mid)) = self.order.front()
            && (now >= at + LIFETIME || self.order.len() > CAPACITY)
        {
            self.order.pop_front();
            self.known.remove(&(device, mid));
        }
        self.known.get(&(device, mid)).map(AsRef::as_ref)
    }

    pub(crate) fn keep(&mut self, now: Micros, device: u32, mid: u16, reply: &[u8]) {
        if self.known.insert((device, mid), reply.into()).is_none() {
            self.order.push_back((now, device, mid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_known_for_its_exchange_lifetime_and_to_its_device_only() {
        let mut replies = Replies::default();
        replies.keep(0, 1, 77, b"yes");
        assert_eq!(replies.find(LIFETIME - 1, 1, 77), Some(&b"yes"[..]));
        assert_eq!(replies.find(0, 2, 77), None);
        assert_eq!(replies.find(LIFETIME, 1, 77), None);
    }

    #[test]
    fn the_oldest_reply_makes_room() {
        let mut replies = Replies::default();
        for device in 0..=CAPACITY as u32 {
            replies.keep(0, device, 1, b"");
        }
        assert_eq!(replies.find(0, 0, 1), None);
        assert!(replies.find(0, 1, 1).is_some());
    }
}
