//! Leshan clients over DTLS (scenarios 21 to 25 and 29).
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::float_cmp)]

mod address;
mod keys;
mod psk;
mod revocation;
mod wire;
