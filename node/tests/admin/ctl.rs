//! `godwit ctl` against a running server.

use std::time::Duration;

use clap::Parser as _;
use godwit::{
    cli::{Cli, Command},
    config,
    endpoint::handle::{RegistrationChangeKind, SubmitError},
    exit::Exit,
};
use godwit_proto::v1::{CommandResult, PathValue, Value, command, operation::Reason, value::Kind};
use serde_json::Value as Json;

use crate::node::{Behaviour, Node, file};

/// What a run of `godwit ctl` left behind.
pub(crate) struct Run {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Each line of the output, as JSON.
    pub(crate) fn json(&self) -> Vec<Json> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn parse(arguments: &[&str]) -> Result<Box<godwit::ctl::Ctl>, clap::Error> {
    match Cli::try_parse_from(["godwit", "ctl"].iter().chain(arguments))?.command {
        Command::Ctl(ctl) => Ok(ctl),
        other => panic!("{other:?}"),
    }
}

async fn at(address: &str, arguments: &[&str]) -> Run {
    let arguments: Vec<&str> = ["--address", address].iter().chain(arguments).copied().collect();
    let ctl = parse(&arguments).unwrap_or_else(|error| panic!("{error}"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let run = ctl.execute(&mut out, &mut err, false);
    let exit = tokio::time::timeout(Duration::from_secs(30), run).await.unwrap().unwrap();
    Run { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

pub(crate) async fn ctl(node: &Node, arguments: &[&str]) -> Run {
    at(&node.url, arguments).await
}

pub(crate) async fn ok(node: &Node, arguments: &[&str]) -> Run {
    let run = ctl(node, arguments).await;
    assert_eq!(run.exit, Exit::Ok, "{arguments:?}: {}", run.err);
    run
}

fn value(path: &str, kind: Kind) -> PathValue {
    PathValue { path: path.to_owned(), value: Some(Value { kind: Some(kind) }), ..Default::default() }
}

#[test]
fn arguments_that_cant_be_are_usage_errors() {
    for arguments in [
        &["devices", "create"][..],
        &["devices", "create", "--pattern", "x{}"],
        &["devices", "create", "--pattern", "x", "--count", "5"],
        &["devices", "create", "ep", "--psk-hex", "00", "--psk-text", "x"],
        &["operations", "read", "ep"],
        &["operations", "write", "ep", "/3/0/14"],
        &["operations", "write", "ep", "/3/0/14:text=x"],
        &["operations", "read", "ep", "/3", "--ttl", "1h"],
        &["operations", "read", "ep", "/3", "--timeout", "soon"],
        &["operations", "read", "ep", "/3", "--output", "xml"],
        &["frobnicate"],
    ] {
        let error = parse(arguments).expect_err(&arguments.join(" "));
        assert_eq!(error.exit_code(), Exit::Usage as i32, "{arguments:?}");
    }
}

#[tokio::test]
async fn a_device_is_created_shown_changed_and_deleted() {
    let node = Node::open().await;
    let created =
        ok(&node, &["devices", "create", "lamp-1", "--psk", "--label", "site=roof", "-o", "json"]).await;
    let created = &created.json()[0];
    assert_eq!(created["endpoint"], "lamp-1");
    assert_eq!(created["generatedSecret"].as_str().unwrap().len(), 32);
    assert_eq!(created["credential"]["psk"]["identity"], "lamp-1");

    let table = ok(&node, &["devices", "list"]).await.out;
    assert!(table.starts_with("ENDPOINT") && table.contains("lamp-1") && table.contains("PSK"), "{table}");
    assert!(table.contains("PSK IDENTITY") && table.matches("lamp-1").count() == 2, "{table}");
    let owner = ok(&node, &["nodes", "owner", "lamp-1"]).await.out;
    assert!(owner.trim_end().ends_with("nobody has claimed it yet; not heard yet"), "{owner}");
    let updated = ok(&node, &["devices", "update", "lamp-1", "--disable", "-o", "json"]).await;
    assert_eq!(updated.json()[0]["disabled"], true);
    assert_eq!(ctl(&node, &["devices", "update", "lamp-1"]).await.exit, Exit::Usage);
    let rotated = ok(&node, &["devices", "rotate", "lamp-1"]).await;
    assert!(rotated.out.contains("secret of lamp-1"), "{}", rotated.out);
    ok(&node, &["devices", "delete", "lamp-1"]).await;
    let gone = ctl(&node, &["devices", "get", "lamp-1", "-o", "json"]).await;
    assert_eq!(gone.exit, Exit::Failed);
    let error: Json = serde_json::from_str(&gone.err).unwrap();
    assert_eq!(error["error"]["reason"], "NO_SUCH_DEVICE");
}

#[tokio::test]
async fn a_pattern_creates_many() {
    let node = Node::open().await;
    let pattern = ["devices", "create", "--pattern", "LwPSK{:08}", "--count", "1200", "--psk-identity"];
    let arguments = [&pattern[..], &["{}-identity", "--psk-hex", "00ff"]].concat();
    let run = ok(&node, &arguments).await;
    assert!(run.err.contains("1200 devices created"), "{}", run.err);
    let devices = ok(&node, &["devices", "list", "-o", "json"]).await.json();
    assert_eq!(devices.len(), 1200);
    assert_eq!(devices[1199]["endpoint"], "LwPSK00001199");
    assert_eq!(devices[0]["credential"]["psk"]["identity"], "LwPSK00000000-identity");
}

#[tokio::test]
async fn a_file_is_imported_and_what_fails_is_named() {
    let node = Node::open().await;
    ok(&node, &["devices", "create", "b"]).await;
    let csv = file("endpoint,psk\na,true\nb,\nc,false\n");
    let path = csv.to_str().unwrap();
    let run = ctl(&node, &["devices", "import", path, "--format", "csv"]).await;
    assert_eq!(run.exit, Exit::Failed);
    assert!(run.err.contains("b: ") && run.err.contains("DEVICE_EXISTS"), "{}", run.err);
    assert!(run.err.contains("1 of 3 failed"), "{}", run.err);
    assert_eq!(run.json()[0]["endpoint"], "a", "the secret that the node made");

    let broken = file("endpoint\nd\n\"e\n");
    let run = ctl(&node, &["devices", "import", broken.to_str().unwrap(), "--format", "csv"]).await;
    assert!(run.exit == Exit::Failed && run.err.contains("line 3"), "{}", run.err);
    assert_eq!(
        ok(&node, &["devices", "list", "-o", "json"]).await.json().len(),
        3,
        "none of the broken file"
    );
    assert_eq!(ctl(&node, &["devices", "import", path]).await.exit, Exit::Usage, "no format");
}

#[tokio::test]
async fn a_read_shows_its_values() {
    let node = Node::open().await;
    node.register("ep", "</3/0>").await;
    let values = vec![value("/3/0/9", Kind::Integer(95)), value("/3/0/14", Kind::String("+02".to_owned()))];
    let result = CommandResult { code: 69, code_text: "2.05".to_owned(), values, ..Default::default() };
    node.endpoints.behave(Behaviour::Answer(result));
    let run = ok(&node, &["operations", "read", "ep", "/3/0"]).await;
    assert_eq!(run.out, "PATH     VALUE  TYPE\n/3/0/9   95     integer\n/3/0/14  +02    string\n");
    let run = ok(&node, &["operations", "read", "ep", "/3/0", "-o", "json"]).await;
    assert_eq!(run.json()[0]["result"]["values"][0]["value"]["integer"], "95");
}

#[tokio::test]
async fn verbs_become_commands() {
    let node = Node::open().await;
    node.register("ep", "</1/0>,</3/0>").await;
    for arguments in [
        &["write", "ep", "/3/0/14=+02"][..],
        &["write", "ep", "/3/0/14=+02", "/1/0/1=60"],
        &["exec", "ep", "/3/0/4", "--args", "0='x'"],
        &["observe", "ep", "/3/0/9", "/1/0/1"],
        &["discover", "ep", "/3", "--depth", "1"],
        &["create", "ep", "/3303", "5700=21.5"],
        &["delete", "ep", "/3303/5"],
        &["write-attributes", "ep", "/3/0/9", "pmin=5"],
        &["cancel-observation", "ep", "/3/0/9", "--passive"],
        &["read", "ep", "/3/0/9", "--queue", "--ttl", "1h"],
    ] {
        ok(&node, &[&["operations"], arguments].concat()).await;
    }
    let submitted = node.endpoints.submitted.lock().unwrap().clone();
    let names: Vec<&str> = submitted
        .iter()
        .map(|operation| match operation.command.kind.as_ref().unwrap() {
            command::Kind::Write(_) => "write",
            command::Kind::WriteComposite(_) => "write composite",
            command::Kind::Execute(execute) if execute.arguments == "0='x'" => "execute",
            command::Kind::ObserveComposite(_) => "observe composite",
            command::Kind::Discover(discover) if discover.depth == Some(1) => "discover",
            command::Kind::Create(create) if create.values[0].path == "/3303/0/5700" => "create",
            command::Kind::Delete(_) => "delete",
            command::Kind::WriteAttributes(_) => "write attributes",
            command::Kind::CancelObservation(_) => "cancel",
            command::Kind::Read(_) => "read",
            other => panic!("{other:?}"),
        })
        .collect();
    let expected =
        ["write", "write composite", "execute", "observe composite", "discover", "create", "delete"];
    assert_eq!(names[..7], expected);
    assert_eq!(names[7..], ["write attributes", "cancel", "read"]);
    assert!(submitted[9].queue);
    assert_eq!(submitted[9].ttl, Duration::from_secs(3600));
}

#[tokio::test]
async fn exit_codes_tell_who_is_at_fault() {
    let node = Node::open().await;
    node.register("ep", "</3/0>").await;
    let read = ["operations", "read", "ep", "/3/0/9"];
    let not_found = CommandResult { code: 132, code_text: "4.04".to_owned(), ..Default::default() };
    for (behaviour, exit) in [
        (Behaviour::Answer(not_found), Exit::DeviceError),
        (Behaviour::Fail(Reason::Timeout), Exit::Failed),
        (Behaviour::Refuse(SubmitError::NotRegistered), Exit::Failed),
        // The node's own word is no sign that it can't be reached.
        (Behaviour::Refuse(SubmitError::Overloaded), Exit::Failed),
    ] {
        node.endpoints.behave(behaviour.clone());
        assert_eq!(ctl(&node, &read).await.exit, exit, "{behaviour:?}");
    }
    node.endpoints.behave(Behaviour::Refuse(SubmitError::NotRegistered));
    let refused = ctl(&node, &read).await.err;
    assert!(refused.contains("not registered; --queue would let it wait"), "{refused}");
    assert_eq!(ctl(&node, &["operations", "create", "ep", "/3/0/9"]).await.exit, Exit::Usage);
    assert_eq!(at("127.0.0.1:1", &read).await.exit, Exit::Unreachable);
    assert_eq!(at("https://127.0.0.1:1", &read).await.exit, Exit::Usage, "TLS without --tls-ca");
}

#[tokio::test]
async fn a_token_lets_in() {
    let token = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let tokens_file = Some(file(&format!("ops admin {token}\n")));
    let node = Node::start(config::Admin { tokens_file, ..Default::default() }).await;
    ok(&node, &["devices", "list", "--token", "test"]).await;
    let path = file("test\n");
    ok(&node, &["devices", "list", "--token-file", path.to_str().unwrap()]).await;
    let run = ctl(&node, &["devices", "list"]).await;
    assert!(run.exit == Exit::Failed && run.err.contains("UNAUTHENTICATED"), "{}", run.err);
    assert!(run.err.contains("--token-file or GODWIT_TOKEN"), "{}", run.err);
}

#[tokio::test]
async fn registrations_are_listed_and_watched() {
    let mut node = Node::open().await;
    node.register("a", "</3/0>,</3303/1>").await;
    let shown = ok(&node, &["registrations", "get", "a"]).await.out;
    assert!(shown.contains("3303    1.0      1\n"), "{shown}");
    assert!(ok(&node, &["registrations", "list"]).await.out.contains("300s"));

    // The watch goes on for ever, so it is looked at from beside.
    let url = node.url.clone();
    let ctl = parse(&["--address", &url, "registrations", "watch"]).unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut out = Shared(seen.clone());
    let mut err = Shared(seen.clone());
    let watching = ctl.execute(&mut out, &mut err, false);
    let beside = async {
        until(&seen, "synced").await;
        node.tell("a", RegistrationChangeKind::Updated);
        until(&seen, "updated").await;
        node.stop();
        until(&seen, "waiting for the node").await;
    };
    tokio::select! {
        _ = watching => panic!("the watch ended"),
        () = beside => {}
    }
    let seen = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
    assert!(seen.starts_with("present       a\nsynced\nupdated       a  1970-01-01T00:00:03Z\n"), "{seen}");
}

#[derive(Clone)]
struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn until(seen: &std::sync::Mutex<Vec<u8>>, text: &str) {
    let found = async {
        while !String::from_utf8_lossy(&seen.lock().unwrap()).contains(text) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.unwrap_or_else(|_| panic!("no {text:?}"));
}

#[tokio::test]
async fn profiles_and_models_go_through_files() {
    let node = Node::open().await;
    let json = file(r#"{"observe": ["/3/0/9"], "mappings": [{"path": "/3/0/9", "key": "battery"}]}"#);
    ok(&node, &["profiles", "create", json.to_str().unwrap(), "--name", "lamp"]).await;
    let shown = ok(&node, &["profiles", "get", "lamp", "-o", "json"]).await;
    assert_eq!(shown.json()[0]["observe"][0], "/3/0/9");
    let again = file(&shown.out);
    ok(&node, &["profiles", "update", again.to_str().unwrap()]).await;
    let list = ok(&node, &["profiles", "list"]).await.out;
    assert!(list.contains("lamp") && list.contains("built in"), "{list}");

    let thingsboard = file(
        r#"{"observeAttr": {"keyName": {"/3/0/9": "batteryLevel"}, "observe": ["/3/0/9"], "attribute": [],
            "telemetry": ["/3/0/9"]}, "clientLwM2mSettings": {"clientOnlyObserveAfterConnect": true}}"#,
    );
    ok(&node, &["profiles", "import", "tb", thingsboard.to_str().unwrap()]).await;
    let shown = ok(&node, &["profiles", "get", "tb", "-o", "json"]).await;
    assert_eq!(shown.json()[0]["mappings"][0]["key"], "batteryLevel");
    ok(&node, &["profiles", "delete", "tb"]).await;

    let broken = file("{\"observe\": [\"nonsense\"]}");
    let run = ctl(&node, &["profiles", "create", broken.to_str().unwrap(), "--name", "x"]).await;
    assert!(run.exit == Exit::Failed && run.err.contains("observe"), "{}", run.err);

    let built_in = ok(&node, &["models", "get", "3303_1.1"]).await.out;
    assert!(built_in.contains("5700") && built_in.contains("Float"), "{built_in}");
    assert!(ok(&node, &["models", "list", "--object", "3303"]).await.out.contains("built in"));
    assert_eq!(ctl(&node, &["models", "delete", "3303_1.1"]).await.exit, Exit::Failed);
}
