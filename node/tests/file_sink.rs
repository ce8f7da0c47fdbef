//! The file sink under what goes wrong: a killed process, a torn line, a full disk, full files.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{
    collections::HashSet,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

use godwit::{
    config,
    identity::{DeviceId, RegistrationId},
    telemetry::{
        Event, Identity, Orders, Origin, Record, Site, event,
        sink::{Completion, Completions, FileSink, Publication, Publish, Sink, SinkError, Ticket},
    },
};

const TICKET: Ticket = Ticket { shard: 0, key: 1, activation: 2, effect: 3 };
const CHILD: &str = "GODWIT_TEST_SINK_DIR";

/// Hands completions to a test.
struct Inbox(mpsc::Sender<(u16, Vec<Completion>)>);

impl Completions for Inbox {
    fn complete(&self, shard: u16, completions: Vec<Completion>) {
        // A test that has seen enough listens no longer.
        _ = self.0.send((shard, completions));
    }
}

fn settings(fsync: config::Fsync) -> config::FileSink {
    config::FileSink { rotate_size: 0, fsync, ..config::FileSink::default() }
}

fn open(dir: &Path, settings: &config::FileSink) -> (FileSink, mpsc::Receiver<(u16, Vec<Completion>)>) {
    let (sender, completions) = mpsc::channel();
    let sink = FileSink::open(dir, settings, 64 << 20, Arc::new(Inbox(sender))).unwrap();
    (sink, completions)
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

/// The numbers in a folder's files, in order. Every line must be a record, but for one that was cut short.
fn numbers(dir: &Path) -> (Vec<u32>, usize) {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
    files.sort();
    let mut broken = 0;
    let mut numbers = Vec::new();
    for line in files
        .iter()
        .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
    {
        match serde_json::from_str::<serde_json::Value>(&line) {
            Ok(record) => {
                numbers.push(u32::from_str_radix(&record["order"].as_str().unwrap()[12..], 16).unwrap());
            }
            Err(_) => broken += 1,
        }
    }
    (numbers, broken)
}

fn folder(name: &str) -> PathBuf {
    let dir =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("file_sink-{name}-{}", std::process::id()));
    _ = fs::remove_dir_all(&dir);
    dir
}

