//! AES-128-CCM with 8-byte tags (RFC 6655) and AES-128-GCM (RFC 5288): an explicit nonce, ciphertext, tag.

use aes::Aes128;
use ccm::{
    Ccm,
    aead::{AeadInOut, KeyInit},
    consts::{U8, U12},
};
use ring::aead::{self as ring_aead, LessSafeKey, UnboundKey};

use super::{Rejected, SealError, aad::additional_data, keys::Keys};
use crate::record::{Header, Record};

const EXPLICIT: usize = 8;
const CCM_TAG: usize = 8;
const GCM_TAG: usize = 16;

type Ccm8 = Ccm<Aes128, U8, U12>;

/// `out[body..]` holds nonce and plaintext; leaves the whole fragment there.
pub(super) fn seal_ccm8(
    keys: &Keys,
    header: &Header<'_>,
    body: usize,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let (explicit, content) = split(&mut out[body..]);
    let len = content.len();
    let aad = additional_data(header, len);
    let tag = Ccm8::new(keys.key().into())
        .encrypt_inout_detached(&keys.nonce(explicit).into(), &aad, content.into())
        .map_err(|_| SealError::TooLong(len))?;
    out.extend_from_slice(&tag);
    Ok(())
}

pub(super) fn open_ccm8(keys: &Keys, record: &Record<'_>) -> Result<Vec<u8>, Rejected> {
    let Parts { explicit, content, tag } = parts::<CCM_TAG>(record)?;
    let mut plaintext = content.to_vec();
    let aad = additional_data(record, content.len());
    Ccm8::new(keys.key().into())
        .decrypt_inout_detached(
            &keys.nonce(explicit).into(),
            &aad,
            plaintext.as_mut_slice().into(),
            &tag.into(),
        )
        .map_err(|_| Rejected::Forged)?;
    Ok(plaintext)
}

pub(super) fn seal_gcm(
    keys: &Keys,
    header: &Header<'_>,
    body: usize,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let (explicit, content) = split(&mut out[body..]);
    let len = content.len();
    let aad = ring_aead::Aad::from(additional_data(header, len));
    let nonce = ring_aead::Nonce::assume_unique_for_key(keys.nonce(explicit));
    let tag =
        gcm(keys).seal_in_place_separate_tag(nonce, aad, content).map_err(|_| SealError::TooLong(len))?;
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

pub(super) fn open_gcm(keys: &Keys, record: &Record<'_>) -> Result<Vec<u8>, Rejected> {
    let Parts { explicit, content, .. } = parts::<GCM_TAG>(record)?;
    let aad = ring_aead::Aad::from(additional_data(record, content.len()));
    let nonce = ring_aead::Nonce::assume_unique_for_key(keys.nonce(explicit));
    let mut plaintext = record.fragment[EXPLICIT..].to_vec();
    gcm(keys).open_in_place(nonce, aad, &mut plaintext).map_err(|_| Rejected::Forged)?;
    plaintext.truncate(content.len());
    Ok(plaintext)
}

fn gcm(keys: &Keys) -> LessSafeKey {
    let key = UnboundKey::new(&ring_aead::AES_128_GCM, keys.key());
    LessSafeKey::new(key.expect("invariant: the key has 16 bytes"))
}

/// The explicit nonce at the head of a fragment being made, and what is to be encrypted.
fn split(fragment: &mut [u8]) -> ([u8; EXPLICIT], &mut [u8]) {
    let (explicit, content) =
        fragment.split_first_chunk_mut().expect("invariant: the nonce was written first");
    (*explicit, content)
}

/// A received fragment.
struct Parts<'a, const TAG: usize> {
    explicit: [u8; EXPLICIT],
    content: &'a [u8],
    tag: [u8; TAG],
}

fn parts<'a, const TAG: usize>(record: &Record<'a>) -> Result<Parts<'a, TAG>, Rejected> {
    let (&explicit, rest) = record.fragment.split_first_chunk().ok_or(Rejected::Shape)?;
    let (content, &tag) = rest.split_last_chunk().ok_or(Rejected::Shape)?;
    Ok(Parts { explicit, content, tag })
}
