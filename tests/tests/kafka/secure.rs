//! TLS and SCRAM.

use std::{fs, path::Path};

use godwit_tests::{Authority, Kafka, Raw, Setup, pem, wait};

use crate::world::{scratch, send};

fn setup(kafka: &Kafka, ca: &Path, password: &Path) -> Setup {
    Setup::default()
        .set("sink.kind=kafka")
        .set(format!("sink.kafka.brokers={}", kafka.secure()))
        .set(format!("sink.kafka.ca_file={}", ca.display()))
        .set("sink.kafka.sasl_mechanism=scram-sha-512")
        .set("sink.kafka.username=app")
        .set(format!("sink.kafka.password_file={}", password.display()))
}

#[test]
fn a_node_authenticates_by_scram_over_tls() {
    let Some(kafka) = Kafka::start() else { return };
    let scratch = scratch("kafka-secure");
    let (password, other) = (scratch.join("password"), scratch.join("other.pem"));
    fs::write(&password, "secret\n").unwrap();
    fs::write(&other, pem("CERTIFICATE", Authority::new("Somebody").certificate())).unwrap();

    let node = setup(&kafka, &kafka.ca_file(), &password).start();
    let mut raw = Raw::new(node.coap());
    raw.register("ep=secure&lt=600&lwm2m=1.1&b=U", "</3/0>");
    assert_eq!(raw.call(send("value")).code(), "2.04");
    assert!(kafka.read("godwit.telemetry").iter().any(|record| record.key == "secure"));

    let wrong = setup(&kafka, &other, &password).start();
    wait("a complaint", || wrong.log().contains("sink.kafka.ca_file").then_some(()));
    fs::remove_dir_all(&scratch).unwrap();
}
