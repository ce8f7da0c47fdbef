//! Records as the admin API shows them.

use godwit_proto::v1;

use super::{Record, encode::encode_data};

impl From<&Record> for v1::TelemetryRecord {
    fn from(record: &Record) -> v1::TelemetryRecord {
        let mut data = Vec::new();
        encode_data(record, &mut data);
        v1::TelemetryRecord {
            id: record.id.to_string(),
            kind: record.kind().name().to_owned(),
            r#type: record.type_name().into_owned(),
            time: Some(prost_types::Timestamp {
                seconds: (record.time / 1000).try_into().unwrap_or(i64::MAX),
                nanos: (record.time % 1000) as i32 * 1_000_000,
            }),
            endpoint: record.endpoint.to_string(),
            device: format!("devices/{}", record.device),
            profile: format!("profiles/{}", record.profile),
            paths: record.paths().map(|path| path.to_string()).collect(),
            order: record.order.to_string(),
            late: record.late,
            stale: record.stale,
            data: String::from_utf8(data).expect("invariant: JSON is UTF-8"),
        }
    }
}
