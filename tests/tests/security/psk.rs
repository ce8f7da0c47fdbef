//! Pre-shared keys (scenario 21).

use godwit_tests::{Leshan, Node, Security, Setup, reason};

const KEY: &[u8] = &[0xa5; 16];

/// A node that creates no devices by itself.
fn node() -> Node {
    Setup { set: Vec::new(), ..Setup::default() }.start()
}

#[test]
fn a_device_with_its_key_registers_and_is_read() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = node();
    let (admin, mut sink) = (node.admin(), node.sink());
    admin.psk_device("meter", "default", "meter-identity", KEY);

    let psk = Security::psk("meter-identity", KEY);
    let mut client = leshan.start_secured(&node, "meter", &psk, &["lifetime=120"]);
    let handshake = client.event("handshake");
    assert_eq!(
        (&handshake["suite"], &handshake["resumed"]),
        (&"TLS_PSK_WITH_AES_128_CCM_8".into(), &false.into())
    );
    assert_eq!(handshake["write_cid"].as_str().map(str::len), Some(16), "a connection id of 8 bytes");
    let id = client.registered();
    assert_eq!(admin.registration("meter").unwrap().registration_id, id);
    sink.event("meter", "registered");
    assert_eq!(godwit_tests::value(&admin.read("meter", "/3/0/0").unwrap(), "/3/0/0"), manufacturer(&client));
    assert_eq!(node.metric_sum("godwit_dtls_handshakes_total", "mode=\"psk\",outcome=\"full\""), 1.0);
}

fn manufacturer(client: &godwit_tests::Client) -> godwit_proto::v1::value::Kind {
    godwit_proto::v1::value::Kind::String(client.value("/3/0/0").unwrap())
}

#[test]
fn every_suite_and_length_of_connection_id_serves() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = node();
    let admin = node.admin();
    for (at, (suite, cid)) in [
        ("TLS_PSK_WITH_AES_128_CCM_8", "-1"),
        ("TLS_PSK_WITH_AES_128_CCM_8", "0"),
        ("TLS_PSK_WITH_AES_128_CBC_SHA256", "-1"),
        ("TLS_PSK_WITH_AES_128_CBC_SHA256", "6"),
    ]
    .into_iter()
    .enumerate()
    {
        let endpoint = format!("suite-{at}");
        admin.psk_device(&endpoint, "default", &endpoint, KEY);
        let psk = Security::psk(&endpoint, KEY).with(format!("suites={suite}")).with(format!("cid={cid}"));
        let mut client = leshan.start_secured(&node, &endpoint, &psk, &[]);
        let handshake = client.event("handshake");
        assert_eq!(handshake["suite"], suite);
        assert_eq!(handshake["write_cid"].is_null(), cid == "-1", "{handshake}");
        client.registered();
        admin.observe(&endpoint, "/3303/0/5700").unwrap();
        client.set("/3303/0/5700", "22.5");
        node.sink().is(&endpoint, "/3303/0/5700", 22.5);
    }
}

#[test]
fn a_wrong_key_and_an_unknown_identity_end_alike() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = node();
    let admin = node.admin();
    admin.psk_device("known", "default", "known", KEY);
    let quick = ["retransmit=100"];
    let mut wrong = leshan.start_secured(&node, "known", &Security::psk("known", &[1; 16]), &quick);
    let mut unknown = leshan.start_secured(&node, "unknown", &Security::psk("unknown", KEY), &quick);
    let (first, second) = (wrong.event("handshake-failed"), unknown.event("handshake-failed"));
    assert_eq!(
        first["message"].as_str().unwrap().split(':').next(),
        second["message"].as_str().unwrap().split(':').next(),
        "an outsider can tell whether an identity exists"
    );
    assert_eq!(reason(&admin.registration("known").unwrap_err()), "NOT_REGISTERED");
    assert_eq!(node.metric_sum("godwit_dtls_handshakes_total", "outcome=\"full\""), 0.0);

    let mut good = leshan.start_secured(&node, "known", &Security::psk("known", KEY), &[]);
    good.registered();
}

#[test]
fn a_device_can_register_under_its_own_name_alone() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = node();
    let admin = node.admin();
    admin.psk_device("alice", "default", "alice", KEY);
    admin.psk_device("bob", "default", "bob", KEY);
    let mut client = leshan.start_secured(&node, "bob", &Security::psk("alice", KEY), &[]);
    assert_eq!(client.event("failed")["code"], "FORBIDDEN(403)");
    for endpoint in ["alice", "bob"] {
        assert_eq!(reason(&admin.registration(endpoint).unwrap_err()), "NOT_REGISTERED");
    }
}

#[test]
fn a_device_with_a_key_is_refused_on_the_plain_port() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = node();
    let (admin, mut sink) = (node.admin(), node.sink());
    admin.psk_device("secret", "default", "secret", KEY);
    let mut client = leshan.start(&node, "secret", &[]);
    assert_eq!(client.event("failed")["code"], "FORBIDDEN(403)");
    sink.event("secret", "refused");

    // Nor does it get there with a registration that it made where it may.
    let mut secured = leshan.start_secured(&node, "secret", &Security::psk("secret", KEY), &[]);
    secured.registered();
    let mut again = leshan.start(&node, "secret", &[]);
    assert_eq!(again.event("failed")["code"], "FORBIDDEN(403)");
    assert!(admin.registration("secret").is_ok());
}
#[test]
fn a_secret_that_is_rotated_stays_valid_until_the_new_one_is_used() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = node();
    let admin = node.admin();
    admin.psk_device("rotates", "default", "rotates", KEY);
    admin.rotate("rotates", &[2; 16]);
    let quick = ["retransmit=100"];
    leshan.start_secured(&node, "rotates", &Security::psk("rotates", KEY), &[]).registered();
    leshan.start_secured(&node, "rotates", &Security::psk("rotates", &[2; 16]), &[]).registered();
    let mut old = leshan.start_secured(&node, "rotates", &Security::psk("rotates", KEY), &quick);
    old.event("handshake-failed");
}
