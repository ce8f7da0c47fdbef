//! AES-128-CBC with HMAC-SHA-256 (RFC 5246 §6.2.3.2), MAC-then-encrypt and encrypt-then-MAC (RFC 7366).
//!
//! Opening MAC-then-encrypt records is where padding oracles and Lucky Thirteen live: what the padding says decides
//! how much is hashed. [`open`] therefore checks padding and MAC together, in time and memory access that depend on the
//! record's length alone: it runs SHA-256 over as many blocks as the longest content could need, and takes the state after
//! the block where the true content ends.

use aes::Aes128;
use cbc::{
    Decryptor, Encryptor,
    cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit},
};
use ring::hmac;
use sha2::block_api::compress256;

use super::{
    Rejected, SealError,
    aad::{Aad, additional_data},
    constant_time::{equal, less, select},
    keys::Keys,
};
use crate::record::{Header, Record};

const BLOCK: usize = 16;
const MAC: usize = 32;
const HASH_BLOCK: usize = 64;
/// A padding's length byte and what it counts, at most.
const MAX_PADDING: usize = 256;
/// SHA-256's initial state (FIPS 180-4 §5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// `out[body..]` holds IV and content; leaves the whole fragment there.
pub(super) fn seal(
    keys: &Keys,
    header: &Header<'_>,
    body: usize,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let content = &out[body + BLOCK..];
    let tag = mac(keys, &additional_data(header, content.len()), content);
    out.extend_from_slice(tag.as_ref());
    encrypt(keys, body, out);
    Ok(())
}

pub(super) fn seal_etm(
    keys: &Keys,
    header: &Header<'_>,
    body: usize,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    encrypt(keys, body, out);
    let protected = &out[body..];
    let tag = mac(keys, &additional_data(header, protected.len()), protected);
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

pub(super) fn open(keys: &Keys, record: &Record<'_>) -> Result<Vec<u8>, Rejected> {
    let mut plaintext = decrypt(keys, record.fragment)?;
    if plaintext.len() < MAC + BLOCK {
        return Err(Rejected::Shape);
    }
    let len = verify(keys.mac_key(), additional_data(record, 0), &plaintext)?;
    plaintext.truncate(len);
    Ok(plaintext)
}

pub(super) fn open_etm(keys: &Keys, record: &Record<'_>) -> Result<Vec<u8>, Rejected> {
    let (protected, tag) = record.fragment.split_last_chunk::<MAC>().ok_or(Rejected::Shape)?;
    let mut context = hmac::Context::with_key(&hmac_key(keys));
    context.update(&additional_data(record, protected.len()));
    context.update(protected);
    // One bit of difference in any byte: compared without an early end.
    let difference =
        context.sign().as_ref().iter().zip(tag).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
    if std::hint::black_box(difference) != 0 {
        return Err(Rejected::Forged);
    }
    let mut plaintext = decrypt(keys, protected)?;
    // Authentic: the padding is the peer's own, and its check needs no secrecy.
    let &last = plaintext.last().ok_or(Rejected::Shape)?;
    let padding = usize::from(last) + 1;
    let content = plaintext.len().checked_sub(padding).ok_or(Rejected::Forged)?;
    if plaintext[content..].iter().any(|&byte| byte != last) {
        return Err(Rejected::Forged);
    }
    plaintext.truncate(content);
    Ok(plaintext)
}

fn hmac_key(keys: &Keys) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, keys.mac_key())
}

fn mac(keys: &Keys, aad: &Aad, content: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac_key(keys));
    context.update(aad);
    context.update(content);
    context.sign()
}

/// Pads what follows the IV at `body` as little as possible, and encrypts it in place.
fn encrypt(keys: &Keys, body: usize, out: &mut Vec<u8>) {
    let padding = BLOCK - (out.len() - body) % BLOCK;
    out.resize(out.len() + padding, (padding - 1) as u8);
    let (iv, content) = out[body..].split_at_mut(BLOCK);
    let iv: &[u8; BLOCK] = (&*iv).try_into().expect("invariant: split at a block");
    let mut encryptor = Encryptor::<Aes128>::new(keys.key().into(), iv.into());
    let (blocks, rest) = content.as_chunks_mut::<BLOCK>();
    debug_assert!(rest.is_empty());
    blocks.iter_mut().for_each(|block| encryptor.encrypt_block(block.into()));
}

