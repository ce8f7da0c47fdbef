//! One simulated device: small, because a fleet has a million of them.

use crate::exchange::Exchange;
use crate::observation::NONE;

/// What the server knows of a device, as the device believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not registered, and nothing was tried or the last try is still open.
    New,
    Registered,
    /// The server did not take the registration; it may be tried again.
    Refused,
    /// De-registered for good.
    Gone,
}

/// What follows once the open exchange has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    Register,
    Update,
    Deregister,
}

/// Bytes of a registration's path that fit into the device: `/rd/` and an id of 17 characters.
const INLINE: usize = 22;

/// The state of one device.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    /// When the open exchange was due, in µs, wrapping after 71 minutes: latencies are shorter.
    pub(crate) since: u32,
    /// How many values the device has produced; the latest one's number.
    pub(crate) counter: u32,
    /// The number in the notification that is open.
    pub(crate) notified: u32,
    /// The first of the device's observations.
    pub(crate) observations: u32,
    /// The observation whose notification was sent last.
    pub(crate) notifying: u32,
    /// Message id of the open exchange, and its token.
    pub(crate) mid: u16,
    next_mid: u16,
    location: [u8; INLINE],
    location_length: u8,
    pub(crate) exchange: Exchange,
    pub(crate) phase: Phase,
    pub(crate) then: Then,
    pub(crate) retransmissions: u8,
    /// An empty acknowledgement came: the answer follows in a message of its own.
    pub(crate) separate: bool,
}

const _: () = assert!(size_of::<Device>() <= 64);

impl Device {
    /// A device that has sent nothing yet; message ids begin at `mid`, RFC 7252 §4.4 wants them random.
    pub(crate) fn new(mid: u16) -> Self {
        Self {
            since: 0,
            counter: 0,
            notified: 0,
            observations: NONE,
            notifying: NONE,
            mid,
            next_mid: mid,
            location: [0; INLINE],
            location_length: 0,
            exchange: Exchange::None,
            phase: Phase::New,
            then: Then::Nothing,
            retransmissions: 0,
            separate: false,
        }
    }

    pub(crate) fn take_mid(&mut self) -> u16 {
        self.next_mid = self.next_mid.wrapping_add(1);
        self.next_mid
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.exchange != Exchange::None
    }

    /// The number of the next value; the first is 1.
    pub(crate) fn count(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    /// The registration's path as encoded Uri-Path options; empty when it is kept elsewhere for its length.
    pub(crate) fn location(&self) -> &[u8] {
        &self.location[..usize::from(self.location_length)]
    }

    /// Keeps the path; `false` when it is too long.
    pub(crate) fn keep_location(&mut self, options: &[u8]) -> bool {
        let fits = options.len() <= INLINE;
        self.location_length = if fits { options.len() as u8 } else { 0 };
        if fits {
            self.location[..options.len()].copy_from_slice(options);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_go_on_over_the_end_of_their_range() {
        let mut device = Device::new(u16::MAX - 1);
        assert_eq!([device.take_mid(), device.take_mid(), device.take_mid()], [u16::MAX, 0, 1]);
    }

    #[test]
    fn a_location_is_kept_whole_or_not_at_all() {
        let mut device = Device::new(0);
        assert!(device.keep_location(&[7; 22]));
        assert_eq!(device.location(), [7; 22]);
        assert!(!device.keep_location(&[7; 23]));
        assert!(device.location().is_empty());
    }
}
