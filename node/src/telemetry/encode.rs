//! A record as one line of JSON: CloudEvents' JSON format, flat, with `data`.

use data_encoding::BASE32_NOPAD;
use godwit_lwm2m::value::Value;
use godwit_proto::v1::{self, command, value};

use super::{
    Data, Event, EventRecord, Keyed, Record, Values,
    json::{Json, Rfc3339},
};
use crate::identity::DeviceId;

/// Appends the record and a newline. Allocates nothing besides the buffer.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    let device = device_text(record.device);
    let device = str::from_utf8(&device).expect("invariant: base32 is ASCII");
    let mut json = Json::new(out);
    json.object(|json| {
        json.plain_name("specversion").plain("1.0");
        json.plain_name("id").plain(record.id);
        json.plain_name("source").plain(format_args!("{}{device}", record.site.source()));
        json.plain_name("type").plain(record.type_name());
        json.plain_name("time").plain(Rfc3339(record.time));
        json.plain_name("datacontenttype").plain("application/json");
        json.plain_name("endpoint").text(&record.endpoint);
        json.plain_name("device").plain(device);
        json.plain_name("profile").text(&record.profile);
        if let Some(path) = record.path {
            json.plain_name("path").plain(path);
        }
        json.plain_name("node").text(&record.site.node);
        json.plain_name("order").plain(record.order);
        if record.late {
            json.plain_name("late").scalar(true);
        }
        if record.stale {
            json.plain_name("stale").scalar(true);
        }
        json.plain_name("data");
        data_of(record, device, json);
    });
    out.push(b'\n');
}

/// Appends what the record says, its `data`.
pub(super) fn encode_data(record: &Record, out: &mut Vec<u8>) {
    let device = device_text(record.device);
    let device = str::from_utf8(&device).expect("invariant: base32 is ASCII");
    data_of(record, device, &mut Json::new(out));
}

/// What [`DeviceId`] displays, without the strings that it makes for it.
fn device_text(device: DeviceId) -> [u8; 17] {
    let mut text = [b'd'; 17];
    BASE32_NOPAD.encode_mut(device.as_bytes(), &mut text[1..]);
    text.make_ascii_lowercase();
    text
}

fn data_of(record: &Record, device: &str, json: &mut Json<'_>) {
    match &record.data {
        Data::Telemetry(values) | Data::Attributes(values) => values_of(values, json),
        Data::Event(event) => event_of(record, event, device, json),
        Data::Operation(operation) => operation_of(record, operation, device, json),
        Data::Raw(raw) => json.object(|json| {
            match raw.format {
                Some(format) => json.plain_name("contentFormat").integer(format.into()),
                None => json.plain_name("contentFormat").null(),
            }
            json.plain_name("payload").bytes(&raw.payload);
        }),
    }
}

fn values_of(values: &Values, json: &mut Json<'_>) {
    json.object(|json| {
        json.plain_name("ts").integer(values.ts.into());
        json.plain_name("values").object(|json| {
            for keyed in &values.values {
                json.name(&keyed.key);
                keyed_of(keyed, json);
            }
        });
        json.plain_name("paths").object(|json| {
            for keyed in &values.values {
                json.name(&keyed.key).array(|json| {
                    for (path, _) in &keyed.values {
                        json.item().plain(path);
                    }
                });
            }
        });
    });
}

/// One value plain; the instances of a resource as an object by their ids.
fn keyed_of(keyed: &Keyed, json: &mut Json<'_>) {
    match keyed.values.as_slice() {
        [(path, value)] if *path == keyed.at => value_of(value, json),
        values => json.object(|json| {
            for (path, value) in values {
                json.plain_name(path.segments().last().copied().unwrap_or_default());
                value_of(value, json);
            }
        }),
    }
}

