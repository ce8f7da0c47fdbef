//! Signatures, key agreement and transcripts against published vectors and recorded handshakes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod util;

use godwit_dtls::{
    agreement::{AgreementError, KeyAgreement},
    certificate::{Leaf, PublicKey},
    extension::ECDSA_SECP256R1_SHA256,
    message::{
        CertificateVerify, Chain, ClientHello, MessageType, RawPublicKey, ServerHello, ServerKeyExchange,
        Signed,
    },
    signature::{self, SignatureError},
    transcript::Transcript,
};
use ring::rand::SystemRandom;
use serde::Deserialize;
use util::{hex, unhex, vectors};

/// The members of `crypto.json` that count here.
#[derive(Deserialize)]
struct Vector {
    id: String,
    alg: String,
    hex: String,
    result: Option<String>,
    public_key_uncompressed: Option<String>,
    message: Option<String>,
    private: Option<String>,
    peer_point: Option<String>,
}

#[derive(Deserialize)]
struct File {
    vectors: Vec<serde_json::Value>,
}

fn crypto(alg: &str) -> Vec<Vector> {
    let file: File = serde_json::from_str(include_str!("vectors/crypto.json")).unwrap();
    let wanted = file.vectors.into_iter().filter(|vector| vector["alg"] == alg);
    wanted.map(|vector| serde_json::from_value(vector).unwrap()).collect()
}

fn public_key(point: &[u8]) -> PublicKey {
    let head = unhex("3059301306072a8648ce3d020106082a8648ce3d030107034200");
    PublicKey::from_spki(&[&head[..], point].concat()).unwrap()
}

#[test]
fn ecdsa_takes_the_valid_signatures_and_no_other() {
    let (mut valid, mut invalid) = (0, 0);
    for vector in crypto("ECDSA-P256-SHA256") {
        assert_eq!(vector.alg, "ECDSA-P256-SHA256");
        let key = public_key(&unhex(&vector.public_key_uncompressed.unwrap()));
        let signature = unhex(&vector.hex);
        let signed = Signed { scheme: ECDSA_SECP256R1_SHA256, signature: &signature };
        let result = signature::verify(&key, &unhex(&vector.message.unwrap()), signed);
        if vector.result.as_deref() == Some("valid") {
            assert_eq!(result, Ok(()), "{}", vector.id);
            valid += 1;
        } else {
            assert_eq!(result, Err(SignatureError::Wrong), "{}", vector.id);
            invalid += 1;
        }
    }
    assert!(valid >= 3 && invalid > 10, "{valid} valid and {invalid} invalid vectors");
}

#[test]
#[allow(deprecated, reason = "ring has no other way to give a private key, and the vectors name theirs")]
fn agreement_takes_uncompressed_points_of_the_curve_and_no_other() {
    let (mut valid, mut refused) = (0, 0);
    for vector in crypto("ECDH-P256") {
        let private = unhex(&vector.private.unwrap());
        let private = private.strip_prefix(&[0]).filter(|rest| rest.len() == 32).unwrap_or(&private);
        let peer = unhex(&vector.peer_point.unwrap());
        let key = KeyAgreement::generate(&ring::test::rand::FixedSliceRandom { bytes: private }).unwrap();
        let secret = key.premaster(&peer);
        if vector.result.as_deref() == Some("valid") {
            assert_eq!(hex(&secret.unwrap()[..]), vector.hex, "{}", vector.id);
            valid += 1;
        } else {
            // A compressed point is a valid key, but no server here offers that format.
            assert_eq!(secret.err(), Some(AgreementError::Point), "{}", vector.id);
            refused += 1;
        }
    }
    assert!(valid >= 5 && refused >= 10, "{valid} valid and {refused} refused vectors");
}

#[test]
fn the_transcripts_of_the_recordings_are_theirs() {
    for vector in vectors("handshake") {
        let mut transcript = Transcript::new();
        let mut session_hash = None;
        let messages = vector.messages();
        let hello = messages.iter().rposition(|sent| sent.message.kind == MessageType::CLIENT_HELLO).unwrap();
        let mut before_finished = Vec::new();
        for sent in &messages[hello..] {
            if sent.message.kind == MessageType::FINISHED {
                before_finished.push(hex(&transcript.hash()));
            }
            transcript.add(&sent.message);
            if sent.message.kind == MessageType::CLIENT_KEY_EXCHANGE {
                session_hash = Some(hex(&transcript.hash()));
            }
        }
        assert_eq!(session_hash, vector.session_hash, "{}", vector.id);
        let expected = [vector.client_finished.unwrap(), vector.server_finished.unwrap()];
        assert_eq!(before_finished, expected.map(|finished| finished.transcript_sha256), "{}", vector.id);
    }
}

#[test]
fn the_signatures_of_the_recordings_are_good_for_their_own_handshakes() {
    let mut signatures = 0;
    for vector in vectors("handshake") {
        let messages = vector.messages();
        let hello = messages.iter().rposition(|sent| sent.message.kind == MessageType::CLIENT_HELLO).unwrap();
        let mut transcript = Transcript::new();
        let (mut client_random, mut server_random) = ([0; 32], [0; 32]);
        let mut keys = [None; 2];
        for sent in &messages[hello..] {
            let body = &sent.message.body;
            match sent.message.kind {
                MessageType::CLIENT_HELLO => client_random = *ClientHello::parse(body).unwrap().prefix.random,
                MessageType::SERVER_HELLO => server_random = *ServerHello::parse(body).unwrap().random,
                MessageType::CERTIFICATE if vector.id.contains("rpk") => {
                    let key = PublicKey::from_spki(RawPublicKey::parse(body).unwrap().0).unwrap();
                    keys[usize::from(sent.client)] = Some(key);
                }
                MessageType::CERTIFICATE => {
                    let leaf = Leaf::parse(Chain::parse(body).unwrap().0[0]).unwrap();
                    assert!(!leaf.names.is_empty() && leaf.not_before < leaf.not_after);
                    keys[usize::from(sent.client)] = Some(leaf.key);
                }
                MessageType::SERVER_KEY_EXCHANGE if keys[0].is_some() => {
                    let exchange = ServerKeyExchange::parse(body).unwrap();
                    let bytes = exchange.params.signed_bytes(&client_random, &server_random);
                    let key = keys[0].unwrap();
                    assert_eq!(signature::verify(&key, &bytes, exchange.signed), Ok(()), "{}", vector.id);
                    let swapped = exchange.params.signed_bytes(&server_random, &client_random);
                    assert!(signature::verify(&key, &swapped, exchange.signed).is_err());
                    signatures += 1;
                }
                MessageType::CERTIFICATE_VERIFY => {
                    let signed = CertificateVerify::parse(body).unwrap().0;
                    let result = signature::verify(&keys[1].unwrap(), transcript.messages(), signed);
                    assert_eq!(result, Ok(()), "{}", vector.id);
                    signatures += 1;
                }
                _ => {}
            }
            transcript.add(&sent.message);
        }
    }
    assert!(signatures >= 8, "{signatures} signatures");
}

#[test]
fn two_strangers_agree_through_the_wire() {
    let random = SystemRandom::new();
    let one = KeyAgreement::generate(&random).unwrap();
    let other = KeyAgreement::generate(&random).unwrap();
    let (to_one, to_other) = (other.public().to_vec(), one.public().to_vec());
    assert_eq!(to_one[0], 4);
    assert_eq!(one.premaster(&to_one).unwrap(), other.premaster(&to_other).unwrap());
}
