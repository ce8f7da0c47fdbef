//! The Godwit node.

pub mod cli;
pub mod clock;
pub mod config;
pub mod endpoint;
pub mod entropy;
pub mod failpoint;
pub mod health;
pub mod identity;
pub mod log;
pub mod metrics;
pub mod profile;
pub mod store;
pub mod telemetry;
