//! LwM2M paths.

use std::fmt;
use std::str::FromStr;

/// Object, instance, resource and resource instance, as far as given; `/` is the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Path {
    ids: [u16; 4],
    depth: u8,
}

/// What is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no LwM2M path: write object, instance and resource as in /3303/0/5700")]
pub(crate) struct PathError;

impl Path {
    pub(crate) const ROOT: Self = Self { ids: [0; 4], depth: 0 };

    pub(crate) fn ids(&self) -> &[u16] {
        &self.ids[..usize::from(self.depth)]
    }

    /// The path one level below; `None` below a resource instance.
    pub(crate) fn child(&self, id: u16) -> Option<Self> {
        let mut child = *self;
        *child.ids.get_mut(usize::from(self.depth))? = id;
        child.depth += 1;
        Some(child)
    }

    /// Whether `other` is this path or lies below it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.ids().starts_with(self.ids())
    }

    /// Extends the path by a segment of a request's Uri-Path; `None` for what is no number.
    pub(crate) fn join(&self, segment: &[u8]) -> Option<Self> {
        let plain = segment == b"0" || (!segment.starts_with(b"0") && segment.iter().all(u8::is_ascii_digit));
        let id = std::str::from_utf8(segment).ok().filter(|_| plain)?.parse().ok()?;
        self.child(id)
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let rest = text.strip_prefix('/').ok_or(PathError)?;
        let mut segments = rest.split('/').filter(|_| !rest.is_empty());
        segments.try_fold(Self::ROOT, |path, segment| path.join(segment.as_bytes())).ok_or(PathError)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.depth == 0 {
            return f.write_str("/");
        }
        self.ids().iter().try_for_each(|id| write!(f, "/{id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_as_it_is_written() {
        for text in ["/", "/3", "/3/0", "/3303/0/5700", "/3/0/7/65535"] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "3/0", "/3/", "/a", "/65536", "/1/2/3/4/5", "/03", "/+3"] {
            assert_eq!(text.parse::<Path>(), Err(PathError), "{text}");
        }
    }
}
