//! Measures the node's DTLS beside webrtc-dtls's server, Scandium and a bare UDP echo, in one run: `tools/bench-dtls` runs it.
//!
//! One client for all, `godwit-load echo-client`, from as many addresses as devices, at one rate. CPU is the server's process, user
//! and system, all threads. The node has no echo: it answers CoAP pings, and real requests of registered devices.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use godwit_tests::{Authority, Fleet, Load, Node, Setup, report};
use serde_json::Value;

const KEY: &str = "30313233343536373839616263646566";

fn main() {
    let number = |name: &str, default: u32| {
        env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
    };
    let bench = Bench {
        devices: number("DEVICES", 2000),
        rate: number("RATE", 5000),
        handshake_rate: number("HANDSHAKE_RATE", 200),
        seconds: number("SECONDS_EACH", 15),
        folder: env::temp_dir().join(format!("godwit-bench-dtls-{}", std::process::id())),
    };
    fs::create_dir_all(&bench.folder).unwrap();

    let bare = bench.bare();
    let mut rows = format!("| bare UDP echo | – | – | {bare:.1} | 1 | – |\n");
    let mut row = |name: &str, result: &Value| {
        let figure = |value: &Value| value.as_f64().map_or("–".into(), |figure| format!("{figure:.0}"));
        let handshake = &result["handshakes"]["cpu_us_each"];
        let per_core = handshake.as_f64().map_or("–".into(), |each| format!("{:.0}", 1e6 / each));
        let echo = result["echoes"]["cpu_us_each"].as_f64();
        rows += &format!(
            "| {name} | {} | {per_core} | {} | {} | {} |\n",
            figure(handshake),
            echo.map_or("–".into(), |echo| format!("{echo:.1}")),
            echo.map_or("–".into(), |echo| format!("{:.1}", echo / bare)),
            figure(&result["bytes_each"]),
        );
        eprintln!("{rows}");
    };
    for (name, kind, cid) in
        [("PSK", "psk", false), ("PSK, Connection IDs", "psk", true), ("X.509", "x509", false)]
    {
        row(&format!("node, {name}"), &bench.node(kind, cid));
    }
    let requests = bench.requests();
    for (name, kind) in [("PSK", "psk"), ("X.509", "x509")] {
        row(&format!("webrtc-dtls, {name}"), &bench.webrtc(kind));
    }
    let scandium = Scandium::class_path();
    for (name, kind, cid) in
        [("PSK", "psk", false), ("PSK, Connection IDs", "psk", true), ("X.509", "x509", false)]
    {
        if let Some(class_path) = &scandium {
            row(&format!("Scandium, {name}"), &bench.scandium(class_path, kind, cid));
        }
    }
    report(
        "dtls-node-bench",
        "The node's DTLS beside webrtc-dtls, Scandium and a bare echo",
        "tools/bench-dtls",
        &format!(
            "{devices} sessions from as many addresses, set up at {handshakes}/s (webrtc-dtls, which \
             accepts one after the other, at a quarter of that); then 64 bytes at {rate}/s over all of them in turn \
             for {seconds} s, after 3 s that don't count. Suites: PSK CCM_8; ECDHE_ECDSA CCM_8 with certificates on both sides. CPU is \
             the server process's, all threads, in µs. The node answers CoAP pings (4 bytes, sealed like any record) where the \
             others echo. Bytes per idle session: the node's by `godwit_process_heap_bytes` (0 where it has none: then resident), Scandium's \
             by its heap in use after a collection, webrtc-dtls's by its resident set; the node's include its store's share.\n\n\
             | server | handshake | handshakes per core and second | echo | of the bare echo | bytes per idle session |\n\
             |---|---|---|---|---|---|\n{rows}\n\
             Requests of registered devices to the node at the same rate, everything included (store, observation, record, file):\n\n\
             | request | µs of CPU | of the bare echo |\n|---|---|---|\n{requests}",
            devices = bench.devices,
            handshakes = bench.handshake_rate,
            rate = bench.rate,
            seconds = bench.seconds,
            requests = requests
                .iter()
                .map(|(name, cost)| format!("| {name} | {cost:.1} | {:.1} |\n", cost / bare))
                .collect::<String>(),
        ),
    );
    fs::remove_dir_all(&bench.folder).unwrap();
}

