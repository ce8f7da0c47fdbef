//! The device-facing half: sockets, CoAP, registrations, limits.

use std::net::{Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{size, span};

/// The LwM2M server's sockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// UDP addresses that serve plain CoAP (NoSec). `[::]` takes IPv4 too, and gives way to `0.0.0.0` where the
    /// kernel has no IPv6. A port that is in use is a start error.
    #[schemars(extend("x-shape" = "a list of `address:port`"))]
    pub listen: Vec<SocketAddr>,
    /// UDP addresses that serve CoAP over DTLS, in every mode that `security.modes` and the server's keys allow.
    #[schemars(extend("x-shape" = "a list of `address:port`"))]
    pub listen_dtls: Vec<SocketAddr>,
    /// Shards: threads that each own sockets, timers and actors. 0 means one per core.
    pub shards: u16,
    /// Receive buffer of each socket. The kernel caps it at `net.core.rmem_max`; the node warns when it did.
    #[serde(with = "size")]
    #[schemars(with = "size::Shape")]
    pub receive_buffer: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5683))],
            listen_dtls: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5684))],
            shards: 0,
            receive_buffer: 4 << 20,
        }
    }
}

impl Server {
    /// The number of shards to start.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        match self.shards {
            0 => available_parallelism().map_or(1, NonZeroUsize::get),
            shards => usize::from(shards),
        }
    }
}

/// Transmission parameters of CoAP (RFC 7252 §4.8). They scale together in tests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Coap {
    /// ACK_TIMEOUT: the least wait before the first retransmission of a confirmable message.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub ack_timeout: Duration,
    /// ACK_RANDOM_FACTOR: the first wait is drawn from `ack_timeout` to `ack_timeout × ack_random_factor`. 1 to 3.
    #[schemars(range(min = 1.0, max = 3.0))]
    pub ack_random_factor: f64,
    /// MAX_RETRANSMIT: retransmissions of a confirmable message before it counts as lost. At most 10.
    #[schemars(range(max = 10))]
    pub max_retransmit: u8,
    /// NSTART: exchanges that the node has open towards one device at a time. 1 to 16.
    #[schemars(range(min = 1, max = 16))]
    pub nstart: u8,
    /// Block size in bytes that the node offers (RFC 7959): 16, 32, 64, 128, 256, 512 or 1024.
    #[schemars(extend("enum" = [16, 32, 64, 128, 256, 512, 1024]))]
    pub block_size: u16,
    /// How long the node waits for a separate response after the device's empty acknowledgement.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub response_timeout: Duration,
}

impl Default for Coap {
    fn default() -> Self {
        Self {
            ack_timeout: Duration::from_secs(2),
            ack_random_factor: 1.5,
            max_retransmit: 4,
            nstart: 1,
            block_size: 1024,
            response_timeout: Duration::from_secs(93),
        }
    }
}

impl Coap {
    /// MAX_TRANSMIT_WAIT: how long a device goes on with what nobody acknowledges, if it has the same parameters. 93 s by
    /// default.
    pub fn max_transmit_wait(&self) -> Duration {
        self.ack_timeout
            .mul_f64(f64::from((2_u32 << self.max_retransmit.min(30)) - 1) * self.ack_random_factor)
    }
}

/// How devices come to be registered, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Profile that unknown endpoints are created with at their first registration. Unset: they are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_create: Option<String>,
    /// Longest lifetime that the node keeps; a longer one is shortened to it.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub lifetime_cap: Duration,
    /// Time past its lifetime before a registration expires.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub lifetime_grace: Duration,
    /// How long a queue mode device counts as awake after its last message.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub awake_window: Duration,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            auto_create: None,
            lifetime_cap: Duration::from_hours(365 * 24),
            lifetime_grace: Duration::from_secs(30),
            awake_window: Duration::from_secs(93),
        }
    }
}

/// Bounds on memory and work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Endpoint actors in memory over all shards. Beyond it the least recently used are passivated.
    #[schemars(range(min = 1))]
    pub live_actors: u32,
    /// Idle time after which an actor is passivated even below that bound.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub passivate_after: Duration,
    /// Time after its last exchange before which no actor is passivated.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub passivate_floor: Duration,
    /// Observations per device.
    #[schemars(range(min = 1))]
    pub observations: u16,
    /// Queued operations per device.
    #[schemars(range(min = 1))]
    pub queued_operations: u16,
    /// Time that a queued operation waits for its device unless the request says otherwise.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub operation_ttl: Duration,
    /// De-duplication entries per peer (RFC 7252 §4.5); pending ones are never evicted.
    #[schemars(range(min = 1))]
    pub dedup_entries: u16,
    /// Largest body that a device may send: links, notifications, Send. Beyond it 4.13 with Size1.
    #[serde(with = "size")]
    #[schemars(with = "size::Shape")]
    pub uplink_body: u64,
    /// DTLS handshakes under way on the node. Beyond it a ClientHello is dropped, and its device comes again.
    #[schemars(range(min = 1))]
    pub handshakes: u32,
    /// Of these, how many may come from one network: a /24 of IPv4, a /56 of IPv6.
    #[schemars(range(min = 1))]
    pub handshakes_per_prefix: u32,
    /// HelloVerifyRequests that the node sends per second. Beyond it a ClientHello without a cookie is dropped.
    #[schemars(range(min = 1))]
    pub cookies: u32,
    /// Devices being looked up in the store at once because a datagram came for them that no shard has in memory. Beyond it such
    /// datagrams are dropped.
    #[schemars(range(min = 1))]
    pub activations: u32,
    /// Devices that one shard asks at once for what their profile wants, such as observations after a register. Beyond it they
    /// wait their turn, so that a node which is behind serves registers first and repeats few requests of its own.
    #[schemars(range(min = 1))]
    pub starts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            live_actors: 250_000,
            passivate_after: Duration::from_mins(10),
            passivate_floor: Duration::from_secs(93),
            observations: 256,
            queued_operations: 64,
            operation_ttl: Duration::from_hours(24),
            dedup_entries: 32,
            uplink_body: 64 << 10,
            handshakes: 1000,
            handshakes_per_prefix: 32,
            cookies: 10_000,
            activations: 4096,
            starts: 1024,
        }
    }
}
