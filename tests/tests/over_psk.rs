//! Scenarios of the Leshan client again (1 to 3, 6, 8 to 18, 20, 28, and queue mode), over DTLS with pre-shared keys: in a
//! binary of this name `Leshan::start` and `Raw::device` give each device a key.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "blockwise.rs"]
mod blockwise;
#[path = "observation.rs"]
mod observation;
#[path = "operations.rs"]
mod operations;
#[path = "queue_mode.rs"]
mod queue_mode;
#[path = "registration.rs"]
mod registration;
#[path = "send.rs"]
mod send;

/// So that the scenarios do not run over plain CoAP again if this file is renamed.
#[test]
fn clients_of_this_binary_speak_dtls() {
    let Some(leshan) = godwit_tests::Leshan::shared() else { return };
    let node = godwit_tests::Node::start();
    let mut client = leshan.start(&node, "secured", &[]);
    assert_eq!(client.event("handshake")["suite"], "TLS_PSK_WITH_AES_128_CCM_8");
    client.registered();

    let raw = godwit_tests::Raw::device(&node, "scripted");
    assert!(raw.is_open() && !raw.server_cid().is_empty());
}
