//! LwM2M TLV (11542, Core 1.2 §7.4.3). No types on the wire: a value without a model stays bytes, and
//! there are no times.
//!
//! ```text
//! 7 6   5         4 3              2 1 0
//! kind  id 16 bit length's bytes   length, if those are 0     then id, length, value
//! ```

use super::collect::Collector;
use super::{Body, ContentFormat, DecodeContext, DecodeError, EncodeError, Found, Reason, raw};
use crate::entry::{Content, Entry};
use crate::path::{Path, UNASSIGNED};
use crate::value::{Value, ValueType};

/// The longest value or group: 24 bits of length.
const LONGEST: usize = (1 << 24) - 1;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Instance = 0,
    ResourceInstance = 1,
    MultipleResource = 2,
    Resource = 3,
}

impl Kind {
    /// The level of the path that an element of this kind has.
    fn level(self) -> usize {
        match self {
            Kind::Instance => 2,
            Kind::MultipleResource | Kind::Resource => 3,
            Kind::ResourceInstance => 4,
        }
    }
}

struct Element<'a> {
    kind: Kind,
    id: u16,
    value: &'a [u8],
    /// Where the value begins in the payload.
    offset: usize,
}

/// Reads the answer to, or the body of, a request for `context.base`. Elements that repeat a part of
/// that path are taken, though not needed. Resources alone, for an object, belong to the instance
/// [`UNASSIGNED`].
pub(super) fn decode(context: &DecodeContext<'_>, payload: &[u8]) -> Result<Content, DecodeError> {
    let base = context.base;
    if base.level() == 0 {
        return Err(DecodeError::Unsupported { format: ContentFormat::Tlv });
    }
    let mut collector = Collector::new(context, 1).allow_unassigned();
    let mut rest = Elements { payload, position: 0 };
    let mut level = None;
    while let Some(element) = rest.next()? {
        let Element { kind, offset, .. } = element;
        // The outermost elements are siblings, of whatever level.
        if level.replace(kind.level()).is_some_and(|level| level != kind.level()) {
            return Err(DecodeError::Malformed { offset, reason: Reason::Nesting });
        }
        let above = match (kind.level(), base.child(UNASSIGNED)) {
            (3, Some(instance)) if base.level() == 1 => instance,
            (level, _) => base.truncate(level - 1),
        };
        visit(&element, above, &mut collector)?;
    }
    collector.finish()
}

fn visit(element: &Element<'_>, above: Path, collector: &mut Collector<'_>) -> Result<(), DecodeError> {
    let Element { kind, id, value, offset } = *element;
    let nesting = DecodeError::Malformed { offset, reason: Reason::Nesting };
    let path = above.child(id).filter(|path| path.level() == kind.level()).ok_or(nesting)?;
    if id == UNASSIGNED {
        return Err(DecodeError::Reserved { path });
    }
    if matches!(kind, Kind::Resource | Kind::ResourceInstance) {
        let value = read_value(value, path, collector.value_type(&path))?;
        return collector.value(path, value);
    }
    if value.is_empty() {
        return collector.empty(path);
    }
    let mut children = Elements { payload: value, position: 0 };
    loop {
        // Offsets of a child count from the payload's start.
        let child = children.next().map_err(|e| shift(e, offset))?;
        let Some(mut child) = child else { return Ok(()) };
        child.offset += offset;
        visit(&child, path, collector)?;
    }
}

fn shift(error: DecodeError, by: usize) -> DecodeError {
    match error {
        DecodeError::Malformed { offset, reason } => DecodeError::Malformed { offset: offset + by, reason },
        error => error,
    }
}

struct Elements<'a> {
    payload: &'a [u8],
    position: usize,
}

