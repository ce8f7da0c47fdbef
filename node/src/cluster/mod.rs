//! Any node serves any client: who is alive, and whose a device is.
//!
//! ```text
//! timings      the protocol's times, which scale together
//! time         the store's clock, carried from heartbeat to heartbeat
//! membership   who is alive, and what this node may do just now
//! ownership    a packet, a command or a due entry for a device that is not live here: claim, present, or leave
//! residence    a device that is live here: whether to give it up, whether it still is ours
//! ```
//!
//! All of it is sans-IO: heartbeats, answers and the time go in, decisions come out. Safety rests on none of it: a write is
//! fenced by the store, a nonce is unique by its lane. What is decided here is when to claim, so that devices move
//! seldom and are served soon.

pub mod membership;
pub mod ownership;
pub mod residence;
pub mod time;
pub mod timings;

pub use membership::{Beat, Hold, Member, Membership, Standing, Validity};
pub use ownership::{Activation, Answer, Step, Want, Why};
pub use residence::{Flapping, Pulse, Residence, Verdict};
pub use time::StoreTime;
pub use timings::Timings;
