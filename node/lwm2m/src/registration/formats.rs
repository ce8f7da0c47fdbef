//! Content formats that a client listed.

use crate::format::ContentFormat;

/// A set of content formats, two bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FormatSet(u16);

impl FormatSet {
    /// Whether the format is in the set.
    pub fn contains(self, format: ContentFormat) -> bool {
        self.0 & bit(format) != 0
    }

    /// Adds a format.
    pub fn insert(&mut self, format: ContentFormat) {
        self.0 |= bit(format);
    }

    /// The formats, by number.
    pub fn iter(self) -> impl Iterator<Item = ContentFormat> {
        ContentFormat::ALL.into_iter().filter(move |format| self.contains(*format))
    }

    /// Reads `ct`: numbers divided by blanks (RFC 7252 §7.2.1). Numbers that stand for no format of
    /// ours are passed over; `None` when something is no number of 16 bits.
    pub fn parse(ct: &str) -> Option<Self> {
        let mut formats = Self::default();
        for number in ct.split_ascii_whitespace() {
            if !number.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            if let Some(format) = ContentFormat::from_number(number.parse().ok()?) {
                formats.insert(format);
            }
        }
        Some(formats)
    }
}

impl FromIterator<ContentFormat> for FormatSet {
    fn from_iter<I: IntoIterator<Item = ContentFormat>>(formats: I) -> Self {
        formats.into_iter().fold(Self::default(), |mut set, format| {
            set.insert(format);
            set
        })
    }
}

fn bit(format: ContentFormat) -> u16 {
    ContentFormat::ALL.iter().position(|f| *f == format).map_or(0, |at| 1 << at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_its_bit() {
        for format in ContentFormat::ALL {
            let set: FormatSet = [format].into_iter().collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), [format]);
            assert_eq!(FormatSet::parse(&format.number().to_string()), Some(set));
        }
    }

    #[test]
    fn a_list_of_numbers_is_read() {
        let numbers =
            |ct| FormatSet::parse(ct).map(|set| set.iter().map(ContentFormat::number).collect::<Vec<_>>());
        assert_eq!(numbers("110 60 1542 9999"), Some(vec![60, 110, 11542]));
        assert_eq!(numbers(""), Some(vec![]));
        for bad in ["x", "60,110", "-1", "+60", "65536"] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
    }
}
