//! The path under which a client's objects are.

use std::fmt;

use crate::path::Path;

/// Root of a client's objects: `/`, unless a link with `rt="oma.lwm2m"` names another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RootPath(Box<[Box<str>]>);

impl RootPath {
    /// Reads a link's target; `None` when it is no absolute path, has an empty segment in it, or a
    /// segment that is not UTF-8 once percent signs are resolved. A slash at the end says nothing.
    pub fn parse(target: &str) -> Option<Self> {
        let path = target.strip_prefix('/')?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Some(Self::default());
        }
        path.split('/').map(decoded).collect::<Option<_>>().map(Self)
    }

    /// The Uri-Path options that come before an object id, decoded.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Whether it is `/`.
    pub fn is_default(&self) -> bool {
        self.0.is_empty()
    }

    /// The LwM2M path of a link's target; `None` when it lies outside of this root or is none.
    pub fn strip(&self, target: &str) -> Option<Path> {
        let mut rest = target.strip_prefix('/').unwrap_or(target);
        for segment in &self.0 {
            let (first, behind) = rest.split_once('/')?;
            if decoded(first)? != *segment {
                return None;
            }
            rest = behind;
        }
        rest.parse().ok()
    }
}

/// With a slash at the end, percent-encoded, as [`RootPath::parse`] reads it.
impl fmt::Display for RootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("/")?;
        for segment in &self.0 {
            for byte in segment.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
                    write!(f, "{}", char::from(byte))?;
                } else {
                    write!(f, "%{byte:02X}")?;
                }
            }
            f.write_str("/")?;
        }
        Ok(())
    }
}

fn decoded(segment: &str) -> Option<Box<str>> {
    if segment.is_empty() {
        return None;
    }
    if !segment.contains('%') {
        return Some(segment.into());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        bytes.push(match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                rest = behind;
                hex(*high)? << 4 | hex(*low)?
            }
            (b'%', _) => return None,
            (plain, _) => *plain,
        });
    }
    String::from_utf8(bytes).ok().map(String::into_boxed_str)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_taken_off_a_target() {
        let root = RootPath::parse("/lwm2m").unwrap();
        assert_eq!(root.to_string(), "/lwm2m/");
        assert_eq!(root.strip("/lwm2m/1/0"), Some(Path::instance(1, 0)));
        for outside in ["/1/0", "/lwm2m", "/lwm2m/", "/lwm2mx/1", "/lwm2m/1/", "/lwm2m/a", "/x/lwm2m/1"] {
            assert_eq!(root.strip(outside), None, "{outside}");
        }
        assert_eq!(RootPath::parse("/a%20b/%C3%A9/").unwrap().segments().collect::<Vec<_>>(), ["a b", "é"]);
        for text in ["/", "/a%20b/", "/%2F/%25/x/"] {
            assert_eq!(RootPath::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(RootPath::parse("/a%20b").unwrap().strip("/a%20b/3"), Some(Path::object(3)));
        let plain = RootPath::parse("/").unwrap();
        assert!(plain.is_default());
        assert_eq!((plain.strip("/3/0"), plain.strip("/text")), (Some(Path::instance(3, 0)), None));
        for bad in ["", "a", "/a//b", "/%ff", "/%2", "http://x/"] {
            assert_eq!(RootPath::parse(bad), None, "{bad}");
        }
    }
}
