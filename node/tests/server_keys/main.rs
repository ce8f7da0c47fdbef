//! The server's own keys, in every form that people have them in, and what is said of those that can't be used.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

mod forms;
mod keystores;
mod reload;
mod scratch;
mod trust;
