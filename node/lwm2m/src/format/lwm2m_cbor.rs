//! LwM2M CBOR (11544, Core 1.2 §7.4.6): maps from ids, or arrays of ids, to values or further maps,
//! from the object down. Prefixes of LwM2M gateways (text in the path) are refused.

use minicbor::data::Type;

use super::cbor::{Reader, Writer};
use super::collect::{Collector, check_entries};
use super::{Body, DecodeContext, DecodeError, EncodeError, Limits, Reason, raw};
use crate::entry::{Content, Entry};
use crate::path::Path;

pub(super) fn decode(context: &DecodeContext<'_>, payload: &[u8]) -> Result<Content, DecodeError> {
    let mut reader = Reader::new(payload, context.limits.depth);
    let mut collector = Collector::new(context, 1);
    map(&mut reader, Path::ROOT, 0, &mut |reader, path, node| match node {
        Node::Empty => collector.empty(path),
        Node::Value => match reader.scalar()? {
            Some(raw) => collector.raw(path, None, raw),
            None => collector.null(path),
        },
    })?;
    reader.end()?;
    collector.finish()
}

/// Paths to be read have the value null.
pub(super) fn decode_paths(payload: &[u8], limits: &Limits) -> Result<Vec<Path>, DecodeError> {
    let mut reader = Reader::new(payload, limits.depth);
    let mut paths = Vec::new();
    map(&mut reader, Path::ROOT, 0, &mut |reader, path, node| {
        let offset = reader.position();
        if matches!(node, Node::Empty) || reader.scalar()?.is_some() {
            return Err(DecodeError::Malformed { offset, reason: Reason::Value });
        }
        check_entries(paths.len(), limits)?;
        paths.push(path);
        Ok(())
    })?;
    reader.end()?;
    Ok(paths)
}

/// What a path leads to.
enum Node {
    /// A map without members, already read.
    Empty,
    /// Anything else but a map, to be read.
    Value,
}

type Visit<'v, 'p> = dyn FnMut(&mut Reader<'p>, Path, Node) -> Result<(), DecodeError> + 'v;

fn map<'p>(
    reader: &mut Reader<'p>,
    above: Path,
    depth: usize,
    visit: &mut Visit<'_, 'p>,
) -> Result<(), DecodeError> {
    // Each level adds at least one id, so the depth is at most 4 anyway.
    reader.check_depth(depth)?;
    let mut members = reader.map()?;
    let mut any = false;
    while reader.next(&mut members)? {
        any = true;
        let path = key(reader, above)?;
        match reader.datatype()? {
            Type::Map | Type::MapIndef => map(reader, path, depth + 1, visit)?,
            _ => visit(reader, path, Node::Value)?,
        }
    }
    // An empty payload is left to the collector.
    if any || above == Path::ROOT { Ok(()) } else { visit(reader, above, Node::Empty) }
}

/// One id, or an array of at least one.
fn key(reader: &mut Reader<'_>, above: Path) -> Result<Path, DecodeError> {
    if !matches!(reader.datatype()?, Type::Array | Type::ArrayIndef) {
        return id(reader, above);
    }
    let start = reader.position();
    let mut ids = reader.array()?;
    let mut path = above;
    while reader.next(&mut ids)? {
        path = id(reader, path)?;
    }
    if path == above {
        return Err(DecodeError::Malformed { offset: start, reason: Reason::Id });
    }
    Ok(path)
}

fn id(reader: &mut Reader<'_>, above: Path) -> Result<Path, DecodeError> {
    let offset = reader.position();
    let bad = DecodeError::Malformed { offset, reason: Reason::Id };
    match reader.datatype()? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => {
            let id = u16::try_from(reader.integer()?).map_err(|_| bad)?;
            above.child(id).ok_or(DecodeError::Malformed { offset, reason: Reason::Nesting })
        }
        _ => Err(bad),
    }
}

/// What is written at a path.
#[derive(Clone, Copy)]
enum Item<'a> {
    Value(&'a Entry),
    Null,
    Empty,
}

/// Definite maps in tree order; ids that lead to a single member are joined in an array.
pub(super) fn encode(body: &Body<'_>) -> Result<Vec<u8>, EncodeError> {
    let values = body.entries.iter().map(|entry| (entry.path, Item::Value(entry)));
    let nulls = body.nulls.iter().map(|path| (*path, Item::Null));
    let empty = body.empty.iter().map(|path| (*path, Item::Empty));
    let mut items: Vec<_> = values.chain(nulls).chain(empty).collect();
    items.sort_by_key(|(path, _)| *path);
    let mut writer = Writer::new();
    write_map(&mut writer, &items, 0, &mut |writer, item| {
        match item {
            Item::Value(entry) => writer.value(raw::fit(entry.path, &entry.value, body.types)?.as_ref()),
            Item::Null => writer.null(),
            Item::Empty => writer.map(0),
        }
        Ok(())
    })?;
    Ok(writer.finish())
}

/// Null at each path. Duplicates and paths below others have to be gone.
pub(super) fn encode_paths(paths: &[Path]) -> Result<Vec<u8>, EncodeError> {
    let mut items: Vec<_> = paths.iter().map(|path| (*path, ())).collect();
    items.sort_unstable();
    let mut writer = Writer::new();
    write_map(&mut writer, &items, 0, &mut |writer, ()| {
        writer.null();
        Ok(())
    })?;
    Ok(writer.finish())
}

type WriteItem<'w, T> = dyn FnMut(&mut Writer, T) -> Result<(), EncodeError> + 'w;

/// `items` are sorted, of one path down to `level`, and none is above another.
fn write_map<T: Copy>(
    writer: &mut Writer,
    items: &[(Path, T)],
    level: usize,
    write_item: &mut WriteItem<'_, T>,
) -> Result<(), EncodeError> {
    let groups = || items.chunk_by(|(a, _), (b, _)| a.segments().get(level) == b.segments().get(level));
    writer.map(groups().count());
    for group in groups() {
        match group {
            [] => {}
            [(path, item)] => {
                write_key(writer, &path.segments()[level..]);
                write_item(writer, *item)?;
            }
            // Sorted, so what the ends share is shared by all.
            [(first, _), .., (last, _)] => {
                let pairs = first.segments().iter().zip(last.segments());
                let shared = pairs.take_while(|(a, b)| a == b).count();
                write_key(writer, &first.segments()[level..shared]);
                write_map(writer, group, shared, write_item)?;
            }
        }
    }
    Ok(())
}

fn write_key(writer: &mut Writer, ids: &[u16]) {
    if ids.len() > 1 {
        writer.array(ids.len());
    }
    for id in ids {
        writer.integer((*id).into());
    }
}
