//! Who calls, and whether they may.
//!
//! ```text
//! certificate   names in a client certificate
//! gate          from a request to its caller
//! layer         in front of every service: gate, role, audit line, metric
//! ```

mod certificate;
mod gate;
mod layer;

pub use gate::{Caller, Gate};
pub(super) use layer::AccessLayer;
