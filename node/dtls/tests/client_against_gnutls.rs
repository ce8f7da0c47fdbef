//! The client against GnuTLS's server: raw public keys, which OpenSSL's doesn't speak here, and another opinion on the rest.

#![allow(clippy::unwrap_used, reason = "a test")]

mod peer;

use std::path::PathBuf;

use godwit_dtls::{
    certificate::PublicKey,
    client::{Client, Credential, Output, Settings, Trust},
    suite::CipherSuite::{self, *},
};
use peer::*;

/// Echoes lines.
fn serve(priority: &str, args: &[&str]) -> Option<Server> {
    Server::start("gnutls-serv", |port| {
        let (port, priority) = (port.to_string(), format!("NONE:+VERS-DTLS1.2:+COMP-NULL:{priority}"));
        let fixed = ["--udp", "--echo", "--quiet", "--noticket", "--port", &port, "--priority", &priority];
        fixed.iter().chain(args).map(ToString::to_string).collect()
    })
}

fn protection(suite: CipherSuite) -> &'static str {
    if suite.is_cbc() { "+AES-128-CBC:+SHA256" } else { "+AES-128-CCM-8:+AEAD" }
}

fn echo(peer: &mut Peer) {
    peer.say("hello GnuTLS\n");
    assert_eq!(peer.next(), Output::Application(b"hello GnuTLS\n".to_vec()));
}

fn raw_key_server(identity: &Identity, suite: CipherSuite) -> Option<Server> {
    let public = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("raw-server.pub");
    std::fs::write(&public, identity.key.public_key_pem()).unwrap();
    let priority = format!(
        "{}:+ECDHE-ECDSA:+SIGN-ECDSA-SHA256:+GROUP-SECP256R1:+CTYPE-CLI-RAWPK:+CTYPE-SRV-RAWPK",
        protection(suite)
    );
    let [public, key] = [&public, &identity.files[0]].map(|file| file.to_str().unwrap());
    serve(&priority, &["--rawpkfile", public, "--rawpkkeyfile", key, "--require-client-cert"])
}

#[test]
fn raw_keys_are_shown_and_checked_on_both_sides_and_their_sessions_resumed() {
    let (server_identity, ours) = (Identity::new("raw-server"), Identity::new("raw-client"));
    for suite in [EcdheEcdsaAes128Ccm8, EcdheEcdsaAes128Cbc] {
        let Some(server) = raw_key_server(&server_identity, suite) else { return };
        let trusted: PublicKey = server_identity.signing_key().public_key();
        let mut peer = Peer::new(&server, Settings { trust: Trust::Key(trusted), ..settings(suite) });
        let credential = Credential::RawPublicKey(ours.signing_key());
        assert_eq!(
            peer.start(credential.clone(), false),
            Output::Established { resumed: false },
            "{suite:?}"
        );
        echo(&mut peer);
        peer.act(Client::close);
        assert_eq!(peer.start(credential, true), Output::Established { resumed: true }, "{suite:?}");
        echo(&mut peer);
    }
}

#[test]
fn psk_suites_carry_data_with_every_extension_on_and_off() {
    let passwords = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gnutls.psk");
    // The identity in hex, as it has colons.
    let identity = data_encoding::HEXLOWER.encode(b"urn:dev:1");
    std::fs::write(&passwords, format!("#{identity}:{}\n", "a5".repeat(16))).unwrap();
    for (suite, on) in
        [(PskAes128Ccm8, true), (PskAes128Ccm8, false), (PskAes128Cbc, true), (PskAes128Cbc, false)]
    {
        let priority = format!("{}:+PSK:+SIGN-ALL:+GROUP-ALL", protection(suite));
        let Some(server) = serve(&priority, &["--pskpasswd", passwords.to_str().unwrap()]) else { return };
        let settings = Settings { extended_master_secret: on, encrypt_then_mac: on, ..settings(suite) };
        let mut peer = Peer::new(&server, settings);
        assert_eq!(peer.start(psk(), false), Output::Established { resumed: false }, "{suite:?} {on}");
        echo(&mut peer);
    }
}
