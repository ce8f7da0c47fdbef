//! Any node serves any client: who is alive, and whose a device is.
//!
//! ```text
//! timings      the protocol's times, which scale together
//! membership   who is alive, and what this node may do just now
//! ownership    a packet, a command or a due entry for a device that is not live here: claim, present, or leave
//! heart        the heartbeat, and what follows from it
//! link         the connections between nodes
//! neighbours   the other nodes, as the rooms that serve devices see them
//! search       the ownership core with this process's clock and neighbours
//! reply        the answer that another node waits for
//! watch        tells peers of changes of registrations and operations
//! news         applies what operators change at other nodes
//! seat         a node's place in its cluster, from its start to its end
//! residence    a device that is live here: whether to give it up, whether it still is ours
//! ```
//!
//! The cores (`membership`, `ownership`, `residence`) are sans-IO: heartbeats, answers and the time go in, decisions
//! come out. Safety rests on none of it: a write is fenced by the store, a nonce is unique by its lane. What is decided
//! here is when to claim, so that devices move seldom and are served soon.

pub mod heart;
pub mod link;
pub mod membership;
pub mod neighbours;
pub mod news;
pub mod ownership;
pub mod reply;
pub mod residence;
pub mod search;
pub mod seat;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
pub mod timings;
pub mod watch;

pub use membership::{Hold, Membership, Standing, Validity};
pub use ownership::{Activation, Answer, Step, Want, Why};
pub use residence::{Confirmed, Flapping, Pulse, Residence, Verdict};
pub use timings::Timings;
