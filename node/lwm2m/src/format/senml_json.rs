//! SenML JSON (110) and SenML-ETCH JSON (320).

use data_encoding::BASE64URL_NOPAD;

use super::json::{Reader, Writer};
use super::names::Shape;
use super::raw::{self, Raw, parse_link};
use super::senml::{Field, Record};
use super::{Body, ContentFormat, DecodeError, EncodeError, Limits, Reason, base64};
use crate::path::Path;
use crate::value::Value;

/// Reads records, with the labels of RFC 8428 §12.2 and LwM2M's `vlo`.
pub(super) fn read<'p>(
    payload: &'p [u8],
    limits: &Limits,
    sink: &mut dyn FnMut(Record<'p>, usize) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(payload, limits.depth)?;
    reader.array(|reader| {
        let offset = reader.position();
        sink(record(reader)?, offset)
    })?;
    reader.end()
}

fn record<'p>(reader: &mut Reader<'p>) -> Result<Record<'p>, DecodeError> {
    let mut record = Record::default();
    reader.object(|reader, key| match &*key {
        "bn" => reader.once(&mut record.base_name, Reader::string),
        "bt" => reader.once(&mut record.base_time, number),
        "bv" => reader.once(&mut record.base_value, Reader::number),
        "bver" => reader.once(&mut record.base_version, number),
        "n" => reader.once(&mut record.name, Reader::string),
        "t" => reader.once(&mut record.time, number),
        "v" => value(reader, &mut record, Reader::number),
        "vs" => value(reader, &mut record, |reader| reader.string().map(Raw::Text)),
        "vb" => value(reader, &mut record, |reader| reader.boolean().map(Raw::Boolean)),
        "vd" => value(reader, &mut record, |reader| {
            let bytes = base64(&reader.string()?).ok_or(reader.malformed(Reason::Base64))?;
            Ok(Raw::Bytes(bytes.into()))
        }),
        "vlo" => value(reader, &mut record, |reader| {
            let link = parse_link(&reader.string()?).ok_or(reader.malformed(Reason::Unexpected))?;
            Ok(Raw::Link { object: link.0, instance: link.1 })
        }),
        label if label.ends_with('_') => Err(reader.malformed(Reason::MustUnderstand)),
        _ => reader.skip(2),
    })?;
    Ok(record)
}

fn value<'p>(
    reader: &mut Reader<'p>,
    record: &mut Record<'p>,
    read: impl FnOnce(&mut Reader<'p>) -> Result<Raw<'p>, DecodeError>,
) -> Result<(), DecodeError> {
    reader.once(&mut record.value, |reader| {
        if reader.null()? { Ok(Field::Null) } else { read(reader).map(Field::Value) }
    })
}

fn number(reader: &mut Reader<'_>) -> Result<f64, DecodeError> {
    reader.number()?.number().ok_or(reader.malformed(Reason::Number))
}

/// One record per value and null. The base name is the path of the request, where there is one.
pub(super) fn encode(format: ContentFormat, base: Path, body: &Body<'_>) -> Result<Vec<u8>, EncodeError> {
    let shape = Shape::of(base, body);
    let mut base_name = shape.base_name.as_deref();
    let mut base_time = shape.base_time;
    let mut writer = Writer::new("[");
    let mut open = |writer: &mut Writer, path: &Path| {
        writer.open("{");
        if let Some(name) = base_name.take() {
            writer.text("bn", name);
        }
        if let Some(time) = base_time.take() {
            writer.time("bt", time);
        }
        if let Some(name) = shape.name(path) {
            writer.text("n", &name);
        }
    };
    for entry in body.entries {
        open(&mut writer, &entry.path);
        if let Some(time) = shape.time(entry) {
            writer.time("t", time);
        }
        match raw::fit(entry.path, &entry.value, body.types)?.as_ref() {
            Value::String(text) | Value::CoreLink(text) => writer.text("vs", text),
            Value::Integer(n) | Value::Time(n) => writer.plain("v", n),
            Value::Unsigned(n) => writer.plain("v", n),
            Value::Float(f) if f.is_finite() => writer.float("v", *f),
            Value::Float(_) => return Err(EncodeError::Inexpressible { format, path: entry.path }),
            Value::Boolean(b) => writer.plain("vb", b),
            Value::Opaque(bytes) => writer.text("vd", &BASE64URL_NOPAD.encode(bytes)),
            Value::ObjectLink { object, instance } => writer.text("vlo", &format!("{object}:{instance}")),
        }
        writer.close('}');
    }
    for path in body.nulls {
        open(&mut writer, path);
        writer.plain("v", "null");
        writer.close('}');
    }
    Ok(writer.finish("]"))
}

/// Whole paths as names, as in table 7.4.4-6 of Core 1.1.
pub(super) fn encode_paths(paths: &[Path]) -> Vec<u8> {
    let mut writer = Writer::new("[");
    for path in paths {
        writer.open("{");
        writer.text("n", &path.to_string());
        writer.close('}');
    }
    writer.finish("]")
}
