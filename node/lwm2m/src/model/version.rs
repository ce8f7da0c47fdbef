//! The version of an object, as `ver` and a definition file name it.

use std::fmt;
use std::str::FromStr;

/// Version of an object: minor versions of one major are compatible upwards (Core 1.2.2 §7.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectVersion {
    /// A change of it breaks what was there before.
    pub major: u16,
    /// A change of it only adds.
    pub minor: u16,
}

impl ObjectVersion {
    /// What an object has when nothing names a version.
    pub const V1_0: Self = Self::new(1, 0);

    /// `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl Default for ObjectVersion {
    fn default() -> Self {
        Self::V1_0
    }
}

impl fmt::Display for ObjectVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The text is not `digits "." digits`, each part at most 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an object version is two numbers with a dot between, such as 1.1")]
pub struct BadVersion;

impl FromStr for ObjectVersion {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let (major, minor) = text.split_once('.').ok_or(BadVersion)?;
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

/// `u16::from_str` would take a plus sign.
fn number(text: &str) -> Result<u16, BadVersion> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadVersion);
    }
    text.parse().map_err(|_| BadVersion)
}

/// LwM2M enabler version, as `lwm2m` in a Register names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LwM2mVersion {
    /// 1.0 (1.0.2)
    V1_0,
    /// 1.1 (1.1.1)
    V1_1,
    /// 1.2 (1.2.2)
    V1_2,
}

impl LwM2mVersion {
    /// The version that a client names; `None` for one we do not speak (answered by 4.12).
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1.0" => Some(Self::V1_0),
            "1.1" => Some(Self::V1_1),
            "1.2" => Some(Self::V1_2),
            _ => None,
        }
    }

    /// `"1.0"`, `"1.1"` or `"1.2"`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// The version of an object whose link names none: for the enabler's own objects the one that
    /// this enabler release defines (Core 1.1.1 §7.2, 1.2.2 appendix E), 1.0 for all others.
    pub const fn default_object_version(self, object: u16) -> ObjectVersion {
        let minor = match (self, object) {
            (Self::V1_2, 21) => return ObjectVersion::new(2, 0),
            (Self::V1_1, 0 | 1 | 3) | (Self::V1_2, 2 | 5) => 1,
            (Self::V1_1, 4) | (Self::V1_2, 0 | 1 | 3) => 2,
            (Self::V1_2, 4) => 3,
            _ => 0,
        };
        ObjectVersion::new(1, minor)
    }
}

impl fmt::Display for LwM2mVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_two_numbers() {
        assert_eq!("21.37".parse(), Ok(ObjectVersion::new(21, 37)));
        for bad in ["", "1", "1.", ".1", "+1.0", "1.0.2", "1.65536", " 1.0", "1.x"] {
            assert_eq!(bad.parse::<ObjectVersion>(), Err(BadVersion), "{bad:?}");
        }
    }

    #[test]
    fn an_object_without_a_version_takes_the_enablers() {
        let of = |enabler: LwM2mVersion, id| enabler.default_object_version(id).to_string();
        assert_eq!(of(LwM2mVersion::V1_0, 4), "1.0");
        assert_eq!(of(LwM2mVersion::V1_1, 4), "1.2");
        assert_eq!(of(LwM2mVersion::V1_2, 4), "1.3");
        assert_eq!(of(LwM2mVersion::V1_2, 21), "2.0");
        assert_eq!(of(LwM2mVersion::V1_2, 3303), "1.0");
    }
}
