//! What an operator does from a shell with `godwit ctl`, with the Leshan client behind the node.
#![allow(missing_docs, clippy::unwrap_used)]

use godwit_tests::{Client, Ctl, Leshan, Node, Setup};
use serde_json::{Value, json};

/// A node with one registered client.
fn start(endpoint: &str) -> Option<(Node, Client)> {
    let leshan = Leshan::shared()?;
    let node = Node::start();
    let mut client = leshan.start(&node, endpoint, &[]);
    client.registered();
    Some((node, client))
}

/// A profile as ThingsBoard exports it: names for what is observed, and one path that the device lacks.
const THINGSBOARD: &str = r#"{
    "observeAttr": {
        "keyName": {"/3/0/9": "batteryLevel", "/3/0/3": "fw", "/3303/0/5700": "warmth", "/3303/7/5700": "elsewhere"},
        "observe": ["/3/0/9", "/3303/0/5700", "/3303/7/5700"],
        "attribute": ["/3/0/3"],
        "telemetry": ["/3/0/9", "/3303/0/5700", "/3303/7/5700"],
        "attributeLwm2m": {"/3303/0/5700": {"pmin": 0, "pmax": 120}}},
    "clientLwM2mSettings": {"clientOnlyObserveAfterConnect": 2}
}"#;

#[test]
fn an_imported_thingsboard_profile_observes_and_names_what_comes() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Setup { set: Vec::new(), ..Setup::default() }.start();
    let file = node.file("meter.json", THINGSBOARD);
    Ctl::ok(&node, &["profiles", "import", "meter", file.to_str().unwrap()]);
    Ctl::ok(&node, &["devices", "create", "tb-meter", "--profile", "meter", "--no-sec"]);

    let mut client = leshan.start(&node, "tb-meter", &[]);
    client.registered();
    node.admin().wait_observations("tb-meter", &["/3/0/9", "/3303/0/5700"]);
    let mut sink = node.sink();
    let skipped = sink.event("tb-meter", "path_skipped");
    assert_eq!(skipped["data"]["data"]["path"], "/3303/7/5700");
    let read = sink.is("tb-meter", "/3/0/3", "1.0.3");
    assert_eq!(
        (&read["type"], &read["data"]["values"]),
        (&json!("dev.godwit.attributes.v1"), &json!({"fw": "1.0.3"}))
    );

    client.set("/3303/0/5700", "30.75");
    let record = sink.is("tb-meter", "/3303/0/5700", 30.75);
    assert_eq!(record["profile"], "meter");
    assert_eq!(record["data"]["values"], json!({"warmth": 30.75}));
    let written = client.events("request").into_iter().find(|request| request["method"] == "PUT").unwrap();
    assert_eq!(written["path"], "/3303/0/5700");
    assert!(written["query"].as_str().unwrap().contains("pmax=120"), "{written}");

    // The shell shows the same registration.
    let shown = Ctl::json(&node, &["registrations", "get", "tb-meter"]);
    assert_eq!(shown[0]["profile"], "profiles/meter");
    assert_eq!(shown[0]["observations"].as_array().unwrap().len(), 2);
}

/// Temperature, with other words for its value and the value as text.
const MODEL: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<LWM2M><Object ObjectType="MODefinition">
  <Name>Warmth</Name><Description1/><ObjectID>3303</ObjectID><ObjectURN>urn:oma:lwm2m:ext:3303</ObjectURN>
  <LWM2MVersion>1.0</LWM2MVersion><ObjectVersion>1.0</ObjectVersion>
  <MultipleInstances>Multiple</MultipleInstances><Mandatory>Optional</Mandatory>
  <Resources>
    <Item ID="5700"><Name>Felt Warmth</Name><Operations>R</Operations><MultipleInstances>Single</MultipleInstances>
      <Mandatory>Mandatory</Mandatory><Type>Float</Type><RangeEnumeration/><Units>Cel</Units><Description/></Item>
    <Item ID="5701"><Name>Unit</Name><Operations>R</Operations><MultipleInstances>Single</MultipleInstances>
      <Mandatory>Optional</Mandatory><Type>String</Type><RangeEnumeration/><Units/><Description/></Item>
  </Resources><Description2/>
