//! Ingress: datagrams in and out, and which connection gets them.

mod abroad;
pub mod mmsg;
mod route;
mod secure;
pub mod shard;
pub mod socket;
mod steer;
#[cfg(test)]
pub(crate) mod tests;
