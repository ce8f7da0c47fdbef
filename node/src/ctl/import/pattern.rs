//! Names by a pattern.

use std::str::FromStr;

/// "LwPSK{:08}": a text with one number in it. `{}` is the plain number, `{:08}` eight digits at least, with zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ctl) struct Pattern {
    before: String,
    after: String,
    width: usize,
}

impl Pattern {
    /// The name with this number.
    pub(in crate::ctl) fn name(&self, number: u64) -> String {
        let Self { before, after, width } = self;
        format!("{before}{number:0width$}{after}")
    }
}

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "a pattern has one {} or {:08} in it";
        let (before, rest) = text.split_once('{').ok_or(SHAPE)?;
        let (number, after) = rest.split_once('}').ok_or(SHAPE)?;
        let width = match number {
            "" => 0,
            _ => number.strip_prefix(":0").and_then(|digits| digits.parse().ok()).ok_or(SHAPE)?,
        };
        if width > 20 || after.contains(['{', '}']) || before.contains('}') {
            return Err(SHAPE);
        }
        Ok(Self { before: before.to_owned(), after: after.to_owned(), width })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_counts() {
        let name = |pattern: &str, number| pattern.parse::<Pattern>().unwrap().name(number);
        assert_eq!(name("LwPSK{:08}", 1999), "LwPSK00001999");
        assert_eq!(name("lamp-{}-a", 7), "lamp-7-a");
        assert_eq!(name("{:02}", 100), "100");
    }

    #[test]
    fn a_text_without_one_number_is_no_pattern() {
        for text in ["lamp", "{", "{}{}", "{:8}", "{x}", "{:099}", "}{}"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
