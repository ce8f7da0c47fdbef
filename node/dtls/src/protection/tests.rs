use proptest::prelude::*;
use ring::rand::SystemRandom;

use super::*;
use crate::{
    nonce::NonceSource,
    record::{DTLS_1_2, Records},
};

const CIPHERS: [Cipher; 4] = [Cipher::Ccm8, Cipher::Gcm, Cipher::Cbc, Cipher::CbcEtm];

fn keys(cipher: Cipher) -> Keys {
    Keys::new(cipher, &[7; 16], &[8; 4][..cipher.fixed_iv_len()], &[9; 32][..cipher.mac_key_len()])
}

fn seal(cipher: Cipher, header: &Header<'_>, plaintext: &[u8], padding: usize) -> Vec<u8> {
    let random = SystemRandom::new();
    let mut out = Vec::new();
    WriteKeys::from(keys(cipher))
        .seal_padded(header, plaintext, padding, &mut ByNumber { random: &random }, &mut out)
        .unwrap();
    out
}

fn open(cipher: Cipher, datagram: &[u8], cid_len: usize) -> Result<Opened, Rejected> {
    let record = Records::parse(datagram, cid_len).next().unwrap().unwrap();
    ReadKeys::from(keys(cipher)).open(&record)
}

#[test]
fn the_nonce_of_a_lane_travels_in_the_record() {
    let random = SystemRandom::new();
    let mut nonces = NonceSource::new(5, 0, 100);
    let mut twin = NonceSource::new(5, 0, 100);
    let mut out = Vec::new();
    let mut lane = Lane { nonces: &mut nonces, second: 60, random: &random };
    WriteKeys::from(keys(Cipher::Ccm8))
        .seal(&Header::protected(ContentType::Alert, 3, &[]), b"x", &mut lane, &mut out)
        .unwrap();
    assert_eq!(out[13..21], twin.next(60).unwrap());
    assert_eq!(open(Cipher::Ccm8, &out, 0).unwrap().plaintext, b"x");
}

#[test]
fn no_nonce_means_no_record_and_an_untouched_buffer() {
    let random = SystemRandom::new();
    let mut nonces = NonceSource::new(5, 100, 100);
    let mut lane = Lane { nonces: &mut nonces, second: 60, random: &random };
    let mut out = b"before".to_vec();
    let header = Header::protected(ContentType::Alert, 3, &[]);
    let sealed = WriteKeys::from(keys(Cipher::Gcm)).seal(&header, b"x", &mut lane, &mut out);
    assert_eq!(sealed, Err(SealError::NoncesExhausted(nonce::Exhausted { until: 100 })));
    assert_eq!(out, b"before");
}

#[test]
fn every_flipped_bit_of_a_record_is_noticed() {
    for cipher in CIPHERS {
        for cid in [&[][..], &[1, 2, 3]] {
            let sealed = seal(cipher, &Header::protected(ContentType::Handshake, 9, cid), b"hello", 3);
            for bit in 0..sealed.len() * 8 {
                let mut forged = sealed.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                let Some(Ok(record)) = Records::parse(&forged, cid.len()).next() else { continue };
                let opened = ReadKeys::from(keys(cipher)).open(&record);
                assert!(opened.is_err(), "{cipher:?}, bit {bit}");
            }
        }
    }
}

#[test]
fn fragments_of_every_short_length_are_refused() {
    for cipher in CIPHERS {
        for len in 0..100 {
            let fragment = vec![0; len];
            let record = Record {
                content_type: ContentType::ApplicationData,
                version: DTLS_1_2,
                epoch: 1,
                number: 1,
                cid: &[],
                fragment: &fragment,
            };
            assert!(ReadKeys::from(keys(cipher)).open(&record).is_err(), "{cipher:?} {len}");
        }
    }
}

#[test]
fn a_cid_record_hides_its_type_and_drops_its_padding() {
    for cipher in CIPHERS {
        let header = Header::protected(ContentType::Alert, 9, &[4; 8]);
        let sealed = seal(cipher, &header, b"hi\0", 40);
        assert_eq!(sealed[0], 25);
        let opened = open(cipher, &sealed, 8).unwrap();
        assert_eq!(opened, Opened { content_type: ContentType::Alert, plaintext: b"hi\0".to_vec() });
    }
}

#[test]
fn an_inner_plaintext_needs_a_type_that_is_not_its_own() {
    for (inner, expected) in [
        (&[][..], Err(Rejected::NoInnerType)),
        (&[0, 0], Err(Rejected::NoInnerType)),
        (&[1, 25, 0], Err(Rejected::NoInnerType)),
        (&[21], Ok((ContentType::Alert, vec![]))),
        (&[1, 2, 23, 0, 0], Ok((ContentType::ApplicationData, vec![1, 2]))),
    ] {
        let mut bytes = inner.to_vec();
        let stripped = strip_inner(&mut bytes).map(|content_type| (content_type, bytes));
        assert_eq!(stripped, expected);
    }
}

#[test]
fn the_largest_plaintext_passes_and_one_byte_more_does_not() {
    let random = SystemRandom::new();
    for cipher in CIPHERS {
        for cid in [&[][..], &[1; 32]] {
            let header = Header::protected(ContentType::ApplicationData, 9, cid);
            let sealed = seal(cipher, &header, &[1; MAX_PLAINTEXT], 0);
            assert_eq!(open(cipher, &sealed, cid.len()).unwrap().plaintext.len(), MAX_PLAINTEXT);
            let mut out = Vec::new();
            let too_long = WriteKeys::from(keys(cipher)).seal(
                &header,
                &[1; MAX_PLAINTEXT + 1],
                &mut ByNumber { random: &random },
                &mut out,
            );
            assert!(matches!(too_long, Err(SealError::TooLong(_))), "{cipher:?}");
        }
    }
}

#[test]
fn a_number_beyond_48_bits_is_refused() {
    let random = SystemRandom::new();
    let header = Header::protected(ContentType::ApplicationData, MAX_NUMBER + 1, &[]);
    let sealed = WriteKeys::from(keys(Cipher::Ccm8)).seal(
        &header,
        b"x",
        &mut ByNumber { random: &random },
        &mut Vec::new(),
    );
    assert_eq!(sealed, Err(SealError::NumbersExhausted));
}

proptest! {
    #[test]
    fn what_is_sealed_opens_and_fits_the_foreseen_size(
        cipher in prop::sample::select(&CIPHERS[..]),
        plaintext in prop::collection::vec(any::<u8>(), 0..700),
        cid in prop::collection::vec(any::<u8>(), 0..33),
        padding in 0usize..300,
        number in 0..MAX_NUMBER,
    ) {
        let header = Header::protected(ContentType::ApplicationData, number, &cid);
        let sealed = seal(cipher, &header, &plaintext, padding);
        let padding = if cid.is_empty() { 0 } else { padding };
        let foreseen = WriteKeys::from(keys(cipher)).sealed_len(plaintext.len() + padding, cid.len());
        prop_assert!(sealed.len() <= foreseen && sealed.len() + 16 > foreseen);
        let opened = open(cipher, &sealed, cid.len()).unwrap();
        prop_assert_eq!(opened.plaintext, plaintext);
        prop_assert_eq!(opened.content_type, ContentType::ApplicationData);
    }
}
