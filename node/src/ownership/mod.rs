//! Whose a device is, and what this node may do about it.
//!
//! ```text
//! timings      the protocol's times, which scale together
//! membership   who is alive, and what this node may do just now
//! activation   a packet, a command or a due entry for a device that is not live here: claim, present, or leave
//! residence    a device that is live here: whether to give it up, whether it still is ours
//! reply        the answer that another node waits for
//! ```
//!
//! All of it is sans-IO: heartbeats, answers and the time go in, decisions come out. Safety rests on none of it: a write is
//! fenced by the store, a nonce is unique by its lane. What is decided here is when to claim, so that devices move seldom and
//! are served soon.

mod activation;
mod membership;
mod reply;
mod residence;
mod timings;

pub use self::{
    activation::{Activation, Answer, Step, Want, Why},
    membership::{Hold, Membership, Standing, Validity},
    reply::Reply,
    residence::{Confirmed, Flapping, Pulse, Residence, Verdict},
    timings::Timings,
};