impl<'a> Elements<'a> {
    fn next(&mut self) -> Result<Option<Element<'a>>, DecodeError> {
        let Some(&first) = self.payload.get(self.position) else { return Ok(None) };
        self.position += 1;
        let kind = match first >> 6 {
            0 => Kind::Instance,
            1 => Kind::ResourceInstance,
            2 => Kind::MultipleResource,
            _ => Kind::Resource,
        };
        let id = self.number(if first & 0x20 == 0 { 1 } else { 2 })? as u16;
        let len = match (first >> 3) & 3 {
            0 => usize::from(first & 7),
            bytes => self.number(bytes)? as usize,
        };
        let offset = self.position;
        let value = self.take(len)?;
        Ok(Some(Element { kind, id, value, offset }))
    }

    /// Up to three bytes, big-endian.
    fn number(&mut self, bytes: u8) -> Result<u32, DecodeError> {
        let bytes = self.take(bytes.into())?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let truncated = DecodeError::Malformed { offset: self.position, reason: Reason::Truncated };
        let bytes = self.payload.get(self.position..).and_then(|rest| rest.get(..len)).ok_or(truncated)?;
        self.position += len;
        Ok(bytes)
    }
}

fn read_value(bytes: &[u8], path: Path, expected: Option<ValueType>) -> Result<Value, DecodeError> {
    let Some(expected) = expected else { return Ok(Value::Opaque(bytes.to_vec())) };
    let value = match expected {
        ValueType::Opaque => Some(Value::Opaque(bytes.to_vec())),
        ValueType::String => text(bytes).map(Value::String),
        ValueType::CoreLink => text(bytes).map(Value::CoreLink),
        ValueType::Integer => signed(bytes).map(Value::Integer),
        ValueType::Time => signed(bytes).map(Value::Time),
        ValueType::Unsigned => unsigned(bytes).map(Value::Unsigned),
        ValueType::Float => match *bytes {
            [a, b, c, d] => Some(Value::Float(f32::from_be_bytes([a, b, c, d]).into())),
            _ => bytes.try_into().ok().map(f64::from_be_bytes).map(Value::Float),
        },
        ValueType::Boolean => match bytes {
            [0] => Some(Value::Boolean(false)),
            [1] => Some(Value::Boolean(true)),
            _ => None,
        },
        ValueType::ObjectLink => match *bytes {
            [a, b, c, d] => Some(Value::ObjectLink {
                object: u16::from_be_bytes([a, b]),
                instance: u16::from_be_bytes([c, d]),
            }),
            _ => None,
        },
    };
    value.ok_or(DecodeError::Type { path, expected, found: Found::Size(bytes.len()) })
}

fn text(bytes: &[u8]) -> Option<String> {
    str::from_utf8(bytes).ok().map(str::to_owned)
}

fn signed(bytes: &[u8]) -> Option<i64> {
    Some(match *bytes {
        [a] => i8::from_be_bytes([a]).into(),
        [a, b] => i16::from_be_bytes([a, b]).into(),
        [a, b, c, d] => i32::from_be_bytes([a, b, c, d]).into(),
        _ => i64::from_be_bytes(bytes.try_into().ok()?),
    })
}

fn unsigned(bytes: &[u8]) -> Option<u64> {
    Some(match *bytes {
        [a] => a.into(),
        [a, b] => u16::from_be_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]).into(),
        _ => u64::from_be_bytes(bytes.try_into().ok()?),
    })
}

/// Elements in tree order, without those that the path of the request names. The instance
/// [`UNASSIGNED`] of a Create is left out too, so that its resources stand alone.
pub(super) fn encode(base: Path, body: &Body<'_>) -> Result<Vec<u8>, EncodeError> {
    let values = body.entries.iter().map(|entry| (entry.path, Some(entry)));
    let mut items: Vec<Item<'_>> = values.chain(body.empty.iter().map(|path| (*path, None))).collect();
    items.sort_by_key(|(path, _)| *path);
    if body.empty == [base] && base.level() == 2 {
        return Ok(Vec::new());
    }
    let unassigned = |(path, _): &&Item<'_>| path.instance_id() == Some(UNASSIGNED);
    if let Some((path, _)) = items.iter().find(unassigned)
        && (base.level() != 1 || path.level() < 3 || !items.iter().all(|item| unassigned(&item)))
    {
        return Err(EncodeError::Inexpressible { format: ContentFormat::Tlv, path: *path });
    }
    let level = match base.level() {
        1 if items.first().as_ref().is_none_or(|item| !unassigned(item)) => 2,
        4 => 4,
        _ => 3,
    };
    let mut out = Vec::new();
    write_level(&mut out, &items, level, body)?;
    Ok(out)
}

