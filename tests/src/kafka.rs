//! Apache Kafka brokers of a test's own (KRaft, from Maven), and a consumer that somebody else wrote (kcat).

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::{Authority, PATIENCE, TcpProxy, binary::root, pem, skip, wait::wait_for};

/// Properties of a broker with rules of access, which users of its plain listener do not need to mind.
pub const AUTHORIZER: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
     super.users=User:ANONYMOUS\nallow.everyone.if.no.acl.found=true\n";

/// Topics have three replicas, of which two must have a record; one that is away is noticed soon.
const REPLICATED: &str =
    "default.replication.factor=3\nmin.insync.replicas=2\nreplica.lag.time.max.ms=3000\n";

/// Where a proxy listens, and what it passes to.
const PROXY: u16 = 9095;
const BEHIND_PROXY: u16 = 9094;

/// Running brokers, one or three, each on a loopback address of its own. They are killed and their folders removed when this is
/// dropped.
#[derive(Debug)]
pub struct Kafka {
    class_path: String,
    brokers: Vec<Broker>,
}

#[derive(Debug)]
struct Broker {
    address: Ipv4Addr,
    folder: PathBuf,
    child: Option<Child>,
}

/// One message as the consumer read it.
#[derive(Debug, Clone)]
pub struct Message {
    /// The partition it came from.
    pub partition: u64,
    /// Key.
    pub key: String,
    /// Headers, in their order.
    pub headers: Vec<(String, String)>,
    /// Value.
    pub payload: Value,
}

impl Kafka {
    /// A broker with no topics, which makes a topic of four partitions at its first record. `None`, with a word, where
    /// Java, Maven or kcat is missing.
    pub fn start() -> Option<Kafka> {
        Kafka::with("")
    }

    /// The same with more lines of `server.properties`.
    pub fn with(properties: &str) -> Option<Kafka> {
        Kafka::of(1, properties)
    }

    /// Three brokers, whose topics have three replicas, of which two must have a record (`min.insync.replicas`).
    pub fn three() -> Option<Kafka> {
        Kafka::of(3, REPLICATED)
    }

    fn of(count: u8, properties: &str) -> Option<Kafka> {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let there = |tool: &str, version: &str| Command::new(tool).arg(version).output().is_ok();
        if !there("java", "-version") || !there("mvn", "-version") || !there("kcat", "-V") {
            skip("Java, Maven or kcat, for Apache Kafka,");
            return None;
        }
        let class_path = build(&[]);

        let pid = std::process::id();
        let first = COUNT.fetch_add(count, Ordering::Relaxed);
        let address = |number| Ipv4Addr::new(127, 128 | (pid >> 8 & 63) as u8, pid as u8, number);
        let addresses: Vec<_> = (first..first + count).map(address).collect();
        let brokers = addresses.iter().enumerate().map(|(number, &address)| {
            let folder = std::env::temp_dir().join(format!("godwit-kafka-{address}"));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            let properties = server_properties(&addresses, number, &folder, properties);
            fs::write(folder.join("server.properties"), properties).unwrap();
            let authority = Authority::new("Kafka");
            let broker = authority.issue(&address.to_string());
            fs::write(folder.join("ca.pem"), pem("CERTIFICATE", authority.certificate())).unwrap();
            fs::write(folder.join("broker.pem"), broker.key_pem() + &broker.chain_pem()).unwrap();
            let formatted = java(&class_path, &folder)
                .args(["kafka.tools.StorageTool", "format", "-t", "Z29kd2l0LXRlc3RzLWthZg", "-c"])
                .arg(folder.join("server.properties"))
                .args(["--add-scram", "SCRAM-SHA-512=[name=app,password=secret]"])
                .output()
                .expect("java runs");
            assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
            let child = Some(launch(&class_path, &folder));
            Broker { address, folder, child }
        });
        let brokers = brokers.collect();
        let kafka = Kafka { class_path, brokers };
        kafka.wait_ready();
        Some(kafka)
    }

    /// `host:port` of their plain listeners, as a list for `sink.kafka.brokers`.
    pub fn list(&self) -> String {
        let quoted: Vec<_> = self.addresses().map(|address| format!("\"{address}:9092\"")).collect();
        format!("[{}]", quoted.join(","))
    }

    /// `host:port` of their plain listeners, parted by commas.
    pub fn broker(&self) -> String {
        let all: Vec<_> = self.addresses().map(|address| format!("{address}:9092")).collect();
        all.join(",")
    }

    fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.brokers.iter().map(|broker| broker.address)
    }

    /// Of the first broker.
    fn address(&self) -> Ipv4Addr {
        self.brokers[0].address
    }

    /// Of the first broker.
    fn folder(&self) -> &Path {
        &self.brokers[0].folder
    }

    /// `host:port` of the first one's listener behind [`proxy`](Self::proxy), by which its clients come to it again and again.
    pub fn proxied(&self) -> String {
        format!("{}:{PROXY}", self.address())
    }

    /// Opens the way to [`proxied`](Self::proxied).
    pub fn proxy(&self) -> TcpProxy {
        TcpProxy::new((self.address(), PROXY).into(), (self.address(), BEHIND_PROXY).into())
    }

    /// `host:port` of the first one's listener for users `app` and `reader`, password "secret", by SASL PLAIN without TLS.
    pub fn sasl(&self) -> String {
        format!("{}:9096", self.address())
    }

    /// The first messages of a topic as the Java client and the Python client read them, each as a group; sorted.
    pub fn read_elsewhere(&self, topic: &str, count: usize) -> [Vec<Foreign>; 2] {
        let mut by_java = java(&self.class_path, self.folder());
        by_java.arg(root().join("tests/kafka/Consume.java"));
        [by_java, python()].map(|consumer| self.consume(consumer, topic, count, None))
    }

    /// The same by the Python client alone, which decodes Protobuf values with these descriptors and shows them as JSON.
    pub fn read_decoded(&self, topic: &str, count: usize, descriptors: &[u8]) -> Vec<Foreign> {
        let file = self.folder().join("descriptors.bin");
        fs::write(&file, descriptors).unwrap();
        self.consume(python(), topic, count, Some(&file))
    }

    fn consume(&self, mut by: Command, topic: &str, count: usize, more: Option<&Path>) -> Vec<Foreign> {
        by.args([&self.broker(), topic, &count.to_string()]).args(more);
        let output = by.output().expect("the consumer runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("base64");
        let mut messages: Vec<_> = text.lines().map(Foreign::parse).collect();
        messages.sort();
        messages
    }

    /// `java` with Kafka's jars, for a program of one file.
    pub fn java(&self) -> Command {
        java(&self.class_path, self.folder())
    }

    /// `python` with the client from its registry, and Protobuf.
    pub fn python() -> Command {
        Command::new(build(&["python"]))
    }

    /// Makes a topic, where topics are not made at their first record.
    pub fn create(&self, topic: &str) {
        self.run("CreateTopic.java", &[topic]);
    }

    /// A topic's partitions, replicas and retention, as lines of `name=value`; `None` where there is no such topic.
    pub fn describe(&self, topic: &str) -> Option<Vec<String>> {
        let said = self.run("DescribeTopic.java", &[topic]);
        (!said.is_empty()).then(|| said.lines().map(str::to_owned).collect())
    }

    /// Forbids a user to write to a topic; the broker must have been started with [`AUTHORIZER`].
    pub fn deny(&self, user: &str, topic: &str) {
        self.run("Deny.java", &[topic, user]);
    }

    /// Runs a program of one file, and gives what it prints: Kafka's own tools are in another artifact.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut java = java(&self.class_path, self.folder());
        java.arg(root().join("tests/kafka").join(program)).arg(self.broker()).args(arguments);
        let done = java.output().expect("java runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("a text")
    }

    /// `host:port` of the first one's listener for the user `app`, password "secret", by SCRAM-SHA-512 over TLS.
    pub fn secure(&self) -> String {
        format!("{}:9097", self.address())
    }

    /// The certificate of the authority that this listener's is from, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    /// SIGKILL to all of them.
    pub fn kill(&mut self) {
        (0..self.brokers.len()).for_each(|number| self.kill_one(number));
    }

    /// SIGKILL to one of them.
    pub fn kill_one(&mut self, number: usize) {
        self.brokers[number].end();
    }

    /// Starts those that were killed again on their folders, and waits until all are there.
    pub fn restart(&mut self) {
        for broker in self.brokers.iter_mut().filter(|broker| broker.child.is_none()) {
            broker.child = Some(launch(&self.class_path, &broker.folder));
        }
        self.wait_ready();
    }

    /// All messages of a topic up to now, partition by partition.
    pub fn read(&self, topic: &str) -> Vec<Message> {
        let output = Command::new("kcat")
            .args(["-b", &self.broker(), "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J"])
            .output()
            .expect("kcat runs");
        let said = String::from_utf8_lossy(&output.stderr);
        // Before its first record there is no topic.
        assert!(output.status.success() || said.contains("Unknown topic or partition"), "{said}");
        let text = String::from_utf8(output.stdout).expect("kcat writes JSON");
        text.lines().map(|line| Message::parse(&serde_json::from_str(line).unwrap())).collect()
    }

    fn wait_ready(&self) {
        let all = format!(" {} brokers:", self.brokers.len());
        // Virtual machines that start among other tests.
        wait_for(6 * PATIENCE, "the brokers to answer", || {
            for address in self.addresses() {
                TcpStream::connect(SocketAddr::from((address, 9092))).ok()?;
            }
            let listed = Command::new("kcat").args(["-b", &self.broker(), "-L", "-m", "5"]).output().ok()?;
            String::from_utf8_lossy(&listed.stdout).contains(&all).then_some(())
        });
    }
}

