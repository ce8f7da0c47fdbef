//! The content formats against vectors from elsewhere (`tests/vectors`), against themselves and
//! against arbitrary bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile_input;
mod lwm2m_cbor;
mod oma_json;
mod roundtrip;
mod senml;
mod single;
mod support;
mod tlv;
