//! Paths of the LwM2M resource tree, `/object/instance/resource/resource instance`
//! (Core 1.2 §7.3.1).

use std::fmt;
use std::str::FromStr;

/// The id 65535. LwM2M reserves it at every level, so no client sends it as an id; as an object
/// instance id it stands for *the instance that the client is to choose* in a Create without an id.
pub const UNASSIGNED: u16 = u16::MAX;

/// Up to four ids. `Copy`, 10 bytes, no allocation.
///
/// The order is the order of the tree: a path comes before everything below it, and siblings by id,
/// so that a range of a sorted map is a subtree.
///
/// It is read with or without the leading slash and written with it. `/` is the root; an empty
/// string, empty segments (`/3//9`, `/3/`), signs, leading zeros and ids over 65535 are errors.
///
/// ```
/// use godwit_lwm2m::path::Path;
/// let level: Path = "/3/0/9".parse()?;
/// assert_eq!(level, Path::resource(3, 0, 9));
/// assert!(level.starts_with(&Path::instance(3, 0)));
/// # Ok::<(), godwit_lwm2m::path::PathError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    // Ids past `len` are zero, which makes the derived order the order of the tree.
    ids: [u16; 4],
    len: u8,
}

/// Why a string is not a path. Segments count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The string is empty; the root is `/`.
    #[error("empty path")]
    Empty,
    /// Nothing between two slashes, or after the last one.
    #[error("segment {segment} is empty")]
    EmptySegment {
        /// Index of the segment.
        segment: usize,
    },
    /// A character other than 0 to 9.
    #[error("segment {segment} is not a number")]
    NotANumber {
        /// Index of the segment.
        segment: usize,
    },
    /// `/03` is not `/3`.
    #[error("segment {segment} has a leading zero")]
    LeadingZero {
        /// Index of the segment.
        segment: usize,
    },
    /// An id over 65535.
    #[error("segment {segment} is over 65535")]
    OutOfRange {
        /// Index of the segment.
        segment: usize,
    },
    /// More than four segments.
    #[error("more than four segments")]
    TooDeep,
}

impl Path {
    /// The path of everything, as a composite operation or a Send has it.
    pub const ROOT: Path = Path { ids: [0; 4], len: 0 };

    /// `/object`
    pub const fn object(object: u16) -> Path {
        Path { ids: [object, 0, 0, 0], len: 1 }
    }

    /// `/object/instance`
    pub const fn instance(object: u16, instance: u16) -> Path {
        Path { ids: [object, instance, 0, 0], len: 2 }
    }

    /// `/object/instance/resource`
    pub const fn resource(object: u16, instance: u16, resource: u16) -> Path {
        Path { ids: [object, instance, resource, 0], len: 3 }
    }

    /// `/object/instance/resource/resource instance`
    pub const fn resource_instance(
        object: u16,
        instance: u16,
        resource: u16,
        resource_instance: u16,
    ) -> Path {
        Path { ids: [object, instance, resource, resource_instance], len: 4 }
    }

    /// A path of as many ids as the slice has; `None` over four.
    pub fn from_segments(segments: &[u16]) -> Option<Path> {
        let mut path = Path { ids: [0; 4], len: u8::try_from(segments.len()).ok()? };
        path.ids.get_mut(..segments.len())?.copy_from_slice(segments);
        Some(path)
    }

    /// The ids, from the object on.
    pub fn segments(&self) -> &[u16] {
        &self.ids[..usize::from(self.len)]
    }

    /// How many ids: 0 for the root, 4 for a resource instance.
    pub const fn level(&self) -> usize {
        self.len as usize
    }

    /// The object, unless this is the root.
    pub fn object_id(&self) -> Option<u16> {
        self.segments().first().copied()
    }

    /// The object instance, from level 2 on.
    pub fn instance_id(&self) -> Option<u16> {
        self.segments().get(1).copied()
    }

    /// The resource, from level 3 on.
    pub fn resource_id(&self) -> Option<u16> {
        self.segments().get(2).copied()
    }

    /// The resource instance, at level 4.
    pub fn resource_instance_id(&self) -> Option<u16> {
        self.segments().get(3).copied()
    }

    /// One level up; `None` at the root.
    pub fn parent(&self) -> Option<Path> {
        let len = self.len.checked_sub(1)?;
        self.truncate(usize::from(len)).into()
    }

    /// One level down; `None` at a resource instance.
    pub fn child(&self, id: u16) -> Option<Path> {
        let mut path = *self;
        *path.ids.get_mut(usize::from(self.len))? = id;
        path.len += 1;
        Some(path)
    }

