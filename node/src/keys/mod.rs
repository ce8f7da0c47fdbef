//! The server's own keys, whom it trusts, and the modes that follow; and what is derived from the cluster's secret.
//!
//! ```text
//! nothing loads                 no_sec, psk
//! a key                         no_sec, psk, rpk
//! a key and its certificate     no_sec, psk, rpk, x509
//! ```
//! A file that does not load takes its modes away under `security.modes = "auto"`, and keeps the node from starting where a
//! list demands them.

mod announce;
mod certificate;
mod cluster;
mod fault;
mod keystore;
mod load;
mod modes;
mod private;
mod trust;
mod watch;

pub use announce::{describe, listening, own_key};
pub use certificate::Chain;
pub use cluster::ClusterKeys;
pub use fault::{Fault, Problem};
pub use load::{Material, ServerKey, load};
pub use modes::{Loss, Offer, offer};
pub use private::{KeyPair, Point};
pub use trust::{Names, Trust};
pub use watch::{Keys, Security, Unavailable};
