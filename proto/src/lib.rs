//! Generated types of the `.proto` files: the admin API ([`v1`]), what consumers read ([`events`]) and what the
//! store keeps ([`store`]).
#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications)]

/// `godwit.v1`: the admin API.
pub mod v1 {
    tonic::include_proto!("godwit.v1");
}

/// `godwit.events.v1`: payloads of telemetry, events and operation results.
pub mod events {
    /// Version 1 of the payloads.
    pub mod v1 {
        tonic::include_proto!("godwit.events.v1");
    }
}

/// `godwit.store.v1`: values of the state store.
pub mod store {
    /// Version 1 of the stored values.
    pub mod v1 {
        tonic::include_proto!("godwit.store.v1");
    }
}

/// The compiled descriptors of all files, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