    /// The first `level` ids, or all if there are fewer.
    pub fn truncate(&self, level: usize) -> Path {
        let mut path = Path::ROOT;
        let level = level.min(self.level());
        path.ids[..level].copy_from_slice(&self.ids[..level]);
        path.len = level as u8;
        path
    }

    /// Whether this is `ancestor` or lies below it. Everything starts with the root.
    pub fn starts_with(&self, ancestor: &Path) -> bool {
        self.segments().starts_with(ancestor.segments())
    }

    /// At level 3 or 4, where values are.
    pub fn is_value(&self) -> bool {
        self.len >= 3
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Path, PathError> {
        let ids = match text.as_bytes() {
            [] => return Err(PathError::Empty),
            b"/" => return Ok(Path::ROOT),
            [b'/', ids @ ..] | ids => ids,
        };
        // One pass over the bytes: every name in a payload comes through here.
        let mut path = Path::ROOT;
        let mut rest = ids;
        for segment in 0.. {
            let len = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let id = parse_id(&rest[..len], segment)?;
            path = path.child(id).ok_or(PathError::TooDeep)?;
            match rest.get(len + 1..) {
                Some(next) => rest = next,
                None => break,
            }
        }
        Ok(path)
    }
}

fn parse_id(digits: &[u8], segment: usize) -> Result<u16, PathError> {
    if digits.is_empty() {
        return Err(PathError::EmptySegment { segment });
    }
    let id = digits.iter().try_fold(0u32, |id, digit| match digit {
        // Saturated far above 65535, so that a long number cannot wrap around to a small one.
        b'0'..=b'9' => Some(id.saturating_mul(10).saturating_add((digit - b'0').into())),
        _ => None,
    });
    match (id, digits) {
        (None, _) => Err(PathError::NotANumber { segment }),
        (_, [b'0', _, ..]) => Err(PathError::LeadingZero { segment }),
        (Some(id), _) => u16::try_from(id).map_err(|_| PathError::OutOfRange { segment }),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len == 0 {
            return f.write_str("/");
        }
        self.segments().iter().try_for_each(|id| write!(f, "/{id}"))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_what_it_writes() {
        for text in ["/", "/0", "/3/0", "/3303/0/5700", "/65535/65535/65535/65535"] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
        assert_eq!("3/0/9".parse(), Ok(Path::resource(3, 0, 9)));
    }

    #[test]
    fn what_is_not_a_path_says_where() {
        let cases = [
            ("", PathError::Empty),
            ("//", PathError::EmptySegment { segment: 0 }),
            ("/3/", PathError::EmptySegment { segment: 1 }),
            ("/3//9", PathError::EmptySegment { segment: 1 }),
            ("/3/00", PathError::LeadingZero { segment: 1 }),
            ("/03", PathError::LeadingZero { segment: 0 }),
            ("/3/-1", PathError::NotANumber { segment: 1 }),
            ("/3/+1", PathError::NotANumber { segment: 1 }),
            ("/3_1.2/0", PathError::NotANumber { segment: 0 }),
            ("/3/0/65536", PathError::OutOfRange { segment: 2 }),
            ("/3/0/99999999999999999999", PathError::OutOfRange { segment: 2 }),
            ("/1/2/3/4/5", PathError::TooDeep),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Path>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_order_is_the_order_of_the_tree() {
        let sorted = ["/", "/0", "/0/0", "/3", "/3/0", "/3/0/0", "/3/0/0/0", "/3/0/1", "/3/1", "/4"];
        let paths: Vec<Path> = sorted.iter().map(|p| p.parse().unwrap()).collect();
        assert!(paths.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn parents_children_and_prefixes_agree() {
        let path = Path::resource(3, 0, 9);
        assert_eq!(path.parent(), Some(Path::instance(3, 0)));
        assert_eq!(path.parent().unwrap().child(9), Some(path));
        assert_eq!(Path::ROOT.parent(), None);
        assert_eq!(Path::resource_instance(1, 2, 3, 4).child(5), None);
        assert!(path.starts_with(&Path::ROOT) && path.starts_with(&path));
        assert!(!path.starts_with(&Path::instance(3, 1)));
        assert!(!Path::object(3).starts_with(&path));
        assert_eq!(Path::from_segments(&[3, 0, 9]), Some(path));
        assert_eq!(Path::from_segments(&[0; 5]), None);
        assert_eq!((path.object_id(), path.resource_instance_id()), (Some(3), None));
    }
}
