//! The examples of `docs/kafka.md` read what a node publishes.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use godwit_tests::{Kafka, Raw};

use crate::world::{scratch, send, setup};

const GUIDE: &str = include_str!("../../../docs/kafka.md");

/// How long an example may take for its first line: a Java compiler among other tests, and a consumer group.
const PATIENCE: Duration = Duration::from_secs(120);

/// The example in this language, with the broker in place of the one that it names.
fn example(language: &str, kafka: &Kafka) -> String {
    let (_, rest) = GUIDE.split_once(&format!("```{language}\n")).expect("an example");
    let (code, _) = rest.split_once("\n```").expect("its end");
    assert!(code.contains("kafka-1:9092"));
    code.replace("kafka-1:9092", &kafka.broker())
}

/// A running example.
struct Reader {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Reader {
    fn start(command: &mut Command, folder: &Path) -> Reader {
        let command = command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Reader { child, lines }
    }

    /// Waits for a line that has all of this.
    #[track_caller]
    fn finds(&self, wanted: &[&str]) {
        let mut read = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if wanted.iter().all(|part| line.contains(part)) {
                return;
            }
            read.push(line);
        }
        panic!("no line with {wanted:?}, only {read:?}");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_examples_of_the_guide_read_what_is_published() {
    let Some(kafka) = Kafka::start() else { return };
    let folder = scratch("kafka-guide");
    for (values, prefix) in [("json", "godwit."), ("protobuf", "packed.")] {
        let node = setup(&kafka)
            .set(format!("sink.kafka.values={values}"))
            .set(format!("sink.kafka.topic_prefix={prefix}"))
            .start();
        let mut raw = Raw::new(node.coap());
        raw.register("ep=guide&lt=600&lwm2m=1.1&b=U", "</3/0>");
        for value in ["first", "second"] {
            assert_eq!(raw.call(send(value)).code(), "2.04");
        }
    }

    let kcat = Reader::start(Command::new("sh").args(["-c", &example("sh", &kafka)]), &folder);
    kcat.finds(&["guide", "ce_type=dev.godwit.telemetry.v1", r#""manufacturer":"second""#]);

    fs::write(folder.join("Newest.java"), example("java", &kafka)).unwrap();
    let java = Reader::start(kafka.java().arg("Newest.java"), &folder);
    java.finds(&["guide manufacturer \"second\""]);

    fs::write(folder.join("godwit.bin"), godwit_proto::DESCRIPTORS).unwrap();
    for prefix in ["godwit.", "packed."] {
        let code = example("python", &kafka);
        let code = code.replace(
            "\"godwit.telemetry\", \"godwit.events\"",
            &format!("\"{prefix}telemetry\", \"{prefix}events\""),
        );
        let file = folder.join(format!("{prefix}py"));
        fs::write(&file, code.replace("group_id=\"everything\"", &format!("group_id=\"{prefix}\""))).unwrap();
        let python = Reader::start(Kafka::python().arg(&file), &folder);
        python.finds(&[&format!("{prefix}telemetry guide"), "second"]);
    }
    fs::remove_dir_all(&folder).unwrap();
}