</Object></LWM2M>"#;

#[test]
fn an_uploaded_model_names_the_values_of_its_profiles_devices() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let profile = node.file("profile.json", r#"{"observe": ["/3303/0/5700"]}"#);
    for name in ["plain", "felt"] {
        Ctl::ok(&node, &["profiles", "create", profile.to_str().unwrap(), "--name", name]);
        Ctl::ok(&node, &["devices", "create", &format!("is-{name}"), "--profile", name, "--no-sec"]);
    }
    let model = node.file("3303.xml", MODEL);
    Ctl::ok(&node, &["models", "upload", model.to_str().unwrap(), "--profile", "felt"]);
    let shown = Ctl::ok(&node, &["models", "get", "3303_1.0", "--profile", "felt"]);
    assert!(shown.contains("Felt Warmth"), "{shown}");

    let mut sink = node.sink();
    for (name, key) in [("plain", "sensorValue"), ("felt", "feltWarmth")] {
        let endpoint = format!("is-{name}");
        let mut client = leshan.start(&node, &endpoint, &[]);
        client.registered();
        node.admin().wait_observations(&endpoint, &["/3303/0/5700"]);
        client.set("/3303/0/5700", "12.5");
        let record = sink.is(&endpoint, "/3303/0/5700", 12.5);
        assert_eq!(record["data"]["values"], json!({key: 12.5}));
    }
    let broken = node.file("broken.xml", "<LWM2M><Object>");
    let run = Ctl::run(&node, &["models", "upload", broken.to_str().unwrap()]);
    assert_eq!(run.exit, 1, "{}", run.err);
    assert!(run.err.contains("broken.xml"), "{}", run.err);
}

#[test]
fn tables_are_for_people_and_json_is_for_scripts() {
    let Some((node, client)) = start("shown") else { return };
    let table = Ctl::ok(&node, &["registrations", "list"]);
    let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0][..4], ["ENDPOINT", "PROFILE", "LWM2M", "BINDING"]);
    assert_eq!(lines[1][..5], ["shown", "default", "1.1", "U", "300s"]);
    assert_eq!(lines.len(), 2);
    let json = Ctl::json(&node, &["registrations", "list"]);
    assert_eq!((&json[0]["endpoint"], &json[0]["lwm2mVersion"]), (&json!("shown"), &json!("1.1")));
    assert_eq!(json.len(), 1);

    let read = Ctl::ok(&node, &["operations", "read", "shown", "/3/0/9"]);
    assert_eq!(read, "PATH    VALUE  TYPE\n/3/0/9  95     integer\n");
    let read = Ctl::json(&node, &["operations", "read", "shown", "/3303/0/5700"]);
    assert_eq!(read[0]["result"]["values"], json!([{"path": "/3303/0/5700", "value": {"float": 21.5}}]));
    assert_eq!(read[0]["state"], "STATE_SUCCEEDED");

    Ctl::ok(&node, &["operations", "write", "shown", "/3442/0/110=by hand"]);
    assert_eq!(client.value("/3442/0/110").as_deref(), Some("by hand"));
    Ctl::ok(&node, &["operations", "exec", "shown", "/3442/0/3", "--args", "0='x'"]);
    assert_eq!(client.events("execute").last().unwrap()["arguments"], "0='x'");
    let links = Ctl::ok(&node, &["operations", "discover", "shown", "/3303/0"]);
    assert!(links.starts_with("PATH") && links.contains("/3303/0/5700"), "{links}");
    Ctl::ok(&node, &["operations", "create", "shown", "/3442/5", "110=made"]);
    assert_eq!(client.value("/3442/5/110").as_deref(), Some("made"));
    Ctl::ok(&node, &["operations", "delete", "shown", "/3442/5"]);
    assert_eq!(client.events("delete").last().unwrap()["path"], "/3442/5");
}

