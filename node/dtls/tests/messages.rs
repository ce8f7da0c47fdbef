//! The handshake messages against recordings of OpenSSL, GnuTLS and Scandium, against other projects' test bytes, and
//! against bytes that are no messages.

mod util;

use godwit_dtls::{
    extension::{ClientExtensions, MaxFragmentLength},
    message::{
        CertificateRequest, CertificateType, CertificateVerify, Chain, ClientHello, ClientKeyExchange,
        Finished, Fragments, HelloPrefix, HelloVerifyRequest, MessageType, PskHint, RawPublicKey,
        ServerHello, ServerKeyExchange, Version,
    },
    wire::{Codes, Malformed},
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::Value;
use util::{hex, unhex, vectors};

/// What a body is read as in a handshake with this suite; and its bytes written again.
fn read_and_write(kind: MessageType, psk: bool, rpk: bool, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let fail = |error: Malformed| error.to_string();
    match kind {
        MessageType::CLIENT_HELLO => ClientHello::parse(body).map_err(fail)?.encode(&mut out),
        MessageType::SERVER_HELLO => ServerHello::parse(body).map_err(fail)?.encode(&mut out),
        MessageType::HELLO_VERIFY_REQUEST => HelloVerifyRequest::parse(body).map_err(fail)?.encode(&mut out),
        MessageType::CERTIFICATE if rpk => RawPublicKey::parse(body).map_err(fail)?.encode(&mut out),
        MessageType::CERTIFICATE => Chain::parse(body).map_err(fail)?.encode(&mut out),
        MessageType::SERVER_KEY_EXCHANGE if psk => PskHint::parse(body).map_err(fail)?.encode(&mut out),
        MessageType::SERVER_KEY_EXCHANGE => ServerKeyExchange::parse(body).map_err(fail)?.encode(&mut out),
        MessageType::CERTIFICATE_REQUEST => CertificateRequest::parse(body).map_err(fail)?.encode(&mut out),
        MessageType::CLIENT_KEY_EXCHANGE if psk => {
            ClientKeyExchange::parse_psk(body).map_err(fail)?.encode(&mut out);
        }
        MessageType::CLIENT_KEY_EXCHANGE => {
            ClientKeyExchange::parse_ecdhe(body).map_err(fail)?.encode(&mut out);
        }
        MessageType::CERTIFICATE_VERIFY => CertificateVerify::parse(body).map_err(fail)?.encode(&mut out),
        MessageType::FINISHED => Finished::parse(body).map_err(fail)?.encode(&mut out),
        _ => out.extend_from_slice(body),
    }
    Ok(out)
}

#[test]
fn every_message_of_the_recordings_is_read_and_written_again() {
    let mut kinds = std::collections::BTreeMap::<u8, usize>::new();
    for vector in vectors("handshake") {
        let psk = vector.suite.as_deref().unwrap().contains("_PSK_");
        let rpk = vector.id.contains("rpk");
        for sent in vector.messages() {
            let message = sent.message;
            let again = read_and_write(message.kind, psk, rpk, &message.body)
                .unwrap_or_else(|error| panic!("{}: {message:?}: {error}", vector.id));
            *kinds.entry(message.kind.0).or_default() += 1;
            match message.kind {
                // These hold extensions that are not kept: compare what is kept.
                MessageType::CLIENT_HELLO => {
                    assert_eq!(
                        ClientHello::parse(&again),
                        ClientHello::parse(&message.body),
                        "{}",
                        vector.id
                    );
                }
                MessageType::SERVER_HELLO => {
                    assert_eq!(
                        ServerHello::parse(&again),
                        ServerHello::parse(&message.body),
                        "{}",
                        vector.id
                    );
                }
                _ => assert_eq!(hex(&again), hex(&message.body), "{}: {message:?}", vector.id),
            }
        }
    }
    for kind in [1, 2, 3, 11, 12, 13, 14, 15, 16, 20] {
        assert!(kinds.contains_key(&kind), "no recording has {:?}", MessageType(kind));
    }
}

#[test]
fn the_recordings_negotiate_what_they_say() {
    let recordings = vectors("handshake");
    let hellos = |id: &str| {
        let vector = recordings.iter().find(|vector| vector.id == id).unwrap();
        let messages = vector.messages();
        let body =
            |kind| messages.iter().rev().find(|sent| sent.message.kind == kind).unwrap().message.body.clone();
        (body(MessageType::CLIENT_HELLO), body(MessageType::SERVER_HELLO))
    };

    let (client, server) = hellos("rec-ecdhe-ecdsa-ccm8-rpk");
    let (client, server) = (ClientHello::parse(&client).unwrap(), ServerHello::parse(&server).unwrap());
    assert_eq!(client.extensions.client_certificate_types, Some(&[2][..]));
    assert_eq!(server.extensions.client_certificate_type, Some(CertificateType::RawPublicKey));
    assert_eq!(server.extensions.server_certificate_type, Some(CertificateType::RawPublicKey));
    assert_eq!(client.extensions.max_fragment_length, None);
    assert!(client.extensions.supported_groups.unwrap().contains(23));
    assert_eq!(server.cipher_suite, 0xc0ae);

    let (client, server) = hellos("rec-psk-ccm8-cid-both");
    let (client, server) = (ClientHello::parse(&client).unwrap(), ServerHello::parse(&server).unwrap());
    assert_eq!(client.extensions.connection_id.unwrap().len(), 3);
    assert_eq!(server.extensions.connection_id.unwrap().len(), 8);
    assert_eq!(client.prefix.version, Version::DTLS_1_2);

    let (_, server) = hellos("rec-psk-cbc-sha256-etm");
    assert!(ServerHello::parse(&server).unwrap().extensions.encrypt_then_mac);
    let (client, server) = hellos("rec-psk-ccm8-gnutls-no-ems");
    assert!(!ClientHello::parse(&client).unwrap().extensions.extended_master_secret);
    assert!(!ServerHello::parse(&server).unwrap().extensions.extended_master_secret);
}

#[test]
fn the_messages_of_other_test_suites_are_read_as_they_say() {
    let mut count = 0;
    for vector in vectors("message") {
        let bytes = unhex(vector.hex.as_deref().unwrap());
        count += 1;
        if vector.expect.as_deref() == Some("refuse") {
            assert!(ServerKeyExchange::parse(&bytes).is_err(), "{}", vector.id);
            continue;
        }
        let fields = vector.fields.unwrap();
        let field = |name: &str| fields[name].as_str().map(unhex).unwrap();
        let codes = |name: &str| -> Vec<String> { serde_json::from_value(fields[name].clone()).unwrap() };
        let shown = |codes: Codes<'_>| codes.iter().map(|code| format!("{code:04x}")).collect::<Vec<_>>();
        match vector.id.strip_prefix("pion-").unwrap() {
            "client-hello" | "client-hello-session" => {
                let hello = ClientHello::parse(&bytes).unwrap();
                assert_eq!(hello.prefix.random[..], field("client_random"));
                assert_eq!(hello.prefix.session_id, field("session_id"));
                assert_eq!(hello.prefix.cookie, field("cookie"));
                assert_eq!(shown(hello.cipher_suites), codes("suites"));
                assert_eq!(hello.extensions.supported_groups.unwrap().iter().collect::<Vec<_>>(), [0x1d]);
            }
            "server-hello" | "server-hello-session" => {
                let hello = ServerHello::parse(&bytes).unwrap();
                assert_eq!(hello.random[..], field("server_random"));
                assert_eq!(hello.session_id, field("session_id"));
                assert_eq!(hello.cipher_suite, 0xc02b);
            }
            "hello-verify-request" => {
                let request = HelloVerifyRequest::parse(&bytes).unwrap();
                assert_eq!((request.version, request.cookie), (Version::DTLS_1_0, &field("cookie")[..]));
            }
            "server-key-exchange" => {
                let exchange = ServerKeyExchange::parse(&bytes).unwrap();
                assert_eq!(exchange.params.group, 0x1d);
                assert_eq!(exchange.params.point, field("public_key"));
                assert_eq!(exchange.signed.scheme, 0x0203);
                assert_eq!(exchange.signed.signature, field("signature"));
            }
            "client-key-exchange" => {
                let exchange = ClientKeyExchange::parse_ecdhe(&bytes).unwrap();
                assert_eq!(exchange, ClientKeyExchange::Ecdhe(&field("public_key")));
            }
            "certificate-request" => {
                let request = CertificateRequest::parse(&bytes).unwrap();
                assert_eq!(fields["types"], Value::from(request.types));
                assert_eq!(shown(request.schemes), codes("schemes"));
                assert_eq!(request.authorities, unhex("000474657374"));
            }
            "certificate-verify" => {
                let verify = CertificateVerify::parse(&bytes).unwrap();
                assert_eq!((verify.0.scheme, verify.0.signature), (0x0403, &field("signature")[..]));
            }
            "handshake" => {
                let fragment = Fragments::parse(&bytes).next().unwrap().unwrap();
                assert_eq!((fragment.kind, fragment.total, fragment.seq), (MessageType::CLIENT_HELLO, 41, 0));
                assert!(fragment.is_whole());
            }
            other => panic!("a vector that nothing reads: {other}"),
        }
    }
    assert_eq!(count, 16);
}

/// Bytes of all kinds, and of the recordings with a few changes: more often near something that parses.
fn hostile_bodies() -> impl Strategy<Value = Vec<u8>> {
    let seeds: Vec<Vec<u8>> =
        vectors("handshake").iter().flat_map(util::Vector::messages).map(|sent| sent.message.body).collect();
    let changed =
        (any::<prop::sample::Index>(), vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), 0..40_usize)
            .prop_map(move |(seed, changes, cut)| {
                let mut body = seed.get(&seeds).clone();
                for (at, value) in changes.iter().filter(|_| !body.is_empty()).collect::<Vec<_>>() {
                    let at = at.index(body.len());
                    body[at] = *value;
                }
                if cut < 10 {
                    body.truncate(body.len().saturating_sub(cut));
                } else if cut < 14 {
                    body.extend(std::iter::repeat_n(0, cut - 10));
                }
                body
            });
    prop_oneof![3 => changed, 1 => vec(any::<u8>(), 0..300)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_body_panics_a_parser_and_what_parses_is_written_the_same(body in hostile_bodies()) {
        let _ = HelloPrefix::parse(&body);
        let _ = Fragments::parse(&body).count();
        let kinds = [1, 2, 3, 11, 12, 13, 15, 16, 20];
        for kind in kinds.map(MessageType) {
            for flag in [false, true] {
                let Ok(again) = read_and_write(kind, flag, flag, &body) else { continue };
                if matches!(kind, MessageType::CLIENT_HELLO | MessageType::SERVER_HELLO) {
                    prop_assert_eq!(read_and_write(kind, flag, flag, &again), Ok(again.clone()));
                } else {
                    prop_assert_eq!(&again, &body);
                }
            }
        }
    }

    #[test]
    fn every_client_hello_is_read_as_it_was_written(
        random: [u8; 32],
        session_id in vec(any::<u8>(), 0..33),
        cookie in vec(any::<u8>(), 0..256),
        suites in vec(any::<[u8; 2]>(), 1..20),
        name in option::of(vec(any::<u8>(), 1..80)),
        length in option::of(1..5_u8),
        groups in option::of(vec(any::<[u8; 2]>(), 1..9)),
        types in option::of(vec(any::<u8>(), 1..4)),
        connection_id in option::of(vec(any::<u8>(), 0..256)),
        flags: [bool; 2],
    ) {
        let suites = suites.concat();
        let groups = groups.map(|groups| groups.concat());
        let hello = ClientHello {
            prefix: HelloPrefix {
                version: Version::DTLS_1_2,
                random: &random,
                session_id: &session_id,
                cookie: &cookie,
            },
            cipher_suites: Codes::new(&suites).unwrap(),
            extensions: ClientExtensions {
                server_name: name.as_deref(),
                max_fragment_length: length.and_then(MaxFragmentLength::from_code),
                supported_groups: groups.as_deref().map(|groups| Codes::new(groups).unwrap()),
                ec_point_formats: types.as_deref(),
                signature_algorithms: groups.as_deref().map(|groups| Codes::new(groups).unwrap()),
                client_certificate_types: types.as_deref(),
                server_certificate_types: types.as_deref(),
                encrypt_then_mac: flags[0],
                extended_master_secret: flags[1],
                connection_id: connection_id.as_deref(),
                renegotiation_info: connection_id.as_deref(),
            },
        };
        let mut body = Vec::new();
        hello.encode(&mut body);
        prop_assert_eq!(ClientHello::parse(&body), Ok(hello));
    }
}
