//! The admin API over gRPC (`godwit.v1`).
//!
//! ```text
//! server     checks, binds, serves, drains
//! access     who calls, and whether they may
//! audit      one line for each call that changes something
//! error      every error, by fault, and the status that it becomes
//! name page  resource names; pages of lists
//! convert    stored records as API messages
//! text       values as people write them
//! journal    the last changes of registrations, for watchers
//! service    the services, one per file
//! ```
//!
//! A call goes through `access`, is read and checked by its service, and ends in the store (provisioning, lists) or at
//! the [`Endpoints`](crate::endpoint::handle::Endpoints) (commands). Nothing here keeps state of its own but the
//! journal.

pub mod access;
mod audit;
mod convert;
pub mod error;
mod journal;
mod name;
mod page;
mod room;
mod server;
mod service;
pub(crate) mod text;

pub use error::{AdminError, grpc_code};
pub use room::{Parts, Place};
pub use server::{Admin, Listening, ServeError, serve};
