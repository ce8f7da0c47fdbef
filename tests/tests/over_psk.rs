//! Scenarios of the Leshan client again (1 to 3, 6, 8 to 18, 28), over DTLS with pre-shared keys: in a binary of this name
//! `Leshan::start` gives each device a key.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "observation.rs"]
mod observation;
#[path = "operations.rs"]
mod operations;
#[path = "registration.rs"]
mod registration;

/// So that the scenarios do not run over plain CoAP again if this file is renamed.
#[test]
fn clients_of_this_binary_speak_dtls() {
    let Some(leshan) = godwit_tests::Leshan::shared() else { return };
    let node = godwit_tests::Node::start();
    let mut client = leshan.start(&node, "secured", &[]);
    assert_eq!(client.event("handshake")["suite"], "TLS_PSK_WITH_AES_128_CCM_8");
    client.registered();
}
