//! Generated types of the `.proto` files: the admin API ([`v1`]), what consumers read ([`events`]), what the store keeps
//! ([`store`]) and what nodes say to each other ([`cluster`]).
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

/// `godwit.cluster.v1`: the link between nodes.
pub mod cluster {
    /// Version 1 of the link.
    pub mod v1 {
        tonic::include_proto!("godwit.cluster.v1");
    }
}

/// The compiled descriptors of all files but those of [`cluster`], for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
