//! Certificates and keys as strangers send them: nothing panics, and no chain of theirs is believed.
#![no_main]

use std::sync::LazyLock;

use godwit_dtls::certificate::{Anchors, Leaf, PublicKey, Validity};
use libfuzzer_sys::fuzz_target;

/// A self-signed authority on P-256 that signed nothing else.
const AUTHORITY: &[u8] = include_bytes!("support/authority.der");

static ANCHORS: LazyLock<Anchors> = LazyLock::new(|| Anchors::new([AUTHORITY]).expect("it is well-formed"));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = PublicKey::from_spki(bytes) {
        assert_eq!(key.to_spki(), bytes);
    }
    if let Ok(leaf) = Leaf::parse(bytes) {
        assert!(leaf.names.len() <= 32);
        let _ = leaf.is_named("urn:dev:1");
    }
    for validity in [Validity::Ignored, Validity::At(1_780_272_000)] {
        let verdict = ANCHORS.verify(&[bytes, AUTHORITY], validity);
        assert!(verdict.is_err(), "a leaf that nobody signed");
    }
    let _ = Anchors::new([bytes]);
});
