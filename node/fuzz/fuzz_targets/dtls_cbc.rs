//! The constant-time check of MAC and padding against the obvious one: both must take the same records, with the same
//! content. The enemy here chooses what the record decrypts to.

#![no_main]

use aes::Aes128;
use arbitrary::Arbitrary;
use cbc::{
    Encryptor,
    cipher::{BlockModeEncrypt, KeyIvInit},
};
use godwit_dtls::{
    protection::{Keys, ReadKeys, Rejected},
    record::{ContentType, DTLS_1_2, Record},
    suite::Cipher,
};
use libfuzzer_sys::fuzz_target;
use ring::hmac;

const KEY: [u8; 16] = [1; 16];
const MAC_KEY: [u8; 32] = [2; 32];

#[derive(Debug, Arbitrary)]
struct Forgery {
    content: Vec<u8>,
    padding: Option<u8>,
    /// Changes of the decrypted bytes, after MAC and padding.
    changes: Vec<(u16, u8)>,
    cid: bool,
}

fn additional_data(cid: &[u8], content_type: u8, len: usize) -> Vec<u8> {
    let number = [0, 1, 0, 0, 0, 0, 0, 9];
    let mut aad = Vec::new();
    if cid.is_empty() {
        aad.extend(number);
        aad.extend([content_type, 0xfe, 0xfd]);
    } else {
        aad.extend([0xff; 8]);
        aad.extend([25, cid.len() as u8, 25, 0xfe, 0xfd]);
        aad.extend(number);
        aad.extend(cid);
    }
    aad.extend((len as u16).to_be_bytes());
    aad
}

fn mac(cid: &[u8], content_type: u8, content: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &MAC_KEY));
    context.update(&additional_data(cid, content_type, content.len()));
    context.update(content);
    context.sign()
}

/// As RFC 5246 §6.2.3.2 reads, in whatever time it takes.
fn obvious(cid: &[u8], content_type: u8, decrypted: &[u8]) -> Option<Vec<u8>> {
    let padding = usize::from(*decrypted.last()?);
    let end = decrypted.len().checked_sub(padding + 1)?;
    let at = end.checked_sub(32)?;
    let good = decrypted[end..].iter().all(|&byte| usize::from(byte) == padding);
    let content = &decrypted[..at];
    (good && mac(cid, content_type, content).as_ref() == &decrypted[at..end]).then(|| content.to_vec())
}

fuzz_target!(|forgery: Forgery| {
    let cid: &[u8] = if forgery.cid { &[7; 8] } else { &[] };
    let content_type = if forgery.cid { ContentType::Tls12Cid } else { ContentType::ApplicationData };
    let mut decrypted = forgery.content;
    decrypted.truncate(1500);
    let tag = mac(cid, content_type.code(), &decrypted);
    decrypted.extend_from_slice(tag.as_ref());
    let shortest = 15 - decrypted.len() % 16;
    let padding = forgery.padding.map_or(shortest, |padding| usize::from(padding & 0xf0) + shortest);
    decrypted.extend(vec![padding as u8; padding + 1]);
    for (at, change) in forgery.changes {
        let at = decrypted.len() - 1 - usize::from(at) % decrypted.len();
        decrypted[at] ^= change;
    }
    let expected = obvious(cid, content_type.code(), &decrypted);

    let mut fragment = [&[5; 16][..], &decrypted].concat();
    let mut encryptor = Encryptor::<Aes128>::new((&KEY).into(), (&[5; 16]).into());
    let (blocks, rest) = fragment[16..].as_chunks_mut::<16>();
    assert!(rest.is_empty());
    blocks.iter_mut().for_each(|block| encryptor.encrypt_block(block.into()));
    let record =
        Record { content_type, version: DTLS_1_2, epoch: 1, number: 9, cid, fragment: &fragment };
    let opened = ReadKeys::from(Keys::new(Cipher::Cbc, &KEY, &[], &MAC_KEY)).open(&record);
    match expected {
        None => assert_eq!(opened, Err(Rejected::Forged)),
        Some(content) if !forgery.cid => assert_eq!(opened.map(|opened| opened.plaintext), Ok(content)),
        Some(inner) => match inner.iter().rposition(|&byte| byte != 0) {
            Some(at) if inner[at] != 25 => {
                assert_eq!(opened.map(|opened| opened.plaintext), Ok(inner[..at].to_vec()));
            }
            _ => assert_eq!(opened, Err(Rejected::NoInnerType)),
        },
    }
});