fn value_of(value: &Value, json: &mut Json<'_>) {
    match value {
        Value::String(text) | Value::CoreLink(text) => json.text(text),
        Value::Integer(number) => json.integer((*number).into()),
        Value::Unsigned(number) => json.integer((*number).into()),
        Value::Float(number) => json.float(*number),
        Value::Boolean(truth) => json.scalar(truth),
        Value::Opaque(bytes) => json.bytes(bytes),
        Value::Time(seconds) => json.integer(i128::from(*seconds) * 1000),
        Value::ObjectLink { object, instance } => json.plain(format_args!("{object}:{instance}")),
    }
}

fn event_of(record: &Record, event: &EventRecord, device: &str, json: &mut Json<'_>) {
    json.object(|json| {
        json.plain_name("ts").integer(record.time.into());
        json.plain_name("type").plain(event.event.name());
        json.plain_name("endpoint").text(&record.endpoint);
        json.plain_name("device").plain(device);
        if let Some(registration) = event.registration {
            json.plain_name("registration").plain(registration);
        }
        json.plain_name("data").object(|json| details_of(&event.event, json));
    });
}

fn details_of(event: &Event, json: &mut Json<'_>) {
    match event {
        Event::Registered { lifetime, version, binding, queue_mode, replaced } => {
            json.plain_name("lifetime");
            optional(*lifetime, json);
            json.plain_name("version").text(version);
            json.plain_name("binding").text(binding);
            json.plain_name("queueMode").scalar(queue_mode);
            json.plain_name("replaced").scalar(replaced);
        }
        Event::Updated { lifetime, objects } => {
            if lifetime.is_some() {
                json.plain_name("lifetime");
                optional(*lifetime, json);
            }
            json.plain_name("objectsChanged").scalar(objects);
        }
        Event::Refused { reason } => json.plain_name("reason").text(reason),
        Event::Unreadable { path, reason } => {
            json.plain_name("path").plain(path);
            json.plain_name("reason").text(reason);
        }
        Event::PathSkipped { path, reason } => {
            json.plain_name("path").plain(path);
            json.plain_name("reason").plain(reason);
        }
        Event::ActionFailed { action, code, .. } => {
            json.plain_name("action").plain(action);
            paths_of(event, json);
            if let Some(code) = code {
                json.plain_name("code").text(code);
            }
        }
        Event::ObservationSuspect { .. } => paths_of(event, json),
        Event::ProfileApplied { revision } => json.plain_name("revision").integer((*revision).into()),
        Event::Deregistered
        | Event::Expired
        | Event::Awake
        | Event::Asleep
        | Event::CredentialChanged
        | Event::Deleted
        | Event::ActivationTimeout
        | Event::SessionTakenOver => {}
    }
}

fn optional(number: Option<u64>, json: &mut Json<'_>) {
    match number {
        Some(number) => json.integer(number.into()),
        None => json.null(),
    }
}

fn paths_of(event: &Event, json: &mut Json<'_>) {
    json.plain_name("paths").array(|json| event.paths().iter().for_each(|path| json.item().plain(path)));
}

fn operation_of(record: &Record, operation: &v1::Operation, device: &str, json: &mut Json<'_>) {
    json.object(|json| {
        json.plain_name("ts").integer(record.time.into());
        json.plain_name("endpoint").text(&record.endpoint);
        json.plain_name("device").plain(device);
        json.plain_name("operation").text(operation.name.rsplit('/').next().unwrap_or_default());
        if let Some(kind) = operation.command.as_ref().and_then(|command| command.kind.as_ref()) {
            let (name, paths) = command_of(kind);
            json.plain_name("command").plain(name);
            json.plain_name("paths").array(|json| paths.iter().for_each(|path| json.item().text(path)));
        }
        json.plain_name("state").plain(operation.state().as_str_name().trim_start_matches("STATE_"));
        if operation.reason() != v1::operation::Reason::Unspecified {
            json.plain_name("reason").plain(operation.reason().as_str_name().trim_start_matches("REASON_"));
        }
        if !operation.detail.is_empty() {
            json.plain_name("detail").text(&operation.detail);
        }
        json.plain_name("attempts").scalar(operation.attempts);
        if let Some(result) = &operation.result {
            json.plain_name("result").object(|json| result_of(result, json));
        }
    });
}

