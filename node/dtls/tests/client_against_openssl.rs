//! The client against OpenSSL's server, which knows nothing of us: every mode and suite that both speak.

#![allow(clippy::unwrap_used, reason = "a test")]

mod peer;

use godwit_dtls::{
    Secret,
    certificate::PublicKey,
    client::{Client, Credential, Failure, Output, Settings, Trust},
    extension::MaxFragmentLength,
    suite::CipherSuite::*,
};
use peer::*;

const CIPHERS: &str = "ALL:@SECLEVEL=0";

fn serve(args: &[&str]) -> Option<Server> {
    Server::start("openssl", |port| {
        let accept = format!("127.0.0.1:{port}");
        let fixed = ["s_server", "-dtls1_2", "-no_ticket", "-quiet", "-cipher", CIPHERS, "-accept", &accept];
        fixed.iter().chain(args).map(ToString::to_string).collect()
    })
}

fn psk_server(more: &[&str]) -> Option<Server> {
    let key = "a5".repeat(16);
    let mut args = vec!["-nocert", "-psk", &key];
    args.extend(more);
    serve(&args)
}

fn certificate_server(identity: &Identity, more: &[&str]) -> Option<Server> {
    let [key, certificate] = identity.files.each_ref().map(|file| file.to_str().unwrap());
    let mut args = vec!["-key", key, "-cert", certificate];
    args.extend(more);
    serve(&args)
}

#[test]
fn psk_suites_carry_data_both_ways() {
    for (suite, etm, ems) in [
        (PskAes128Ccm8, true, true),
        (PskAes128Ccm8, true, false),
        (PskAes128Cbc, true, true),
        (PskAes128Cbc, false, true),
    ] {
        let Some(mut server) = psk_server(&[]) else { return };
        let settings = Settings { encrypt_then_mac: etm, extended_master_secret: ems, ..settings(suite) };
        let mut peer = Peer::new(&server, settings);
        assert_eq!(peer.start(psk(), false), Output::Established { resumed: false }, "{suite:?} {etm}");
        let session = peer.client.session().unwrap();
        assert_eq!((session.suite(), session.has_extended_master_secret()), (suite, ems));
        peer.talk(&mut server);
    }
}

#[test]
fn a_server_with_cookies_is_answered() {
    let Some(mut server) = psk_server(&["-listen"]) else { return };
    let mut peer = Peer::new(&server, settings(PskAes128Ccm8));
    assert_eq!(peer.start(psk(), false), Output::Established { resumed: false });
    peer.talk(&mut server);
}

#[test]
fn a_closed_session_is_resumed_with_new_keys() {
    let Some(mut server) = psk_server(&[]) else { return };
    let mut peer = Peer::new(&server, settings(PskAes128Ccm8));
    assert_eq!(peer.start(psk(), false), Output::Established { resumed: false });
    peer.talk(&mut server);
    let first = peer.client.session().unwrap().clone();
    assert_eq!(first.session_id().len(), 32);
    peer.act(Client::close);
    assert_eq!(peer.start(psk(), true), Output::Established { resumed: true });
    let second = peer.client.session().unwrap();
    assert_eq!(second.session_id(), first.session_id());
    assert_ne!(second.key_log(), first.key_log());
    peer.talk(&mut server);
}

#[test]
fn a_wrong_key_and_a_silent_server_end_the_handshake() {
    let Some(server) = psk_server(&[]) else { return };
    let mut peer = Peer::new(&server, Settings { attempts: 3, ..settings(PskAes128Ccm8) });
    let wrong = Credential::Psk { identity: b"urn:dev:1".to_vec(), key: Secret::new([1; 16]) };
    // OpenSSL drops the record that it can't open, as RFC 6347 §4.1.2.7 asks.
    let Output::Closed(Some(Failure::Timeout | Failure::Alert(_))) = peer.start(wrong, false) else {
        panic!("a wrong key")
    };
    let mut peer = Peer::new(&server, Settings { attempts: 2, ..settings(PskAes128Ccm8) });
    peer.lose = |_| true;
    assert_eq!(peer.start(psk(), false), Output::Closed(Some(Failure::Timeout)));
}

#[test]
fn every_lost_datagram_of_a_handshake_is_made_good() {
    let losses: [fn(usize) -> bool; 8] = [
        |n| n == 1,
        |n| n == 2,
        |n| n == 3,
        |n| n == 4,
        |n| n == 5,
        |n| n == 6,
        |n| n % 3 == 0,
        |n| n % 5 < 2,
    ];
    for lose in losses {
        let Some(mut server) = psk_server(&["-listen"]) else { return };
        let mut peer = Peer::new(&server, settings(PskAes128Ccm8));
        peer.lose = lose;
        assert_eq!(peer.start(psk(), false), Output::Established { resumed: false });
        peer.lose = |_| false;
        peer.talk(&mut server);
    }
}

#[test]
fn certificates_are_shown_and_checked_with_every_ecdhe_suite() {
    let (server_identity, client_identity) = (Identity::new("suite-server"), Identity::new("suite-client"));
    for suite in [EcdheEcdsaAes128Ccm8, EcdheEcdsaAes128Gcm, EcdheEcdsaAes128Cbc] {
        for ask in [&["-Verify", "1", "-verify_quiet"][..], &[]] {
            let Some(mut server) = certificate_server(&server_identity, ask) else { return };
            let trust = Trust::Key(server_identity.signing_key().public_key());
            let mut peer = Peer::new(&server, Settings { trust, ..settings(suite) });
            let credential = client_identity.credential();
            assert_eq!(peer.start(credential, false), Output::Established { resumed: false }, "{suite:?}");
            peer.talk(&mut server);
        }
    }
}

#[test]
fn a_certificate_handshake_in_small_pieces_survives_loss_and_is_resumed() {
    let (server_identity, client_identity) = (Identity::new("cut-server"), Identity::new("cut-client"));
    let Some(mut server) =
        certificate_server(&server_identity, &["-Verify", "1", "-verify_quiet", "-mtu", "256"])
    else {
        return;
    };
    let settings = Settings {
        datagram: 200,
        max_fragment_length: Some(MaxFragmentLength::Bytes512),
        ..settings(EcdheEcdsaAes128Ccm8)
    };
    let mut peer = Peer::new(&server, settings);
    peer.lose = |n| n % 5 == 4;
    let credential = client_identity.credential();
    assert_eq!(peer.start(credential.clone(), false), Output::Established { resumed: false });
    assert_eq!(peer.client.session().unwrap().max_plaintext(), 512);
    peer.lose = |_| false;
    peer.talk(&mut server);
    peer.act(Client::close);
    assert_eq!(peer.start(credential, true), Output::Established { resumed: true });
    peer.talk(&mut server);
}

#[test]
fn another_servers_key_is_refused() {
    let (server_identity, other) = (Identity::new("real-server"), Identity::new("other-server"));
    let Some(server) = certificate_server(&server_identity, &[]) else { return };
    let trusted: PublicKey = other.signing_key().public_key();
    let settings = Settings { trust: Trust::Key(trusted), ..settings(EcdheEcdsaAes128Ccm8) };
    let mut peer = Peer::new(&server, settings);
    let refused = peer.start(other.credential(), false);
    assert_eq!(refused, Output::Closed(Some(Failure::Untrusted)));
}
