//! What the actors of one shard share: listening addresses, deadlines, datagrams on their way out, messages from other threads.

pub mod inbox;
pub mod listener;
pub mod outbox;
pub mod table;
pub mod timers;

pub use table::ActorKey;

/// The number of a shard within its process, from 0.
pub type ShardId = u16;

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A connection actor's.
    Connection(ActorKey),
    /// An endpoint actor's.
    Endpoint(ActorKey),
}