struct Bench {
    devices: u32,
    /// Echoes per second.
    rate: u32,
    /// Handshakes per second.
    handshake_rate: u32,
    seconds: u32,
    folder: PathBuf,
}

impl Bench {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs the client against a server.
    fn run(&self, server: SocketAddr, pid: u32, seconds: u32, more: &[String]) -> Value {
        self.run_at(self.handshake_rate, server, pid, seconds, more)
    }

    /// The same at another rate of handshakes.
    fn run_at(&self, rate: u32, server: SocketAddr, pid: u32, seconds: u32, more: &[String]) -> Value {
        let mut arguments = vec![
            "echo-client".to_owned(),
            format!("--server={server}"),
            format!("--server-pid={pid}"),
            format!("--devices={}", self.devices),
            format!("--rate={}/s", self.rate),
            format!("--duration={seconds}s"),
            format!("--handshake-rate={rate}/s"),
            "--suite=ccm8".into(),
            "--size=64".into(),
        ];
        arguments.extend_from_slice(more);
        let result = Load::json(&arguments, &self.file("json"));
        let missing = u64::from(self.devices) - result["handshakes"]["completed"].as_u64().unwrap();
        assert!(missing * 20 < u64::from(self.devices), "{missing} handshakes did not end well: {result}");
        result
    }

    fn credential(&self, kind: &str) -> Vec<String> {
        match kind {
            "psk" => vec!["--dtls=psk".into(), format!("--psk={KEY}"), "--identity=echo".into()],
            _ => {
                let file = self.file("devices");
                if !file.exists() {
                    let (count, output) =
                        (format!("--devices={}", self.devices), format!("--output={}", file.display()));
                    Load::start(&["credentials", "x509", &count, &output]).succeed();
                }
                vec!["--dtls=x509".into(), format!("--credentials={}", file.display())]
            }
        }
    }

    /// µs per datagram of a bare echo.
    fn bare(&self) -> f64 {
        let json = self.file("bare");
        let node = Setup::default().start();
        // A run of one device: only its baseline matters, which has as many addresses and the same rate.
        let arguments = [
            "run".to_owned(),
            "--quiet".into(),
            format!("--server={}", node.coap()),
            format!("--server-pid={}", node.pid()),
            format!("--devices={}", self.devices),
            format!("--update-rate={}/s", self.rate),
            "--baseline".into(),
            "--duration=1s".into(),
        ];
        Load::json(&arguments, &json)["echo"]["cpu_per_request_us"].as_f64().unwrap()
    }

    fn setup(&self, x509: &Fleet) -> Node {
        Setup::default()
            .set("limits.handshakes=10000")
            .set("limits.handshakes_per_prefix=1000")
            .every_mode(&self.folder, x509)
            .start()
    }

    /// Sessions of declared devices that don't register, and pings.
    fn node(&self, kind: &'static str, cid: bool) -> Value {
        let (fleet, x509) =
            (Fleet::new(kind, self.devices, &self.folder), Fleet::new("x509", self.devices, &self.folder));
        for fleet in [&fleet, &x509] {
            fleet.mint();
        }
        let node = self.setup(&x509);
        fleet.declare(&node);
        let heap = || {
            std::thread::sleep(std::time::Duration::from_secs(2));
            node.metric("godwit_process_heap_bytes")
        };
        let before = heap();
        let mut arguments = vec![format!("--dtls={kind}"), fleet.endpoints(), "--ping".into()];
        if kind != "psk" {
            arguments.push(format!("--credentials={}", fleet.file("credentials")));
        }
        if cid {
            arguments.push("--cid=8".into());
        }
        // Sessions only: what they take is measured before the first echo.
        let sessions = self.run(node.coaps(), node.pid(), 0, &arguments);
        let grown = (heap() - before) / f64::from(self.devices);
        let mut result = self.run(node.coaps(), node.pid(), self.seconds, &arguments);
        result["handshakes"] = sessions["handshakes"].clone();
        let resident = sessions["resident_bytes_each"].as_f64().unwrap();
        result["bytes_each"] = if grown > 0.0 { grown } else { resident }.into();
        result
    }

