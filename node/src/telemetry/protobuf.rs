//! What a record says in Protobuf: the messages of `godwit.events.v1`.

use godwit_lwm2m::value::Value;
use godwit_proto::{
    events::v1::{Event, OperationEnded, Values, values},
    v1,
};
use prost::Message;
use prost_types::{ListValue, Struct, value::Kind};

use super::{Data, Record, encode::encode_data};

/// Appends what the record says, its `data`.
pub(super) fn encode_protobuf(record: &Record, out: &mut Vec<u8>) {
    match &record.data {
        Data::Telemetry(values) | Data::Attributes(values) => values_of(values).encode_raw(out),
        Data::Event(event) => {
            let event = Event {
                ts: record.time as i64,
                r#type: event.event.name().to_owned(),
                endpoint: record.endpoint.to_string(),
                device: record.device.to_string(),
                registration: event.registration.map(|id| id.to_string()).unwrap_or_default(),
                data: details(record),
            };
            event.encode_raw(out);
        }
        Data::Operation(operation) => {
            let operation = v1::Operation::clone(operation);
            OperationEnded { ts: record.time as i64, operation: Some(operation) }.encode_raw(out);
        }
        Data::Raw(raw) => out.extend_from_slice(&raw.payload),
    }
}

fn values_of(values: &super::Values) -> Values {
    let entries = values.values.iter().map(|keyed| values::Entry {
        key: keyed.key.to_string(),
        values: keyed
            .values
            .iter()
            .map(|(path, value)| v1::PathValue {
                path: path.to_string(),
                value: Some(value_of(value)),
                ..v1::PathValue::default()
            })
            .collect(),
    });
    Values { ts: values.ts, values: entries.collect() }
}

/// A value as a message.
pub fn value_of(value: &Value) -> v1::Value {
    use v1::value::Kind;
    let kind = match value {
        Value::String(text) => Kind::String(text.clone()),
        Value::Integer(number) => Kind::Integer(*number),
        Value::Unsigned(number) => Kind::Unsigned(*number),
        Value::Float(number) => Kind::Float(*number),
        Value::Boolean(flag) => Kind::Boolean(*flag),
        Value::Opaque(bytes) => Kind::Opaque(bytes.clone()),
        Value::Time(seconds) => Kind::Time(*seconds),
        Value::ObjectLink { object, instance } => {
            Kind::ObjectLink(v1::ObjectLink { object: (*object).into(), instance: (*instance).into() })
        }
        Value::CoreLink(links) => Kind::CoreLink(links.clone()),
    };
    v1::Value { kind: Some(kind) }
}

/// What an event's type has to say, as in JSON.
fn details(record: &Record) -> Option<Struct> {
    let mut json = Vec::new();
    encode_data(record, &mut json);
    let data: serde_json::Value = serde_json::from_slice(&json).expect("invariant: encoded just now");
    match dynamic(data.get("data")?) {
        Kind::StructValue(details) => Some(details),
        _ => None,
    }
}

fn dynamic(json: &serde_json::Value) -> Kind {
    let value = |json| prost_types::Value { kind: Some(dynamic(json)) };
    match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(*flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.iter().map(value).collect() })
        }
        serde_json::Value::Object(members) => Kind::StructValue(Struct {
            fields: members.iter().map(|(name, json)| (name.clone(), value(json))).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::record::tests::record;

    #[test]
    fn an_event_says_the_same_as_in_json() {
        let record = record();
        let mut bytes = Vec::new();
        encode_protobuf(&record, &mut bytes);
        let event = Event::decode(bytes.as_slice()).unwrap();
        assert_eq!((event.ts, event.r#type.as_str()), (1_767_225_600_000, "awake"));
        assert_eq!((event.endpoint.as_str(), event.registration.as_str()), ("urn:dev:1", "0123456789Ab"));
        assert_eq!(event.device, record.device.to_string());
        assert_eq!(event.data, Some(Struct::default()));
    }
}