fn decrypt(keys: &Keys, protected: &[u8]) -> Result<Vec<u8>, Rejected> {
    let (iv, content) = protected.split_first_chunk::<BLOCK>().ok_or(Rejected::Shape)?;
    let mut plaintext = content.to_vec();
    let (blocks, rest) = plaintext.as_chunks_mut::<BLOCK>();
    if blocks.is_empty() || !rest.is_empty() {
        return Err(Rejected::Shape);
    }
    let mut decryptor = Decryptor::<Aes128>::new(keys.key().into(), iv.into());
    blocks.iter_mut().for_each(|block| decryptor.decrypt_block(block.into()));
    Ok(plaintext)
}

/// The content's length, if padding and MAC are right. `data`: content, MAC and padding, at least 48 bytes; its
/// length and that of `aad` are no secret, everything else is until the end.
fn verify(key: &[u8; MAC], mut aad: Aad, data: &[u8]) -> Result<usize, Rejected> {
    let len = data.len() as u32;
    let padding = u32::from(data[data.len() - 1]);
    let fits = less(padding, len - MAC as u32);
    let mut good = fits;
    for (i, &byte) in data.iter().rev().take(MAX_PADDING).enumerate() {
        good &= less(padding, i as u32) | equal(u32::from(byte), padding);
    }
    // A bad padding counts as an empty one: its MAC is computed, and the answer is no.
    let padding = padding & good;
    let content = len - 1 - MAC as u32 - padding;

    let [.., high, low] = &mut aad[..] else { return Err(Rejected::Shape) };
    [*high, *low] = (content as u16).to_be_bytes();
    let least = data.len().saturating_sub(MAC + MAX_PADDING);
    let ours = hmac_of_secret_length(key, &aad, data, content, least);
    let theirs = mac_at(data, content, least);
    for (ours, theirs) in ours.iter().zip(theirs) {
        good &= equal(u32::from(*ours), u32::from(theirs));
    }
    if good == 0 { Err(Rejected::Forged) } else { Ok(content as usize) }
}

/// HMAC-SHA-256 of `aad` and the first `content` bytes of `data`, where `content` is secret but lies between `least`
/// and what leaves room for the MAC and one byte of padding.
fn hmac_of_secret_length(key: &[u8; MAC], aad: &[u8], data: &[u8], content: u32, least: usize) -> [u8; MAC] {
    let most = data.len() - MAC - 1;
    let end = aad.len() as u32 + content;
    // The last block is the one that holds the 0x80 byte and the length.
    let last = (end + 8) >> 6;
    let whole = ((aad.len() + least) / HASH_BLOCK) as u32;
    let last_possible = ((aad.len() + most + 8) / HASH_BLOCK) as u32;
    let bits = (u64::from(end) + HASH_BLOCK as u64) * 8;

    let mut state = keyed(key, 0x36);
    let mut inner = [0; 8];
    let mut message = aad.iter().chain(data).copied();
    for index in 0..=last_possible {
        let mut block = [0; HASH_BLOCK];
        if index < whole {
            block.iter_mut().zip(&mut message).for_each(|(to, from)| *to = from);
            compress256(&mut state, &[block]);
            continue;
        }
        for (at, to) in block.iter_mut().enumerate() {
            let position = index * HASH_BLOCK as u32 + at as u32;
            let byte = u32::from(message.next().unwrap_or(0));
            *to = (less(position, end) & byte | equal(position, end) & 0x80) as u8;
        }
        let is_last = equal(index, last);
        for (to, from) in block[HASH_BLOCK - 8..].iter_mut().zip(bits.to_be_bytes()) {
            *to |= is_last as u8 & from;
        }
        compress256(&mut state, &[block]);
        for (taken, word) in inner.iter_mut().zip(state) {
            *taken |= is_last & word;
        }
    }

    let mut outer = keyed(key, 0x5c);
    let mut block = [0; HASH_BLOCK];
    block[..MAC].copy_from_slice(&to_bytes(inner));
    block[MAC] = 0x80;
    block[HASH_BLOCK - 8..].copy_from_slice(&((HASH_BLOCK + MAC) as u64 * 8).to_be_bytes());
    compress256(&mut outer, &[block]);
    to_bytes(outer)
}

/// The state after HMAC's first block (RFC 2104).
fn keyed(key: &[u8; MAC], pad: u8) -> [u32; 8] {
    let mut block = [pad; HASH_BLOCK];
    block.iter_mut().zip(key).for_each(|(to, byte)| *to ^= byte);
    let mut state = INITIAL;
    compress256(&mut state, &[block]);
    state
}

