//! Ingress: datagrams in and out, and which connection gets them.

pub mod mmsg;
mod route;
pub mod shard;
pub mod socket;
