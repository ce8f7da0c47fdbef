//! Endpoints: registration, observations and commands of one device each.

pub mod handle;
