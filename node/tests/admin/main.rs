//! The admin API over a real connection: a server on loopback, the store in memory, and a double in the place of the
//! endpoints, which answers commands as a test tells it to.
#![allow(missing_docs, clippy::unwrap_used)]

mod audit;
mod credentials;
mod ctl;
mod devices;
mod node;
mod operations;
mod profiles;
mod registrations;
mod roles;
mod tail;
mod tls;
