//! Sealing and opening records: AES-128-CCM_8, AES-128-GCM and AES-128-CBC with HMAC-SHA-256, each with and without a
//! Connection ID (RFC 9146).
//!
//! Keys are plain bytes. A cipher's key schedule is set up for each record: it costs tens of nanoseconds, while
//! keeping it would cost each idle session 700 bytes.

mod aad;
mod aead;
mod cbc;
mod constant_time;
mod freshness;
mod keys;

use thiserror::Error;

pub use self::{
    freshness::{ByNumber, Freshness, Lane},
    keys::{Keys, ReadKeys, WriteKeys},
};
use crate::{
    nonce,
    record::{ContentType, Header, MAX_FRAGMENT, MAX_NUMBER, MAX_PLAINTEXT, Record},
    suite::Cipher,
};

/// Why nothing was sealed; each is ours or a limit of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// More than [`MAX_PLAINTEXT`] bytes, padding included.
    #[error("plaintext of {0} bytes")]
    TooLong(usize),
    /// The epoch's 48-bit numbers are used up: the session ends.
    #[error("record numbers used up")]
    NumbersExhausted,
    /// No unique nonce can be had now.
    #[error(transparent)]
    NoncesExhausted(#[from] nonce::Exhausted),
    /// The source of randomness failed.
    #[error("no randomness")]
    NoEntropy,
}

/// Why a record is dropped. All but a counter's name must treat them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// Shorter than any record of these keys, or not a whole number of blocks.
    #[error("no ciphertext of this cipher")]
    Shape,
    /// Tag, MAC or padding is wrong; which one is never told.
    #[error("not authentic")]
    Forged,
    /// Authentic, but a DTLSInnerPlaintext without a type (RFC 9146 §4), or an inner type that isn't allowed.
    #[error("inner plaintext without a content type")]
    NoInnerType,
    /// Authentic, but more than [`MAX_PLAINTEXT`] bytes.
    #[error("plaintext of {0} bytes")]
    TooLong(usize),
}

/// An authentic record's content.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// The true type.
    pub content_type: ContentType,
    /// Without any padding.
    pub plaintext: Vec<u8>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opened({:?}, {} bytes)", self.content_type, self.plaintext.len())
    }
}

impl WriteKeys {
    /// Appends a protected record to `out`. With a CID in the header the type goes inside, without padding.
    pub fn seal(
        &self,
        header: &Header<'_>,
        plaintext: &[u8],
        fresh: &mut dyn Freshness,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        self.seal_padded(header, plaintext, 0, fresh, out)
    }

    /// The same, hiding the length with `padding` zeros; ignored without a CID, where nothing could hold them.
    /// On an error `out` is as it was.
    pub fn seal_padded(
        &self,
        header: &Header<'_>,
        plaintext: &[u8],
        padding: usize,
        fresh: &mut dyn Freshness,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        if header.number > MAX_NUMBER {
            return Err(SealError::NumbersExhausted);
        }
        let inner = if header.cid.is_empty() { 0 } else { padding.saturating_add(1) };
        let len = plaintext.len().saturating_add(inner);
        if plaintext.len() > MAX_PLAINTEXT || len > MAX_PLAINTEXT + 1 {
            return Err(SealError::TooLong(len));
        }
        let start = out.len();
        // The length is written once it is known.
        header.encode(0, out);
        let body = out.len();
        let appended = (|| {
            let cipher = self.keys().cipher();
            if cipher.is_aead() {
                out.extend_from_slice(&fresh.nonce(header)?);
            } else {
                out.extend_from_slice(&fresh.iv()?);
            }
            out.reserve(len + cipher.expansion());
            out.extend_from_slice(plaintext);
            if inner > 0 {
                out.push(header.content_type.code());
                out.resize(out.len() + padding, 0);
            }
            match cipher {
                Cipher::Ccm8 => aead::seal_ccm8(self.keys(), header, body, out),
                Cipher::Gcm => aead::seal_gcm(self.keys(), header, body, out),
                Cipher::Cbc => cbc::seal(self.keys(), header, body, out),
                Cipher::CbcEtm => cbc::seal_etm(self.keys(), header, body, out),
            }
        })();
        if let Err(error) = appended {
            out.truncate(start);
            return Err(error);
        }
        debug_assert!(out.len() - body <= MAX_FRAGMENT);
        let len = (out.len() - body) as u16;
        out[body - 2..body].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }

    /// The bytes on the wire of a record with so much plaintext, at most: header, CID, protection, inner type.
    pub fn sealed_len(&self, plaintext: usize, cid_len: usize) -> usize {
        crate::record::HEADER
            + cid_len
            + usize::from(cid_len > 0)
            + plaintext
            + self.keys().cipher().expansion()
    }
}

impl ReadKeys {
    /// Opens a received record; its nonce is taken as it is. Whether the number is fresh, the epoch right, and a
    /// CID expected is the caller's to check.
    pub fn open(&self, record: &Record<'_>) -> Result<Opened, Rejected> {
        let keys = self.keys();
        let mut plaintext = match keys.cipher() {
            Cipher::Ccm8 => aead::open_ccm8(keys, record)?,
            Cipher::Gcm => aead::open_gcm(keys, record)?,
            Cipher::Cbc => cbc::open(keys, record)?,
            Cipher::CbcEtm => cbc::open_etm(keys, record)?,
        };
        let mut content_type = record.content_type;
        if content_type == ContentType::Tls12Cid {
            content_type = strip_inner(&mut plaintext)?;
        }
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(Rejected::TooLong(plaintext.len()));
        }
        Ok(Opened { content_type, plaintext })
    }
}

/// Takes padding and type off a DTLSInnerPlaintext (RFC 9146 §4). A record within a record is none.
fn strip_inner(inner: &mut Vec<u8>) -> Result<ContentType, Rejected> {
    let at = inner.iter().rposition(|&byte| byte != 0).ok_or(Rejected::NoInnerType)?;
    let content_type = ContentType::from(inner[at]);
    if content_type == ContentType::Tls12Cid {
        return Err(Rejected::NoInnerType);
    }
    inner.truncate(at);
    Ok(content_type)
}

#[cfg(test)]
mod tests;
