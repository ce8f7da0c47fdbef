//! LwM2M JSON, the JSON of LwM2M 1.0 (TS 1.0.2 §6.4.4): one object with a base name, a base time and
//! an array of entries.

use std::borrow::Cow;

use data_encoding::BASE64;

use super::collect::Collector;
use super::json::{Reader, Writer};
use super::names::{Names, Shape, add_times};
use super::raw::{Raw, parse_link};
use super::{Body, ContentFormat, DecodeContext, DecodeError, EncodeError, Reason, base64};
use crate::entry::Content;
use crate::path::Path;
use crate::value::{Value, ValueType};

/// Without a base name, names with a leading slash are whole paths and others continue the path of
/// the request.
pub(super) fn decode(context: &DecodeContext<'_>, payload: &[u8]) -> Result<Content, DecodeError> {
    let mut reader = Reader::new(payload, context.limits.depth)?;
    let (mut base_name, mut base_time, mut entries) = (None, None, None);
    // The base name may come after the entries, so these are read in a second pass.
    reader.object(|reader, key| match &*key {
        "bn" => reader.once(&mut base_name, Reader::string),
        "bt" => reader.once(&mut base_time, number),
        "e" => reader.once(&mut entries, |reader| {
            let position = reader.position();
            reader.skip(1).map(|()| position)
        }),
        _ => reader.skip(1),
    })?;
    reader.end()?;
    let entries = entries.ok_or(reader.malformed(Reason::Value))?;

    let mut collector = Collector::new(context, 1);
    let mut names = Names::new(context.base);
    let relative = base_name.is_none();
    names.set_base(base_name.unwrap_or_default());
    reader.rewind(entries);
    reader.array(|reader| {
        let Element { name, time, value } = element(reader)?;
        let path = match name {
            Some(name) if relative && !name.starts_with('/') && !name.is_empty() => {
                names.below_request(&name)?
            }
            name => names.path(name.as_deref())?,
        };
        let value = match value.ok_or(reader.malformed(Reason::Value))? {
            Raw::Text(text) if collector.value_type(&path) == Some(ValueType::Opaque) => {
                Raw::Bytes(base64(&text).ok_or(reader.malformed(Reason::Base64))?.into())
            }
            value => value,
        };
        let time = add_times(base_time, time).map_err(|reason| reader.malformed(reason))?;
        collector.raw(path, time, value)
    })?;
    collector.finish()
}

#[derive(Default)]
struct Element<'a> {
    name: Option<Cow<'a, str>>,
    time: Option<f64>,
    value: Option<Raw<'a>>,
}

fn element<'a>(reader: &mut Reader<'a>) -> Result<Element<'a>, DecodeError> {
    let mut element = Element::default();
    reader.object(|reader, key| match &*key {
        "n" => reader.once(&mut element.name, Reader::string),
        "t" => reader.once(&mut element.time, number),
        "v" => reader.once(&mut element.value, Reader::number),
        "bv" => reader.once(&mut element.value, |reader| reader.boolean().map(Raw::Boolean)),
        "sv" => reader.once(&mut element.value, |reader| reader.string().map(Raw::Text)),
        "ov" => reader.once(&mut element.value, |reader| {
            let link = parse_link(&reader.string()?).ok_or(reader.malformed(Reason::Unexpected))?;
            Ok(Raw::Link { object: link.0, instance: link.1 })
        }),
        _ => reader.skip(3),
    })?;
    Ok(element)
}

fn number(reader: &mut Reader<'_>) -> Result<f64, DecodeError> {
    reader.number()?.number().ok_or(reader.malformed(Reason::Number))
}

/// `{"bn":…,"bt":…,"e":[…]}`; `bt` where all values are of one time.
pub(super) fn encode(base: Path, body: &Body<'_>) -> Result<Vec<u8>, EncodeError> {
    let shape = Shape::of(base, body);
    let mut writer = Writer::new("{");
    writer.text("bn", shape.base_name.as_deref().unwrap_or("/"));
    if let Some(time) = shape.base_time {
        writer.time("bt", time);
    }
    writer.open("\"e\":[");
    for entry in body.entries {
        writer.open("{");
        if let Some(name) = shape.name(&entry.path) {
            // The base name `/` has the slash that a whole path begins with.
            writer.text("n", name.strip_prefix('/').unwrap_or(&name));
        }
        if let Some(time) = shape.time(entry) {
            writer.time("t", time);
        }
        value(&mut writer, entry.path, super::raw::fit(entry.path, &entry.value, body.types)?.as_ref())?;
        writer.close('}');
    }
    Ok(writer.finish("]}"))
}

fn value(writer: &mut Writer, path: Path, value: &Value) -> Result<(), EncodeError> {
    match value {
        Value::String(text) | Value::CoreLink(text) => writer.text("sv", text),
        Value::Integer(n) | Value::Time(n) => writer.plain("v", n),
        Value::Unsigned(n) => writer.plain("v", n),
        Value::Float(f) if f.is_finite() => writer.float("v", *f),
        Value::Float(_) => return Err(EncodeError::Inexpressible { format: ContentFormat::Json, path }),
        Value::Boolean(b) => writer.plain("bv", b),
        Value::Opaque(bytes) => writer.text("sv", &BASE64.encode(bytes)),
        Value::ObjectLink { object, instance } => writer.text("ov", &format!("{object}:{instance}")),
    }
    Ok(())
}
