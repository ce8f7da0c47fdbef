//! A record: what the node publishes about one device.

use std::{borrow::Cow, sync::Arc};

use godwit_lwm2m::{path::Path, value::Value};
use godwit_proto::v1;

use super::{EventRecord, Identity, Order, Orders, RecordId, Uplink};
use crate::identity::{DeviceId, RegistrationId};

/// Where records come from; one for the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    source: Box<str>,
    /// The node's name.
    pub node: Box<str>,
}

impl Site {
    /// Of this cluster and node. What a URI can't hold as it is in the cluster's name is percent-encoded in
    /// `source`.
    pub fn new(cluster: &str, node: &str) -> Site {
        let mut source = String::from("/godwit/");
        for byte in cluster.bytes() {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                    source.push(byte.into());
                }
                _ => source.push_str(&format!("%{byte:02X}")),
            }
        }
        source.push_str("/devices/");
        Site { source: source.into(), node: node.into() }
    }

    /// `source` of its records but for the device id at the end: never a node, so that it is the same after a
    /// take-over.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// The device that records are about.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Where they come from.
    pub site: &'a Arc<Site>,
    /// The device.
    pub device: DeviceId,
    /// Its endpoint name.
    pub endpoint: &'a Arc<str>,
    /// The name of its profile.
    pub profile: &'a Arc<str>,
    /// Its registration, if it has one.
    pub registration: Option<RegistrationId>,
}

/// What goes to the sink: a CloudEvent, typed.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// `id`.
    pub id: RecordId,
    /// `time`: when the node made the record, Unix milliseconds.
    pub time: u64,
    /// `node`, and the first part of `source`.
    pub site: Arc<Site>,
    /// `device`, and the last part of `source`.
    pub device: DeviceId,
    /// `endpoint`; the key in Kafka.
    pub endpoint: Arc<str>,
    /// `profile`.
    pub profile: Arc<str>,
    /// `path`: of the value, or what all values of the record lie below; "/" where they share nothing. `None` for
    /// events and operations that concern no path.
    pub path: Option<Path>,
    /// `order`.
    pub order: Order,
    /// `late`: from a spool.
    pub late: bool,
    /// `stale`: a notification that came after a newer one (RFC 7641 §3.4).
    pub stale: bool,
    /// `data`.
    pub data: Data,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Values mapped as telemetry, or not mapped.
    Telemetry(Values),
    /// Values mapped as attributes.
    Attributes(Values),
    /// Something that happened to the device.
    Event(EventRecord),
    /// An operation that ended.
    Operation(Arc<v1::Operation>),
    /// A payload as the device sent it, whether it could be read or not.
    Raw(Raw),
}

/// See [`Data::Raw`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The CoAP Content-Format number, where the device gave one.
    pub format: Option<u16>,
    /// All of it, also of a block-wise one.
    pub payload: Box<[u8]>,
}

/// Which stream a record belongs to: a topic in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// [`Data::Telemetry`]
    Telemetry,
    /// [`Data::Attributes`]
    Attributes,
    /// [`Data::Event`]
    Events,
    /// [`Data::Operation`]
    Operations,
    /// [`Data::Raw`]
    Raw,
}

impl RecordKind {
    /// "telemetry", "attributes", "events", "operations" or "raw".
    pub const fn name(self) -> &'static str {
        match self {
            RecordKind::Telemetry => "telemetry",
            RecordKind::Attributes => "attributes",
            RecordKind::Events => "events",
            RecordKind::Operations => "operations",
            RecordKind::Raw => "raw",
        }
    }
}

/// Values of one moment; each key once.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// Unix milliseconds: the device's time where it named one, else when its message came.
    pub ts: i64,
    /// In the order of the payload.
    pub values: Vec<Keyed>,
}

/// What one key holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyed {
    /// The key.
    pub key: Arc<str>,
    /// Resource or resource instance that has the key. Values one level below it are its instances.
    pub at: Path,
    /// One value at `at`, or its instances, in the order of the payload.
    pub values: Vec<(Path, Value)>,
}