#[test]
fn exit_codes_say_whose_fault_it_is() {
    let Some((mut node, client)) = start("faults") else { return };
    let read = ["operations", "read", "faults", "/3/0/14"];
    client.command("refuse", &["/3/0/14", "4.01"]);
    let refused = Ctl::run(&node, &read);
    assert_eq!(refused.exit, 4, "the device's: {}", refused.err);
    assert!(refused.err.contains("4.01"), "{}", refused.err);
    let refused = Ctl::run(&node, &[&read[..], &["-o", "json"]].concat());
    let error: Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!((refused.exit, &error["error"]["reason"]), (4, &json!("DEVICE_ERROR")), "{error}");

    let nobody = Ctl::run(&node, &["operations", "read", "nobody", "/3/0/9"]);
    assert_eq!((nobody.exit, nobody.out.as_str()), (1, ""), "the caller's: {}", nobody.err);
    assert_eq!(Ctl::run(&node, &["operations", "read", "faults"]).exit, 2, "no path");
    assert_eq!(Ctl::run(&node, &["registrations", "get", "faults", "--output", "xml"]).exit, 2);
    node.kill();
    assert_eq!(Ctl::run(&node, &["registrations", "list"]).exit, 3, "nobody listens");
}

#[test]
fn a_queued_command_waits_for_its_device_and_shows_how_it_went() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    Ctl::ok(&node, &["devices", "create", "later", "--no-sec"]);
    let write = ["operations", "write", "later", "/3442/0/120=77", "--queue", "--ttl", "1h"];
    let queued = Ctl::json(&node, &write);
    assert_eq!(queued[0]["state"], "STATE_QUEUED");
    let name = queued[0]["name"].as_str().unwrap();
    let table = Ctl::ok(&node, &["operations", "list", "later"]);
    assert!(table.starts_with("COMMAND") && table.contains(name), "{table}");

    let mut client = leshan.start(&node, "later", &[]);
    client.registered();
    let ended = node.admin().wait_operation(name);
    assert_eq!(ended.result.unwrap().code_text, "2.04");
    assert_eq!(client.value("/3442/0/120").as_deref(), Some("77"));
    assert_eq!(Ctl::json(&node, &["operations", "get", name])[0]["state"], "STATE_SUCCEEDED");
}

#[test]
fn a_watch_and_a_tail_show_what_happens() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let mut watch = Ctl::watch(&node, &["registrations", "watch"]);
    watch.next("the end of the snapshot", |line| line["synced"].is_object());
    let mut tail = Ctl::watch(&node, &["telemetry", "tail", "--endpoint", "seen*", "--kind", "telemetry"]);
    let change = |kind: &'static str| {
        move |line: &Value| line["change"]["kind"] == kind && line["change"]["endpoint"] == "seen-1"
    };

    let mut client = leshan.start(&node, "seen-1", &[]);
    client.registered();
    watch.next("a registration", change("KIND_REGISTERED"));
    Ctl::ok(&node, &["operations", "observe", "seen-1", "/3303/0/5700"]);
    // The tail may begin later than the first of these.
    let mut value = 0.0;
    while !tail.seen(|line| line["endpoint"] == "seen-1") {
        value += 0.5;
        client.set("/3303/0/5700", &value.to_string());
        node.sink().is("seen-1", "/3303/0/5700", value);
    }
    let record = tail.next("a value", |line| line["endpoint"] == "seen-1");
    let data: Value = serde_json::from_str(record["data"].as_str().unwrap()).unwrap();
    assert!(data["values"]["sensorValue"].is_f64(), "{record}");
    client.command("deregister", &[]);
    watch.next("its end", change("KIND_DEREGISTERED"));
}