    /// Updates and notifications of registered devices over PSK with Connection IDs.
    fn requests(&self) -> Vec<(String, f64)> {
        let (fleet, x509) =
            (Fleet::new("psk", self.devices, &self.folder), Fleet::new("x509", 1, &self.folder));
        fleet.mint();
        x509.mint();
        let node = self.setup(&x509);
        fleet.declare(&node);
        let load = fleet.arguments(
            &node,
            true,
            &[
                "--in-turn".into(),
                format!("--register-rate={}/s", self.handshake_rate),
                format!("--update-rate={}/s", self.rate),
                format!("--notify-rate={}/s", self.rate),
                format!("--duration={}s", self.seconds),
            ],
        );
        Load::start(&load).succeed();
        let found = fleet.found();
        let cost = |name: &str| {
            let phases = found["phases"].as_array().unwrap();
            let phase = phases.iter().find(|phase| phase["name"] == name).unwrap();
            phase["server"]["cpu_per_request_us"].as_f64().unwrap()
        };
        [
            ("registration with its PSK handshake and two observations", "register"),
            ("Update", "update"),
            ("notification", "notify"),
        ]
        .map(|(name, phase)| (name.to_owned(), cost(phase)))
        .into()
    }

    fn webrtc(&self, kind: &str) -> Value {
        let mut server = Server::start(
            Command::new(env::var_os("GODWIT_LOAD_BINARY").expect("GODWIT_LOAD_BINARY: the load tool"))
                .args(["echo", "--bind=127.0.0.1:0", &format!("--webrtc={kind}")])
                .args((kind == "psk").then(|| format!("--psk={KEY}"))),
        );
        let address = server.line().parse().unwrap();
        // It accepts one handshake after the other.
        let rate = self.handshake_rate.div_ceil(4);
        let mut result = self.run_at(rate, address, server.0.id(), self.seconds, &self.credential(kind));
        result["bytes_each"] = result["resident_bytes_each"].clone();
        result
    }

    fn scandium(&self, class_path: &str, kind: &str, cid: bool) -> Value {
        let identity = Authority::new("Servers").issue("localhost");
        let (key, chain) = (self.file("scandium-key.pem"), self.file("scandium-chain.pem"));
        fs::write(&key, identity.key_pem()).unwrap();
        fs::write(&chain, identity.chain_pem()).unwrap();
        let mut command = Command::new("java");
        command.args(["-Xmx1g", "-cp", class_path, "Echo", "127.0.0.1", "5696", kind]);
        match kind {
            "psk" => command.args(["echo", KEY]),
            _ => command.arg(&key).arg(&chain),
        };
        let mut server = Server::start(&mut command);
        assert_eq!(server.line(), "ready");
        let address = SocketAddr::from(([127, 0, 0, 1], 5696));
        let mut arguments = self.credential(kind);
        if cid {
            arguments.push("--cid=8".into());
        }
        // Its compiler needs some handshakes to get warm; the same addresses shake hands anew afterwards.
        self.run(address, server.0.id(), 1, &arguments);
        let mut result = self.run(address, server.0.id(), self.seconds, &arguments);
        let full = server.heap();
        drop(server);

        // Once more for the memory, in a process without a past.
        let mut server = Server::start(&mut command);
        assert_eq!(server.line(), "ready");
        let few = Bench { devices: 20, folder: self.folder.clone(), ..*self };
        few.run(address, server.0.id(), 1, &self.credential(kind));
        let empty = server.heap();
        result["bytes_each"] = ((full - empty) / f64::from(self.devices)).into();
        result
    }
}

/// A server process of another maker.
struct Server(Child, BufReader<std::process::ChildStdout>);

impl Server {
    fn start(command: &mut Command) -> Server {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Server(child, output)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Bytes of its heap that are in use after a collection.
    fn heap(&mut self) -> f64 {
        self.0.stdin.as_mut().unwrap().write_all(b"heap\n").unwrap();
        self.line().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Scandium;

impl Scandium {
    /// Where it and its echo server are; none where Java or Maven is missing.
    fn class_path() -> Option<String> {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/build");
        let output = Command::new(build).arg("scandium").stderr(Stdio::inherit()).output().ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| text.trim().to_owned())
    }
}