impl Record {
    /// The stream.
    pub const fn kind(&self) -> RecordKind {
        match self.data {
            Data::Telemetry(_) => RecordKind::Telemetry,
            Data::Attributes(_) => RecordKind::Attributes,
            Data::Event(_) => RecordKind::Events,
            Data::Operation(_) => RecordKind::Operations,
            Data::Raw(_) => RecordKind::Raw,
        }
    }

    /// `type`.
    pub fn type_name(&self) -> Cow<'static, str> {
        match &self.data {
            Data::Telemetry(_) => "dev.godwit.telemetry.v1".into(),
            Data::Attributes(_) => "dev.godwit.attributes.v1".into(),
            Data::Event(event) => format!("dev.godwit.event.{}.v1", event.event.name()).into(),
            Data::Operation(_) => "dev.godwit.operation.v1".into(),
            Data::Raw(_) => "dev.godwit.raw.v1".into(),
        }
    }

    /// The paths of the values, or those that an event concerns.
    pub fn paths(&self) -> impl Iterator<Item = Path> {
        let values = self.values().map_or(&[][..], |values| &values.values);
        let event = match &self.data {
            Data::Event(event) => event.event.paths(),
            _ => &[],
        };
        let values = values.iter().flat_map(|keyed| keyed.values.iter().map(|(path, _)| *path));
        values.chain(event.iter().copied())
    }

    /// The values, of telemetry and attributes.
    pub fn values(&self) -> Option<&Values> {
        match &self.data {
            Data::Telemetry(values) | Data::Attributes(values) => Some(values),
            Data::Event(_) | Data::Operation(_) | Data::Raw(_) => None,
        }
    }

    pub(super) fn new(
        origin: &Origin<'_>,
        id: RecordId,
        path: Option<Path>,
        order: Order,
        now: u64,
        data: Data,
    ) -> Record {
        Record {
            id,
            time: now,
            site: Arc::clone(origin.site),
            device: origin.device,
            endpoint: Arc::clone(origin.endpoint),
            profile: Arc::clone(origin.profile),
            path,
            order,
            late: false,
            stale: false,
            data,
        }
    }
}

/// The record of a message's payload, where the device has a registration: `path` is what it is relative to. `now` is in Unix
/// milliseconds.
pub fn raw(
    origin: &Origin<'_>,
    uplink: &Uplink<'_>,
    path: Path,
    raw: Raw,
    orders: &mut Orders,
    now: u64,
) -> Option<Record> {
    let Uplink { token, message_id, observe, payload, stale, .. } = *uplink;
    let identity = Identity::of_message(origin.registration?, token, message_id, observe, payload);
    let id = RecordId { identity, label: RecordKind::Raw.name(), ordinal: 0 };
    let record = Record::new(origin, id, Some(path), orders.take(), now, Data::Raw(raw));
    Some(Record { stale, ..record })
}

/// The record of an operation that ended. `now` is in Unix milliseconds.
pub fn operation(
    origin: &Origin<'_>,
    operation: Arc<v1::Operation>,
    orders: &mut Orders,
    now: u64,
) -> Record {
    let identity = Identity::of(&[operation.name.as_bytes(), b"ended"]);
    let id = RecordId { identity, label: "operation", ordinal: 0 };
    Record::new(origin, id, None, orders.take(), now, Data::Operation(operation))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::telemetry::Event;

    /// Some record.
    pub(in crate::telemetry) fn record() -> Record {
        let origin = Origin {
            site: &Arc::new(Site::new("main", "node-1")),
            device: DeviceId::of("urn:dev:1"),
            endpoint: &"urn:dev:1".into(),
            profile: &"demo".into(),
            registration: RegistrationId::parse("0123456789Ab"),
        };
        let cause = Identity::of(&[b"cause"]);
        crate::telemetry::event(&origin, Event::Awake, cause, 0, &mut Orders::new(7), 1_767_225_600_000)
    }

    #[test]
    fn a_source_is_a_uri_whatever_the_clusters_name() {
        assert_eq!(Site::new("eu-1", "n").source(), "/godwit/eu-1/devices/");
        assert_eq!(Site::new("a b/é", "n").source(), "/godwit/a%20b%2F%C3%A9/devices/");
    }
}
