//! The Kafka sink and its spool, against the broker that librdkafka brings for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use godwit::{
    config::{AckAfter, Kafka, Secret, Spool},
    identity::{DeviceId, RegistrationId},
    telemetry::{
        Event, Identity, Orders, Origin, Record, Site, event,
        sink::{Completion, Completions, KafkaSink, Publish, Sink, SinkError, Ticket},
    },
};

/// Long, since it costs only where something fails.
const PATIENCE: Duration = Duration::from_secs(30);
const QUEUE: u64 = 1 << 20;

/// Hands completions to a test.
struct Inbox(mpsc::Sender<Completion>);

impl Completions for Inbox {
    fn complete(&self, _: u16, completions: Vec<Completion>) {
        for completion in completions {
            // A test that has seen enough listens no longer.
            _ = self.0.send(completion);
        }
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("kafka_sink-{name}-{}", std::process::id()));
        _ = fs::remove_dir_all(&dir);
        Folder(dir)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// A broker that answers after `delay`; `None`: nobody is there.
fn settings(ack_after: AckAfter, delay: Option<Duration>) -> Kafka {
    let mut settings = Kafka {
        brokers: vec!["127.0.0.1:1".to_owned()],
        ack_after,
        spool: Spool { budget: Duration::from_millis(50), limit: 16 << 10, ..Spool::default() },
        ..Kafka::default()
    };
    if let Some(delay) = delay {
        for (name, value) in [
            ("test.mock.num.brokers", "1".to_owned()),
            ("test.mock.broker.rtt", delay.as_millis().to_string()),
        ] {
            settings.settings.insert(name.to_owned(), Secret::new(value));
        }
    }
    settings
}

fn open(dir: &Path, settings: &Kafka) -> (KafkaSink, mpsc::Receiver<Completion>) {
    let (sender, completions) = mpsc::channel();
    (KafkaSink::open(settings, QUEUE, dir, Arc::new(Inbox(sender))).unwrap(), completions)
}

/// A record whose `order` has the number.
fn record(number: u32) -> Record {
    let origin = Origin {
        site: &Arc::new(Site::new("test", "node")),
        device: DeviceId::of("urn:test:1"),
        endpoint: &"urn:test:1".into(),
        profile: &"default".into(),
        registration: RegistrationId::parse("0123456789Ab"),
    };
    let mut orders = Orders::resume(godwit::telemetry::Order { term: 1, counter: number });
    event(&origin, Event::Awake, Identity::of(&[&number.to_be_bytes()]), 0, &mut orders, 1_767_225_600_000)
}

fn ticket(effect: u32) -> Ticket {
    Ticket { shard: 0, key: 1, activation: 2, effect }
}

fn wait_empty(sink: &KafkaSink) {
    const PAUSE: Duration = Duration::from_millis(5);
    let mut looks = PATIENCE.as_millis() / PAUSE.as_millis();
    while sink.spool().unwrap().records > 0 {
        looks = looks.checked_sub(1).unwrap_or_else(|| panic!("{:?} is left", sink.spool()));
        thread::sleep(PAUSE);
    }
}

#[test]
fn without_a_spool_the_brokers_report_ends_a_publish() {
    let folder = Folder::new("report");
    let (sink, ended) = open(&folder.0, &settings(AckAfter::Kafka, Some(Duration::ZERO)));
    assert_eq!(sink.publish(&[record(0), record(1)], ticket(7)), Publish::Pending);
    let completion = ended.recv_timeout(PATIENCE).unwrap();
    assert_eq!(completion, Completion { ticket: ticket(7), result: Ok(()) });
    assert!(sink.flush(PATIENCE));
    assert_eq!(sink.spool(), None);
    assert!(ended.try_recv().is_err(), "a ticket ends once");
}

#[test]
fn a_spool_ends_publishes_that_a_slow_broker_does_not() {
    let folder = Folder::new("slow");
    let (sink, ended) = open(&folder.0, &settings(AckAfter::Spool, Some(Duration::from_secs(2))));
    for number in 0..10 {
        assert_eq!(sink.publish(&[record(number)], ticket(number)), Publish::Pending);
        let completion = ended.recv_timeout(PATIENCE).unwrap();
        assert_eq!(completion, Completion { ticket: ticket(number), result: Ok(()) });
        assert!(sink.spool().unwrap().records > u64::from(number), "acknowledged by the spool");
    }
    wait_empty(&sink);
    assert!(ended.try_recv().is_err(), "a ticket ends once");
}

#[test]
fn a_full_spool_refuses_and_takes_again_when_it_has_room() {
    let folder = Folder::new("full");
    let (sink, ended) = open(&folder.0, &settings(AckAfter::Spool, Some(Duration::from_secs(2))));
    let mut taken = 0;
    let refused = loop {
        match sink.publish(&[record(taken)], ticket(taken)) {
            Publish::Refused(error) => break error,
            _ => assert_eq!(ended.recv_timeout(PATIENCE).unwrap().result, Ok(())),
        }
        taken += 1;
    };
    assert!(matches!(refused, SinkError::SpoolFull { limit, .. } if limit == 16 << 10), "{refused}");
    assert!(taken > 10 && sink.spool().unwrap().bytes <= 16 << 10);
    wait_empty(&sink);
    assert_eq!(sink.publish(&[record(taken)], ticket(taken)), Publish::Pending);
    assert_eq!(ended.recv_timeout(PATIENCE).unwrap().ticket, ticket(taken));
}

#[test]
fn a_spool_goes_on_after_a_restart() {
    let folder = Folder::new("restart");
    let (sink, ended) = open(&folder.0, &settings(AckAfter::Spool, None));
    for number in 0..10 {
        assert_eq!(sink.publish(&[record(number)], ticket(number)), Publish::Pending);
        assert_eq!(ended.recv_timeout(PATIENCE).unwrap().result, Ok(()));
    }
    drop(sink);

    // A node that would never send it does not start.
    let (sender, _) = mpsc::channel();
    let refused =
        KafkaSink::open(&settings(AckAfter::Kafka, None), QUEUE, &folder.0, Arc::new(Inbox(sender)));
    let reason = refused.err().expect("an error").to_string();
    assert!(reason.contains("10 records") && reason.contains("godwit spool drain"), "{reason}");

    let (sink, ended) = open(&folder.0, &settings(AckAfter::Spool, Some(Duration::from_millis(500))));
    assert_eq!(sink.publish(&[record(10)], ticket(10)), Publish::Pending);
    assert_eq!(ended.recv_timeout(PATIENCE).unwrap().result, Ok(()), "behind the others, in the spool");
    wait_empty(&sink);
    drop(sink);
    let (sink, _) = open(&folder.0, &settings(AckAfter::Kafka, Some(Duration::ZERO)));
    assert_eq!(sink.spool(), None, "an empty one stops nobody");
}

#[test]
fn a_node_that_stops_leaves_nothing_in_memory() {
    let folder = Folder::new("stop");
    let (sink, ended) = open(&folder.0, &settings(AckAfter::Spool, None));
    for number in 0..10 {
        assert_eq!(sink.publish(&[record(number)], ticket(number)), Publish::Pending);
    }
    assert!(sink.flush(PATIENCE));
    assert_eq!(sink.spool().unwrap().records, 10);
    let results: Vec<_> = ended.try_iter().map(|completion| completion.result).collect();
    assert_eq!(results, vec![Ok(()); 10]);
}
