//! Nodes that publish to a broker, and what they all get.

use std::{collections::HashMap, fs, path::PathBuf};

use godwit_tests::{Kafka, KafkaMessage, Message, Setup};

/// A node's, with this broker.
pub(crate) fn setup(kafka: &Kafka) -> Setup {
    Setup::default().set("sink.kind=kafka").set(format!("sink.kafka.brokers={}", kafka.broker()))
}

/// A Send of the manufacturer's name.
pub(crate) fn send(name: &str) -> Message {
    let payload = format!(r#"[{{"n":"/3/0/0","vs":"{name}"}}]"#);
    Message::request("POST", "/dp").format(110).payload(payload)
}

/// A folder of the test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("godwit-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A device's records lie in one partition, and those of one term in their order there. What is there twice, under one
/// `ce_id`, counts where it came first.
pub(crate) fn in_order_within_a_term(records: &[KafkaMessage]) {
    let (mut last, mut partition, mut seen) = (HashMap::new(), HashMap::new(), HashMap::new());
    for record in records {
        let (term, counter) = record.header("order").split_at(12);
        let home = *partition.entry(&record.key).or_insert(record.partition);
        assert_eq!(record.partition, home, "{} lies in two partitions", record.key);
        if seen.insert(record.header("ce_id"), ()).is_some() {
            continue;
        }
        if let Some(before) = last.insert((&record.key, term), counter) {
            assert!(before < counter, "{}: {counter} of term {term} comes after {before}", record.key);
        }
    }
}
