//! The Godwit node.

pub mod endpoint;
pub mod identity;
