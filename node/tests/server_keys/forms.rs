//! PEM, DER and digits; and everything that they may be instead.

use godwit::config::{Config, Mode, Modes, Secret};
use godwit::keys::{Problem, Security, load};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData};

use crate::scratch::{Authority, Scratch, config, files, key, named};

/// What stands in the way of this key and certificate.
fn problems(security: &godwit::config::Security) -> Vec<Problem> {
    load(security).faults.into_iter().map(|fault| fault.problem).collect()
}

/// The modes with these settings.
fn modes(config: &Config) -> String {
    Security::load(config).unwrap().offer.to_string()
}

#[test]
fn a_key_in_every_form_gives_the_same_public_half() {
    let scratch = Scratch::new();
    let key = key(&PKCS_ECDSA_P256_SHA256);
    scratch.file("pkcs8.pem", key.serialize_pem());
    scratch.file("pkcs8.der", key.serialize_der());
    scratch.file("pkcs8.hex", data_encoding::HEXUPPER.encode(&key.serialize_der()) + "\n");
    let mut forms = vec!["pkcs8.pem", "pkcs8.der", "pkcs8.hex"];
    if scratch.run("openssl", "ec -in pkcs8.pem -out sec1.pem")
        && scratch.run("openssl", "ec -in pkcs8.pem -outform DER -out sec1.der")
        && scratch.run("openssl", "ecparam -name prime256v1 -out params.pem")
    {
        // As `openssl ecparam -genkey` writes it: the parameters first.
        let both = [
            std::fs::read(scratch.path("params.pem")).unwrap(),
            std::fs::read(scratch.path("sec1.pem")).unwrap(),
        ];
        scratch.file("genkey.pem", both.concat());
        forms.extend(["sec1.pem", "sec1.der", "genkey.pem"]);
    }
    for form in forms {
        let settings = files(&scratch.path(form), None);
        let material = load(&settings);
        assert_eq!(material.faults, [], "{form}");
        assert_eq!(material.own.unwrap().pair.spki(), key.subject_public_key_info(), "{form}");
        assert_eq!(modes(&config(settings)), "no_sec, psk, rpk", "{form}");
    }
}

#[test]
fn coordinates_complete_a_bare_number_and_are_checked_against_a_whole_key() {
    let (key, other) = (key(&PKCS_ECDSA_P256_SHA256), key(&PKCS_ECDSA_P256_SHA256));
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let point = |key: &KeyPair| {
        let raw = key.public_key_raw();
        (Some(hex(&raw[1..33])), Some(hex(&raw[33..65])))
    };
    // The number stands at a fixed place in the PKCS#8 that ring writes.
    let number = hex(&key.serialize_der()[36..68]);
    let mut settings = godwit::config::Security::default();
    settings.identity.key = Some(Secret::new(number.clone()));
    assert_eq!(problems(&settings), [Problem::NoPublicHalf]);

    (settings.identity.public_x, settings.identity.public_y) = point(&key);
    assert_eq!(problems(&settings), []);
    assert_eq!(load(&settings).own.unwrap().pair.spki(), key.subject_public_key_info());

    (settings.identity.public_x, settings.identity.public_y) = point(&other);
    assert_eq!(problems(&settings), [Problem::Halves]);
    settings.identity.key = Some(Secret::new(key.serialize_pem()));
    assert_eq!(problems(&settings), [Problem::Halves]);
    assert_eq!(load(&settings).faults[0].setting, "security.identity.public_x");
}

#[test]
fn a_key_without_its_public_half_takes_it_from_the_certificate() {
    let scratch = Scratch::new();
    let authority = Authority::new("CA");
    let key = key(&PKCS_ECDSA_P256_SHA256);
    let certificate = scratch.file("cert.pem", authority.issue(&named("server", &[]), &key).0);
    let number = data_encoding::HEXLOWER.encode(&key.serialize_der()[36..68]);
    let settings = files(&scratch.file("key.hex", number), Some(&certificate));
    assert_eq!(problems(&settings), []);
    assert_eq!(modes(&config(settings)), "no_sec, psk, rpk, x509");
}

