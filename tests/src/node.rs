//! A `godwit serve` process.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::Duration,
};

use crate::{Admin, Redis, Sink, binary, wait};

/// What a node is started with, besides its own loopback address and folder.
#[derive(Debug, Clone)]
pub struct Setup {
    /// `--set` arguments.
    pub set: Vec<String>,
    /// `GODWIT_FAILPOINT`.
    pub failpoint: Option<String>,
    /// The wall clock obeys [`Node::set_clock`], by libfaketime.
    pub clock: bool,
}

impl Default for Setup {
    /// Every endpoint may register, under the profile `default`; a device's silence is noticed soon.
    fn default() -> Setup {
        Setup { set: vec!["registration.auto_create=default".into()], failpoint: None, clock: false }
    }
}

impl Setup {
    /// With this setting, "section.key=value", as well.
    pub fn set(mut self, setting: impl Into<String>) -> Setup {
        self.set.push(setting.into());
        self
    }

    /// Keeps everything in this Redis, which several nodes may share.
    pub fn redis(self, redis: &Redis) -> Setup {
        let key = |byte: u8| format!("{byte:02x}").repeat(32);
        self.set("store.kind=redis")
            .set("store.allow_empty=true")
            .set(format!("store.redis.addresses=[\"{}\"]", redis.address()))
            .set(format!("store.seal_key={}", key(1)))
            .set(format!("cluster.secret={}", key(2)))
    }

    /// Aborts at this fault point, "store.before_commit:register".
    pub fn failpoint(mut self, point: &str) -> Setup {
        self.failpoint = Some(point.into());
        self
    }

    /// With a wall clock that a test may step; the package `faketime` must be there.
    pub fn clock(mut self) -> Setup {
        self.clock = true;
        self
    }

    /// Starts a node with a fresh folder, and waits until it is ready.
    pub fn start(self) -> Node {
        let node = self.begin();
        node.wait_ready();
        node
    }

    /// The same without waiting.
    pub fn begin(self) -> Node {
        Node::with(self)
    }
}

/// A running node on a loopback address of its own, so that its ports are free. It is killed and its folder removed
/// when this is dropped; a test that fails gets its log printed.
#[derive(Debug)]
pub struct Node {
    setup: Setup,
    address: Ipv4Addr,
    folder: PathBuf,
    child: Child,
}

impl Node {
    /// A node with the default setup.
    pub fn start() -> Node {
        Setup::default().start()
    }

    fn with(setup: Setup) -> Node {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let pid = std::process::id();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::new(127, 64 | (pid >> 8 & 63) as u8, pid as u8, count);
        let folder = std::env::temp_dir().join(format!("godwit-tests-{pid}-{count}"));
        let _ = fs::remove_dir_all(&folder);
        let _ = fs::remove_file(log_file(&folder));
        fs::create_dir_all(&folder).unwrap();
        let child = spawn(&setup, address, &folder);
        Node { setup, address, folder, child }
    }

    /// Where devices send to.
    pub fn coap(&self) -> SocketAddr {
        (self.address, 5683).into()
    }

    /// The same as a URI.
    pub fn uri(&self) -> String {
        format!("coap://{}", self.coap())
    }

    /// Where devices send to over DTLS.
    pub fn coaps(&self) -> SocketAddr {
        (self.address, 5684).into()
    }

    /// A client of the admin API, connected anew.
    pub fn admin(&self) -> Admin {
        Admin::connect(self.admin_address())
    }

    /// Where the admin API is.
    pub fn admin_address(&self) -> SocketAddr {
        (self.address, 5690).into()
    }

    /// Where the other nodes of a cluster reach it.
    pub fn peers(&self) -> SocketAddr {
        (self.address, 5691).into()
    }

    /// Reads what is published, from the first record on.
    pub fn sink(&self) -> Sink {
        Sink::new(self.folder.join("telemetry/telemetry.ndjson"))
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.folder
    }

    /// The folder that the file sink writes to.
    pub fn telemetry(&self) -> PathBuf {
        self.folder.join("telemetry")
    }

