//! A fleet that notifies without end while something happens to its cluster, and what the journal, the nodes' records and a
//! checker with the keys say of it afterwards.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use godwit_proto::v1::{Credential, Device, credential};
use godwit_tests::{
    Checker, Cluster, ClusterLoad, Datagram, Exchange, Journal, Load, Node, Scale, Seen, Setup, Stalls,
    percentile, report, wait,
};
use serde_json::Value;

const KEY: &str = "00112233445566778899aabbccddeeff";

/// Limits that a fleet behind one address needs.
pub(crate) fn setup() -> Setup {
    Setup::default().set("limits.handshakes_per_prefix=1000")
}

/// A fleet under way.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) size: ClusterLoad,
    name: &'static str,
    /// Until it is stopped.
    load: Option<Load>,
    journal: Journal,
    scratch: PathBuf,
    stalls: Stalls,
    /// When all were registered.
    began: SystemTime,
    /// When it was broken, and when it was mended.
    marks: [Option<SystemTime>; 2],
    /// The node that was broken, if it was one.
    victim: Option<SocketAddr>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Found {
    name: &'static str,
    pub(crate) size: ClusterLoad,
    /// By `godwit-load check`.
    pub(crate) journal: Value,
    /// The tool's notifications.
    pub(crate) notify: Value,
    pub(crate) registered_again: u64,
    pub(crate) checker: Checker,
    pub(crate) exchanges: Vec<Exchange>,
    stalls: Vec<(SystemTime, SystemTime)>,
    began: SystemTime,
    marks: [Option<SystemTime>; 2],
    victim: Option<SocketAddr>,
    presented: f64,
    claims: f64,
}

impl Fleet {
    /// Declares the devices at node 0, has them register through the balancer, and lets them notify for a while.
    pub(crate) fn start(cluster: &Cluster, name: &'static str) -> Fleet {
        Fleet::sized(cluster, name, Scale::from_environment().cluster)
    }

    pub(crate) fn sized(cluster: &Cluster, name: &'static str, size: ClusterLoad) -> Fleet {
        let scratch = std::env::temp_dir().join(format!("godwit-cluster-{name}-{}", std::process::id()));
        fs::create_dir_all(&scratch).unwrap();
        let declared = (0..size.devices).map(|number| {
            let secret = Some(credential::psk::Secret::Hex(KEY.into()));
            let psk = credential::Psk { identity: format!("fleet-{number:05}"), secret };
            let credential = Some(Credential { psk: Some(psk), ..Credential::default() });
            let endpoint = format!("fleet-{number:05}");
            Device { endpoint, profile: "demo".into(), credential, ..Device::default() }
        });
        cluster.nodes[0].admin().create_devices(declared.collect());
        let file = |what: &str| scratch.join(what).display().to_string();
        let arguments = [
            "run".to_owned(),
            "--quiet".into(),
            format!("--server={}", cluster.secure.address()),
            format!("--devices={}", size.devices),
            "--endpoint=fleet-{:05}".into(),
            "--dtls=psk".into(),
            "--identity={}".into(),
            format!("--psk={KEY}"),
            "--cid=8".into(),
            format!("--key-log={}", file("keys")),
            format!("--register-rate={}/s", (size.devices / 20).max(100)),
            format!("--notify-rate={}/s", size.rate),
            // Until it is asked to end.
            "--duration=3600s".into(),
            format!("--journal={}", file("journal")),
            format!("--json={}", file("run")),
        ];
        let mut load = Load::start(&arguments);
        let registered = || cluster.nodes[0].metric("godwit_registrations");
        while registered() < f64::from(size.devices) {
            let before = registered();
            wait("progress of the fleet's registration", || {
                assert!(load.runs(), "the load tool ended early");
                (registered() > before).then_some(())
            });
        }
        let journal = Journal::open(&scratch.join("journal"));
        let mut fleet = Fleet {
            size,
            name,
            load: Some(load),
            journal,
            scratch,
            stalls: Stalls::watch(),
            began: SystemTime::now(),
            marks: [None; 2],
            victim: None,
        };
        fleet.calm();
        fleet
    }

    /// Waits for as many more acknowledged values as come in [`ClusterLoad::calm`].
    pub(crate) fn calm(&mut self) {
        let more = u64::from(self.size.rate) * self.size.calm.as_secs();
        self.more(more);
    }

    /// Waits for so many more.
    pub(crate) fn more(&mut self, values: u64) {
        let due = self.journal.values() + values;
        self.journal.reach(due, self.load.as_mut().expect("it runs"));
    }

    /// A file that is kept as long as the fleet.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Something is broken now.
    pub(crate) fn broken(&mut self) {
        self.marks[0] = Some(SystemTime::now());
    }

    /// This node is broken now.
    pub(crate) fn broken_at(&mut self, node: &Node) {
        self.victim = Some(node.coaps());
        self.broken();
    }

    /// It is mended now.
    pub(crate) fn mended(&mut self) {
        self.marks[1] = Some(SystemTime::now());
    }

