//! Reading and writing the presentation language of TLS (RFC 5246 §4): big-endian numbers and vectors with a length.

/// Bytes that are no message, found before anything was believed of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// More bytes were announced than are there.
    #[error("{needed} bytes announced, {left} left")]
    Truncated {
        /// What the field or its length prefix asks for.
        needed: usize,
        /// What there is.
        left: usize,
    },
    /// Bytes after the end of the message.
    #[error("{0} bytes after the end")]
    Trailing(usize),
    /// A vector shorter or longer than its field allows, or that holds half an element.
    #[error("a vector of {0} bytes")]
    VectorLength(usize),
    /// A handshake fragment that reaches beyond its message.
    #[error("fragment {offset}+{len} of a message of {of} bytes")]
    FragmentRange {
        /// Where the fragment begins.
        offset: usize,
        /// How long it is.
        len: usize,
        /// The length of the whole message.
        of: usize,
    },
    /// More elements than are read of one peer.
    #[error("more than {0} elements")]
    TooMany(usize),
    /// The same extension twice (RFC 5246 §7.4.1.4).
    #[error("extension {0} twice")]
    DuplicateExtension(u16),
    /// An extension whose body is not what its specification says.
    #[error("a malformed extension {0}")]
    Extension(u16),
    /// A well-formed field with a value that its specification forbids.
    #[error("value {0} is not allowed here")]
    IllegalValue(u32),
}

/// A cursor over one message; nothing it hands out is copied.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) =
            self.0.split_at_checked(len).ok_or(Malformed::Truncated { needed: len, left: self.0.len() })?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (head, rest) =
            self.0.split_first_chunk().ok_or(Malformed::Truncated { needed: N, left: self.0.len() })?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|&[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().copied().map(u16::from_be_bytes)
    }

    pub(crate) fn u24(&mut self) -> Result<usize, Malformed> {
        self.array()
            .map(|&[high, middle, low]| usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
    }

    /// A vector whose length takes one byte.
    pub(crate) fn vector8(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// A vector whose length takes two bytes.
    pub(crate) fn vector16(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A vector whose length takes three bytes.
    pub(crate) fn vector24(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u24()?;
        self.take(len)
    }

    /// The end of the message, or an error for what follows it.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing(self.0.len())) }
    }
}

/// What a length field of one, two or three bytes can say at most.
const LENGTHS: [usize; 4] = [0, 0xff, 0xffff, 0xff_ffff];

/// Appends a vector with a length of `N` bytes, its contents written by `body`; cut to what the length can say.
pub(crate) fn write_vector<const N: usize>(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + N, 0);
    body(out);
    let len = out.len() - start - N;
    debug_assert!(len <= LENGTHS[N], "a vector of {len} bytes does not fit its length field");
    let len = len.min(LENGTHS[N]);
    out.truncate(start + N + len);
    let bytes = len.to_be_bytes();
    out[start..start + N].copy_from_slice(&bytes[bytes.len() - N..]);
}

/// A vector whose contents are there already.
pub(crate) fn write_bytes<const N: usize>(out: &mut Vec<u8>, bytes: &[u8]) {
    write_vector::<N>(out, |out| out.extend_from_slice(bytes));
}

/// A list of two-byte codes, as it stands in the message: cipher suites, groups, signature schemes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Codes<'a>(&'a [u8]);

impl<'a> Codes<'a> {
    /// Big-endian codes, two bytes each; half a code at the end is an error.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len().is_multiple_of(2) {
            Ok(Codes(bytes))
        } else {
            Err(Malformed::VectorLength(bytes.len()))
        }
    }

    /// A vector of at least one code.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let bytes = reader.vector16()?;
        if bytes.is_empty() { Err(Malformed::VectorLength(0)) } else { Codes::new(bytes) }
    }

    /// In the order of the sender's preference.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.0.as_chunks().0.iter().map(|&code| u16::from_be_bytes(code))
    }

    /// Whether `code` is among them.
    pub fn contains(&self, code: u16) -> bool {
        self.iter().any(|other| other == code)
    }

    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl std::fmt::Debug for Codes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|code| format!("{code:04x}"))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_longer_than_its_bytes_is_refused() {
        let mut reader = Reader::new(&[3, 1, 2]);
        assert_eq!(reader.vector8(), Err(Malformed::Truncated { needed: 3, left: 2 }));
        assert_eq!(Reader::new(&[1]).u16(), Err(Malformed::Truncated { needed: 2, left: 1 }));
    }

    #[test]
    fn lengths_are_written_after_their_contents() {
        let mut out = vec![9];
        write_vector::<3>(&mut out, |out| write_bytes::<2>(out, b"ab"));
        assert_eq!(out, [9, 0, 0, 4, 0, 2, b'a', b'b']);
    }

    #[test]
    fn half_a_code_is_refused() {
        assert_eq!(Codes::new(&[0xc0, 0xa8, 0]), Err(Malformed::VectorLength(3)));
        assert!(Codes::new(&[0xc0, 0xa8]).unwrap().contains(0xc0a8));
    }
}
