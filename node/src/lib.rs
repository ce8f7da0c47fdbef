//! The Godwit node.

pub mod admin;
pub mod admission;
pub mod app;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod ctl;
pub mod endpoint;
pub mod entropy;
pub mod exit;
pub mod failpoint;
pub mod health;
pub mod heap;
pub mod identity;
pub mod ingress;
pub mod keys;
pub mod log;
pub mod metrics;
pub mod models;
pub mod profile;
mod reminders;
pub mod seal;
pub mod shard;
pub mod store;
pub mod telemetry;
