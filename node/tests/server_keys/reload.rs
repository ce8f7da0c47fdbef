//! Files that change while the node runs.

use std::fs;
use std::sync::Arc;

use godwit::keys::Keys;
use rcgen::PKCS_ECDSA_P256_SHA256;

use crate::scratch::{Authority, Scratch, config, files, key, named};

/// The two looks that a change takes.
fn look(keys: &Keys) -> bool {
    let first = keys.look().is_some();
    keys.look().is_some() || first
}

#[test]
fn a_new_certificate_is_taken_and_a_bad_one_leaves_the_old() {
    let scratch = Scratch::new();
    let authority = Authority::new("CA");
    let pair = key(&PKCS_ECDSA_P256_SHA256);
    let key_file = scratch.file("key.pem", pair.serialize_pem());
    let old = authority.issue(&named("old", &[]), &pair);
    let cert_file = scratch.file("cert.pem", &old.0);
    let keys = Keys::open(Arc::new(config(files(&key_file, Some(&cert_file))))).unwrap();
    let subject = || keys.now().own.clone().unwrap().chain.unwrap().subject;
    assert!(!look(&keys), "nothing has changed");

    scratch.file("cert.pem", "broken");
    assert!(!look(&keys));
    assert_eq!(
        (subject().as_str(), keys.now().offer.to_string().as_str()),
        ("CN=old", "no_sec, psk, rpk, x509")
    );
    assert!(keys.look().is_none(), "said once");

    scratch.file("cert.pem", authority.issue(&named("new", &[]), &pair).0);
    assert!(keys.look().is_none(), "a change is looked at twice");
    assert!(keys.look().is_some());
    assert_eq!(subject(), "CN=new");
}

#[test]
fn key_and_certificate_may_be_replaced_one_after_the_other() {
    let scratch = Scratch::new();
    let authority = Authority::new("CA");
    let (old, new) = (key(&PKCS_ECDSA_P256_SHA256), key(&PKCS_ECDSA_P256_SHA256));
    let key_file = scratch.file("key.pem", old.serialize_pem());
    let cert_file = scratch.file("cert.pem", authority.issue(&named("old", &[]), &old).0);
    let keys = Keys::open(Arc::new(config(files(&key_file, Some(&cert_file))))).unwrap();

    scratch.file("cert.pem", authority.issue(&named("new", &[]), &new).0);
    assert!(!look(&keys), "the certificate of another key");
    scratch.file("key.pem", new.serialize_pem());
    assert!(look(&keys));
    assert_eq!(keys.now().own.clone().unwrap().chain.unwrap().subject, "CN=new");
}

#[test]
fn a_file_that_is_replaced_by_a_link_as_kubernetes_does_is_noticed() {
    let scratch = Scratch::new();
    let (old, new) = (key(&PKCS_ECDSA_P256_SHA256), key(&PKCS_ECDSA_P256_SHA256));
    scratch.file("one.pem", old.serialize_pem());
    scratch.file("two.pem", new.serialize_pem());
    let link = scratch.path("key.pem");
    std::os::unix::fs::symlink("one.pem", &link).unwrap();
    let keys = Keys::open(Arc::new(config(files(&link, None)))).unwrap();
    let before = keys.now().own.clone().unwrap().pair.spki();
    std::os::unix::fs::symlink("two.pem", scratch.path("draft")).unwrap();
    fs::rename(scratch.path("draft"), &link).unwrap();
    assert!(look(&keys));
    assert_ne!(keys.now().own.clone().unwrap().pair.spki(), before);
}

#[test]
fn what_was_broken_at_the_start_may_be_mended_one_by_one() {
    let scratch = Scratch::new();
    let authority = Authority::new("CA");
    let pair = key(&PKCS_ECDSA_P256_SHA256);
    let key_file = scratch.file("key.pem", "broken");
    let mut settings =
        files(&key_file, Some(&scratch.file("cert.pem", authority.issue(&named("server", &[]), &pair).0)));
    settings.device_ca_file = Some(scratch.path("ca.pem"));
    let keys = Keys::open(Arc::new(config(settings))).unwrap();
    assert_eq!((keys.now().offer.to_string().as_str(), keys.now().faults.len()), ("no_sec, psk", 2));
    scratch.file("key.pem", pair.serialize_pem());
    assert!(look(&keys), "a fault less, though one is left");
    assert_eq!(
        (keys.now().offer.to_string().as_str(), keys.now().faults.len()),
        ("no_sec, psk, rpk, x509", 1)
    );
    scratch.file("ca.pem", authority.pem());
    assert!(look(&keys));
    assert!(keys.now().faults.is_empty() && !keys.now().trust.is_empty());
}
