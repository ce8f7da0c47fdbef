//! Who calls, and what they may do.
//!
//! ```text
//! role          methods and the roles they take
//! tokens        the file of callers
//! certificate   names in a client certificate
//! gate          from a request to its caller
//! layer         in front of every service: gate, role, audit line, metric
//! ```

mod certificate;
mod gate;
mod layer;
mod role;
mod tokens;

pub use gate::{Caller, Gate};
pub(super) use layer::AccessLayer;
pub use role::{METHODS, Method, NotARole, Role, method};
pub use tokens::{LineFault, Table, Tokens, TokensError};
