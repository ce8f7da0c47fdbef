//! What operators provision.

use super::StoreError;

/// Which state of a document a change expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Any, or none.
    Any,
    /// There is none yet.
    Absent,
    /// This revision.
    Revision(u64),
}

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// What is done with a device after it has registered.
    Profile,
    /// A definition of an object.
    Model,
}

/// Names a document. Lists are in the order of these fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentKey {
    /// A profile, by its name.
    Profile(String),
    /// An object's definition.
    Model {
        /// The profile that alone sees it; empty: all do.
        profile: String,
        /// The object's id.
        object: u16,
        /// "1.0", "1.1", …
        version: String,
    },
}

impl DocumentKey {
    /// Which kind it names.
    #[must_use]
    pub fn kind(&self) -> DocumentKind {
        match self {
            Self::Profile(_) => DocumentKind::Profile,
            Self::Model { .. } => DocumentKind::Model,
        }
    }

    /// A letter for the kind; a profile's name, or profile, 0, object (2 bytes big-endian), version. Of one kind they sort as the
    /// keys do.
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let named = |name: &str| {
            if name.contains('\0') {
                Err(StoreError::Invalid { what: "a name with a zero byte" })
            } else {
                Ok(())
            }
        };
        match self {
            Self::Profile(name) if name.is_empty() => Err(StoreError::Invalid { what: "an empty name" }),
            Self::Profile(name) => named(name).map(|()| [b"p", name.as_bytes()].concat()),
            Self::Model { profile, object, version } => {
                named(profile)?;
                Ok([b"m", profile.as_bytes(), &[0], &object.to_be_bytes(), version.as_bytes()].concat())
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (letter, rest) = bytes.split_first()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        match letter {
            b'p' => Some(Self::Profile(text(rest)?)),
            b'm' => {
                let zero = rest.iter().position(|byte| *byte == 0)?;
                let (object, version) = rest[zero + 1..].split_first_chunk::<2>()?;
                let object = u16::from_be_bytes(*object);
                Some(Self::Model { profile: text(&rest[..zero])?, object, version: text(version)? })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_names_and_come_back() {
        let model = |profile: &str, object, version: &str| DocumentKey::Model {
            profile: profile.into(),
            object,
            version: version.into(),
        };
        let keys = [
            DocumentKey::Profile("a".into()),
            DocumentKey::Profile("ab".into()),
            model("", 3, "1.0"),
            model("", 3, "1.1"),
            model("", 256, "1.0"),
            model("a", 1, "1.0"),
            model("ab", 0, "1.0"),
        ];
        for pair in keys.windows(2) {
            assert!(pair[0] < pair[1]);
            if !matches!((&pair[0], &pair[1]), (DocumentKey::Profile(_), DocumentKey::Model { .. })) {
                assert!(pair[0].encode().unwrap() < pair[1].encode().unwrap(), "{pair:?}");
            }
        }
        for key in keys {
            assert_eq!(DocumentKey::decode(&key.encode().unwrap()), Some(key));
        }
    }
}
