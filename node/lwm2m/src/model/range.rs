//! The range of a resource, read from a definition's `RangeEnumeration`.

use std::borrow::Cow;
use std::fmt;

/// What a definition says about a resource's values. Descriptive: devices go beyond it, so
/// nothing is refused by it.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    /// Numbers from `min` to `max`, both included.
    Number {
        /// Lowest value.
        min: f64,
        /// Highest value.
        max: f64,
    },
    /// Length in bytes of a string or an opaque value.
    Length {
        /// Fewest bytes.
        min: u32,
        /// Most bytes.
        max: u32,
    },
    /// One of these integers.
    OneOf(Box<[i64]>),
    /// Anything else, as the definition has it.
    Text(Cow<'static, str>),
}

impl Range {
    /// Reads `0..100`, `-1-8`, `64 bytes`, `0..64 bytes`, `16,32,48`; `None` when nothing is said.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let known = match bytes(text) {
            Some(lengths) => length(lengths),
            None => number(text).or_else(|| one_of(text)),
        };
        Some(
            known.unwrap_or_else(|| {
                Self::Text(Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" ")))
            }),
        )
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { min, max } => write!(f, "{min}..{max}"),
            Self::Length { min, max } if min == max => write!(f, "{max} bytes"),
            Self::Length { min, max } => write!(f, "{min}..{max} bytes"),
            Self::OneOf(values) => {
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What stands before a final "byte" or "bytes".
fn bytes(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_suffix("bytes").or_else(|| lower.strip_suffix("byte"))?;
    text.get(..rest.len()).map(str::trim_end)
}

fn length(text: &str) -> Option<Range> {
    if let Ok(exactly) = text.parse() {
        return Some(Range::Length { min: exactly, max: exactly });
    }
    let (min, max) = bounds(text)?;
    let (min, max) = (min.parse().ok()?, max.parse().ok()?);
    (min <= max).then_some(Range::Length { min, max })
}

fn number(text: &str) -> Option<Range> {
    let (min, max) = bounds(text)?;
    let (min, max): (f64, f64) = (decimal(min)?, decimal(max)?);
    (min <= max).then_some(Range::Number { min, max })
}

fn one_of(text: &str) -> Option<Range> {
    let values =
        text.split([',', ';', '|']).map(|v| v.trim().parse().ok()).collect::<Option<Box<[i64]>>>()?;
    Some(Range::OneOf(values))
}

/// Splits at `..`, or at a hyphen that is not a sign.
fn bounds(text: &str) -> Option<(&str, &str)> {
    if let Some((min, max)) = text.split_once("..") {
        return Some((min.trim(), max.trim()));
    }
    let hyphen = text.char_indices().skip(1).find(|(_, c)| *c == '-')?.0;
    Some((text[..hyphen].trim(), text[hyphen + 1..].trim()))
}

/// `f64::from_str` would take "inf", "nan" and exponents.
fn decimal(text: &str) -> Option<f64> {
    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+')).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_registry_are_told_apart() {
        let number = |min, max| Some(Range::Number { min, max });
        let length = |min, max| Some(Range::Length { min, max });
        assert_eq!(Range::parse("0..100"), number(0.0, 100.0));
        assert_eq!(Range::parse(" 0.000001..1.0 "), number(0.000_001, 1.0));
        assert_eq!(Range::parse("-128..127"), number(-128.0, 127.0));
        assert_eq!(Range::parse("-5-10"), number(-5.0, 10.0));
        assert_eq!(Range::parse("0-255 Bytes"), length(0, 255));
        assert_eq!(Range::parse("32 bytes"), length(32, 32));
        assert_eq!(Range::parse("16,32, 48"), Some(Range::OneOf([16, 32, 48].into())));
        assert_eq!(Range::parse("6"), Some(Range::OneOf([6].into())));
        assert_eq!(Range::parse(""), None);
        for text in ["8 bit", "16-32-48 bytes", "9..1", "nan..inf", "0: OFF", "é-bytes", "-"] {
            assert_eq!(Range::parse(text), Some(Range::Text(text.into())), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["0..100", "1..64 bytes", "32 bytes", "16,32,48", "-1.5..1", "0: OFF 1: ON"] {
            let range = Range::parse(text).unwrap();
            assert_eq!(range.to_string(), text);
        }
    }
}
