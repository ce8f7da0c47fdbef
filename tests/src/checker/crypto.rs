//! TLS 1.2 key derivation and record protection, written from the RFCs and apart from `godwit-dtls`: what one checks
//! should not be one's own mirror.

use aes::Aes128;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::NoPadding};
use ccm::{
    Ccm,
    aead::{Aead, KeyInit, Payload},
    consts::{U8, U12},
};
use ring::{aead, digest, hmac};

/// RFC 5246 §5 with SHA-256.
pub(super) fn prf(secret: &[u8], label: &[u8], seed: &[u8], length: usize) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let seed = [label, seed].concat();
    let (mut a, mut output) = (hmac::sign(&key, &seed), Vec::new());
    while output.len() < length {
        output.extend_from_slice(hmac::sign(&key, &[a.as_ref(), &seed].concat()).as_ref());
        a = hmac::sign(&key, a.as_ref());
    }
    output.truncate(length);
    output
}

/// RFC 4279 §2.
pub(super) fn psk_premaster(psk: &[u8]) -> Vec<u8> {
    let length = (psk.len() as u16).to_be_bytes();
    [&length[..], &vec![0; psk.len()], &length, psk].concat()
}

pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

/// How a suite protects records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    Ccm8,
    Gcm,
    Cbc { encrypt_then_mac: bool },
}

impl Protection {
    /// Of the suites that we offer; none for another.
    pub(super) fn of(suite: u16, encrypt_then_mac: bool) -> Option<Protection> {
        match suite {
            0xc0a8 | 0xc0ae => Some(Protection::Ccm8),
            0xc02b => Some(Protection::Gcm),
            0x00ae | 0xc023 => Some(Protection::Cbc { encrypt_then_mac }),
            _ => None,
        }
    }

    /// Bytes of a fragment that must never come twice under a key.
    pub(super) fn nonce(self, fragment: &[u8]) -> Option<&[u8]> {
        fragment.get(..if matches!(self, Protection::Cbc { .. }) { 16 } else { 8 })
    }
}

/// The keys of one direction.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    protection: Protection,
    mac: Vec<u8>,
    key: Vec<u8>,
    iv: Vec<u8>,
}

impl Keys {
    /// The client's and the server's, from the master secret (RFC 5246 §6.3).
    pub(super) fn derive(protection: Protection, master: &[u8], client: &[u8], server: &[u8]) -> [Keys; 2] {
        let (mac, iv) = if matches!(protection, Protection::Cbc { .. }) { (32, 0) } else { (0, 4) };
        let block = prf(master, b"key expansion", &[server, client].concat(), 2 * (mac + 16 + iv));
        let (macs, rest) = block.split_at(2 * mac);
        let (keys, ivs) = rest.split_at(32);
        [0, 1].map(|side| Keys {
            protection,
            mac: macs[side * mac..][..mac].to_vec(),
            key: keys[side * 16..][..16].to_vec(),
            iv: ivs[side * iv..][..iv].to_vec(),
        })
    }

    /// Opens a record: its content type and content. None if it doesn't authenticate.
    pub(super) fn open(&self, header: &Header, fragment: &[u8]) -> Option<(u8, Vec<u8>)> {
        let inner = match self.protection {
            Protection::Ccm8 => {
                let (explicit, sealed) = fragment.split_at_checked(8)?;
                let aad = header.data(sealed.len().checked_sub(8)?);
                let nonce: [u8; 12] = [&self.iv, explicit].concat().try_into().ok()?;
                let cipher = Ccm::<Aes128, U8, U12>::new_from_slice(&self.key).ok()?;
                cipher.decrypt((&nonce).into(), Payload { msg: sealed, aad: &aad }).ok()?
            }
            Protection::Gcm => {
                let (explicit, sealed) = fragment.split_at_checked(8)?;
                let aad = header.data(sealed.len().checked_sub(16)?);
                let nonce = aead::Nonce::try_assume_unique_for_key(&[&self.iv, explicit].concat()).ok()?;
                let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &self.key).ok()?);
                let mut sealed = sealed.to_vec();
                key.open_in_place(nonce, aead::Aad::from(aad), &mut sealed).ok()?.to_vec()
            }
            Protection::Cbc { encrypt_then_mac: true } => {
                let (sealed, mac) = fragment.split_at_checked(fragment.len().checked_sub(32)?)?;
                self.authentic(&header.data(sealed.len()), sealed, mac)?;
                self.decrypt(sealed)?
            }
            Protection::Cbc { encrypt_then_mac: false } => {
                let plain = self.decrypt(fragment)?;
                let (content, mac) = plain.split_at_checked(plain.len().checked_sub(32)?)?;
                self.authentic(&header.data(content.len()), content, mac)?;
                content.to_vec()
            }
        };
        header.content(inner)
    }

    /// Seals what stands inside a record of a CCM_8 suite: the explicit nonce, its epoch and number, and the rest.
    pub(super) fn seal(&self, header: &Header, inner: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; 12] = [&self.iv[..], &header.sequence].concat().try_into().ok()?;
        let cipher = Ccm::<Aes128, U8, U12>::new_from_slice(&self.key).ok()?;
        let aad = header.data(inner.len());
        let sealed = cipher.encrypt((&nonce).into(), Payload { msg: inner, aad: &aad }).ok()?;
        matches!(self.protection, Protection::Ccm8).then(|| [&header.sequence[..], &sealed].concat())
    }

    fn decrypt(&self, fragment: &[u8]) -> Option<Vec<u8>> {
        let (iv, sealed) = fragment.split_at_checked(16)?;
        let cipher = cbc::Decryptor::<Aes128>::new_from_slices(&self.key, iv).ok()?;
        let mut plain = sealed.to_vec();
        cipher.decrypt_padded::<NoPadding>(&mut plain).ok()?;
        let padding = usize::from(*plain.last()?) + 1;
        let kept = plain.len().checked_sub(padding)?;
        let good = plain[kept..].iter().all(|byte| usize::from(*byte) + 1 == padding);
        plain.truncate(kept);
        good.then_some(plain)
    }

    fn authentic(&self, prefix: &[u8], content: &[u8], mac: &[u8]) -> Option<()> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.mac);
        hmac::verify(&key, &[prefix, content].concat(), mac).ok()
    }
}

/// What a record's protection covers besides its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a> {
    pub(super) content_type: u8,
    pub(super) version: [u8; 2],
    /// Epoch and number, as they stand in the record.
    pub(super) sequence: [u8; 8],
    /// None but in records of content type 25.
    pub(super) cid: Option<&'a [u8]>,
}

impl Header<'_> {
    /// Additional data, or what precedes the content in the MAC: RFC 6347 §4.1.2.1, RFC 9146 §5.
    fn data(&self, length: usize) -> Vec<u8> {
        let length = (length as u16).to_be_bytes();
        match self.cid {
            None => [&self.sequence[..], &[self.content_type], &self.version, &length].concat(),
            Some(cid) => {
                let types = [25, cid.len() as u8, 25];
                [&[0xff; 8][..], &types, &self.version, &self.sequence, cid, &length].concat()
            }
        }
    }

    /// RFC 9146 §4: the inner plaintext ends with its type and padding.
    fn content(&self, mut inner: Vec<u8>) -> Option<(u8, Vec<u8>)> {
        if self.cid.is_none() {
            return Some((self.content_type, inner));
        }
        let end = inner.iter().rposition(|byte| *byte != 0)?;
        inner.truncate(end + 1);
        let content_type = inner.pop()?;
        Some((content_type, inner))
    }
}
