//! The Godwit node.
