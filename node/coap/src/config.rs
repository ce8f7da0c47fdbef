//! What can be set: the transmission parameters of RFC 7252 §4.8 and the bounds of one peer.

use std::time::Duration;

use crate::BlockSize;

/// Shared by all peers of a node, behind an `Arc`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// ACK_TIMEOUT: before the first retransmission, times a random factor. Default 2 s.
    pub ack_timeout: Duration,
    /// ACK_RANDOM_FACTOR: the upper end of that factor, at least 1. Default 1.5.
    pub ack_random_factor: f32,
    /// MAX_RETRANSMIT: how often a confirmable message is sent again. Default 4.
    pub max_retransmit: u8,
    /// NSTART: confirmable requests that may await their acknowledgement at once. Default 1.
    pub nstart: u8,
    /// MAX_LATENCY: how long a datagram may be on its way. Default 100 s.
    pub max_latency: Duration,
    /// How long a request may be worked on before an empty acknowledgement leaves for it, after which its response goes
    /// out as a message of its own. Default 1 s, under every client's ACK_TIMEOUT.
    pub ack_delay: Duration,
    /// How long a response may take after an empty acknowledgement, or after a non-confirmable request. Default 93 s
    /// (MAX_TRANSMIT_WAIT).
    pub response_timeout: Duration,
    /// How long an unfinished body waits for its next block. Default 247 s (EXCHANGE_LIFETIME): under heavy loss other
    /// requests of the peer may come between two blocks.
    pub transfer_timeout: Duration,
    /// The largest block that is sent, asked for or agreed to. Default 1024 bytes.
    pub block_size: BlockSize,
    /// The largest payload sent without block-wise transfer. Default 1024 bytes.
    pub max_payload: usize,
    /// The largest datagram that is read. Default 4096 bytes; a larger request gets 4.13.
    pub max_datagram: usize,
    /// The largest body taken in, in a request or a response. Default 64 KiB.
    pub body_limit: u64,
    /// Bodies that may be on their way at once, each way, as the server. Default 1; a further one takes the place of the
    /// oldest.
    pub max_transfers: usize,
    /// De-duplication entries per peer; the oldest answered one makes room for a new one. Default 32. Up to this many
    /// requests and notifications may be pending at once, further ones are dropped and thus repeated by the peer.
    pub dedup_entries: usize,
    /// Bytes of stored answers per peer; the oldest make room. Default 16 KiB.
    pub dedup_bytes: usize,
    /// Own requests per peer that may be open or queued. Default 16.
    pub max_exchanges: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ack_timeout: Duration::from_secs(2),
            ack_random_factor: 1.5,
            max_retransmit: 4,
            nstart: 1,
            max_latency: Duration::from_secs(100),
            ack_delay: Duration::from_secs(1),
            response_timeout: Duration::from_secs(93),
            transfer_timeout: Duration::from_secs(247),
            block_size: BlockSize::MAX,
            max_payload: 1024,
            max_datagram: 4096,
            body_limit: 64 * 1024,
            max_transfers: 1,
            dedup_entries: 32,
            dedup_bytes: 16 * 1024,
            max_exchanges: 16,
        }
    }
}

impl Config {
    /// MAX_TRANSMIT_SPAN: from the first to the last transmission. 45 s by default.
    pub fn max_transmit_span(&self) -> Duration {
        self.spans((1u32 << u32::from(self.max_retransmit.min(16))) - 1)
    }

    /// MAX_TRANSMIT_WAIT: from the first transmission until giving up. 93 s by default.
    pub fn max_transmit_wait(&self) -> Duration {
        self.spans((1u32 << (u32::from(self.max_retransmit.min(16)) + 1)) - 1)
    }

    /// EXCHANGE_LIFETIME: how long the message id of a confirmable message stays taken. 247 s by default.
    pub fn exchange_lifetime(&self) -> Duration {
        // PROCESSING_DELAY is ACK_TIMEOUT (RFC 7252 §4.8.2).
        self.max_transmit_span() + self.max_latency * 2 + self.ack_timeout
    }

    /// NON_LIFETIME: how long the message id of a non-confirmable message stays taken. 145 s by default.
    pub fn non_lifetime(&self) -> Duration {
        self.max_transmit_span() + self.max_latency
    }

    fn spans(&self, timeouts: u32) -> Duration {
        self.ack_timeout.mul_f32(self.ack_random_factor.clamp(1.0, 16.0)) * timeouts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_times_are_those_of_rfc_7252_section_4_8_2() {
        let config = Config::default();
        assert_eq!(config.max_transmit_span(), Duration::from_secs(45));
        assert_eq!(config.max_transmit_wait(), Duration::from_secs(93));
        assert_eq!(config.exchange_lifetime(), Duration::from_secs(247));
        assert_eq!(config.non_lifetime(), Duration::from_secs(145));
    }
}