/// The command's name, and the paths that it is for.
fn command_of(kind: &command::Kind) -> (&'static str, Vec<String>) {
    let one = |path: &String| vec![path.clone()];
    let values = |values: &[v1::PathValue]| values.iter().map(|value| value.path.clone()).collect();
    match kind {
        command::Kind::Read(read) => ("read", one(&read.path)),
        command::Kind::Discover(discover) => ("discover", one(&discover.path)),
        command::Kind::Write(write) => ("write", one(&write.path)),
        command::Kind::WriteAttributes(write) => ("write_attributes", one(&write.path)),
        command::Kind::Execute(execute) => ("execute", one(&execute.path)),
        command::Kind::Create(create) => (
            "create",
            vec![match create.instance {
                Some(instance) => format!("/{}/{instance}", create.object),
                None => format!("/{}", create.object),
            }],
        ),
        command::Kind::Delete(delete) => ("delete", one(&delete.path)),
        command::Kind::ReadComposite(read) => ("read_composite", read.paths.clone()),
        command::Kind::WriteComposite(write) => ("write_composite", values(&write.values)),
        command::Kind::Observe(observe) => ("observe", one(&observe.path)),
        command::Kind::ObserveComposite(observe) => ("observe_composite", observe.paths.clone()),
        command::Kind::CancelObservation(cancel) => ("cancel_observation", cancel.paths.clone()),
    }
}

fn result_of(result: &v1::CommandResult, json: &mut Json<'_>) {
    json.plain_name("code").text(&result.code_text);
    if !result.values.is_empty() {
        json.plain_name("values").array(|json| {
            for value in &result.values {
                json.item().object(|json| path_value_of(value, json));
            }
        });
    }
    if !result.links.is_empty() {
        json.plain_name("links").array(|json| {
            for link in &result.links {
                json.item().object(|json| link_of(link, json));
            }
        });
    }
    if !result.location.is_empty() {
        json.plain_name("location").text(&result.location);
    }
    if !result.diagnostic.is_empty() {
        json.plain_name("diagnostic").text(&result.diagnostic);
    }
}

fn path_value_of(value: &v1::PathValue, json: &mut Json<'_>) {
    json.plain_name("path").text(&value.path);
    json.plain_name("value");
    match value.value.as_ref().and_then(|value| value.kind.as_ref()) {
        None => json.null(),
        Some(value::Kind::String(text) | value::Kind::CoreLink(text)) => json.text(text),
        Some(value::Kind::Integer(number)) => json.integer((*number).into()),
        Some(value::Kind::Unsigned(number)) => json.integer((*number).into()),
        Some(value::Kind::Float(number)) => json.float(*number),
        Some(value::Kind::Boolean(truth)) => json.scalar(truth),
        Some(value::Kind::Opaque(bytes)) => json.bytes(bytes),
        Some(value::Kind::Time(seconds)) => json.integer(i128::from(*seconds) * 1000),
        Some(value::Kind::ObjectLink(link)) => json.plain(format_args!("{}:{}", link.object, link.instance)),
    }
    if let Some(time) = value.time {
        json.plain_name("ts").integer(((time * 1000.0).round() as i64).into());
    }
}

/// Attributes by name, so that a line is the same however the map is laid out.
fn link_of(link: &v1::command_result::Link, json: &mut Json<'_>) {
    json.plain_name("path").text(&link.path);
    let mut attributes: Vec<_> = link.attributes.iter().collect();
    attributes.sort();
    json.plain_name("attributes").object(|json| {
        for (name, value) in attributes {
            json.name(name).text(value);
        }
    });
}
