//! Whom devices' certificates may come from.

use godwit::keys::{Problem, Trust, load};
use godwit_dtls::Unacceptable;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, date_time_ymd,
};

use crate::scratch::{Authority, Scratch, key, named};

/// 2026-01-01, within the validity of what rcgen makes unless told otherwise.
const NOW: u64 = 1_767_225_600;

fn trust(scratch: &Scratch, authorities: &str, ignore_expiry: bool) -> Trust {
    let settings = godwit::config::Security {
        device_ca_file: Some(scratch.file("ca.pem", authorities)),
        ignore_expiry,
        ..Default::default()
    };
    let material = load(&settings);
    assert_eq!(material.faults, []);
    material.trust
}

fn years(mut params: CertificateParams, from: i32, until: i32) -> CertificateParams {
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    params
}

#[test]
fn a_chain_to_an_authority_proves_its_names() {
    let scratch = Scratch::new();
    let (root, stranger) = (Authority::new("Root"), Authority::new("Root"));
    let middle = root.intermediate("Middle");
    let trust = trust(&scratch, &root.pem(), false);
    let device = key(&PKCS_ECDSA_P256_SHA256);
    let (_, direct) = root.issue(&named("urn:imei:1", &["urn-imei-1.example"]), &device);
    let names = trust.verify(&[direct], NOW).unwrap();
    assert_eq!(names.common_name.as_deref(), Some("urn:imei:1"));
    assert_eq!(names.alternative, ["urn-imei-1.example"]);

    let (_, below) = middle.issue(&named("device", &[]), &device);
    assert!(trust.verify(&[below.clone(), middle.der()], NOW).is_ok());
    assert_eq!(trust.verify(&[below], NOW), Err(Unacceptable::UnknownAuthority));

    let (_, foreign) = stranger.issue(&named("device", &[]), &device);
    assert!(trust.verify(&[foreign, stranger.der()], NOW).is_err(), "an authority of the same name");
    assert_eq!(trust.verify(&[], NOW), Err(Unacceptable::Bad));
    assert_eq!(trust.verify(&[b"junk".to_vec()], NOW), Err(Unacceptable::Bad));
}

#[test]
fn dates_count_unless_they_are_to_be_ignored() {
    let scratch = Scratch::new();
    let root = Authority::new("Root");
    let device = key(&PKCS_ECDSA_P256_SHA256);
    let (_, expired) = root.issue(&years(named("device", &[]), 2020, 2021), &device);
    let (_, early) = root.issue(&years(named("device", &[]), 2040, 2041), &device);
    let (strict, lenient) = (trust(&scratch, &root.pem(), false), trust(&scratch, &root.pem(), true));
    for certificate in [expired, early] {
        let chain = [certificate];
        assert_eq!(strict.verify(&chain, NOW), Err(Unacceptable::Expired));
        assert_eq!(strict.check_stored(&chain[0], NOW), Err(Unacceptable::Expired));
        assert!(lenient.verify(&chain, NOW).is_ok());
        assert_eq!(lenient.check_stored(&chain[0], NOW), Ok(()));
    }
}

#[test]
fn certificates_for_other_uses_and_keys_are_refused() {
    let scratch = Scratch::new();
    let root = Authority::new("Root");
    let trust = trust(&scratch, &root.pem(), false);
    let mut server = named("device", &[]);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let (_, server) = root.issue(&server, &key(&PKCS_ECDSA_P256_SHA256));
    assert_eq!(trust.verify(&[server], NOW), Err(Unacceptable::Bad));
    let (_, large) = root.issue(&named("device", &[]), &key(&PKCS_ECDSA_P384_SHA384));
    assert_eq!(trust.verify(&[large], NOW), Err(Unacceptable::Unsupported));
}

#[test]
fn without_authorities_no_chain_is_trusted() {
    let (root, device) = (Authority::new("Root"), key(&PKCS_ECDSA_P256_SHA256));
    let (_, certificate) = root.issue(&named("device", &[]), &device);
    let trust = load(&godwit::config::Security::default()).trust;
    assert!(trust.is_empty());
    assert_eq!(trust.verify(&[certificate.clone(), root.der()], NOW), Err(Unacceptable::UnknownAuthority));
    assert_eq!(trust.check_stored(&certificate, NOW), Ok(()));
}

#[test]
fn a_file_of_authorities_that_holds_none_is_a_fault() {
    let scratch = Scratch::new();
    let root = Authority::new("Root");
    let device = key(&PKCS_ECDSA_P256_SHA256);
    let (pem, _) = root.issue(&named("device", &[]), &device);
    for (content, problem) in [
        (format!("{}{pem}", root.pem()), Problem::NotAnAuthority(2)),
        (device.serialize_pem(), Problem::NoCertificate),
        (String::new(), Problem::NoCertificate),
    ] {
        let settings = godwit::config::Security {
            device_ca_file: Some(scratch.file("ca.pem", content)),
            ..Default::default()
        };
        let material = load(&settings);
        assert_eq!(material.faults[0].problem, problem);
        assert!(material.trust.is_empty());
    }
}
