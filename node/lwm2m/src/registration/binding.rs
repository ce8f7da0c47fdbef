//! The transports of a client, `b` in a Register.

use std::fmt;

use crate::model::LwM2mVersion;

/// Transports over which a client is to be reached, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding(u8);

const LETTERS: [(char, LwM2mVersion); 6] = [
    ('U', LwM2mVersion::V1_0),
    ('T', LwM2mVersion::V1_1),
    ('S', LwM2mVersion::V1_0),
    ('N', LwM2mVersion::V1_1),
    ('M', LwM2mVersion::V1_2),
    ('H', LwM2mVersion::V1_2),
];

impl Binding {
    /// UDP alone: what counts when a client says nothing.
    pub const UDP: Self = Self(1);

    /// Whether the letter is among them.
    pub fn has(self, letter: char) -> bool {
        LETTERS.iter().position(|(l, _)| *l == letter).is_some_and(|at| self.0 & 1 << at != 0)
    }

    /// Reads `b` as the version writes it, and for 1.0 whether queue mode is on.
    ///
    /// 1.0 has six fixed words with `Q` in them; later versions have letters in any order, each once,
    /// and name queue mode elsewhere (Core 1.0.2 §5.3.1.1, 1.2.2 §6.2.1).
    pub fn parse(text: &str, version: LwM2mVersion) -> Option<(Self, bool)> {
        let letters = match version {
            LwM2mVersion::V1_0 => match text {
                "U" | "UQ" => "U",
                "S" | "SQ" => "S",
                "US" | "UQS" => "US",
                _ => return None,
            },
            _ => text,
        };
        let mut bits = 0;
        for letter in letters.chars() {
            let at = LETTERS.iter().position(|(l, since)| *l == letter && *since <= version)?;
            if bits & 1 << at != 0 {
                return None;
            }
            bits |= 1 << at;
        }
        (bits != 0).then_some((Self(bits), version == LwM2mVersion::V1_0 && text.contains('Q')))
    }

    /// Reads what `Display` wrote.
    pub fn from_letters(letters: &str) -> Option<Self> {
        Some(Self::parse(letters, LwM2mVersion::V1_2)?.0)
    }
}

impl Default for Binding {
    fn default() -> Self {
        Self::UDP
    }
}

/// The letters, without `Q`.
impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LETTERS
            .iter()
            .filter(|(letter, _)| self.has(*letter))
            .try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_letters() {
        let read = |text, version| Binding::parse(text, version).map(|(b, queue)| (b.to_string(), queue));
        let is = |letters: &str, queue| Some((letters.to_owned(), queue));
        for (text, letters, queue) in [
            ("U", "U", false),
            ("UQ", "U", true),
            ("S", "S", false),
            ("SQ", "S", true),
            ("US", "US", false),
            ("UQS", "US", true),
        ] {
            assert_eq!(read(text, LwM2mVersion::V1_0), is(letters, queue));
        }
        assert_eq!(read("NTU", LwM2mVersion::V1_1), is("UTN", false));
        assert_eq!(read("UMH", LwM2mVersion::V1_2), is("UMH", false));
        for (text, version) in [
            ("", LwM2mVersion::V1_0),
            ("SU", LwM2mVersion::V1_0),
            ("T", LwM2mVersion::V1_0),
            ("", LwM2mVersion::V1_1),
            ("u", LwM2mVersion::V1_1),
            ("UQ", LwM2mVersion::V1_1),
            ("UU", LwM2mVersion::V1_1),
            ("UM", LwM2mVersion::V1_1),
            ("UX", LwM2mVersion::V1_2),
        ] {
            assert_eq!(read(text, version), None, "{text} {version}");
        }
    }
}
