//! The other nodes: how they hear of each other, and what goes between them. What follows for a device is `ownership`'s.
//!
//! ```text
//! heart        the heartbeat, and what follows from it
//! fitness      whether this node should get traffic
//! company      settings that can't be right, by what the others say of themselves
//! link         the connections between nodes
//! watch        tells peers of changes of registrations and operations
//! news         applies what operators change at other nodes
//! seat         a node's place in its cluster, from its start to its end
//! ```

pub mod company;
pub mod fitness;
pub mod heart;
pub mod link;
pub mod news;
pub mod seat;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
pub mod watch;
