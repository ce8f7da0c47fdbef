//! SenML CBOR (112) and SenML-ETCH CBOR (322).

use minicbor::data::Type;

use super::cbor::{Reader, Writer};
use super::names::Shape;
use super::raw::{self, Raw, parse_link};
use super::senml::{Field, Record};
use super::{Body, DecodeError, EncodeError, Limits, Reason};
use crate::path::Path;
use crate::value::Value;

/// The labels of RFC 8428 §6, table 6.
mod label {
    pub(super) const BASE_VERSION: i64 = -1;
    pub(super) const BASE_NAME: i64 = -2;
    pub(super) const BASE_TIME: i64 = -3;
    pub(super) const BASE_VALUE: i64 = -5;
    pub(super) const NAME: i64 = 0;
    pub(super) const VALUE: i64 = 2;
    pub(super) const STRING: i64 = 3;
    pub(super) const BOOLEAN: i64 = 4;
    pub(super) const TIME: i64 = 6;
    pub(super) const DATA: i64 = 8;
    /// LwM2M's own, which has no number.
    pub(super) const LINK: &str = "vlo";
}

/// Reads records. Numbers may be decimal fractions (tag 4), lengths indefinite.
pub(super) fn read<'p>(
    payload: &'p [u8],
    limits: &Limits,
    sink: &mut dyn FnMut(Record<'p>, usize) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(payload, limits.depth);
    let mut records = reader.array()?;
    while reader.next(&mut records)? {
        let offset = reader.position();
        sink(record(&mut reader)?, offset)?;
    }
    reader.end()
}

fn record<'p>(reader: &mut Reader<'p>) -> Result<Record<'p>, DecodeError> {
    let mut record = Record::default();
    let mut fields = reader.map()?;
    while reader.next(&mut fields)? {
        if matches!(reader.datatype()?, Type::String | Type::StringIndef) {
            match &*reader.text()? {
                label::LINK => value(reader, &mut record, link)?,
                label if label.ends_with('_') => return Err(reader.malformed(Reason::MustUnderstand)),
                _ => reader.skip(2)?,
            }
            continue;
        }
        let label = i64::try_from(reader.integer()?).unwrap_or(i64::MAX);
        match label {
            label::BASE_NAME => reader.once(&mut record.base_name, Reader::text)?,
            label::BASE_TIME => reader.once(&mut record.base_time, number)?,
            label::BASE_VALUE => reader.once(&mut record.base_value, value_number)?,
            label::BASE_VERSION => reader.once(&mut record.base_version, number)?,
            label::NAME => reader.once(&mut record.name, Reader::text)?,
            label::TIME => reader.once(&mut record.time, number)?,
            label::VALUE => value(reader, &mut record, value_number)?,
            label::STRING => value(reader, &mut record, string)?,
            label::BOOLEAN => value(reader, &mut record, boolean)?,
            label::DATA => value(reader, &mut record, data)?,
            _ => reader.skip(2)?,
        }
    }
    Ok(record)
}

fn value<'p>(
    reader: &mut Reader<'p>,
    record: &mut Record<'p>,
    read: impl FnOnce(&mut Reader<'p>) -> Result<Raw<'p>, DecodeError>,
) -> Result<(), DecodeError> {
    reader.once(&mut record.value, |reader| match reader.datatype()? {
        Type::Null => reader.skip(2).map(|()| Field::Null),
        _ => read(reader).map(Field::Value),
    })
}

fn scalar<'p>(reader: &mut Reader<'p>, fits: impl Fn(&Raw<'p>) -> bool) -> Result<Raw<'p>, DecodeError> {
    let unexpected = reader.malformed(Reason::Unexpected);
    reader.scalar()?.filter(|raw| fits(raw)).ok_or(unexpected)
}

fn string<'p>(reader: &mut Reader<'p>) -> Result<Raw<'p>, DecodeError> {
    scalar(reader, |raw| matches!(raw, Raw::Text(_)))
}

fn boolean<'p>(reader: &mut Reader<'p>) -> Result<Raw<'p>, DecodeError> {
    scalar(reader, |raw| matches!(raw, Raw::Boolean(_)))
}

fn data<'p>(reader: &mut Reader<'p>) -> Result<Raw<'p>, DecodeError> {
    scalar(reader, |raw| matches!(raw, Raw::Bytes(_)))
}

fn value_number<'p>(reader: &mut Reader<'p>) -> Result<Raw<'p>, DecodeError> {
    scalar(reader, |raw| raw.number().is_some())
}

fn number(reader: &mut Reader<'_>) -> Result<f64, DecodeError> {
    let bad = reader.malformed(Reason::Number);
    reader.scalar()?.and_then(|raw| raw.number()).ok_or(bad)
}

fn link<'p>(reader: &mut Reader<'p>) -> Result<Raw<'p>, DecodeError> {
    let unexpected = reader.malformed(Reason::Unexpected);
    let (object, instance) = parse_link(&reader.text()?).ok_or(unexpected)?;
    Ok(Raw::Link { object, instance })
}

/// One record per value and null. The base name is the path of the request, where there is one.
pub(super) fn encode(base: Path, body: &Body<'_>) -> Result<Vec<u8>, EncodeError> {
    let shape = Shape::of(base, body);
    let mut base_name = shape.base_name.as_deref();
    let mut base_time = shape.base_time;
    let mut writer = Writer::new();
    writer.array(body.entries.len() + body.nulls.len());
    let mut open = |writer: &mut Writer, path: &Path, time: Option<f64>| {
        let (base_name, base_time) = (base_name.take(), base_time.take());
        let name = shape.name(path);
        let bases = usize::from(base_name.is_some()) + usize::from(base_time.is_some());
        writer.map(bases + usize::from(name.is_some()) + usize::from(time.is_some()) + 1);
        if let Some(name) = base_name {
            writer.integer(label::BASE_NAME);
            writer.text(name);
        }
        if let Some(time) = base_time {
            writer.integer(label::BASE_TIME);
            writer.time(time);
        }
        if let Some(name) = name {
            writer.integer(label::NAME);
            writer.text(&name);
        }
        if let Some(time) = time {
            writer.integer(label::TIME);
            writer.time(time);
        }
    };
    for entry in body.entries {
        open(&mut writer, &entry.path, shape.time(entry));
        let value = raw::fit(entry.path, &entry.value, body.types)?;
        match &*value {
            Value::String(_) | Value::CoreLink(_) => writer.integer(label::STRING),
            Value::Boolean(_) => writer.integer(label::BOOLEAN),
            Value::Opaque(_) => writer.integer(label::DATA),
            Value::ObjectLink { .. } => writer.text(label::LINK),
            Value::Integer(_) | Value::Unsigned(_) | Value::Float(_) | Value::Time(_) => {
                writer.integer(label::VALUE);
            }
        }
        writer.value(&value);
    }
    for path in body.nulls {
        open(&mut writer, path, None);
        writer.integer(label::VALUE);
        writer.null();
    }
    Ok(writer.finish())
}

/// Whole paths as names.
pub(super) fn encode_paths(paths: &[Path]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(paths.len());
    for path in paths {
        writer.map(1);
        writer.integer(label::NAME);
        writer.text(&path.to_string());
    }
    writer.finish()
}
