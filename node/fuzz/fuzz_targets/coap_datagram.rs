//! One datagram into a fresh peer: whatever it is, it has one fate, and only a confirmable message is answered unasked.

#![no_main]

use std::{sync::Arc, time::Instant};

use godwit_coap::{Config, Fate, Peer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let now = Instant::now();
    let mut peer = Peer::new(Arc::new(Config::default()), 1, 1);
    let fate = peer.handle_datagram(now, datagram);
    let answers: Vec<_> = std::iter::from_fn(|| peer.poll_transmit()).collect();
    let raised = std::iter::from_fn(|| peer.poll_event()).count();
    assert!(answers.len() <= 1);
    assert_eq!(raised, usize::from(matches!(fate, Fate::Request | Fate::Notification)));
    if let Some(answer) = answers.first() {
        // Type 2 and 3 are acknowledgement and reset.
        assert!(datagram[0] >> 4 & 3 < 2);
        assert!(answer.len() <= 3 * datagram.len() + 64);
    }
    if !answers.is_empty() && datagram[0] >> 4 & 3 == 0 {
        assert_eq!(answers[0][2..4], datagram[2..4]);
    }
});