/// Runs the test `child` of this very binary in a process of its own.
fn spawn(dir: &Path, shell: &str) -> Child {
    let script = format!("{shell} exec \"$0\" --exact child --nocapture --test-threads 1");
    Command::new("sh")
        .args(["-c", &script])
        .arg(env::current_exe().unwrap())
        .env(CHILD, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test of its own: publishes until it is killed, and says which records were durable and which refused.
#[test]
fn child() {
    let Ok(dir) = env::var(CHILD) else { return };
    let (sink, _completions) = open(Path::new(&dir), &settings(config::Fsync::None));
    let mut out = std::io::stdout();
    for number in 0.. {
        let line = match sink.publish(&[record(number)], TICKET) {
            Publish::Durable => format!("durable {number}\n"),
            Publish::Refused(SinkError::NoSpace(_)) => format!("full {number}\n"),
            other => panic!("{other:?}"),
        };
        out.write_all(line.as_bytes()).unwrap();
    }
}

/// Sorts the lines of a child: numbers by word.
fn said(line: &str, word: &str) -> Option<u32> {
    line.strip_prefix(word)?.trim().parse().ok()
}

#[test]
fn what_was_durable_is_in_the_file_after_a_kill() {
    for round in 0..3 {
        let dir = folder(&format!("killed-{round}"));
        let mut writer = spawn(&dir, "");
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut durable: Vec<u32> = Vec::new();
        while durable.len() < 2000 + round * 1111 {
            durable.extend(said(&lines.next().unwrap(), "durable "));
        }
        writer.kill().unwrap();
        durable.extend(lines.filter_map(|line| said(&line, "durable ")));
        writer.wait().unwrap();
        let (written, broken) = numbers(&dir);
        let missing: Vec<_> = durable.iter().filter(|number| !written.contains(number)).collect();
        assert_eq!(missing, Vec::<&u32>::new(), "of {}", durable.len());
        assert!(written.is_sorted_by(|a, b| a < b) && broken <= 1, "each once, {broken} broken lines");
        // The first is said on a line of the test harness; the last may be killed between its write and its word.
        assert!(written.len() <= durable.len() + 2, "{} of {}", durable.len(), written.len());
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let dir = folder("full");
    // 64 blocks of 512 bytes; without the trap the signal would end the process.
    let mut writer = spawn(&dir, "trap '' XFSZ; ulimit -S -f 64;");
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut durable = Vec::new();
    let mut refused = HashSet::new();
    while refused.len() < 100 {
        let line = lines.next().unwrap();
        durable.extend(said(&line, "durable "));
        refused.extend(said(&line, "full "));
    }
    assert!(durable.len() > 10, "{} fitted", durable.len());
    let limit = Command::new("prlimit")
        .arg("--fsize=unlimited")
        .args(["--pid", &writer.id().to_string()])
        .status()
        .unwrap();
    assert!(limit.success());
    let before = durable.len();
    while durable.len() < before + 100 {
        let line = lines.next().unwrap();
        durable.extend(said(&line, "durable "));
        refused.extend(said(&line, "full "));
    }
    writer.kill().unwrap();
    durable.extend(lines.filter_map(|line| said(&line, "durable ")));
    writer.wait().unwrap();
    let (written, broken) = numbers(&dir);
    assert!(durable.iter().all(|number| written.contains(number)));
    assert!(written.iter().all(|number| !refused.contains(number)), "a refused record was kept");
    assert!(broken <= 1, "{broken} broken lines");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_torn_line_is_closed_at_the_next_start() {
    for torn in [&b"{\"half\":"[..], b"{\"whole but for its end\":1}"] {
        let dir = folder("torn");
        let (sink, _) = open(&dir, &settings(config::Fsync::None));
        assert_eq!(sink.publish(&[record(1)], TICKET), Publish::Durable);
        drop(sink);
        let path = dir.join("telemetry.ndjson");
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(torn).unwrap();
        let (sink, _) = open(&dir, &settings(config::Fsync::None));
        assert_eq!(sink.publish(&[record(2)], TICKET), Publish::Durable);
        let text = fs::read(&path).unwrap();
        let lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1], torn);
        assert!(lines[0].starts_with(b"{\"specversion\"") && lines[2].starts_with(b"{\"specversion\""));
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn full_files_are_left_behind_in_order_and_the_oldest_deleted() {
    for fsync in [config::Fsync::None, config::Fsync::Group] {
        let dir = folder(&format!("rotated-{fsync:?}"));
        let keep_all = config::FileSink { rotate_size: 2000, ..settings(fsync) };
        let (sink, _completions) = open(&dir, &keep_all);
        for number in 0..50 {
            assert!(!matches!(
                sink.publish(&[record(number), record(1000 + number)], TICKET),
                Publish::Refused(_)
            ));
        }
        assert!(sink.flush(Duration::from_secs(10)));
        drop(sink);
        let expected: Vec<u32> = (0..50).flat_map(|number| [number, 1000 + number]).collect();
        assert_eq!(numbers(&dir), (expected, 0));
        let sizes: Vec<_> =
            fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
        assert!(sizes.len() > 10 && sizes.iter().all(|size| *size <= 2000), "{sizes:?}");

        let (sink, _completions) = open(&dir, &config::FileSink { keep: 2, ..keep_all });
        for number in 50..60 {
            assert!(!matches!(sink.publish(&[record(number)], TICKET), Publish::Refused(_)));
        }
        assert!(sink.flush(Duration::from_secs(10)));
        let (left, broken) = numbers(&dir);
        assert!(left.is_sorted() && left.last() == Some(&59) && left.len() < 20 && broken == 0, "{left:?}");
        drop(sink);
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn what_a_turn_publishes_is_parted_by_full_files_only() {
    let dir = folder("turn");
    let turn = |numbers: std::ops::Range<u32>| {
        numbers
            .map(|number| Publication {
                records: vec![record(number), record(1000 + number)],
                ticket: Ticket { effect: number, ..TICKET },
            })
            .collect::<Vec<_>>()
    };
    let (sink, _) = open(&dir, &config::FileSink { rotate_size: 5000, ..settings(config::Fsync::None) });
    let mut ended = Vec::new();
    for turn in [turn(0..1), turn(1..40), Vec::new(), turn(40..50)] {
        sink.publish_turn(&turn, &mut |publication, publish| {
            assert_eq!(publish, Publish::Durable);
            ended.push(publication.ticket.effect);
        });
    }
    assert_eq!(ended, (0..50).collect::<Vec<_>>());
    let expected: Vec<u32> = (0..50).flat_map(|number| [number, 1000 + number]).collect();
    assert_eq!(numbers(&dir), (expected, 0));
    let sizes: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes.len() > 5 && sizes.iter().all(|size| *size <= 5000), "{sizes:?}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_record_larger_than_a_file_goes_into_one_of_its_own() {
    let dir = folder("large");
    let (sink, _) = open(&dir, &config::FileSink { rotate_size: 10, ..settings(config::Fsync::None) });
    for number in 0..3 {
        assert_eq!(sink.publish(&[record(number)], TICKET), Publish::Durable);
    }
    assert_eq!(numbers(&dir), (vec![0, 1, 2], 0));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 4, "three files and the lock");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_group_is_synced_once_and_completed_by_shard() {
    let dir = folder("group");
    let (sink, completions) = open(&dir, &settings(config::Fsync::Group));
    let ticket = |number: u32| Ticket { shard: (number % 2) as u16, key: 7, activation: 8, effect: number };
    for number in 0..1000 {
        assert_eq!(sink.publish(&[record(number)], ticket(number)), Publish::Pending);
    }
    let mut completed = 0;
    let mut batches = 0;
    let mut last = [None; 2];
    while completed < 1000 {
        let (shard, batch) = completions.recv_timeout(Duration::from_secs(30)).unwrap();
        batches += 1;
        completed += batch.len();
        for Completion { ticket, result } in batch {
            assert_eq!((ticket.shard, result), (shard, Ok(())));
            let before = last[usize::from(shard)].replace(ticket.effect);
            assert!(before < Some(ticket.effect), "in the order of the publishes");
        }
    }
    assert!(batches < 1000, "{batches} batches");
    assert_eq!(numbers(&dir), ((0..1000).collect(), 0));
    drop(sink);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_full_queue_refuses_and_takes_again() {
    let dir = folder("queue");
    let (sender, _completions) = mpsc::channel();
    let settings = settings(config::Fsync::Group);
    let sink = FileSink::open(&dir, &settings, 1000, Arc::new(Inbox(sender))).unwrap();
    let many: Vec<Record> = (0..100).map(record).collect();
    let refused = sink.publish(&many, TICKET);
    assert!(matches!(refused, Publish::Refused(SinkError::QueueFull { limit: 1000, .. })), "{refused:?}");
    assert_eq!(sink.publish(&[record(1)], TICKET), Publish::Pending);
    assert!(sink.flush(Duration::from_secs(10)));
    assert_eq!(numbers(&dir), (vec![1], 0));
    drop(sink);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn two_processes_never_share_a_folder() {
    let dir = folder("shared");
    let (_sink, _) = open(&dir, &settings(config::Fsync::None));
    let (sender, _) = mpsc::channel();
    let second = FileSink::open(&dir, &settings(config::Fsync::None), 0, Arc::new(Inbox(sender)));
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    fs::remove_dir_all(dir).unwrap();
}
