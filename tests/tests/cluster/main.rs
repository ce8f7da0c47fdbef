//! Any node serves any client: nodes on one Redis, devices behind a load balancer that moves and sprays their packets.
#![allow(missing_docs, clippy::unwrap_used, clippy::float_cmp)]

mod commands;
mod device;
mod fleet;
mod moves;
mod outages;
