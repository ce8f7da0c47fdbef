//! A value as a payload spells it, and its conversion to and from the type of the object model.

use std::borrow::Cow;

use super::{DecodeError, EncodeError, Found, Types};
use crate::path::Path;
use crate::value::{Value, ValueType};

/// What a format says before the model is asked. Borrows from the payload.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw<'a> {
    /// Wide enough for CBOR's −2^64.
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Link {
        object: u16,
        instance: u16,
    },
}

impl Raw<'_> {
    /// The value as the model wants it; without a model, as the format has it.
    pub(super) fn typed(self, path: Path, expected: Option<ValueType>) -> Result<Value, DecodeError> {
        let Some(expected) = expected else {
            return Ok(self.untyped());
        };
        let value = match (expected, self) {
            (ValueType::String, Raw::Text(text)) => Ok(Value::String(text.into_owned())),
            (ValueType::CoreLink, Raw::Text(text)) => Ok(Value::CoreLink(text.into_owned())),
            (ValueType::Integer, Raw::Integer(n)) => narrow(n).map(Value::Integer),
            (ValueType::Integer, Raw::Float(f)) => whole(f).and_then(narrow).map(Value::Integer),
            (ValueType::Unsigned, Raw::Integer(n)) => narrow(n).map(Value::Unsigned),
            (ValueType::Unsigned, Raw::Float(f)) => whole(f).and_then(narrow).map(Value::Unsigned),
            (ValueType::Time, Raw::Integer(n)) => narrow(n).map(Value::Time),
            (ValueType::Time, Raw::Float(f)) => whole(f).and_then(narrow).map(Value::Time),
            // CBOR tag 0; Zephyr writes times so.
            (ValueType::Time, Raw::Text(text)) => parse_date(&text).map(Value::Time).ok_or(Found::Text),
            (ValueType::Float, Raw::Float(f)) => Ok(Value::Float(f)),
            (ValueType::Float, Raw::Integer(n)) => Ok(Value::Float(n as f64)),
            (ValueType::Boolean, Raw::Boolean(b)) => Ok(Value::Boolean(b)),
            (ValueType::Opaque, Raw::Bytes(bytes)) => Ok(Value::Opaque(bytes.into_owned())),
            (ValueType::ObjectLink, Raw::Link { object, instance }) => {
                Ok(Value::ObjectLink { object, instance })
            }
            // Leshan writes links as strings in SenML CBOR.
            (ValueType::ObjectLink, Raw::Text(text)) => parse_link(&text)
                .map(|(object, instance)| Value::ObjectLink { object, instance })
                .ok_or(Found::Text),
            (_, other) => Err(other.found()),
        };
        value.map_err(|found| DecodeError::Type { path, expected, found })
    }

    fn untyped(self) -> Value {
        match self {
            Raw::Integer(n) => i64::try_from(n)
                .map(Value::Integer)
                .or_else(|_| u64::try_from(n).map(Value::Unsigned))
                .unwrap_or(Value::Float(n as f64)),
            Raw::Float(f) => Value::Float(f),
            Raw::Boolean(b) => Value::Boolean(b),
            Raw::Text(text) => Value::String(text.into_owned()),
            Raw::Bytes(bytes) => Value::Opaque(bytes.into_owned()),
            Raw::Link { object, instance } => Value::ObjectLink { object, instance },
        }
    }

    /// The number, for times and base values.
    pub(super) fn number(&self) -> Option<f64> {
        match *self {
            Raw::Integer(n) => Some(n as f64),
            Raw::Float(f) => Some(f),
            _ => None,
        }
    }

    fn found(&self) -> Found {
        match self {
            Raw::Integer(_) | Raw::Float(_) => Found::Number,
            Raw::Boolean(_) => Found::Boolean,
            Raw::Text(_) => Found::Text,
            Raw::Bytes(_) => Found::Bytes,
            Raw::Link { .. } => Found::ObjectLink,
        }
    }
}

