//! The whole command against a small server in this process: it registers, observes, acknowledges, loses
//! datagrams, and writes what it took as a Godwit node would.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType, ResponseType};

/// What the responder took, as lines of NDJSON.
type Lines = Arc<Mutex<Vec<String>>>;

struct Responder {
    address: SocketAddr,
    lines: Lines,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Loses every `lose`th datagram that it gets; 0 loses none.
    fn start(lose: u64) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let (lines, stop) = (Lines::default(), Arc::new(AtomicBool::new(false)));
        let (taken, stopped) = (Arc::clone(&lines), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut server = Server { socket, lines: taken, seen: HashSet::new() };
            let mut received = 0;
            while !stopped.load(Ordering::Relaxed) {
                let mut buffer = [0; 1500];
                if let Ok((length, from)) = server.socket.recv_from(&mut buffer) {
                    received += 1;
                    if lose == 0 || received % lose != 0 {
                        server.handle(&buffer[..length], from);
                    }
                }
            }
        });
        Self { address, lines, stop, thread: Some(thread) }
    }

    fn lines(&mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

struct Server {
    socket: UdpSocket,
    lines: Lines,
    /// Notifications that are in `lines`, by source and message id.
    seen: HashSet<(SocketAddr, u16)>,
}

impl Server {
    fn send(&self, packet: &Packet, to: SocketAddr) {
        self.socket.send_to(&packet.to_bytes().unwrap(), to).unwrap();
    }

    fn handle(&mut self, bytes: &[u8], from: SocketAddr) {
        let request = Packet::from_bytes(bytes).unwrap();
        if request.header.get_type() != MessageType::Confirmable {
            return;
        }
        let mut reply = Packet::new();
        reply.header.set_type(MessageType::Acknowledgement);
        reply.header.message_id = request.header.message_id;
        let path: Vec<_> = request.get_option(CoapOption::UriPath).into_iter().flatten().cloned().collect();
        match request.header.code {
            MessageClass::Request(RequestType::Post) if path.len() == 1 => {
                reply.header.code = MessageClass::Response(ResponseType::Created);
                reply.add_option(CoapOption::LocationPath, b"rd".to_vec());
                let id = from.to_string();
                reply.add_option(CoapOption::LocationPath, id.into_bytes());
            }
            MessageClass::Request(RequestType::Post) => {
                reply.header.code = MessageClass::Response(ResponseType::Changed);
            }
            MessageClass::Request(_) => reply.header.code = MessageClass::Response(ResponseType::Deleted),
            MessageClass::Response(_) => self.take(&request, from),
            _ => return,
        }
        if matches!(request.header.code, MessageClass::Request(_)) {
            reply.set_token(request.get_token().to_vec());
        }
        self.send(&reply, from);
        if path.len() == 1 {
            self.observe(&request, from);
        }
    }

    /// Observes with the endpoint's number as token.
    fn observe(&self, register: &Packet, device: SocketAddr) {
        let queries = register.get_option(CoapOption::UriQuery).unwrap();
        let endpoint = queries.iter().find_map(|query| query.strip_prefix(b"ep=")).unwrap();
        let mut request = Packet::new();
        request.header.message_id = register.header.message_id;
        request.header.code = MessageClass::Request(RequestType::Get);
        request.set_token(endpoint[endpoint.len() - 8..].to_vec());
        request.add_option(CoapOption::Observe, vec![]);
        for segment in ["3303", "0", "5700"] {
            request.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
        }
        self.send(&request, device);
    }

    fn take(&mut self, notification: &Packet, from: SocketAddr) {
        let mid = notification.header.message_id;
        if !self.seen.insert((from, mid)) {
            return;
        }
        let number = String::from_utf8_lossy(notification.get_token()).into_owned();
        let count = String::from_utf8_lossy(&notification.payload).into_owned();
        let mut lines = self.lines.lock().unwrap();
        let order = lines.len();
        lines.push(format!(
            r#"{{"id":"{number}-{mid}-telemetry-0","source":"/godwit/t/devices/{number}","type":"dev.godwit.telemetry.v1","endpoint":"load-{number}","order":"{order:020x}","path":"/3303/0/5700","data":{{"ts":1,"values":{{"t":{count}.0}},"paths":{{"t":["/3303/0/5700"]}}}}}}"#
        ));
    }
}

fn load(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_godwit-load")).args(args).output().unwrap()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a fleet against a responder; the answer is its report, and the journal and output files.
fn play(name: &str, lose: u64, more: &[&str]) -> (serde_json::Value, PathBuf, PathBuf) {
    let mut responder = Responder::start(lose);
    let (journal, output) = (file(&format!("{name}-journal.ndjson")), file(&format!("{name}-output.ndjson")));
    let json = file(&format!("{name}.json"));
    let server = responder.address.to_string();
    let mut args = vec!["run", "--quiet", "--server", &server, "-n", "50", "--register-rate", "500/s"];
    args.extend(["--notify-rate", "200/s", "--update-rate", "50/s", "--duration", "1s", "--settle", "300ms"]);
    args.extend(["--deregister", "--journal", journal.to_str().unwrap(), "--json", json.to_str().unwrap()]);
    args.extend(more);
    let result = load(&args);
    assert!(result.status.success(), "{}{}", text(&result.stdout), text(&result.stderr));
    fs::write(&output, responder.lines().join("\n")).unwrap();
    (serde_json::from_slice(&fs::read(json).unwrap()).unwrap(), journal, output)
}

fn check(journal: &Path, output: &Path) -> Output {
    load(&["check", "--journal", journal.to_str().unwrap(), "--output", output.to_str().unwrap()])
}

fn action<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    report["actions"].as_array().unwrap().iter().find(|row| row["action"] == name).unwrap()
}

#[test]
fn a_fleet_registers_notifies_updates_and_leaves_and_every_acknowledged_value_came_out() {
    let (report, journal, output) = play("plain", 0, &[]);
    assert_eq!(report["registered"], 50);
    assert_eq!(report["observations"], 50);
    for name in ["register", "update", "notify", "deregister"] {
        let row = action(&report, name);
        assert_eq!(row["acknowledged"], row["sent"], "{name}");
        assert!(row["latency_us"]["p50"].as_u64().unwrap() > 0);
    }
    let result = check(&journal, &output);
    assert_eq!(result.status.code(), Some(0), "{}", text(&result.stdout));
    let acknowledged = action(&report, "notify")["acknowledged"].as_u64().unwrap();
    assert!(acknowledged > 100);
    assert!(text(&result.stdout).contains(&format!("all {acknowledged} acknowledged values")));
}

#[test]
fn lost_datagrams_are_sent_again_and_nothing_acknowledged_is_missing() {
    let (report, journal, output) = play("lossy", 7, &["--ack-timeout", "100ms"]);
    assert_eq!(report["registered"], 50);
    assert!(action(&report, "notify")["retransmissions"].as_u64().unwrap() > 0);
    let result = check(&journal, &output);
    assert_eq!(result.status.code(), Some(0), "{}", text(&result.stdout));
}

#[test]
fn a_value_that_was_acknowledged_and_not_written_fails_the_check() {
    let (_, journal, output) = play("forgetful", 0, &[]);
    let lines = fs::read_to_string(&output).unwrap();
    let kept: Vec<_> =
        lines.lines().enumerate().filter(|(number, _)| *number != 17).map(|(_, line)| line).collect();
    fs::write(&output, kept.join("\n")).unwrap();
    let result = check(&journal, &output);
    assert_eq!(result.status.code(), Some(1));
    assert!(text(&result.stdout).contains("1 acknowledged values missing"), "{}", text(&result.stdout));
}

#[test]
fn nobody_at_the_servers_address_is_told_apart_from_a_refusal() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    let result = load(&[
        "run",
        "--quiet",
        "--server",
        &server,
        "-n",
        "3",
        "--ack-timeout",
        "20ms",
        "--max-retransmit",
        "1",
    ]);
    assert_eq!(result.status.code(), Some(3), "{}", text(&result.stdout));
}