#[test]
fn a_chain_in_pem_and_one_certificate_in_der_both_serve_x509() {
    let scratch = Scratch::new();
    let root = Authority::new("Root");
    let middle = root.intermediate("Middle");
    let pair = key(&PKCS_ECDSA_P256_SHA256);
    let key_file = scratch.file("key.pem", pair.serialize_pem());
    let (pem, der) = middle.issue(&named("server", &["lwm2m.example"]), &pair);

    let chain = scratch.file("chain.pem", format!("{pem}{}{}", middle.pem(), root.pem()));
    let material = load(&files(&key_file, Some(&chain)));
    assert_eq!(material.faults, []);
    let loaded = material.own.unwrap().chain.unwrap();
    assert_eq!(loaded.certificates, [der.clone(), middle.der(), root.der()]);
    assert_eq!(loaded.subject, "CN=server");

    let single = scratch.file("cert.der", der);
    assert_eq!(modes(&config(files(&key_file, Some(&single)))), "no_sec, psk, rpk, x509");

    let reversed = scratch.file("reversed.pem", format!("{}{pem}", middle.pem()));
    assert_eq!(problems(&files(&key_file, Some(&reversed))), [Problem::ChainOrder(1)]);
}

#[test]
fn what_is_no_usable_key_is_told_apart() {
    let scratch = Scratch::new();
    let pair = key(&PKCS_ECDSA_P256_SHA256);
    let certificate = Authority::new("CA").pem();
    let curve = |name: &str| Problem::Curve(name.to_owned());
    let algorithm = |name: &str| Problem::Algorithm(name.to_owned());
    let mut cases = vec![
        (scratch.file("empty", ""), Problem::NotAKey(None)),
        (scratch.file("text", "no key at all"), Problem::NotAKey(None)),
        (scratch.file("cert.pem", &certificate), Problem::NotAKey(Some("a CERTIFICATE".to_owned()))),
        (scratch.file("cut.der", &pair.serialize_der()[..100]), Problem::NotAKey(None)),
        (scratch.file("p384.pem", key(&PKCS_ECDSA_P384_SHA384).serialize_pem()), curve("secp384r1")),
        (scratch.file("ed.pem", key(&PKCS_ED25519).serialize_pem()), algorithm("Ed25519")),
        (scratch.file("zero", "00".repeat(32)), Problem::NoPublicHalf),
        (scratch.file("large", "x".repeat((1 << 20) + 1)), Problem::TooLarge),
        (scratch.path("missing"), Problem::Unreadable(std::io::ErrorKind::NotFound)),
    ];
    scratch.file("key.pem", pair.serialize_pem());
    if scratch.run("openssl", "pkey -in key.pem -aes256 -passout pass:secret -out encrypted.pem")
        && scratch.run("openssl", "ec -in key.pem -aes256 -passout pass:secret -out legacy.pem")
        && scratch
            .run("openssl", "pkcs8 -topk8 -in key.pem -outform DER -passout pass:secret -out encrypted.der")
        && scratch.run("openssl", "genrsa -out rsa.pem 2048")
        && scratch.run("openssl", "genrsa -traditional -out rsa1.pem 2048")
        && scratch.run("openssl", "ecparam -name secp256k1 -genkey -noout -out k1.pem")
        && scratch
            .run("openssl", "ecparam -name prime256v1 -genkey -noout -param_enc explicit -out explicit.pem")
    {
        cases.extend([
            (scratch.path("encrypted.pem"), Problem::Encrypted),
            (scratch.path("legacy.pem"), Problem::Encrypted),
            (scratch.path("encrypted.der"), Problem::Encrypted),
            (scratch.path("rsa.pem"), algorithm("RSA")),
            (scratch.path("rsa1.pem"), algorithm("RSA")),
            (scratch.path("k1.pem"), curve("secp256k1")),
        ]);
        assert!(matches!(
            problems(&files(&scratch.path("explicit.pem"), None))[..],
            [Problem::Curve(_) | Problem::NotAKey(_)]
        ));
    }
    for (path, problem) in cases {
        let settings = files(&path, None);
        assert_eq!(problems(&settings), [problem], "{}", path.display());
        assert_eq!(modes(&config(settings)), "no_sec, psk", "{}", path.display());
    }
}

