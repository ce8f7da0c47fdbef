//! What every content format promises about any bytes.

use godwit_lwm2m::entry::{Content, Entry};
use godwit_lwm2m::format::{
    ContentFormat, DecodeContext, DecodeError, Limits, Types, decode, decode_paths, encode_content,
    encode_paths,
};
use godwit_lwm2m::path::Path;
use godwit_lwm2m::value::ValueType;

/// A type per object, so that the input chooses it; none from object 9 on.
struct ByObject;

impl Types for ByObject {
    fn value_type(&self, path: &Path) -> Option<ValueType> {
        Some(match path.object_id()? {
            0 => ValueType::String,
            1 => ValueType::Unsigned,
            2 => ValueType::ObjectLink,
            3 => ValueType::Integer,
            4 => ValueType::Float,
            5 => ValueType::Opaque,
            6 => ValueType::Time,
            7 => ValueType::Boolean,
            8 => ValueType::CoreLink,
            _ => return None,
        })
    }

    fn is_multiple(&self, path: &Path) -> Option<bool> {
        path.resource_id().map(|id| id % 2 == 0)
    }
}

/// The first two bytes choose the path of the request, the rest is the payload.
pub(crate) fn check(format: ContentFormat, data: &[u8]) {
    let [level, object, payload @ ..] = data else { return };
    let base = Path::resource_instance((object % 10).into(), 0, (object / 10).into(), 1);
    let base = base.truncate((level % 5).into());
    let limits = Limits { bytes: 4096, entries: 64, depth: 8 };
    let context = DecodeContext { base, types: &ByObject, now: 1.7e9, limits: &limits };
    match decode(format, &context, payload) {
        Ok(content) => check_content(format, &context, &content),
        Err(DecodeError::Malformed { offset, .. }) => assert!(offset <= payload.len()),
        Err(_) => {}
    }
    if let Ok(paths) = decode_paths(format, payload, &limits) {
        assert!(paths.len() <= limits.entries);
        if let Ok(payload) = encode_paths(format, &paths) {
            let again = decode_paths(format, &payload, &limits).map(sorted);
            assert_eq!(again, Ok(sorted(paths)));
        }
    }
}

/// Within the limits, of the model's types, and the same after it is written and read again.
fn check_content(format: ContentFormat, context: &DecodeContext<'_>, content: &Content) {
    let Content { entries, empty, nulls } = content;
    assert!(entries.len() + empty.len() + nulls.len() <= context.limits.entries);
    for Entry { path, time, value } in entries {
        assert!(path.starts_with(&context.base) && path.is_value());
        assert!(time.is_none_or(f64::is_finite));
        assert!(context.types.value_type(path).is_none_or(|t| t == value.value_type()));
    }
    // A time before July 1978 can be read as relative to now, but not be written.
    let written = encode_content(format, context.base, content, context.types);
    let Ok(payload) = written else {
        assert!(entries.iter().any(|e| e.time.is_some_and(|t| t < 268_435_456.0)), "{written:?}");
        return;
    };
    let limits = Limits { bytes: usize::MAX, ..*context.limits };
    let again = decode(format, &DecodeContext { limits: &limits, ..*context }, &payload);
    let again = again.expect("what we write can be read");
    // By their text, because NaN is not itself.
    let text = |content: &Content| {
        let entries = content.entries.iter().map(|entry| format!("{entry:?}")).collect();
        (sorted(entries), sorted(content.empty.clone()), sorted(content.nulls.clone()))
    };
    assert_eq!(text(&again), text(content));
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}