#[test]
fn an_echo_is_measured_with_the_cpu_time_of_its_server() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_godwit-load"))
        .args(["echo", "--bind", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let mut output = std::io::BufReader::new(server.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut address).unwrap();
    let pid = server.id().to_string();
    let result = load(&[
        "echo-client",
        "--server",
        address.trim(),
        "-n",
        "100",
        "--rate",
        "2000/s",
        "--duration",
        "500ms",
        "--server-pid",
        &pid,
    ]);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(result.status.code(), Some(0));
    assert!(text(&result.stdout).contains("1000 of 1000 answered"), "{}", text(&result.stdout));
}

#[test]
fn wrong_flags_name_the_flag_and_the_remedy() {
    for (args, hint) in [
        (&["run", "--register-rate", "fast"][..], "--register-rate"),
        (&["run", "--endpoint", "device"][..], "load-{:08}"),
        (&["run", "--object", "3303"][..], "</3303/0>"),
        (&["run", "--journal", "/no/such/folder/x"][..], "--journal /no/such/folder/x"),
        (&["check", "--journal", "/none", "--output", "/none"][..], "--output /none"),
    ] {
        let result = load(args);
        assert_eq!(result.status.code(), Some(2), "{args:?}");
        assert!(text(&result.stderr).contains(hint), "{}", text(&result.stderr));
    }
}
