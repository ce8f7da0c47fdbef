//! Formats that hold one value and need the path of the request for it: text, link format, bytes.
//! (Core 1.2 §7.4.1, §7.4.2 and the text column of appendix C.)

use data_encoding::BASE64;

use super::collect::Collector;
use super::raw::Raw;
use super::{ContentFormat, DecodeContext, DecodeError, EncodeError, Found, Reason, base64};
use crate::entry::Content;
use crate::path::Path;
use crate::value::{Value, ValueType};

/// By the model's type; String without one. Opaque is base64, Boolean `0` or `1`, a link `3:0`.
pub(super) fn decode(context: &DecodeContext<'_>, payload: &[u8]) -> Result<Content, DecodeError> {
    let path = context.base;
    let text = str::from_utf8(payload)
        .map_err(|e| DecodeError::Malformed { offset: e.valid_up_to(), reason: Reason::Utf8 })?;
    let raw = match context.types.value_type(&path) {
        None | Some(ValueType::String | ValueType::CoreLink | ValueType::ObjectLink) => {
            Raw::Text(text.into())
        }
        Some(expected) => {
            typed(text, expected).ok_or(DecodeError::Type { path, expected, found: Found::Text })?
        }
    };
    single(context, raw)
}

fn typed(text: &str, expected: ValueType) -> Option<Raw<'_>> {
    Some(match expected {
        ValueType::Boolean => match text {
            "0" => Raw::Boolean(false),
            "1" => Raw::Boolean(true),
            _ => return None,
        },
        ValueType::Opaque => Raw::Bytes(base64(text)?.into()),
        // Not by way of an integer, which has no −0.
        ValueType::Float => Raw::Float(decimal(text)?),
        _ => match text.parse::<i128>() {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Float(decimal(text)?),
        },
    })
}

/// Rust's own parser also reads `inf`, `nan` and `infinity`, which are no decimal numbers.
fn decimal(text: &str) -> Option<f64> {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    text.parse().ok().filter(|f: &f64| digits && f.is_finite())
}

/// Links unparsed, as one value.
pub(super) fn decode_links(context: &DecodeContext<'_>, payload: &[u8]) -> Result<Content, DecodeError> {
    let path = context.base;
    let text = str::from_utf8(payload)
        .map_err(|e| DecodeError::Malformed { offset: e.valid_up_to(), reason: Reason::Utf8 })?;
    match context.types.value_type(&path) {
        None | Some(ValueType::CoreLink) => value(context, Value::CoreLink(text.to_owned())),
        Some(expected) => Err(DecodeError::Type { path, expected, found: Found::Text }),
    }
}

/// The payload is the value.
pub(super) fn decode_opaque(context: &DecodeContext<'_>, payload: &[u8]) -> Result<Content, DecodeError> {
    single(context, Raw::Bytes(payload.into()))
}

/// One value at the path of the request.
pub(super) fn single(context: &DecodeContext<'_>, raw: Raw<'_>) -> Result<Content, DecodeError> {
    let mut collector = Collector::new(context, 1);
    collector.raw(context.base, None, raw)?;
    collector.finish()
}

fn value(context: &DecodeContext<'_>, value: Value) -> Result<Content, DecodeError> {
    let mut collector = Collector::new(context, 1);
    collector.value(context.base, value)?;
    collector.finish()
}

pub(super) fn encode(path: Path, value: &Value) -> Result<Vec<u8>, EncodeError> {
    let text = match value {
        Value::String(text) | Value::CoreLink(text) => text.clone(),
        Value::Integer(n) | Value::Time(n) => n.to_string(),
        Value::Unsigned(n) => n.to_string(),
        Value::Float(f) if f.is_finite() => f.to_string(),
        Value::Float(_) => return Err(EncodeError::Inexpressible { format: ContentFormat::Text, path }),
        Value::Boolean(b) => u8::from(*b).to_string(),
        Value::Opaque(bytes) => BASE64.encode(bytes),
        Value::ObjectLink { object, instance } => format!("{object}:{instance}"),
    };
    Ok(text.into_bytes())
}

pub(super) fn encode_links(path: Path, value: &Value) -> Result<Vec<u8>, EncodeError> {
    match value {
        Value::CoreLink(links) => Ok(links.clone().into_bytes()),
        _ => Err(EncodeError::Inexpressible { format: ContentFormat::CoreLink, path }),
    }
}

pub(super) fn encode_opaque(path: Path, value: &Value) -> Result<Vec<u8>, EncodeError> {
    match value {
        Value::Opaque(bytes) => Ok(bytes.clone()),
        _ => Err(EncodeError::Inexpressible { format: ContentFormat::Opaque, path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_by_the_models_type() {
        assert_eq!(typed("-5", ValueType::Integer), Some(Raw::Integer(-5)));
        assert_eq!(typed("5.0", ValueType::Integer), Some(Raw::Float(5.0)));
        assert_eq!(typed("-2.5e3", ValueType::Float), Some(Raw::Float(-2500.0)));
        assert_eq!(typed("AQI=", ValueType::Opaque), Some(Raw::Bytes(vec![1, 2].into())));
        assert_eq!(typed("-0", ValueType::Float).map(|raw| format!("{raw:?}")), Some("Float(-0.0)".into()));
        for text in ["", " 5", "5 ", "0x5", "inf", "NaN", "-infinity", "1e999", "five"] {
            assert_eq!(typed(text, ValueType::Float), None, "{text:?}");
        }
        for text in ["", "2", "true", "01"] {
            assert_eq!(typed(text, ValueType::Boolean), None, "{text:?}");
        }
    }
}
