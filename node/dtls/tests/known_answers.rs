//! Known answers of other implementations and of published documents (tests/vectors/crypto.json).

#![allow(clippy::unwrap_used, reason = "a test")]

use aes::Aes128;
use ccm::{
    Ccm,
    aead::{Aead, KeyInit, Payload},
    consts::{U4, U6, U7, U8, U12, U13, U16},
};
use data_encoding::HEXLOWER;
use godwit_dtls::{
    prf::{KeyPair, MasterSecret, Side, prf, psk_premaster},
    protection::Keys,
    suite::Cipher,
};
use ring::{hkdf, hmac};
use serde_json::Value;

fn vectors(prefix: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("vectors/crypto.json")).unwrap();
    let all = file["vectors"].as_array().unwrap().iter();
    let chosen: Vec<_> = all.filter(|v| v["id"].as_str().unwrap().starts_with(prefix)).cloned().collect();
    assert!(!chosen.is_empty());
    chosen
}

fn bytes(vector: &Value, name: &str) -> Vec<u8> {
    let text = vector[name].as_str().unwrap_or_else(|| panic!("{name} in {vector}"));
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn array<const N: usize>(vector: &Value, name: &str) -> [u8; N] {
    bytes(vector, name).try_into().unwrap()
}

fn ccm_open<C: Aead + KeyInit>(v: &Value) -> Option<Vec<u8>> {
    let (ciphertext, aad, nonce) = (bytes(v, "hex"), bytes(v, "aad"), bytes(v, "nonce"));
    let payload = Payload { msg: &ciphertext, aad: &aad };
    let cipher = C::new_from_slice(&bytes(v, "key")).unwrap();
    cipher.decrypt(nonce.as_slice().try_into().unwrap(), payload).ok()
}

#[test]
fn ccm_opens_what_is_valid_and_nothing_else() {
    for v in vectors("ccm-") {
        let opened = match (v["tag_len"].as_u64().unwrap(), v["nonce_len"].as_u64().unwrap()) {
            (4, 7) => ccm_open::<Ccm<Aes128, U4, U7>>(&v),
            (6, 8) => ccm_open::<Ccm<Aes128, U6, U8>>(&v),
            (8, 12) => ccm_open::<Ccm<Aes128, U8, U12>>(&v),
            (8, 13) => ccm_open::<Ccm<Aes128, U8, U13>>(&v),
            (10, 13) => ccm_open::<Ccm<Aes128, ccm::consts::U10, U13>>(&v),
            (16, 12) => ccm_open::<Ccm<Aes128, U16, U12>>(&v),
            other => panic!("{other:?}"),
        };
        let valid = v["result"] == "valid";
        assert_eq!(opened, valid.then(|| bytes(&v, "plaintext")), "{}", v["id"]);
    }
}

#[test]
fn the_prf_gives_the_published_bytes() {
    for v in ["prf-", "ems-", "verify-data-"].into_iter().flat_map(vectors) {
        let mut out = vec![0; bytes(&v, "hex").len()];
        let label = v["label"].as_str().unwrap();
        prf(&bytes(&v, "secret"), label.as_bytes(), &[&bytes(&v, "seed")], &mut out);
        assert_eq!(out, bytes(&v, "hex"), "{}", v["id"]);
    }
}

#[test]
fn master_secrets_come_from_the_randoms_or_the_session_hash() {
    for id in ["prf-cavs-master", "prf-pion-master"] {
        let v = &vectors(id)[0];
        let secret =
            MasterSecret::derive(&bytes(v, "secret"), &array(v, "client_random"), &array(v, "server_random"));
        assert_eq!(secret.as_bytes()[..], bytes(v, "hex")[..], "{id}");
    }
    for v in vectors("ems-").iter().filter(|v| v["session_hash"].is_string()) {
        let secret = MasterSecret::extended(&bytes(v, "secret"), &array(v, "session_hash"));
        assert_eq!(secret.as_bytes()[..], bytes(v, "hex")[..], "{}", v["id"]);
    }
}

#[test]
fn the_key_block_is_cut_in_the_order_of_the_specification() {
    for v in vectors("ems-").iter().filter(|v| v["client_random"].is_string()) {
        let block = bytes(v, "hex");
        let secret = MasterSecret::new(array(v, "secret"));
        let (client, server) = (array(v, "client_random"), array(v, "server_random"));
        let keys = secret.keys(Cipher::Gcm, &client, &server);
        assert_eq!(keys.client, Keys::new(Cipher::Gcm, &block[..16], &block[32..36], &[]));
        assert_eq!(keys.server, Keys::new(Cipher::Gcm, &block[16..32], &block[36..40], &[]));
        let keys = secret.keys(Cipher::CbcEtm, &client, &server);
        let cbc = |mac: usize, key: usize| {
            Keys::new(Cipher::CbcEtm, &block[key..key + 16], &[], &block[mac..mac + 32])
        };
        assert_eq!(keys, KeyPair { client: cbc(0, 64), server: cbc(32, 80) }, "{}", v["id"]);
    }
}

#[test]
fn verify_data_is_the_first_twelve_bytes_of_the_prf() {
    let v = &vectors("verify-data-pion-client")[0];
    let transcript = ring::digest::digest(&ring::digest::SHA256, &bytes(v, "transcript"));
    let hash: [u8; 32] = transcript.as_ref().try_into().unwrap();
    let secret = MasterSecret::new(array(v, "secret"));
    assert_eq!(secret.verify_data(Side::Client, &hash)[..], bytes(v, "hex")[..]);
}

#[test]
fn a_psk_premaster_is_zeros_and_key() {
    for v in vectors("psk-premaster") {
        assert_eq!(*psk_premaster(&bytes(&v, "psk")), bytes(&v, "hex"), "{}", v["id"]);
    }
}

/// HKDF and HMAC are ring's; cookies and sealing at rest are built on them.
#[test]
fn hkdf_and_hmac_give_the_published_bytes() {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    for v in vectors("hkdf-") {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &bytes(&v, "salt"));
        let expected = bytes(&v, "hex");
        let mut out = vec![0; expected.len()];
        salt.extract(&bytes(&v, "ikm"))
            .expand(&[&bytes(&v, "info")], Len(out.len()))
            .and_then(|okm| okm.fill(&mut out))
            .unwrap();
        assert_eq!(out, expected, "{}", v["id"]);
    }
    for v in vectors("hmac-") {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes(&v, "key"));
        let tag = hmac::sign(&key, &bytes(&v, "message"));
        assert_eq!(tag.as_ref(), bytes(&v, "hex"), "{}", v["id"]);
    }
}

#[test]
fn cbc_gives_the_published_bytes() {
    use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
    for v in vectors("aes-cbc") {
        let (key, iv): ([u8; 16], [u8; 16]) = (array(&v, "key"), array(&v, "iv"));
        let mut cipher = cbc::Encryptor::<Aes128>::new((&key).into(), (&iv).into());
        let mut text = bytes(&v, "plaintext");
        text.as_chunks_mut::<16>().0.iter_mut().for_each(|b| cipher.encrypt_block(b.into()));
        assert_eq!(text, bytes(&v, "hex"), "{}", v["id"]);
    }
}
