//! What devices were told is accepted is in Kafka, whoever is killed.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

mod cloud_event;
mod cluster;
mod consumers;
mod errors;
mod full;
mod guide;
mod outage;
mod secure;
mod slow;
mod spool;
mod three;
mod topics;
mod world;
