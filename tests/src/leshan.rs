//! The Leshan client, driven through our harness in `tests/leshan`: one JVM for a test binary, many clients in it.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use serde_json::Value;

use crate::{Inbox, Node, PATIENCE, Security, binary::root, skip, transport};

/// The JVM with the clients. It ends with this process, which holds its input.
#[derive(Debug)]
pub struct Leshan {
    input: Mutex<ChildStdin>,
    count: AtomicU64,
    shared: Arc<Shared>,
    _child: Child,
}

#[derive(Debug, Default)]
struct Shared {
    answers: Mutex<HashMap<u64, mpsc::Sender<Result<Value, String>>>>,
    inboxes: Mutex<HashMap<String, Arc<Inbox>>>,
}

impl Leshan {
    /// The one JVM, started by the first caller. `None`, with a word, where Java or Maven is missing.
    pub fn shared() -> Option<&'static Leshan> {
        static SHARED: OnceLock<Option<Leshan>> = OnceLock::new();
        SHARED.get_or_init(Leshan::launch).as_ref()
    }

    fn launch() -> Option<Leshan> {
        let there = |tool: &str| Command::new(tool).arg("-version").output().is_ok();
        if !there("javac") || !there("mvn") {
            skip("Java or Maven, for the Leshan client,");
            return None;
        }
        let built = Command::new(root().join("tests/leshan/build")).output().expect("bash runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let class_path = String::from_utf8(built.stdout).unwrap();

        let mut java = Command::new("java");
        java.args(["-XX:TieredStopAtLevel=1", "-Xmx512m", "-Dfile.encoding=UTF-8"]);
        java.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error");
        java.args(["-cp", class_path.trim(), "godwit.tests.Harness"]);
        let mut child = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("java runs");
        let shared = Arc::<Shared>::default();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = Arc::clone(&shared);
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| reader.take(&line)));
        let input = Mutex::new(child.stdin.take().unwrap());
        Some(Leshan { input, count: AtomicU64::new(0), shared, _child: child })
    }

    /// Starts a client with this endpoint name, which registers with the node at once. Options as
    /// `tests/leshan/src/godwit/tests/Client.java` lists them, "lifetime=60".
    ///
    /// In a test binary named `over_psk` it does so over DTLS, with a key that its device is given.
    pub fn start(&'static self, node: &Node, endpoint: &str, options: &[&str]) -> Client {
        match transport::key(node, endpoint) {
            None => self.start_at(&node.uri(), endpoint, options),
            Some(key) => self.start_secured(node, endpoint, &Security::psk(endpoint, &key), options),
        }
    }

    /// Starts a client over DTLS.
    pub fn start_secured(
        &'static self,
        node: &Node,
        endpoint: &str,
        security: &Security,
        options: &[&str],
    ) -> Client {
        let options = [&security.options(), options].concat();
        self.start_at(&format!("coaps://{}", node.coaps()), endpoint, &options)
    }

    /// The same with any server's URI.
    pub fn start_at(&'static self, uri: &str, endpoint: &str, options: &[&str]) -> Client {
        let name = format!("{endpoint}#{}", self.count.fetch_add(1, Ordering::Relaxed));
        let inbox = Arc::<Inbox>::default();
        let mut inboxes = self.shared.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        inboxes.insert(name.clone(), Arc::clone(&inbox));
        drop(inboxes);
        let client = Client { leshan: self, name, inbox, place: 0 };
        let (uri, endpoint) = (format!("uri={uri}"), format!("ep={endpoint}"));
        let mut arguments = vec![uri.as_str(), endpoint.as_str()];
        arguments.extend(options);
        client.command("start", &arguments);
        client
    }

    fn command(&self, verb: &str, client: &str, arguments: &[&str]) -> mpsc::Receiver<Result<Value, String>> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        let mut line = format!("{number}\t{verb}\t{client}");
        for argument in arguments {
            assert!(!argument.contains(['\t', '\n']));
            line.push('\t');
            line.push_str(argument);
        }
        line.push('\n');
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.write_all(line.as_bytes()).and_then(|()| input.flush()).expect("the JVM lives");
        receiver
    }
}

