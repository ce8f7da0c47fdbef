//! Bytes that the Leshan client makes, as vectors for our decoders: `node/lwm2m/tests/vectors/leshan.json`.
//!
//! Every run has the client make them again and compares; with `UPDATE_VECTORS=1` it writes the file instead. What
//! a payload means is what the client says that it holds, never what we decode.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{env, fs, path::Path};

use godwit_tests::{Admin, Client, Leshan, Node};
use serde_json::{Map, Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../node/lwm2m/tests/vectors/leshan.json");
const ENDPOINT: &str = "golden";

/// The formats of whole instances, by name and number.
const FORMATS: [(&str, u32); 4] = [("tlv", 11542), ("json", 11543), ("senml-json", 110), ("senml-cbor", 112)];

/// What the object of all types holds.
const TYPES: [(&str, &str); 12] = [
    ("/3442/0/110", "Grüße"),
    ("/3442/0/120", "-9007199254740993"),
    ("/3442/0/125", "9223372036854775809"),
    ("/3442/0/130", "-21.625"),
    ("/3442/0/140", "true"),
    ("/3442/0/150", "AAH/gA=="),
    ("/3442/0/160", "1700000001"),
    ("/3442/0/170", "3303:7"),
    ("/3442/0/180", "</3>;ver=1.1,</3303/0>"),
    ("/3442/0/1120/0", "7"),
    ("/3442/0/1120/300", "-70000"),
    ("/3442/0/1110/2", "two"),
];

struct Vectors {
    admin: Admin,
    client: Client,
    made: Vec<Value>,
}

impl Vectors {
    /// Adds what an event carries.
    fn add(&mut self, id: String, kind: &str, path: &str, event: &Value, values: Map<String, Value>) {
        self.made.push(json!({
            "id": id,
            "kind": kind,
            "path": path,
            "format": event["format"],
            "hex": event["payload"],
            "values": values,
        }));
    }

    /// The client's own words for the values of these resources.
    fn values(&self, resources: &[&str]) -> Map<String, Value> {
        let mut values = Map::new();
        for resource in resources {
            let held = self.client.command("value", &[resource]);
            values.extend(held.as_object().unwrap().clone());
        }
        values
    }

    fn read(&mut self, name: &str, path: &str, format: (&str, u32), resources: &[&str]) {
        self.admin.read_as(ENDPOINT, path, format.1).unwrap_or_else(|error| panic!("{path}: {error}"));
        let response = self.client.event("response");
        let values = self.values(resources);
        self.add(format!("read-{name}-{}", format.0), "read", path, &response, values);
    }
}

/// All of it, in an order that stays.
fn make(node: &Node, leshan: &'static Leshan) -> Vec<Value> {
    let mut client = leshan.start(node, ENDPOINT, &["objects=3303:0,1;3442:0", "lifetime=3600"]);
    let register = client.next("the registration", |event| {
        event["event"] == "uplink" && event["method"] == "POST" && event["path"] == "/rd"
    });
    client.registered();
    for (path, text) in TYPES {
        client.put(path, text);
    }
    let mut vectors = Vectors { admin: node.admin(), client, made: Vec::new() };
    vectors.made.push(json!({
        "id": "register",
        "kind": "register",
        "query": register["query"],
        "format": register["format"],
        "hex": register["payload"],
        "instances": ["/1/0", "/3/0", "/3303/0", "/3303/1", "/3442/0"],
    }));

    let device = ["0", "1", "2", "3", "6", "7", "9", "11", "13", "14", "16"];
    let device: Vec<_> = device.iter().map(|id| format!("/3/0/{id}")).collect();
    let device: Vec<_> = device.iter().map(String::as_str).collect();
    let types = ["110", "120", "125", "130", "140", "150", "160", "170", "180", "1110", "1120"];
    let types: Vec<_> = types.iter().map(|id| format!("/3442/0/{id}")).collect();
    let types: Vec<_> = types.iter().map(String::as_str).collect();
    for format in FORMATS {
        vectors.read("device", "/3/0", format, &device);
        vectors.read("types", "/3442/0", format, &types);
        vectors.read("voltages", "/3/0/7", format, &["/3/0/7"]);
        vectors.read("temperature", "/3303/0/5700", format, &["/3303/0/5700"]);
    }
    for path in &types[..9] {
        let id = path.rsplit('/').next().unwrap();
        let text = if id == "150" { ("opaque", 42) } else { ("text", 0) };
        vectors.read(id, path, text, &[path]);
        vectors.read(id, path, ("cbor", 60), &[path]);
    }

    for format in [("senml-json", 110), ("senml-cbor", 112)] {
        let paths = ["/3/0/9", "/3/0/7", "/3303/1/5700"];
        vectors.admin.read_composite(ENDPOINT, &paths, format.1).unwrap();
        let response = vectors.client.event("response");
        let values = vectors.values(&paths);
        vectors.add(format!("read-composite-{}", format.0), "read", "/", &response, values);

        assert_eq!(vectors.client.send(format.1 as u16, &["/3303/0/5700", "/3/0/9", "/3/0/7/1"]), "2.04");
        let send = vectors.client.next("a Send", |event| event["path"] == "/dp");
        let mut values = vectors.values(&["/3303/0/5700", "/3/0/9", "/3/0/7"]);
        values.remove("/3/0/7/0");
        vectors.add(format!("send-{}", format.0), "send", "/", &send, values);

        let entries =
            ["1700000000.25 /3303/0/5700 1.5", "1700000060 /3303/0/5700 -2.75", "1700000060 /3/0/9 80"];
        assert_eq!(vectors.client.send_at(format.1 as u16, &entries), "2.04");
        let send = vectors.client.next("a Send", |event| event["path"] == "/dp");
        let times = json!([
            [1_700_000_000.25, "/3303/0/5700", "1.5"],
            [1_700_000_060.0, "/3303/0/5700", "-2.75"],
            [1_700_000_060.0, "/3/0/9", "80"],
        ]);
        vectors.add(format!("send-times-{}", format.0), "send", "/", &send, Map::new());
        vectors.made.last_mut().unwrap()["times"] = times;
    }

    for (name, path, resources) in [
        ("resource", "/3303/0/5700", &["/3303/0/5700"][..]),
        ("instance", "/3303/1", &["/3303/1/5601", "/3303/1/5602", "/3303/1/5700", "/3303/1/5701"]),
    ] {
        vectors.admin.observe(ENDPOINT, path).unwrap();
        let first = vectors.client.event("response");
        assert!(first["observe"].is_u64(), "{first}");
        vectors.client.set(resources.iter().find(|path| path.ends_with("5700")).unwrap(), "-3.0625");
        let notification = vectors
            .client
            .next("a notification", |event| event["event"] == "response" && event["observe"].is_u64());
        let values = vectors.values(resources);
        vectors.add(format!("notification-{name}"), "notification", path, &notification, values);
    }
    vectors.made
}

#[test]
fn leshan_says_what_its_vectors_hold() {
    let Some(leshan) = Leshan::shared() else { return };
    let node = Node::start();
    let made = make(&node, leshan);
    if env::var_os("UPDATE_VECTORS").is_some() {
        let file = json!({
            "about": "Payloads that the Leshan client 2.0.0-M18 made, and the values that it held meanwhile, as text: \
                      Opaque in base64, Time in seconds, Objlnk as 3:0. Made by \
                      `UPDATE_VECTORS=1 cargo test -p godwit-tests --test golden`.",
            "vectors": made,
        });
        fs::write(Path::new(FILE), format!("{file:#}\n")).unwrap();
        return;
    }
    let file: Value = serde_json::from_str(&fs::read_to_string(FILE).unwrap()).unwrap();
    let kept = file["vectors"].as_array().unwrap();
    for (made, kept) in made.iter().zip(kept) {
        assert_eq!(made, kept);
    }
    assert_eq!(made.len(), kept.len());
}