#[test]
fn a_certificate_that_does_not_serve_takes_x509_away_and_leaves_raw_keys() {
    let scratch = Scratch::new();
    let authority = Authority::new("CA");
    let (pair, other) = (key(&PKCS_ECDSA_P256_SHA256), key(&PKCS_ECDSA_P256_SHA256));
    let key_file = scratch.file("key.pem", pair.serialize_pem());
    let own = authority.issue(&named("server", &[]), &pair);
    let for_p384 = authority.issue(&named("server", &[]), &key(&PKCS_ECDSA_P384_SHA384)).0;
    for (name, content, problem) in [
        ("other.pem", authority.issue(&named("server", &[]), &other).0, Problem::OtherKey),
        ("p384.pem", for_p384, Problem::Curve("secp384r1".to_owned())),
        ("key.pem", pair.serialize_pem(), Problem::NoCertificate),
        ("broken.pem", own.0.replace("MII", "MIJ"), Problem::BadCertificate(1)),
        ("empty.pem", String::new(), Problem::NoCertificate),
    ] {
        let certificate = scratch.file(&format!("c-{name}"), content);
        let settings = files(&key_file, Some(&certificate));
        assert_eq!(problems(&settings), [problem], "{name}");
        assert_eq!(modes(&config(settings)), "no_sec, psk, rpk", "{name}");
    }
}

#[test]
fn every_fault_is_told_at_once_with_setting_file_and_fix() {
    let scratch = Scratch::new();
    let (key_file, cert_file) = (scratch.path("no-key"), scratch.file("cert.pem", "nothing"));
    let mut settings = files(&key_file, Some(&cert_file));
    settings.device_ca_file = Some(scratch.path("no-ca"));
    let said: Vec<_> = load(&settings).faults.iter().map(ToString::to_string).collect();
    let at = |name: &str| scratch.path(name).display().to_string();
    assert_eq!(
        said,
        [
            format!(
                "security.identity.cert_file: {}: holds no certificate; give it the chain in PEM, the server's own \
                 certificate first, or one certificate in DER",
                at("cert.pem")
            ),
            format!(
                "security.identity.key_file: {}: can't be read: entity not found; name a file that the node may read",
                at("no-key")
            ),
            format!(
                "security.device_ca_file: {}: can't be read: entity not found; name a file that the node may read",
                at("no-ca")
            ),
        ]
    );
}

#[test]
fn a_list_that_asks_for_what_cant_be_had_keeps_the_node_from_starting() {
    let scratch = Scratch::new();
    let mut config = config(files(&scratch.path("missing"), None));
    config.security.modes = Modes::Listed(vec![Mode::NoSec, Mode::Psk, Mode::Rpk]);
    let said = Security::load(&config).unwrap_err().to_string();
    assert!(
        said.contains("security.identity.key_file") && said.contains("no rpk, which security.modes lists"),
        "{said}"
    );

    let key = scratch.file("key.pem", key(&PKCS_ECDSA_P256_SHA256).serialize_pem());
    config.security.identity.key_file = Some(key);
    assert_eq!(modes(&config), "no_sec, psk, rpk");
    config.security.modes = Modes::Listed(vec![Mode::X509]);
    let said = Security::load(&config).unwrap_err().to_string();
    assert_eq!(
        said,
        "no x509, which security.modes lists: no certificate of the server's own; set security.identity.cert_file"
    );
}

#[test]
fn an_expired_certificate_of_the_servers_own_loads_with_a_warning() {
    let scratch = Scratch::new();
    let pair = key(&PKCS_ECDSA_P256_SHA256);
    let mut params = named("server", &[]);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let certificate = scratch.file("cert.pem", Authority::new("CA").issue(&params, &pair).0);
    let config = config(files(&scratch.file("key.pem", pair.serialize_pem()), Some(&certificate)));
    let said = godwit::keys::describe(&config, &Security::load(&config).unwrap());
    assert!(said.contains("coaps://[::]:5684  psk, rpk, x509"), "{said}");
    assert!(said.contains("warning: the server's own certificate expired"), "{said}");
}