/// The entry's value in the model's type, so that a caller may give an Integer for a Float.
pub(super) fn fit<'v>(
    path: Path,
    value: &'v Value,
    types: &dyn Types,
) -> Result<Cow<'v, Value>, EncodeError> {
    let expected = match types.value_type(&path) {
        Some(expected) if expected != value.value_type() => expected,
        _ => return Ok(Cow::Borrowed(value)),
    };
    let raw = match value {
        Value::Integer(n) | Value::Time(n) => Raw::Integer((*n).into()),
        Value::Unsigned(n) => Raw::Integer((*n).into()),
        Value::Float(f) => Raw::Float(*f),
        Value::Boolean(b) => Raw::Boolean(*b),
        Value::String(text) | Value::CoreLink(text) => Raw::Text(text.into()),
        Value::Opaque(bytes) => Raw::Bytes(bytes.into()),
        Value::ObjectLink { object, instance } => Raw::Link { object: *object, instance: *instance },
    };
    match raw.typed(path, Some(expected)) {
        Ok(value) => Ok(Cow::Owned(value)),
        Err(DecodeError::Type { path, expected, found }) => Err(EncodeError::Type { path, expected, found }),
        Err(_) => unreachable!("invariant: a conversion fails by type only"),
    }
}

fn narrow<T: TryFrom<i128>>(n: i128) -> Result<T, Found> {
    T::try_from(n).map_err(|_| Found::OutOfRange)
}

fn whole(f: f64) -> Result<i128, Found> {
    if f.fract() != 0.0 {
        return Err(Found::Fraction); // also NaN and the infinities
    }
    // The cast saturates, and what saturates is out of range of every 64-bit type.
    Ok(f as i128)
}

/// `3:0`, the text form of an object link.
pub(super) fn parse_link(text: &str) -> Option<(u16, u16)> {
    let (object, instance) = text.split_once(':')?;
    let id = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some((id(object)?, id(instance)?))
}

/// Unix seconds of an RFC 3339 date; a fraction of a second is cut off.
fn parse_date(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| bytes.get(at) != Some(&byte)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    if bytes.get(at) == Some(&b'.') {
        at += 1 + bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    }
    let offset = match bytes.get(at..)? {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let seconds = number(at + 1, at + 3)? * 3600 + number(at + 4, at + 6)? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    // Days since 1970-01-01 in the proleptic Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 719_469;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_from_1970() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00-00:00", 0),
            ("2013-05-02T10:20:15Z", 1_367_490_015),
            ("2013-03-21T20:04:00.25Z", 1_363_896_240),
            ("2000-02-29T12:00:00+02:00", 951_818_400),
            ("1969-12-31T23:59:59Z", -1),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse_date(text), Some(seconds), "{text}");
        }
        for text in ["", "2013-05-02", "2013-13-02T10:20:15Z", "2013-05-02T10:20:15", "2013-05-02T10:20:15+2"]
        {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn links_are_two_ids() {
        assert_eq!(parse_link("3:0"), Some((3, 0)));
        assert_eq!(parse_link("65535:65535"), Some((65535, 65535)));
        for text in ["", "3", ":", "3:", "3:65536", "+3:0", "3:0:0", " 3:0"] {
            assert_eq!(parse_link(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_change_type_only_without_loss_of_range() {
        let path = Path::resource(3, 0, 9);
        let typed = |raw: Raw<'static>, expected| raw.typed(path, Some(expected));
        let error = |expected, found| Err(DecodeError::Type { path, expected, found });
        assert_eq!(typed(Raw::Integer(5), ValueType::Float), Ok(Value::Float(5.0)));
        assert_eq!(typed(Raw::Float(5.0), ValueType::Integer), Ok(Value::Integer(5)));
        assert_eq!(typed(Raw::Float(-0.5), ValueType::Integer), error(ValueType::Integer, Found::Fraction));
        assert_eq!(typed(Raw::Float(f64::NAN), ValueType::Time), error(ValueType::Time, Found::Fraction));
        assert_eq!(
            typed(Raw::Float(2f64.powi(63)), ValueType::Integer),
            error(ValueType::Integer, Found::OutOfRange)
        );
        assert_eq!(
            typed(Raw::Integer(-1), ValueType::Unsigned),
            error(ValueType::Unsigned, Found::OutOfRange)
        );
        assert_eq!(typed(Raw::Boolean(true), ValueType::Integer), error(ValueType::Integer, Found::Boolean));
        assert_eq!(Raw::Integer(i128::from(u64::MAX)).untyped(), Value::Unsigned(u64::MAX));
        assert_eq!(Raw::Integer(-(1 << 64)).untyped(), Value::Float(-18_446_744_073_709_551_616.0));
    }
}