fn to_bytes(state: [u32; 8]) -> [u8; MAC] {
    let mut bytes = [0; MAC];
    bytes.as_chunks_mut().0.iter_mut().zip(state).for_each(|(to, word)| *to = word.to_be_bytes());
    bytes
}

/// The 32 bytes at `data[content..]`, reading every byte that could belong to them.
fn mac_at(data: &[u8], content: u32, least: usize) -> [u8; MAC] {
    let mut turned = [0u8; MAC];
    for (i, &byte) in data[least..].iter().enumerate() {
        let position = (least + i) as u32;
        let inside = !less(position, content) & less(position, content + MAC as u32);
        turned[i % MAC] |= inside as u8 & byte;
    }
    // Turned by a secret amount: undone bit by bit of that amount.
    let amount = (content - least as u32) % MAC as u32;
    for bit in 0..5 {
        let set = 0u32.wrapping_sub(amount >> bit & 1);
        let before = turned;
        for (i, to) in turned.iter_mut().enumerate() {
            let moved = before[(i + (1 << bit)) % MAC];
            *to = select(set, u32::from(moved), u32::from(before[i])) as u8;
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::ContentType, suite::Cipher};

    #[test]
    fn the_hash_of_a_secret_length_is_the_hash() {
        let data: Vec<u8> = (0..700).map(|i| (i * 7) as u8).collect();
        for aad_len in [13, 23 + 8, 23 + 32] {
            let aad: Vec<u8> = (0..aad_len).map(|i| i as u8).collect();
            for len in [48, 64, 96, 288, 304, 320, 544, 688] {
                let data = &data[..len];
                let least = len.saturating_sub(MAC + MAX_PADDING);
                for content in least..=len - MAC - 1 {
                    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &[5; 32]));
                    context.update(&aad);
                    context.update(&data[..content]);
                    let ours = hmac_of_secret_length(&[5; 32], &aad, data, content as u32, least);
                    assert_eq!(ours, context.sign().as_ref(), "{aad_len} {len} {content}");
                    assert_eq!(mac_at(data, content as u32, least), data[content..content + MAC]);
                }
            }
        }
    }

    /// A record with any padding, right or not, under a right MAC.
    fn record_with(keys: &Keys, content: &[u8], padding: &[u8]) -> Vec<u8> {
        let header = Header::protected(ContentType::ApplicationData, 1, &[]);
        let tag = mac(keys, &additional_data(&header, content.len()), content);
        let mut fragment = [&[9; BLOCK], content, tag.as_ref(), padding].concat();
        let mut encryptor = Encryptor::<Aes128>::new(keys.key().into(), (&[9; BLOCK]).into());
        let (blocks, rest) = fragment[BLOCK..].as_chunks_mut::<BLOCK>();
        assert!(rest.is_empty());
        blocks.iter_mut().for_each(|block| encryptor.encrypt_block(block.into()));
        let mut record = Vec::new();
        header.encode_plain(&fragment, &mut record);
        record
    }

    fn open_bytes(keys: &Keys, bytes: &[u8]) -> Result<Vec<u8>, Rejected> {
        open(keys, &crate::record::Records::parse(bytes, 0).next().unwrap().unwrap())
    }

    #[test]
    fn every_length_of_padding_is_taken_and_every_wrong_byte_of_it_refused() {
        let keys = Keys::new(Cipher::Cbc, &[1; 16], &[], &[2; 32]);
        for content_len in [0, 1, 15, 300] {
            let content = vec![7; content_len];
            let shortest = BLOCK - (content_len + MAC) % BLOCK;
            for padding in (shortest..=MAX_PADDING).step_by(BLOCK) {
                let good = vec![(padding - 1) as u8; padding];
                assert_eq!(open_bytes(&keys, &record_with(&keys, &content, &good)), Ok(content.clone()));
                for at in 0..padding {
                    let mut bad = good.clone();
                    bad[at] ^= 0x10;
                    let opened = open_bytes(&keys, &record_with(&keys, &content, &bad));
                    assert_eq!(opened, Err(Rejected::Forged), "{content_len} {padding} {at}");
                }
            }
        }
    }

    #[test]
    fn a_padding_longer_than_the_record_is_refused() {
        let keys = Keys::new(Cipher::Cbc, &[1; 16], &[], &[2; 32]);
        assert_eq!(open_bytes(&keys, &record_with(&keys, &[], &[255; 16])), Err(Rejected::Forged));
        assert_eq!(open_bytes(&keys, &record_with(&keys, &[], &[16; 16])), Err(Rejected::Forged));
    }
}