impl Broker {
    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(30).collect();
            tail.iter().rev().for_each(|line| eprintln!("kafka: {line}"));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Message {
    fn parse(line: &Value) -> Message {
        let headers: Vec<&str> =
            line["headers"].as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect();
        let (pairs, _) = headers.as_chunks::<2>();
        Message {
            partition: line["partition"].as_u64().unwrap(),
            key: line["key"].as_str().unwrap().to_owned(),
            headers: pairs.iter().map(|[name, value]| ((*name).to_owned(), (*value).to_owned())).collect(),
            payload: serde_json::from_str(line["payload"].as_str().unwrap()).expect("the value is JSON"),
        }
    }

    /// A header's value; it must be there.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        &found.unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers)).1
    }

    /// As a line of the file sink, which `godwit-load check` reads.
    pub fn line(&self) -> String {
        let optional = |name: &str| self.headers.iter().find(|(header, _)| header == name);
        json!({
            "id": self.header("ce_id"),
            "source": self.header("ce_source"),
            "type": self.header("ce_type"),
            "endpoint": self.header("endpoint"),
            "path": optional("path").map(|(_, path)| path),
            "order": self.header("order"),
            "stale": optional("stale").is_some(),
            "data": self.payload,
        })
        .to_string()
    }
}

/// A message as a client of another language read it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// Headers, in their order.
    pub headers: Vec<(String, String)>,
    /// Key.
    pub key: String,
    /// Value.
    pub value: Vec<u8>,
}

impl Foreign {
    /// Key, value and `name:value` of each header, in base64.
    fn parse(line: &str) -> Foreign {
        let bytes = |text: &str| BASE64.decode(text.as_bytes()).expect("base64");
        let text = |encoded: &str| String::from_utf8(bytes(encoded)).expect("a text");
        let mut words = line.split(' ');
        let (key, value) = (words.next().unwrap(), words.next().unwrap());
        let headers = words.map(|word| word.split_once(':').expect("a header"));
        Foreign {
            headers: headers.map(|(name, value)| (text(name), text(value))).collect(),
            key: text(key),
            value: bytes(value),
        }
    }

    /// A header's value; it must be there.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        &found.unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers)).1
    }
}

/// The Python consumer.
fn python() -> Command {
    let mut python = Kafka::python();
    python.arg(root().join("tests/kafka/python/consume.py"));
    python
}

/// What `tests/kafka/build` says.
fn build(part: &[&str]) -> String {
    let built = Command::new(root().join("tests/kafka/build")).args(part).output().expect("bash runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    String::from_utf8(built.stdout).unwrap().trim().to_owned()
}

fn java(class_path: &str, folder: &Path) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx192m", "-Xms32m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.args(["-Dlog4j2.level=WARN", "-cp", class_path]).current_dir(folder).stdin(Stdio::null());
    java
}

fn launch(class_path: &str, folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut broker = java(class_path, folder);
    broker.args(["kafka.Kafka", "server.properties"]);
    broker.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("java runs")
}

/// One process that is broker and controller; short time-outs, so that outages in tests are short.
fn server_properties(all: &[Ipv4Addr], number: usize, folder: &Path, more: &str) -> String {
    let address = all[number];
    let id = number + 1;
    let voters: Vec<_> = (1..).zip(all).map(|(id, address)| format!("{id}@{address}:9093")).collect();
    let voters = voters.join(",");
    // The port of the controller is nobody else's on this address.
    drop(TcpListener::bind((address, 9093)).expect("a free port"));
    let mut text = format!(
        "process.roles=broker,controller\nnode.id={id}\ncontroller.quorum.voters={voters}\n\
         listeners=PLAINTEXT://{address}:9092,CONTROLLER://{address}:9093,\
         PROXIED://{address}:{BEHIND_PROXY},SASL://{address}:9096,SECURE://{address}:9097\n\
         advertised.listeners=PLAINTEXT://{address}:9092,PROXIED://{address}:{PROXY},SASL://{address}:9096,\
         SECURE://{address}:9097\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,\
         SASL:SASL_PLAINTEXT,SECURE:SASL_SSL\n\
         controller.listener.names=CONTROLLER\nlog.dirs={}\n",
        folder.join("data").display()
    );
    for (name, value) in [
        ("num.partitions", "4"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "4"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("broker.session.timeout.ms", "1500"),
        ("broker.heartbeat.interval.ms", "300"),
        ("controller.quorum.election.timeout.ms", "300"),
        ("controller.quorum.fetch.timeout.ms", "1000"),
        ("log.cleaner.dedupe.buffer.size", "2097152"),
        ("listener.name.secure.ssl.keystore.type", "PEM"),
        ("listener.name.secure.sasl.enabled.mechanisms", "SCRAM-SHA-512"),
        (
            "listener.name.secure.scram-sha-512.sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        ),
        ("listener.name.sasl.sasl.enabled.mechanisms", "PLAIN"),
        (
            "listener.name.sasl.plain.sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_app=\"secret\" user_reader=\"secret\";",
        ),
    ] {
        writeln!(text, "{name}={value}").unwrap();
    }
    let keystore = folder.join("broker.pem");
    writeln!(text, "listener.name.secure.ssl.keystore.location={}", keystore.display()).unwrap();
    text + more
}
