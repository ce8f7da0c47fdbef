//! Nodes that publish to a broker, and what they all get.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use godwit_tests::{Kafka, KafkaMessage, Load, Message, Node, Setup, wait};
use serde_json::Value;

/// A node's, with this broker.
pub(crate) fn setup(kafka: &Kafka) -> Setup {
    Setup::default().set("sink.kind=kafka").set(format!("sink.kafka.brokers={}", kafka.broker()))
}

/// A Send of the manufacturer's name.
pub(crate) fn send(name: &str) -> Message {
    let payload = format!(r#"[{{"n":"/3/0/0","vs":"{name}"}}]"#);
    Message::request("POST", "/dp").format(110).payload(payload)
}

/// Waits until nothing that the node acknowledged is on its disk alone.
pub(crate) fn wait_drained(node: &Node) {
    wait("an empty spool", || (node.metric("godwit_spool_records") == 0.0).then_some(()));
}

/// Writes what a consumer read to a file and has the load tool hold a journal against it: what it found.
pub(crate) fn check(folder: &Path, journal: &Path, records: &[KafkaMessage]) -> Value {
    let output = folder.join("output.ndjson");
    let mut file = BufWriter::new(File::create(&output).unwrap());
    records.iter().for_each(|record| writeln!(file, "{}", record.line()).unwrap());
    file.flush().unwrap();
    let arguments = [
        "check".to_owned(),
        format!("--journal={}", journal.display()),
        format!("--output={}", output.display()),
    ];
    Load::findings(&arguments, &folder.join("check.json"))
}

/// Whether a record came from a spool.
pub(crate) fn is_late(record: &KafkaMessage) -> bool {
    record.headers.iter().any(|(name, _)| name == "late")
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
