use std::time::UNIX_EPOCH;

use serde_json::Value;

use super::*;

fn vectors() -> Vec<Value> {
    let text = include_str!("../../../node/dtls/tests/vectors/dtls.json");
    let mut file: Value = serde_json::from_str(text).unwrap();
    let vectors = file["vectors"].as_array_mut().unwrap();
    vectors.drain(..).filter(|vector| vector["datagrams"].is_array()).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    HEX.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn datagrams(vector: &Value) -> Vec<Datagram> {
    let of = |datagram: &Value| Datagram {
        at: UNIX_EPOCH,
        up: datagram["from"] == "client",
        client: ([127, 0, 0, 1], 50_000).into(),
        server: ([127, 0, 0, 1], 5684).into(),
        bytes: bytes(&datagram["hex"]),
    };
    vector["datagrams"].as_array().unwrap().iter().map(of).collect()
}

/// By the pre-shared key where there is one, and the master secret elsewhere.
fn checker(vector: &Value) -> Checker {
    let mut checker = Checker::new();
    match vector["psk_identity"].as_str() {
        Some(identity) => checker.psk(identity, &bytes(&vector["psk"])),
        None => {
            checker.logged.insert(bytes(&vector["client_random"]), bytes(&vector["master_secret"]));
            checker
        }
    }
}

fn protected(vector: &Value) -> Vec<&Value> {
    let records = vector["records"].as_array().unwrap();
    records.iter().filter(|record| record["epoch"] != 0).collect()
}

#[test]
fn every_record_of_the_published_handshakes_is_opened() {
    let vectors = vectors();
    assert!(vectors.len() >= 12);
    for vector in &vectors {
        let checker = checker(vector).read(&datagrams(vector));
        let expected = protected(vector);
        assert_eq!(checker.records().len(), expected.len(), "{}", vector["id"]);
        for (seen, expected) in checker.records().iter().zip(expected) {
            assert_eq!(seen.number, expected["seq"].as_u64().unwrap());
            assert_eq!(seen.content.as_ref().unwrap(), &bytes(&expected["plaintext"]), "{}", vector["id"]);
        }
        assert_eq!(checker.sessions().len(), 1);
        let agreed = &checker.sessions()[0];
        assert_eq!(agreed.extended_master_secret, vector["extended_master_secret"]);
        assert!(!agreed.resumed);
    }
}

#[test]
fn a_repeated_datagram_of_the_server_is_a_repeated_nonce_and_a_number_that_does_not_rise() {
    for vector in &vectors() {
        let mut datagrams = datagrams(vector);
        let last = datagrams.iter().rposition(|datagram| {
            !datagram.up && datagram.bytes.first().is_some_and(|content_type| [23, 25].contains(content_type))
        });
        let Some(last) = last else { continue };
        datagrams.push(datagrams[last].clone());
        for checker in [checker(vector), Checker::new()] {
            let checker = checker.read(&datagrams);
            assert_eq!(checker.problems().len(), 2, "{}: {:?}", vector["id"], checker.problems());
            assert!(checker.problems()[0].contains("repeats the nonce"));
        }
    }
}

#[test]
fn a_changed_record_of_the_server_is_told_of() {
    for vector in &vectors() {
        let mut datagrams = datagrams(vector);
        let last = datagrams.iter().rposition(|datagram| !datagram.up).unwrap();
        *datagrams[last].bytes.last_mut().unwrap() ^= 1;
        let checker = checker(vector).read(&datagrams);
        assert!(
            checker.problems().iter().any(|problem| problem.contains("no known key")),
            "{}",
            vector["id"]
        );
    }
}

#[test]
fn numbers_that_clients_would_drop_are_told_of() {
    let vectors = vectors();
    let vector = vectors.iter().find(|vector| vector["id"] == "rec-psk-ccm8").unwrap();
    for (number, wanted) in [(1_u64 << 40, "above what clients take"), (1 << 33, "a step")] {
        let mut datagrams = datagrams(vector);
        let last = datagrams.iter().rposition(|datagram| !datagram.up && datagram.bytes[0] == 23).unwrap();
        datagrams[last].bytes[5..11].copy_from_slice(&number.to_be_bytes()[2..]);
        // The number is authenticated, so this is seen without the keys alone.
        let checker = Checker::new().read(&datagrams);
        assert!(
            checker.problems().iter().any(|problem| problem.contains(wanted)),
            "{:?}",
            checker.problems()
        );
    }
}
