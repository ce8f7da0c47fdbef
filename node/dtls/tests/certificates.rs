//! Chains made here by rcgen, each right but for one thing.
#![allow(clippy::unwrap_used, reason = "tests")]

use godwit_dtls::{
    alert::{AlertDescription, Tell},
    certificate::{Anchors, CertificateError, Leaf, Validity},
};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, SanType, date_time_ymd,
};

/// 2026-06-01.
const NOW: Validity = Validity::At(1_780_272_000);

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

fn authority_params(name: &str, depth: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn root(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let params = authority_params(name, 2);
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Authority { issuer: Issuer::new(params, key), der }
}

fn below(parent: &Authority, name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let params = authority_params(name, 0);
    let der = params.signed_by(&key, &parent.issuer).unwrap().der().to_vec();
    Authority { issuer: Issuer::new(params, key), der }
}

fn device_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params
}

fn device(parent: &Authority, params: &CertificateParams) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, &parent.issuer).unwrap().der().to_vec()
}

#[test]
fn a_chain_leads_to_its_anchor_whatever_the_order_of_the_authorities() {
    let root = root("root");
    let middle = below(&root, "middle");
    let leaf = device(&middle, &device_params("urn:dev:1"));
    let other = device(&root, &device_params("another"));
    let anchors = Anchors::new([&root.der[..]]).unwrap();
    assert_eq!(anchors.verify(&[&leaf, &middle.der], NOW), Ok(()));
    assert_eq!(anchors.verify(&[&leaf, &root.der, &other, &middle.der], NOW), Ok(()));
    assert_eq!(anchors.verify(&[&other], NOW), Ok(()), "directly below the anchor");
    assert_eq!(anchors.verify(&[&leaf], NOW), Err(CertificateError::UnknownIssuer), "the middle is missing");
    assert_eq!(anchors.verify(&[], NOW), Err(CertificateError::Missing));
}

#[test]
fn strangers_and_forgers_are_refused() {
    let (ours, theirs) = (root("root"), root("root"));
    let leaf = device(&theirs, &device_params("urn:dev:1"));
    let anchors = Anchors::new([&ours.der[..]]).unwrap();
    let refused = anchors.verify(&[&leaf, &theirs.der], NOW).unwrap_err();
    assert!(
        matches!(refused, CertificateError::UnknownIssuer | CertificateError::BadSignature),
        "same name, other key: {refused:?}"
    );
    assert_eq!(Anchors::default().verify(&[&leaf], NOW), Err(CertificateError::UnknownIssuer));
    assert!(Anchors::default().is_empty());

    // A device's certificate signs none.
    let issued = device_params("urn:dev:1");
    let key = KeyPair::generate().unwrap();
    let der = issued.signed_by(&key, &ours.issuer).unwrap().der().to_vec();
    let device_as_authority = Authority { issuer: Issuer::new(issued, key), der };
    let forged = device(&device_as_authority, &device_params("urn:dev:2"));
    assert!(anchors.verify(&[&forged, &device_as_authority.der], NOW).is_err());
}

#[test]
fn dates_count_unless_they_are_ignored() {
    let root = root("root");
    let anchors = Anchors::new([&root.der[..]]).unwrap();
    let leaf = device(&root, &device_params("urn:dev:1"));
    let (late, early) = (Validity::At(1_950_000_000), Validity::At(1_700_000_000));
    assert_eq!(anchors.verify(&[&leaf], NOW), Ok(()));
    assert_eq!(anchors.verify(&[&leaf], late), Err(CertificateError::Expired));
    assert_eq!(anchors.verify(&[&leaf], early), Err(CertificateError::NotValidYet));
    assert_eq!(CertificateError::Expired.alert(), AlertDescription::CERTIFICATE_EXPIRED);
    assert_eq!(anchors.verify(&[&leaf], Validity::Ignored), Ok(()));

    let mut old = device_params("urn:dev:2");
    (old.not_before, old.not_after) = (date_time_ymd(2021, 1, 1), date_time_ymd(2022, 1, 1));
    let old = device(&root, &old);
    assert_eq!(anchors.verify(&[&old], NOW), Err(CertificateError::Expired));
    assert_eq!(anchors.verify(&[&old], Validity::Ignored), Ok(()));
    let strange = device(&self::root("stranger"), &device_params("urn:dev:3"));
    assert!(anchors.verify(&[&strange], Validity::Ignored).is_err(), "the rest still counts");
}

#[test]
fn a_certificate_for_servers_only_is_refused() {
    let root = root("root");
    let anchors = Anchors::new([&root.der[..]]).unwrap();
    let mut params = device_params("urn:dev:1");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(anchors.verify(&[&device(&root, &params)], NOW), Err(CertificateError::WrongUse));
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    assert_eq!(anchors.verify(&[&device(&root, &params)], NOW), Ok(()));
}

#[test]
fn names_are_the_common_and_the_alternative_ones() {
    let root = root("root");
    let mut params = device_params("urn:dev:common");
    params.subject_alt_names = vec![
        SanType::DnsName("device.example".try_into().unwrap()),
        SanType::URI("urn:dev:ops:1-2".try_into().unwrap()),
        SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    let leaf = Leaf::parse(&device(&root, &params)).unwrap();
    for name in ["urn:dev:common", "device.example", "urn:dev:ops:1-2"] {
        assert!(leaf.is_named(name), "{name}");
    }
    for name in ["", "urn:dev", "urn:dev:common ", "URN:DEV:COMMON", "127.0.0.1"] {
        assert!(!leaf.is_named(name), "{name}");
    }
    assert_eq!(leaf.not_before, 1_735_689_600);
    let nameless = Leaf::parse(&device(&root, &CertificateParams::default())).unwrap();
    assert!(!nameless.is_named(""), "{nameless:?}");
}

#[test]
fn a_key_that_is_not_p256_is_refused() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let der = device_params("urn:dev:1").self_signed(&key).unwrap().der().to_vec();
    assert_eq!(Leaf::parse(&der), Err(CertificateError::UnsupportedKey));
    assert_eq!(CertificateError::UnsupportedKey.alert(), AlertDescription::UNSUPPORTED_CERTIFICATE);
}

#[test]
fn bytes_behind_a_certificate_are_refused() {
    let root = root("root");
    let mut der = device(&root, &device_params("urn:dev:1"));
    der.push(0);
    assert_eq!(Leaf::parse(&der), Err(CertificateError::Malformed));
    let anchors = Anchors::new([&root.der[..]]).unwrap();
    assert_eq!(anchors.verify(&[&der], NOW), Err(CertificateError::Malformed));
    let second = Anchors::new([&root.der[..], b"no certificate"]);
    assert_eq!(second.unwrap_err(), (1, CertificateError::Malformed));
}

proptest! {
    #[test]
    fn no_changed_certificate_panics_or_is_believed(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in 0..30_usize,
    ) {
        let root = root("root");
        let good = device(&root, &device_params("urn:dev:1"));
        let mut bad = good.clone();
        for (at, value) in &changes {
            let at = at.index(bad.len());
            bad[at] = *value;
        }
        bad.truncate(bad.len() - cut.saturating_sub(20));
        let anchors = Anchors::new([&root.der[..]]).unwrap();
        let _ = Leaf::parse(&bad);
        let verdict = anchors.verify(&[&bad], Validity::Ignored);
        prop_assert!(verdict.is_err() || bad == good);
    }
}