    /// Prints when this was, to be held against the messages that were repeated.
    pub(crate) fn note(&self, what: &str) {
        let since = |mark: SystemTime| mark.elapsed().unwrap_or_default().as_secs_f64();
        eprintln!("{:8.3} s: {what}", self.marks[0].map_or(0.0, since));
    }

    /// Stays broken for [`ClusterLoad::outage`].
    pub(crate) fn outage(&self) {
        thread::sleep(self.size.outage);
    }

    /// Ends the load.
    pub(crate) fn stop(&mut self) {
        if let Some(load) = self.load.take() {
            load.interrupt();
        }
    }

    /// Lets it notify on for a while if it still does, until each device was answered, and looks at everything.
    pub(crate) fn end(mut self, cluster: &Cluster) -> Found {
        if self.load.is_some() {
            self.calm();
        }
        if let Some(load) = &mut self.load {
            self.journal.reach_all(self.size.devices, load);
        }
        self.stop();
        let file = |what: &str| self.file(what).display().to_string();
        let mut arguments = vec!["check".to_owned(), format!("--journal={}", file("journal"))];
        let outputs = cluster.telemetry();
        arguments.extend(outputs.iter().map(|folder| format!("--output={}", folder.display())));
        let journal = Load::json(&arguments, Path::new(&file("check")));
        let run: Value = serde_json::from_str(&fs::read_to_string(file("run")).unwrap()).unwrap();
        let notify = run["actions"].as_array().unwrap().iter().find(|action| action["action"] == "notify");
        let datagrams = cluster.secure.datagrams();
        let checker = Checker::new().key_log(Path::new(&file("keys"))).read(&datagrams);
        let exchanges = checker.exchanges(&datagrams);
        if let Some(problem) = checker.problems().first() {
            print_session(problem, &checker, &datagrams);
        }
        fs::remove_dir_all(&self.scratch).unwrap();
        Found {
            name: self.name,
            size: self.size,
            notify: notify.unwrap().clone(),
            registered_again: run["registered_again"].as_u64().unwrap(),
            journal,
            checker,
            exchanges,
            stalls: self.stalls.seen(),
            began: self.began,
            marks: self.marks,
            victim: self.victim,
            presented: cluster.metric_sum("godwit_cluster_datagrams_total", "path=\"presented\""),
            claims: cluster.metric_sum("godwit_dtls_claims_total", ""),
        }
    }
}

/// Prints the records of the session in which a rule was broken: a failure is seldom seen twice.
fn print_session(problem: &str, checker: &Checker, datagrams: &[Datagram]) {
    let broken =
        problem.strip_prefix("datagram ").and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
    let Some(broken) = checker.records().iter().find(|record| Some(record.datagram) == broken) else {
        return;
    };
    eprintln!("{problem}; its session:");
    for Seen { datagram, up, number, content, .. } in
        checker.records().iter().filter(|record| record.session == broken.session)
    {
        let Datagram { at, server, .. } = &datagrams[*datagram];
        let at = at.duration_since(datagrams[0].at).unwrap_or_default().as_secs_f64();
        let head = content.as_deref().map(|content| &content[..content.len().min(4)]);
        let way = if *up { "to" } else { "from" };
        eprintln!("{at:9.3} s: datagram {datagram} {way} {server}, number {number}, {head:02x?}");
    }
}

impl Found {
    /// No handshake, no registration, no acknowledged value lost, no notification that was never acknowledged; no nonce used
    /// twice, numbers that rise.
    #[track_caller]
    pub(crate) fn assert_zeros(&self) {
        self.assert_served();
        self.checker.assert_clean();
    }

    /// The same, but numbers may go back: for a moment two nodes may hold themselves to be the owner.
    #[track_caller]
    pub(crate) fn assert_zeros_but_order(&self) {
        self.assert_served();
        let (_, worse) = self.problems();
        assert!(worse.is_empty(), "{}: {worse:?}", self.name);
    }

    /// Numbers that did not rise, and what else broke a rule.
    fn problems(&self) -> (Vec<&String>, Vec<&String>) {
        self.checker.problems().iter().partition(|problem| problem.contains("record number"))
    }

    #[track_caller]
    fn assert_served(&self) {
        assert_eq!(self.journal["faults"], serde_json::json!([]), "{}", self.name);
        let (opened, records) = self.checker.opened();
        assert_eq!(opened, records, "{}: each record is under known keys", self.name);
        let devices = self.size.devices;
        assert_eq!(self.sessions(), devices as usize, "{}: no session but each device's first", self.name);
        assert_eq!(self.journal["registrations"], devices, "{}: no device registered again", self.name);
        assert_eq!(self.registered_again, 0, "{}", self.name);
        assert_eq!(self.notify["timeouts"], 0, "{}: notifications came through in the end", self.name);
        assert_eq!(self.notify["resets"], 0, "{}: no observation was forgotten", self.name);
    }

    pub(crate) fn sessions(&self) -> usize {
        self.checker.sessions().len()
    }

