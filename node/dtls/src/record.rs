//! The record layer's header (RFC 6347 §4.1, RFC 9146 §4): views of received records, and the header of one to send.

use thiserror::Error;

/// Bytes before a record's fragment when it carries no Connection ID.
pub const HEADER: usize = 13;
/// Where a Connection ID begins; its byte 1, [`STEERING`], chooses the shard.
pub const CID_OFFSET: usize = 11;
/// The byte of a CID record that a socket filter reads to steer it.
pub const STEERING: usize = CID_OFFSET + 1;
/// The largest plaintext of a record (RFC 5246 §6.2.1).
pub const MAX_PLAINTEXT: usize = 1 << 14;
/// The largest fragment that is framed: a plaintext and what protection may add to it (RFC 5246 §6.2.3).
pub const MAX_FRAGMENT: usize = MAX_PLAINTEXT + 2048;
/// The version that every record but the first ones of a handshake carries.
pub const DTLS_1_2: u16 = 0xfefd;
/// The version of a HelloVerifyRequest and of a client's first records.
pub const DTLS_1_0: u16 = 0xfeff;
/// The highest record number of an epoch (48 bits).
pub const MAX_NUMBER: u64 = (1 << 48) - 1;

/// What a record holds (RFC 5246 §6.2.1, RFC 9146 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// 20.
    ChangeCipherSpec,
    /// 21.
    Alert,
    /// 22.
    Handshake,
    /// 23.
    ApplicationData,
    /// 25: the true type is inside the protected fragment.
    Tls12Cid,
    /// Any other below 32: framed alike, so that what follows in the datagram can be read.
    Unknown(u8),
}

impl ContentType {
    /// The type's number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
            Self::Tls12Cid => 25,
            Self::Unknown(code) => code,
        }
    }
}

impl From<u8> for ContentType {
    fn from(code: u8) -> Self {
        match code {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::ApplicationData,
            25 => Self::Tls12Cid,
            code => Self::Unknown(code),
        }
    }
}

/// One received record, its fragment still as sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the header says; for [`ContentType::Tls12Cid`] the true type is known after opening.
    pub content_type: ContentType,
    /// [`DTLS_1_2`], or [`DTLS_1_0`] in a handshake's first records.
    pub version: u16,
    /// Which keys protect it; 0 means none.
    pub epoch: u16,
    /// 48 bits.
    pub number: u64,
    /// Empty unless the type is [`ContentType::Tls12Cid`].
    pub cid: &'a [u8],
    /// At most [`MAX_FRAGMENT`] bytes.
    pub fragment: &'a [u8],
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("content_type", &self.content_type)
            .field("epoch", &self.epoch)
            .field("number", &self.number)
            .field("len", &self.fragment.len())
            .finish_non_exhaustive()
    }
}

/// Why the rest of a datagram holds no record; nothing after such a place can be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Fewer bytes than a header or than its length announces.
    #[error("truncated record")]
    Truncated,
    /// A first byte of 32 or more: DTLS 1.3's unified header, or no DTLS at all.
    #[error("no record of DTLS 1.2: first byte {0}")]
    ContentType(u8),
    /// The major version is not 254.
    #[error("record version {0:#06x}")]
    Version(u16),
    /// More than [`MAX_FRAGMENT`] bytes.
    #[error("fragment of {0} bytes")]
    TooLong(usize),
}

/// The records of one datagram, in order; ends after the first that can't be framed.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    cid_len: usize,
}

impl<'a> Records<'a> {
    /// `cid_len`: how long the Connection IDs are that *we* gave out; 0 if none.
    pub fn parse(datagram: &'a [u8], cid_len: usize) -> Self {
        Self { rest: datagram, cid_len }
    }

    fn split(&self) -> Result<(Record<'a>, &'a [u8]), Malformed> {
        let (&first, _) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        if first >= 32 {
            return Err(Malformed::ContentType(first));
        }
        let (header, rest) = self.rest.split_first_chunk::<CID_OFFSET>().ok_or(Malformed::Truncated)?;
        let version = u16::from_be_bytes([header[1], header[2]]);
        if header[1] != 0xfe {
            return Err(Malformed::Version(version));
        }
        let content_type = ContentType::from(first);
        let cid_len = if content_type == ContentType::Tls12Cid { self.cid_len } else { 0 };
        let (cid, rest) = rest.split_at_checked(cid_len).ok_or(Malformed::Truncated)?;
        let (len, rest) = rest.split_first_chunk::<2>().ok_or(Malformed::Truncated)?;
        let len = usize::from(u16::from_be_bytes(*len));
        if len > MAX_FRAGMENT {
            return Err(Malformed::TooLong(len));
        }
        let (fragment, rest) = rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        let number =
            u64::from_be_bytes([0, 0, header[5], header[6], header[7], header[8], header[9], header[10]]);
        let epoch = u16::from_be_bytes([header[3], header[4]]);
        Ok((Record { content_type, version, epoch, number, cid, fragment }, rest))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.split() {
            Ok((record, rest)) => {
                self.rest = rest;
                Some(Ok(record))
            }
            Err(malformed) => {
                self.rest = &[];
                Some(Err(malformed))
            }
        }
    }
}

