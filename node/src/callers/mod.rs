//! Who may call the admin API, and what they may do.
//!
//! ```text
//! role          methods and the roles they take
//! tokens        the file of callers
//! ```

mod role;
mod tokens;

pub use role::{METHODS, Method, NotARole, Role, method};
pub use tokens::{LineFault, Table, Tokens, TokensError};