    /// For each device, how long the first message that it began after the break waited for its answer. `of`: those alone
    /// whose last message before had gone to this node.
    fn first_answers(&self, of: Option<SocketAddr>) -> Vec<Duration> {
        let broken = self.marks[0].expect("it was broken");
        let (mut first, mut before) = (BTreeMap::<usize, &Exchange>::new(), BTreeMap::new());
        for exchange in &self.exchanges {
            if exchange.first < broken {
                before.insert(exchange.session, exchange.server);
            } else {
                first.entry(exchange.session).or_insert(exchange);
            }
        }
        if let Some(node) = of {
            first.retain(|session, _| before.get(session) == Some(&node));
        }
        first.values().filter_map(|exchange| exchange.took()).collect()
    }

    /// From when it was mended (or broken, where nothing is mended) to the last answer to a message that had to be repeated.
    fn recovery(&self) -> Duration {
        let mended = self.marks[1].or(self.marks[0]).expect("it was broken");
        let repeated = self.exchanges.iter().filter(|exchange| exchange.sent > 1);
        let last = repeated.filter_map(|exchange| exchange.answered).max();
        last.and_then(|last| last.duration_since(mended).ok()).unwrap_or_default()
    }

    /// Messages that were sent more than twice; without those in whose time the machine stood still, and the number of these.
    pub(crate) fn repeated_twice(&self) -> (usize, usize) {
        let stalled = |exchange: &&Exchange| {
            let end = exchange.answered.unwrap_or_else(SystemTime::now);
            self.stalls.iter().any(|(from, to)| *from <= end && *to >= exchange.first)
        };
        let repeated = self.exchanges.iter().filter(|exchange| exchange.sent > 2);
        let (stalled, rest): (Vec<_>, Vec<_>) = repeated.partition(stalled);
        (rest.len(), stalled.len())
    }

    /// Prints the first messages that were repeated: when they were sent first, after the break, where to, and how long they
    /// waited.
    fn print_repeated(&self) {
        let Some(broken) = self.marks[0] else { return };
        for exchange in self.exchanges.iter().filter(|exchange| exchange.sent > 1).take(100) {
            let Exchange { session, first, server, sent, .. } = exchange;
            let after = first.duration_since(broken).unwrap_or_default().as_secs_f64();
            eprintln!(
                "{after:8.3} s: session {session} to {server}, {sent} times, answered after {:?}",
                exchange.took()
            );
        }
    }

    /// Writes the report `docs/soak/cluster-<name>.md`.
    pub(crate) fn report(&self, title: &str, what: &str) {
        let ms = |span: Option<Duration>| {
            span.map_or("none".into(), |span| format!("{:.1} ms", span.as_secs_f64() * 1000.0))
        };
        let mut lines = String::new();
        let mut line = |what: &str, value: &dyn std::fmt::Display| {
            writeln!(lines, "| {what} | {value} |").unwrap();
        };
        let (opened, records) = self.checker.opened();
        line(&format!("sessions, of {} devices", self.size.devices), &self.sessions());
        line("registrations made", &self.journal["registrations"]);
        line("values acknowledged", &self.journal["acknowledged"]);
        line(
            "of them missing, out of order, or under two `ce_id`s",
            &self.journal["faults"].as_array().map_or(0, Vec::len),
        );
        line("records that repeat one under its own `ce_id`", &self.journal["duplicates"]);
        line("notifications sent again by devices", &self.notify["retransmissions"]);
        line("notifications never acknowledged", &self.notify["timeouts"]);
        line("protected records, all of them opened", &format!("{opened} of {records}"));
        let (order, worse) = self.problems();
        line("nonces used twice, and other breaches of DTLS", &worse.len());
        line("record numbers that did not rise", &order.len());
        line("datagrams that one node presented to another, since these nodes run", &self.presented);
        line("sessions that they claimed", &self.claims);
        let since = |exchange: &&Exchange| exchange.first >= self.began;
        let all: Vec<_> = self.exchanges.iter().filter(since).filter_map(Exchange::took).collect();
        let spans = |of: &[Duration]| {
            format!("{} / {} / {}", ms(percentile(of, 50)), ms(percentile(of, 99)), ms(percentile(of, 100)))
        };
        line("from a message to its answer, p50 / p99 / longest", &spans(&all));
        if self.marks[0].is_some() {
            line(
                "the same of each device's first message after the break",
                &spans(&self.first_answers(None)),
            );
            if self.victim.is_some() {
                let own = self.first_answers(self.victim);
                line(&format!("the same of the {} devices that were that node's", own.len()), &spans(&own));
            }
            line(
                "to the last answer to a repeated message, from the end of what was broken",
                &ms(Some(self.recovery())),
            );
        }
        self.print_repeated();
        let (repeated, stalled) = self.repeated_twice();
        line("messages sent more than twice", &repeated);
        line("more of them, while the machine stood still for 250 ms or longer", &stalled);
        let body = format!(
            "{devices} PSK devices with Connection IDs, confirmable notifications at {rate}/s through a load balancer, timers at \
             {percent} %. {what} The tool compares its journal with what the nodes published; a checker with the keys reads \
             every record.\n\n| | |\n|---|---|\n{lines}",
            devices = self.size.devices,
            rate = self.size.rate,
            percent = self.size.timers_percent,
        );
        report(&format!("cluster-{}", self.name), title, "make soak", &body);
    }
}