impl Shared {
    fn take(&self, line: &str) {
        let Ok(mut line) = serde_json::from_str::<Value>(line) else {
            eprintln!("leshan: {line}");
            return;
        };
        if let Some(number) = line["answer"].as_u64() {
            let answer = match line["error"].as_str() {
                Some(error) => Err(error.to_owned()),
                None => Ok(line["value"].take()),
            };
            let waiter = self.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            let _ = waiter.map(|waiter| waiter.send(answer));
        } else if let Some(client) = line["client"].as_str() {
            let inbox =
                self.inboxes.lock().unwrap_or_else(PoisonError::into_inner).get(client).map(Arc::clone);
            if let Some(inbox) = inbox {
                inbox.push(line);
            }
        }
    }
}

/// One Leshan client. It stops, without de-registering, when this is dropped.
#[derive(Debug)]
pub struct Client {
    leshan: &'static Leshan,
    name: String,
    inbox: Arc<Inbox>,
    place: usize,
}

impl Client {
    /// Waits for the next event that `matches`, and goes on after it next time.
    #[track_caller]
    pub fn next(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        self.try_next(what, matches).unwrap_or_else(|told| panic!("{told}"))
    }

    /// The same; what the client told meanwhile as an error.
    ///
    /// # Errors
    /// When the event never came.
    pub fn try_next(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let Some((place, event)) = self.inbox.find(self.place, matches) else {
            return Err(format!("{} never had: {what}\n{}", self.name, self.told()));
        };
        self.place = place + 1;
        Ok(event)
    }

    /// The next event of this name: "registered", "updated", "deregistered", "failed", "write", "execute", "create",
    /// "delete", "request", "response", "uplink" or "empty"; over DTLS also "handshake" (suite, resumed, session, ems, limit,
    /// write_cid, read_cid), "handshake-failed" and "handshake-repeated".
    #[track_caller]
    pub fn event(&mut self, event: &str) -> Value {
        self.next(event, |line| line["event"] == event)
    }

    /// Waits for the next registration; its id, the last part of the location.
    #[track_caller]
    pub fn registered(&mut self) -> String {
        let location = self.event("registered")["id"].as_str().unwrap().to_owned();
        location.strip_prefix("/rd/").expect("Location-Path is /rd/<id>").to_owned()
    }

    /// Waits for the next request from the server with this method and path; "FETCH", "/".
    #[track_caller]
    pub fn request(&mut self, method: &str, path: &str) -> Value {
        self.next(&format!("{method} {path}"), |line| {
            line["event"] == "request" && line["method"] == method && line["path"] == path
        })
    }

    /// All events of this name up to now, from the first.
    pub fn events(&self, event: &str) -> Vec<Value> {
        self.inbox.lines().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// Changes a value and notifies observers.
    pub fn set(&self, path: &str, value: &str) {
        self.command("set", &[path, value]);
    }

    /// Changes a value silently.
    pub fn put(&self, path: &str, value: &str) {
        self.command("put", &[path, value]);
    }

    /// The value that the client holds, as text; of a multiple resource, the value of one instance.
    pub fn value(&self, path: &str) -> Option<String> {
        let values = self.command("value", &[path]);
        values[path].as_str().map(str::to_owned)
    }

    /// Sends current values in this content format; the answer's code.
    pub fn send(&self, format: u16, paths: &[&str]) -> String {
        let format = format.to_string();
        let mut arguments = vec![format.as_str()];
        arguments.extend(paths);
        self.command("send", &arguments).as_str().unwrap().to_owned()
    }

    /// Sends values with times, "1700000000.5 /3303/0/5700 21.5"; the answer's code.
    pub fn send_at(&self, format: u16, entries: &[&str]) -> String {
        let format = format.to_string();
        let mut arguments = vec![format.as_str()];
        arguments.extend(entries);
        self.command("send-at", &arguments).as_str().unwrap().to_owned()
    }

    /// Any other command of the harness: "update", "deregister", "stop", "add", "refuse", "fire"; "restart" (forget the
    /// session and register again); before the next request "resume" the DTLS session or make a new one ("handshake");
    /// "rebind" to another port, which resumes.
    #[track_caller]
    pub fn command(&self, verb: &str, arguments: &[&str]) -> Value {
        let answer = self.leshan.command(verb, &self.name, arguments).recv_timeout(2 * PATIENCE);
        match answer {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => panic!("{verb} of {}: {error}\n{}", self.name, self.told()),
            Err(_) => panic!("{verb} of {} has no end\n{}", self.name, self.told()),
        }
    }

    fn told(&self) -> String {
        self.inbox.lines().iter().map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {} ---\n{}---", self.name, self.told());
        }
        drop(self.leshan.command("stop", &self.name, &[]));
    }
}
