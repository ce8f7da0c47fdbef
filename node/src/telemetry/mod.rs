//! Telemetry: what devices and operations bring about, as records, and the sinks that take them.
//!
//! ```text
//!  endpoint/core ─ entries, event, operation ─▶ records ─▶ Turn ─▶ Outlet ─▶ Sink ─▶ Publish::Durable, at once
//!                                                                    │        └────▶ Completions, later, in batches
//!                                                                    └─▶ Tail ─▶ TelemetryService
//! ```
//!
//! A record is shaped as a CloudEvent. Its types:
//!
//! | type | data |
//! |---|---|
//! | `dev.godwit.telemetry.v1` | values of a notification, a Send or a read, mapped as telemetry or not mapped |
//! | `dev.godwit.attributes.v1` | values mapped as attributes |
//! | `dev.godwit.event.<name>.v1` | an [`Event`], `<name>` as [`Event::name`] has it |
//! | `dev.godwit.operation.v1` | an operation that ended |

mod encode;
mod event;
mod identity;
mod json;
mod proto;
mod protobuf;
mod record;
pub mod sink;
mod tail;
mod turn;
mod values;

pub use encode::encode;
pub use event::{Event, EventRecord, event};
pub use identity::{Identity, Order, Orders, RecordId};
pub use protobuf::value_of;
pub use record::{Data, Keyed, Origin, Raw, Record, RecordKind, Site, Values, operation, raw};
pub use sink::{Completion, Completions, Outlet, Publication, Publish, Sink, SinkError, SpoolStatus, Ticket};
pub use tail::{Filter, Item, Subscription, Tail};
pub use turn::Turn;
pub use values::{Cause, Uplink, records};
