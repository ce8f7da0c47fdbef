//! Tokens and entity tags: short byte strings that are compared whole and never looked into.

use std::{cmp::Ordering, fmt, hash};

/// Up to eight bytes, inline. Unused bytes are always zero.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Short {
    len: u8,
    bytes: [u8; 8],
}

impl Short {
    const EMPTY: Self = Self { len: 0, bytes: [0; 8] };

    fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; 8];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self { len: from.len() as u8, bytes })
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

macro_rules! short_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $name(Short);

        impl $name {
            /// The value without bytes.
            pub const EMPTY: Self = Self(Short::EMPTY);

            /// The value of these bytes; `None` if there are more than eight.
            pub fn new(bytes: &[u8]) -> Option<Self> {
                Short::new(bytes).map(Self)
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_slice()
            }

            /// The number of bytes, 0 to 8.
            pub fn len(&self) -> usize {
                usize::from(self.0.len)
            }

            /// Whether there are no bytes.
            pub fn is_empty(&self) -> bool {
                self.0.len == 0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::EMPTY
            }
        }

        impl From<[u8; 8]> for $name {
            fn from(bytes: [u8; 8]) -> Self {
                Self(Short { len: 8, bytes })
            }
        }

        impl From<u64> for $name {
            /// Eight bytes, big-endian.
            fn from(number: u64) -> Self {
                Self::from(number.to_be_bytes())
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self.as_bytes()
            }
        }

        impl hash::Hash for $name {
            fn hash<H: hash::Hasher>(&self, state: &mut H) {
                self.as_bytes().hash(state);
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.as_bytes().cmp(other.as_bytes())
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $name {
            /// Lower-case hexadecimal.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

short_bytes! {
    /// A token (RFC 7252 §5.3.1): what matches a response to its request.
    Token
}

short_bytes! {
    /// An entity tag (RFC 7252 §5.10.6). On the wire it has 1 to 8 bytes; empty only as an If-Match that any
    /// representation satisfies.
    ETag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_up_to_eight_bytes() {
        assert_eq!(Token::new(&[1, 2]).unwrap().as_bytes(), [1, 2]);
        assert_eq!(Token::new(&[0; 9]), None);
        assert!(Token::EMPTY.is_empty());
    }

    #[test]
    fn tokens_of_different_length_differ() {
        assert_ne!(Token::new(&[0]), Token::new(&[0, 0]));
        assert_eq!(Token::from(0x0102_0304_0506_0708).to_string(), "0102030405060708");
    }
}