/// The header of a record to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The true type; a protected record with a CID shows [`ContentType::Tls12Cid`] instead.
    pub content_type: ContentType,
    /// [`DTLS_1_2`] but for a HelloVerifyRequest.
    pub version: u16,
    /// 0 for plaintext.
    pub epoch: u16,
    /// At most [`MAX_NUMBER`].
    pub number: u64,
    /// The *receiver's* Connection ID; empty if it wants none, and in epoch 0.
    pub cid: &'a [u8],
}

impl<'a> Header<'a> {
    /// A header of epoch 0: no protection, no Connection ID.
    pub fn plain(content_type: ContentType, number: u64) -> Self {
        Self { content_type, version: DTLS_1_2, epoch: 0, number, cid: &[] }
    }

    /// A header of epoch 1, the only protected one of a connection without renegotiation.
    pub fn protected(content_type: ContentType, number: u64, cid: &'a [u8]) -> Self {
        Self { content_type, version: DTLS_1_2, epoch: 1, number, cid }
    }

    /// The type that stands in the clear.
    pub(crate) fn outer_type(&self) -> ContentType {
        if self.cid.is_empty() { self.content_type } else { ContentType::Tls12Cid }
    }

    /// Epoch and number as one 64-bit value, as MACs and nonces see them.
    pub(crate) fn epoch_and_number(&self) -> u64 {
        u64::from(self.epoch) << 48 | self.number & MAX_NUMBER
    }

    /// Appends the header for a fragment of `len` bytes.
    pub(crate) fn encode(&self, len: u16, out: &mut Vec<u8>) {
        out.push(self.outer_type().code());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.epoch_and_number().to_be_bytes());
        out.extend_from_slice(self.cid);
        out.extend_from_slice(&len.to_be_bytes());
    }

    /// Appends an unprotected record, as epoch 0 sends them.
    ///
    /// # Panics
    /// If the fragment is longer than [`MAX_FRAGMENT`], which is our own mistake.
    pub fn encode_plain(&self, fragment: &[u8], out: &mut Vec<u8>) {
        assert!(fragment.len() <= MAX_FRAGMENT, "invariant: our flights are cut to the MTU");
        out.reserve(HEADER + self.cid.len() + fragment.len());
        self.encode(fragment.len() as u16, out);
        out.extend_from_slice(fragment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_records_of_one_datagram_are_read_in_order() {
        let mut datagram = Vec::new();
        Header::plain(ContentType::Handshake, 7).encode_plain(b"abc", &mut datagram);
        let cid = [1, 2, 3];
        Header::protected(ContentType::Alert, MAX_NUMBER, &cid).encode_plain(b"de", &mut datagram);
        let records: Vec<_> = Records::parse(&datagram, 3).collect::<Result<_, _>>().unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].number, records[0].fragment), (7, &b"abc"[..]));
        assert_eq!(records[1].content_type, ContentType::Tls12Cid);
        assert_eq!((records[1].epoch, records[1].number), (1, MAX_NUMBER));
        assert_eq!((records[1].cid, records[1].fragment), (&cid[..], &b"de"[..]));
    }

    #[test]
    fn what_follows_a_broken_record_is_not_read() {
        let mut datagram = Vec::new();
        Header::plain(ContentType::Handshake, 0).encode_plain(b"abc", &mut datagram);
        datagram.extend_from_slice(&[22, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let records: Vec<_> = Records::parse(&datagram, 0).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(records[1], Err(Malformed::Version(0x0303)));
    }

    #[test]
    fn every_cut_of_a_record_is_truncated() {
        let mut datagram = Vec::new();
        Header::protected(ContentType::Alert, 1, &[9; 8]).encode_plain(&[0; 20], &mut datagram);
        for len in 1..datagram.len() {
            let first = Records::parse(&datagram[..len], 8).next().unwrap();
            assert_eq!(first, Err(Malformed::Truncated), "{len} bytes");
        }
        assert_eq!(Records::parse(&[], 8).next(), None);
    }

    #[test]
    fn a_unified_header_of_dtls_1_3_is_no_record() {
        assert_eq!(Records::parse(&[0x2f; 40], 8).next(), Some(Err(Malformed::ContentType(0x2f))));
    }

    #[test]
    fn a_length_beyond_the_largest_ciphertext_is_refused() {
        let mut datagram = vec![23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0x48, 0x01];
        datagram.resize(HEADER + MAX_FRAGMENT + 1, 0);
        assert_eq!(Records::parse(&datagram, 0).next(), Some(Err(Malformed::TooLong(MAX_FRAGMENT + 1))));
    }
}
