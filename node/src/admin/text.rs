//! Values as text, as people write and read them.

use data_encoding::BASE64;
use godwit_lwm2m::value::ValueType;
use godwit_proto::v1::{ObjectLink, Value, value::Kind};

/// A text as a value of this type; `None` if it is none.
pub(crate) fn parse(text: &str, value_type: ValueType) -> Option<Kind> {
    Some(match value_type {
        ValueType::String => Kind::String(text.to_owned()),
        ValueType::CoreLink => Kind::CoreLink(text.to_owned()),
        ValueType::Integer => Kind::Integer(text.parse().ok()?),
        ValueType::Unsigned => Kind::Unsigned(text.parse().ok()?),
        ValueType::Float => Kind::Float(text.parse().ok().filter(|float: &f64| float.is_finite())?),
        ValueType::Boolean => Kind::Boolean(match text {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return None,
        }),
        ValueType::Opaque => Kind::Opaque(BASE64.decode(text.as_bytes()).ok()?),
        ValueType::Time => Kind::Time(match text.parse() {
            Ok(seconds) => seconds,
            Err(_) => text.parse::<prost_types::Timestamp>().ok()?.seconds,
        }),
        ValueType::ObjectLink => {
            let (object, instance) = text.split_once(':')?;
            let id = |text: &str| text.parse::<u16>().ok().map(u32::from);
            Kind::ObjectLink(ObjectLink { object: id(object)?, instance: id(instance)? })
        }
    })
}

/// A value as text; [`parse`] reads it again.
pub(crate) fn show(value: &Value) -> String {
    match &value.kind {
        None => "null".to_owned(),
        Some(Kind::String(text) | Kind::CoreLink(text)) => text.clone(),
        Some(Kind::Integer(number)) => number.to_string(),
        Some(Kind::Unsigned(number)) => number.to_string(),
        Some(Kind::Float(number)) => number.to_string(),
        Some(Kind::Boolean(truth)) => truth.to_string(),
        Some(Kind::Opaque(bytes)) => BASE64.encode(bytes),
        Some(Kind::Time(seconds)) => prost_types::Timestamp { seconds: *seconds, nanos: 0 }.to_string(),
        Some(Kind::ObjectLink(link)) => format!("{}:{}", link.object, link.instance),
    }
}

/// The short name of a value's type.
pub(crate) const fn type_name(value: &Value) -> &'static str {
    match value.kind {
        None => "",
        Some(Kind::String(_)) => "string",
        Some(Kind::Integer(_)) => "integer",
        Some(Kind::Unsigned(_)) => "unsigned",
        Some(Kind::Float(_)) => "float",
        Some(Kind::Boolean(_)) => "boolean",
        Some(Kind::Opaque(_)) => "opaque",
        Some(Kind::Time(_)) => "time",
        Some(Kind::ObjectLink(_)) => "objlnk",
        Some(Kind::CoreLink(_)) => "corelnk",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_text() {
        let kinds = [
            (ValueType::Integer, "-5", Kind::Integer(-5)),
            (ValueType::Unsigned, "18446744073709551615", Kind::Unsigned(u64::MAX)),
            (ValueType::Float, "21.5", Kind::Float(21.5)),
            (ValueType::Boolean, "true", Kind::Boolean(true)),
            (ValueType::Opaque, "AQI=", Kind::Opaque(vec![1, 2])),
            (ValueType::Time, "5", Kind::Time(5)),
            (ValueType::ObjectLink, "3:0", Kind::ObjectLink(ObjectLink { object: 3, instance: 0 })),
            (ValueType::CoreLink, "</3>", Kind::CoreLink("</3>".into())),
        ];
        for (value_type, text, kind) in kinds {
            let value = Value { kind: Some(kind) };
            assert_eq!(parse(text, value_type), value.kind, "{text}");
            assert_eq!(type_name(&value).parse(), Ok(value_type));
            assert_eq!(parse(&show(&value), value_type), value.kind, "{text}");
        }
        for (value_type, text) in [
            (ValueType::Integer, "1.5"),
            (ValueType::Unsigned, "-1"),
            (ValueType::Float, "inf"),
            (ValueType::Boolean, "yes"),
            (ValueType::Opaque, "AQI"),
            (ValueType::Time, "yesterday"),
            (ValueType::ObjectLink, "3:65536"),
        ] {
            assert_eq!(parse(text, value_type), None, "{text}");
        }
    }
}