    /// The process that runs now, or ran last.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the node wrote to its log up to now, every line that it wrote before an answer that was seen among it.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(log_file(&self.folder)).unwrap()).into_owned()
    }

    /// The body of `GET path` on the health port, if it was answered with 200.
    pub fn http(&self, path: &str) -> Option<String> {
        self.answer(path).and_then(|(status, body)| (status == 200).then_some(body))
    }

    /// The status and body that `GET path` on the health port is answered with, if it is.
    pub fn answer(&self, path: &str) -> Option<(u16, String)> {
        let mut stream =
            TcpStream::connect_timeout(&(self.address, 9464).into(), Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// The value of a metric's line, "godwit_observations" or with its labels; 0 where there is none.
    pub fn metric(&self, line: &str) -> f64 {
        let metrics = self.http("/metrics").expect("metrics are served");
        let value = metrics.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The sum of a metric over the lines that have this label, `metric_sum("godwit_actors", "actor=\"endpoint\"")`, and
    /// over all its lines where the label is "".
    pub fn metric_sum(&self, name: &str, label: &str) -> f64 {
        let metrics = self.http("/metrics").expect("metrics are served");
        let of_name = metrics.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        let values = of_name.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        // Not `sum`, whose nothing is -0.
        values.fold(0.0, |sum, value| sum + value)
    }

    /// Whether this is what it sees of the store that it shares: "seen", "outage", "cut_off".
    pub fn sees(&self, state: &str) -> bool {
        self.metric(&format!("godwit_cluster_store{{state=\"{state}\"}}")) > 0.0
    }

    /// Waits until this is what it sees of the store, and it is ready, or not.
    #[track_caller]
    pub fn wait_sight(&self, state: &str, ready: bool) {
        wait(&format!("the node's sight of the store, {state}, and readiness, {ready}"), || {
            (self.http("/ready").is_some() == ready && self.sees(state)).then_some(())
        });
    }

    /// From now on its wall clock is off by this: "+4s", "-1h". Only with [`Setup::clock`].
    pub fn set_clock(&self, offset: &str) {
        assert!(self.setup.clock, "its clock is the machine's");
        let file = clock_file(&self.folder);
        // At once: the node reads the file each time that it asks for the time.
        fs::write(file.with_extension("new"), format!("{offset}\n")).unwrap();
        fs::rename(file.with_extension("new"), file).unwrap();
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has the process stand still (SIGSTOP) until [`Node::resume`].
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Asks the process to end, and waits for it.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait_end()
    }

    /// Waits until the process has ended by itself.
    pub fn wait_end(&mut self) -> ExitStatus {
        wait("the node's end", || self.child.try_wait().unwrap())
    }

    /// Starts again with the same folder and addresses, without a fault point. The process must have ended.
    pub fn restart(&mut self) {
        self.setup.failpoint = None;
        assert!(self.child.try_wait().unwrap().is_some(), "the node still runs");
        self.child = spawn(&self.setup, self.address, &self.folder);
        self.wait_ready();
    }

    /// The same, with one more setting.
    pub fn restart_with(&mut self, setting: impl Into<String>) {
        self.setup.set.push(setting.into());
        self.restart();
    }

    /// Runs another of the program's commands with its data directory and settings, to its end: its exit code and output.
    pub fn command(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(binary::godwit());
        command.args(arguments).arg("--data-dir").arg(&self.folder);
        self.setup.set.iter().for_each(|setting| {
            command.arg("--set").arg(setting);
        });
        let output = command.output().expect("the command runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().expect("it ended by itself"), String::from_utf8(text).unwrap())
    }

    fn signal(&self, signal: i32) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([format!("-{signal}"), pid]).status().unwrap();
        assert!(sent.success());
    }

    /// The counters that tell why something did not happen.
    fn counted(&self) -> String {
        let metrics = self.http("/metrics").unwrap_or_default();
        let tells = |line: &&str| {
            line.starts_with("godwit_")
                && ["dropped", "dtls", "mailbox", "retransmissions"].iter().any(|word| line.contains(word))
                && !line.contains("_bucket{")
                && !line.ends_with(" 0")
        };
        metrics.lines().filter(tells).collect::<Vec<_>>().join("\n")
    }

    fn wait_ready(&self) {
        wait("the node's readiness", || self.http("/ready"));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let counted = if thread::panicking() { self.counted() } else { String::new() };
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            // What CI keeps of a failure is short, and has to hold its message too.
            let (lines, records) = if std::env::var("CI").is_ok() { (12, 2) } else { (10_000, 20) };
            let log = self.log();
            eprintln!("--- log of the node at {}, its end ---\n{}", self.address, last(&log, lines));
            eprintln!("--- what it dropped, and its DTLS ---\n{counted}");
            let telemetry = fs::read_to_string(self.folder.join("telemetry/telemetry.ndjson"));
            eprintln!("--- its last records ---\n{}\n---", last(&telemetry.unwrap_or_default(), records));
        }
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_file(clock_file(&self.folder));
        let _ = fs::remove_file(log_file(&self.folder));
    }
}

/// The last lines of a text.
fn last(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn spawn(setup: &Setup, address: Ipv4Addr, folder: &Path) -> Child {
    let mut command = Command::new(binary::godwit());
    command.arg("serve").arg("--data-dir").arg(folder);
    let own = [
        format!("server.listen={address}:5683"),
        format!("server.listen_dtls={address}:5684"),
        format!("admin.listen={address}:5690"),
        format!("metrics.listen={address}:9464"),
        format!("cluster.listen={address}:5691"),
        "sink.kind=file".into(),
        "log.level=info,fjall=warn,lsm_tree=warn".into(),
    ];
    for setting in own.iter().chain(&setup.set) {
        command.arg("--set").arg(setting);
    }
    command
        .env("NO_COLOR", "1")
        .env_remove("GODWIT_FAILPOINT")
        .envs(setup.failpoint.iter().map(|point| ("GODWIT_FAILPOINT", point)));
    if setup.clock {
        let file = clock_file(folder);
        if !file.exists() {
            fs::write(&file, "+0s\n").unwrap();
        }
        command
            .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1")
            .env("FAKETIME_TIMESTAMP_FILE", file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    let log = fs::File::options().create(true).append(true).open(log_file(folder)).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().expect("the node starts")
}

/// Beside the data directory, which is the node's alone.
fn clock_file(folder: &Path) -> PathBuf {
    folder.with_extension("clock")
}

/// Beside it too.
fn log_file(folder: &Path) -> PathBuf {
    folder.with_extension("log")
}