type Item<'a> = (Path, Option<&'a Entry>);

/// Writes `items`, which share their path above `level`, as elements of that level.
fn write_level(
    out: &mut Vec<u8>,
    items: &[Item<'_>],
    level: usize,
    body: &Body<'_>,
) -> Result<(), EncodeError> {
    for group in items.chunk_by(|(a, _), (b, _)| a.truncate(level) == b.truncate(level)) {
        let path = group[0].0.truncate(level);
        match group {
            [(at, Some(entry))] if at.level() == level => {
                let mut value = Vec::new();
                write_value(&mut value, raw::fit(entry.path, &entry.value, body.types)?.as_ref());
                let kind = if level == 4 { Kind::ResourceInstance } else { Kind::Resource };
                write_element(out, kind, path, &value)?;
            }
            _ => {
                let mut children = Vec::new();
                if group[0].0.level() > level {
                    write_level(&mut children, group, level + 1, body)?;
                }
                let kind = if level == 2 { Kind::Instance } else { Kind::MultipleResource };
                write_element(out, kind, path, &children)?;
            }
        }
    }
    Ok(())
}

fn write_element(out: &mut Vec<u8>, kind: Kind, path: Path, value: &[u8]) -> Result<(), EncodeError> {
    let id = path.segments().last().copied().unwrap_or_default();
    let len = value.len();
    if len > LONGEST {
        return Err(EncodeError::Inexpressible { format: ContentFormat::Tlv, path });
    }
    let long_id = u8::from(id > 0xff);
    let (length_bytes, short) = match len {
        0..=7 => (0, len as u8),
        8..=0xff => (1, 0),
        0x100..=0xffff => (2, 0),
        _ => (3, 0),
    };
    out.push((kind as u8) << 6 | long_id << 5 | length_bytes << 3 | short);
    out.extend_from_slice(&id.to_be_bytes()[usize::from(1 - long_id)..]);
    out.extend_from_slice(&(len as u32).to_be_bytes()[usize::from(4 - length_bytes)..]);
    out.extend_from_slice(value);
    Ok(())
}

/// The least bytes that hold the value; 4 for a float that loses nothing by it.
fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) | Value::CoreLink(text) => out.extend_from_slice(text.as_bytes()),
        Value::Opaque(bytes) => out.extend_from_slice(bytes),
        Value::Integer(n) | Value::Time(n) => {
            let skip = match *n {
                n if i8::try_from(n).is_ok() => 7,
                n if i16::try_from(n).is_ok() => 6,
                n if i32::try_from(n).is_ok() => 4,
                _ => 0,
            };
            out.extend_from_slice(&n.to_be_bytes()[skip..]);
        }
        Value::Unsigned(n) => {
            let skip = match *n {
                0..=0xff => 7,
                0x100..=0xffff => 6,
                0x1_0000..=0xffff_ffff => 4,
                _ => 0,
            };
            out.extend_from_slice(&n.to_be_bytes()[skip..]);
        }
        Value::Float(f) => {
            let single = *f as f32;
            if f64::from(single) == *f || f.is_nan() {
                out.extend_from_slice(&single.to_be_bytes());
            } else {
                out.extend_from_slice(&f.to_be_bytes());
            }
        }
        Value::Boolean(b) => out.push((*b).into()),
        Value::ObjectLink { object, instance } => {
            out.extend_from_slice(&object.to_be_bytes());
            out.extend_from_slice(&instance.to_be_bytes());
        }
    }
}
