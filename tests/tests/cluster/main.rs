//! Any node serves any client: nodes on one Redis, devices behind a load balancer that moves and sprays their packets.
#![allow(missing_docs, clippy::unwrap_used, clippy::float_cmp, clippy::print_stderr)]

mod command_faults;
mod commands;
mod credentials;
mod device;
mod fleet;
mod hand_over;
mod leshan;
mod links;
mod load;
mod moves;
mod nat;
mod outages;
mod replays;
mod stores;
