//! PKCS#12 as OpenSSL and Java write it, and Java's own format.

use godwit::config::Secret;
use godwit::keys::{Problem, load};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData};

use crate::scratch::{Authority, Scratch, key, named};

fn settings(scratch: &Scratch, store: &str, password: &str) -> godwit::config::Security {
    let mut security = godwit::config::Security::default();
    security.identity.keystore_file = Some(scratch.path(store));
    security.identity.keystore_password = Some(Secret::new(password.to_owned()));
    security
}

fn problems(settings: &godwit::config::Security) -> Vec<Problem> {
    load(settings).faults.into_iter().map(|fault| fault.problem).collect()
}

#[test]
fn what_openssl_exports_gives_key_and_chain() {
    let scratch = Scratch::new();
    let root = Authority::new("Root");
    let middle = root.intermediate("Middle");
    let pair = key(&PKCS_ECDSA_P256_SHA256);
    let (pem, der) = middle.issue(&named("server", &[]), &pair);
    scratch.file("key.pem", pair.serialize_pem());
    scratch.file("cert.pem", pem);
    scratch.file("others.pem", middle.pem());
    let export =
        "pkcs12 -export -inkey key.pem -in cert.pem -certfile others.pem -name server -passout pass:secret";
    if !scratch.run("openssl", &format!("{export} -out new.p12")) {
        return;
    }
    scratch.run(
        "openssl",
        &format!("{export} -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1 -out old.p12"),
    );
    for store in ["new.p12", "old.p12"] {
        let material = load(&settings(&scratch, store, "secret"));
        assert_eq!(material.faults, [], "{store}");
        let own = material.own.unwrap();
        assert_eq!(own.pair.spki(), pair.subject_public_key_info());
        assert_eq!(own.chain.unwrap().certificates, [der.clone(), middle.der()], "{store}");
        assert_eq!(problems(&settings(&scratch, store, "wrong")), [Problem::Password], "{store}");
        assert_eq!(problems(&settings(&scratch, store, "")), [Problem::Password], "{store}");
    }

    let mut by_file = settings(&scratch, "new.p12", "");
    by_file.identity.keystore_password = None;
    by_file.identity.keystore_password_file = Some(scratch.file("password", "secret\n"));
    assert_eq!(problems(&by_file), []);

    let mut alias = settings(&scratch, "new.p12", "secret");
    alias.identity.keystore_alias = Some("SERVER".to_owned());
    assert_eq!(problems(&alias), []);
    alias.identity.keystore_alias = Some("client".to_owned());
    assert_eq!(problems(&alias), [Problem::NoEntry(vec!["server".to_owned()])]);
}

#[test]
fn what_is_no_key_store_is_told_apart() {
    let scratch = Scratch::new();
    let pair = key(&PKCS_ECDSA_P256_SHA256);
    scratch.file("key.pem", pair.serialize_pem());
    scratch.file("empty.p12", "");
    for store in ["key.pem", "empty.p12"] {
        assert_eq!(problems(&settings(&scratch, store, "")), [Problem::NotPkcs12], "{store}");
    }
    scratch.file("ca.pem", Authority::new("CA").pem());
    if scratch.run("openssl", "pkcs12 -export -nokeys -in ca.pem -passout pass:secret -out trust.p12")
        && scratch.run("openssl", "genrsa -out rsa.pem 2048")
        && scratch.run("openssl", "req -x509 -key rsa.pem -subj /CN=rsa -out rsa-cert.pem")
        && scratch.run(
            "openssl",
            "pkcs12 -export -inkey rsa.pem -in rsa-cert.pem -passout pass:secret -out rsa.p12",
        )
    {
        assert_eq!(problems(&settings(&scratch, "trust.p12", "secret")), [Problem::NoEntry(Vec::new())]);
        assert_eq!(
            problems(&settings(&scratch, "rsa.p12", "secret")),
            [Problem::Algorithm("RSA".to_owned())]
        );
    }
}

#[test]
fn what_keytool_makes_loads_and_its_own_format_names_the_command() {
    let scratch = Scratch::new();
    let make = "-genkeypair -keyalg EC -groupname secp256r1 -dname CN=server -validity 30 -storepass secret -keypass secret";
    if !scratch.run("keytool", &format!("{make} -alias Server -storetype PKCS12 -keystore java.p12")) {
        return;
    }
    let material = load(&settings(&scratch, "java.p12", "secret"));
    assert_eq!(material.faults, []);
    assert_eq!(material.own.unwrap().chain.unwrap().subject, "CN=server");

    scratch.run("keytool", &format!("{make} -alias second -storetype PKCS12 -keystore java.p12"));
    let both = Problem::SeveralEntries(vec!["second".to_owned(), "server".to_owned()]);
    assert_eq!(problems(&settings(&scratch, "java.p12", "secret")), [both]);
    let mut second = settings(&scratch, "java.p12", "secret");
    second.identity.keystore_alias = Some("second".to_owned());
    assert_eq!(problems(&second), []);

    scratch.run("keytool", &format!("{make} -alias server -storetype JKS -keystore java.jks"));
    let jks = load(&settings(&scratch, "java.jks", "secret"));
    assert_eq!(jks.faults[0].problem, Problem::JavaKeystore);
    let said = jks.faults[0].to_string();
    let command = said.split('`').nth(1).unwrap();
    assert!(command.starts_with("keytool -importkeystore -srckeystore"), "{said}");
    let (program, arguments) = command.split_once(' ').unwrap();
    scratch.run(program, &format!("{arguments} -srcstorepass secret -deststorepass secret"));
    assert_eq!(problems(&settings(&scratch, "NEW.p12", "secret")), []);
}
