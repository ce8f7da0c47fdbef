//! A record as a Kafka message: the CloudEvents 1.0 Kafka binding in binary mode.

use std::fmt::Write;

use godwit_lwm2m::format::ContentFormat;
use godwit_proto::store::v1::{SpooledMessage, spooled_message};
use prost::Message as _;
use rdkafka::message::{Header, OwnedHeaders};

use crate::{
    config::KafkaValues,
    telemetry::{Data, Record, encode::encode_data, json::Rfc3339, protobuf::encode_protobuf},
};

/// Of the form in which the spool keeps messages.
const VERSION: u8 = 1;

/// The header of what comes from a spool.
const LATE: &str = "late";

/// What a message weighs in the queue besides its key and payload: headers and librdkafka's own, about.
const OVERHEAD: usize = 512;

/// Bytes that a message counts for in the queue.
pub(super) fn weight(key: usize, payload: usize) -> u64 {
    (key + payload + OVERHEAD) as u64
}

/// The value: JSON as the file sink writes it in `data`, or Protobuf; of a raw record the payload itself.
pub(super) fn payload(record: &Record, values: KafkaValues) -> Vec<u8> {
    if let Data::Raw(raw) = &record.data {
        return raw.payload.to_vec();
    }
    let mut payload = Vec::with_capacity(256);
    match values {
        KafkaValues::Json => encode_data(record, &mut payload),
        KafkaValues::Protobuf => encode_protobuf(record, &mut payload),
    }
    payload
}

/// Attributes of the CloudEvent as `ce_…`, and what consumers filter by under plain names.
pub(super) fn headers(record: &Record, values: KafkaValues) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(14);
    each_header(record, values, |name, value| {
        let so_far = std::mem::replace(&mut headers, OwnedHeaders::new_with_capacity(0));
        headers = so_far.insert(Header { key: name, value: Some(value) });
    });
    headers
}

/// The message as the spool keeps it.
pub(super) fn stored(record: &Record, topic: &str, values: KafkaValues) -> Vec<u8> {
    let mut headers = Vec::with_capacity(14);
    each_header(record, values, |name, value| {
        headers.push(spooled_message::Header { name: name.to_owned(), value: value.as_bytes().to_vec() });
    });
    let message = SpooledMessage {
        topic: topic.to_owned(),
        key: record.endpoint.as_bytes().to_vec(),
        headers,
        value: payload(record, values),
    };
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(VERSION);
    message.encode_raw(&mut bytes);
    bytes
}

/// A message that the spool kept; `None` for what this version can't read.
pub(super) fn restored(bytes: &[u8]) -> Option<SpooledMessage> {
    let (&VERSION, bytes) = bytes.split_first()? else { return None };
    SpooledMessage::decode(bytes).ok()
}

/// The headers of a message that comes from the spool.
pub(super) fn late(headers: &[spooled_message::Header]) -> OwnedHeaders {
    let kept = OwnedHeaders::new_with_capacity(headers.len() + 1);
    let kept = headers
        .iter()
        .filter(|header| header.name != LATE)
        .fold(kept, |kept, header| kept.insert(Header { key: &header.name, value: Some(&header.value) }));
    kept.insert(Header { key: LATE, value: Some("true") })
}

fn each_header(record: &Record, values: KafkaValues, mut add: impl FnMut(&str, &str)) {
    let mut text = String::with_capacity(64);
    let mut add = |name: &str, value: &dyn std::fmt::Display| {
        text.clear();
        write!(text, "{value}").expect("invariant: a String grows");
        add(name, &text);
    };
    add("ce_specversion", &"1.0");
    add("ce_id", &record.id);
    add("ce_source", &format_args!("{}{}", record.site.source(), record.device));
    add("ce_type", &record.type_name());
    add("ce_time", &Rfc3339(record.time));
    let content_type = match (&record.data, values) {
        (Data::Raw(raw), _) => media_type(raw.format),
        (_, KafkaValues::Json) => "application/json",
        (_, KafkaValues::Protobuf) => "application/protobuf",
    };
    add("content-type", &content_type);
    add("endpoint", &record.endpoint);
    add("profile", &record.profile);
    if let Some(path) = &record.path {
        add("path", path);
    }
    add("node", &record.site.node);
    add("order", &record.order);
    if record.late {
        add(LATE, &true);
    }
    if record.stale {
        add("stale", &true);
    }
}

/// What IANA has registered for the formats that LwM2M uses.
fn media_type(format: Option<u16>) -> &'static str {
    match format.and_then(ContentFormat::from_number) {
        Some(ContentFormat::Text) => "text/plain",
        Some(ContentFormat::CoreLink) => "application/link-format",
        Some(ContentFormat::Cbor) => "application/cbor",
        Some(ContentFormat::SenmlJson) => "application/senml+json",
        Some(ContentFormat::SenmlCbor) => "application/senml+cbor",
        Some(ContentFormat::SenmlEtchJson) => "application/senml-etch+json",
        Some(ContentFormat::SenmlEtchCbor) => "application/senml-etch+cbor",
        Some(ContentFormat::Tlv) => "application/vnd.oma.lwm2m+tlv",
        Some(ContentFormat::Json) => "application/vnd.oma.lwm2m+json",
        Some(ContentFormat::Lwm2mCbor) => "application/vnd.oma.lwm2m+cbor",
        Some(ContentFormat::Opaque) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;

    use super::*;
    use crate::telemetry::record::tests::record;

    #[test]
    fn the_headers_are_those_of_the_binding_and_no_more() {
        let record = Record { stale: true, ..record() };
        let headers = headers(&record, KafkaValues::Json);
        let shown: Vec<_> = headers
            .as_borrowed()
            .iter()
            .map(|header| format!("{}={}", header.key, str::from_utf8(header.value.unwrap()).unwrap()))
            .collect();
        let expected = [
            "ce_specversion=1.0",
            &format!("ce_id={}", record.id),
            &format!("ce_source=/godwit/main/devices/{}", record.device),
            "ce_type=dev.godwit.event.awake.v1",
            "ce_time=2026-01-01T00:00:00.000Z",
            "content-type=application/json",
            "endpoint=urn:dev:1",
            "profile=demo",
            "node=node-1",
            "order=00000000000700000000",
            "stale=true",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_the_spool_kept_is_the_same_message_but_late() {
        let record = record();
        let message = restored(&stored(&record, "t", KafkaValues::Json)).unwrap();
        assert_eq!((message.topic.as_str(), message.key.as_slice()), ("t", b"urn:dev:1".as_slice()));
        assert_eq!(message.value, payload(&record, KafkaValues::Json));
        let late = late(&message.headers);
        let direct = headers(&record, KafkaValues::Json);
        let shown = |headers: &OwnedHeaders| -> Vec<(String, Vec<u8>)> {
            let headers = headers.as_borrowed().iter();
            headers.map(|header| (header.key.to_owned(), header.value.unwrap().to_vec())).collect()
        };
        let expected = [shown(&direct), vec![("late".to_owned(), b"true".to_vec())]].concat();
        assert_eq!(shown(&late), expected);
        assert_eq!(restored(b""), None);
        assert_eq!(restored(&[VERSION + 1]), None);
        assert_eq!(restored(&[VERSION, 0xff]), None);
    }
}
