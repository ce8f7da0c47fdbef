//! Device management with the Leshan client (scenarios 8 to 14, 18).
#![allow(missing_docs, clippy::unwrap_used)]

use godwit_proto::v1::{Attributes, ObjectLink, command::write::Mode, value::Kind};
use godwit_tests::{Client, Leshan, Node, reason, value};
use tonic::Code;

const TEXT: u32 = 0;
const OPAQUE: u32 = 42;
const CBOR: u32 = 60;
const SENML_JSON: u32 = 110;
const SENML_CBOR: u32 = 112;
const TLV: u32 = 11542;
const JSON: u32 = 11543;

/// A node with one registered client.
fn start(endpoint: &str, options: &[&str]) -> Option<(Node, Client)> {
    let leshan = Leshan::shared()?;
    let node = Node::start();
    let mut client = leshan.start(&node, endpoint, options);
    client.registered();
    Some((node, client))
}

/// A value of each type: its resource in object 3442, its text for the client, and what the API shows.
fn types() -> Vec<(u32, &'static str, Kind)> {
    vec![
        (110, "Grüße", Kind::String("Grüße".into())),
        (120, "-9007199254740993", Kind::Integer(-9_007_199_254_740_993)),
        // Leshan writes 2⁶⁴ - 1 in TLV as one byte; this value needs all eight.
        (125, "9223372036854775809", Kind::Unsigned(9_223_372_036_854_775_809)),
        (130, "-21.625", Kind::Float(-21.625)),
        (140, "true", Kind::Boolean(true)),
        (150, "AAH/gA==", Kind::Opaque(vec![0, 1, 255, 128])),
        (160, "1700000001", Kind::Time(1_700_000_001)),
        (170, "3303:7", Kind::ObjectLink(ObjectLink { object: 3303, instance: 7 })),
        (180, "</3>;ver=1.1,</3303/0>", Kind::CoreLink("</3>;ver=1.1,</3303/0>".into())),
    ]
}

#[test]
fn a_resource_of_each_type_is_read_in_each_format() {
    let Some((node, client)) = start("types", &[]) else { return };
    let admin = node.admin();
    for (resource, text, _) in types() {
        client.put(&format!("/3442/0/{resource}"), text);
    }
    for (resource, text, kind) in types() {
        let path = format!("/3442/0/{resource}");
        let mut formats = vec![CBOR, SENML_JSON, SENML_CBOR, TLV, JSON];
        formats.push(if matches!(kind, Kind::Opaque(_)) { OPAQUE } else { TEXT });
        for format in formats {
            let read = admin.read_as("types", &path, format);
            let read = read.unwrap_or_else(|error| panic!("{path} ({text}) in {format}: {error}"));
            assert_eq!(value(&read, &path), kind, "{path} in {format}");
        }
    }
}

#[test]
fn a_resource_instance_is_read_in_each_format() {
    let Some((node, _client)) = start("instances", &[]) else { return };
    let admin = node.admin();
    for format in [TEXT, CBOR, SENML_JSON, SENML_CBOR, TLV, JSON] {
        let read = admin.read_as("instances", "/3/0/7/1", format);
        let read = read.unwrap_or_else(|error| panic!("in {format}: {error}"));
        assert_eq!(value(&read, "/3/0/7/1"), Kind::Integer(5000), "in {format}");
    }
}

#[test]
fn a_multiple_resource_is_read_in_each_format() {
    let Some((node, _client)) = start("multiple", &[]) else { return };
    let admin = node.admin();
    for format in [SENML_JSON, SENML_CBOR, TLV, JSON] {
        let read = admin.read_as("multiple", "/3/0/7", format);
        let read = read.unwrap_or_else(|error| panic!("in {format}: {error}"));
        assert_eq!(value(&read, "/3/0/7/0"), Kind::Integer(3800), "in {format}");
        assert_eq!(value(&read, "/3/0/7/1"), Kind::Integer(5000), "in {format}");
        assert_eq!(read.result.unwrap().values.len(), 2, "in {format}");
    }
}

#[test]
fn an_instance_is_read_in_each_format() {
    let Some((node, client)) = start("whole", &[]) else { return };
    let admin = node.admin();
    for (resource, text, _) in types() {
        client.put(&format!("/3442/0/{resource}"), text);
    }
    client.put("/3442/0/1120/3", "33");
    for format in [SENML_JSON, SENML_CBOR, TLV, JSON] {
        let read = admin.read_as("whole", "/3442/0", format);
        let read = read.unwrap_or_else(|error| panic!("in {format}: {error}"));
        for (resource, _, kind) in types() {
            assert_eq!(value(&read, &format!("/3442/0/{resource}")), kind, "in {format}");
        }
        assert_eq!(value(&read, "/3442/0/1120/3"), Kind::Integer(33), "in {format}");
        assert_eq!(read.result.unwrap().values.len(), types().len() + 1, "in {format}");
    }
}

#[test]
fn an_object_is_read_in_each_format() {
    let Some((node, client)) = start("objects", &["objects=3303:0,5"]) else { return };
    let admin = node.admin();
    client.put("/3303/5/5700", "-4.5");
    for format in [SENML_JSON, SENML_CBOR, TLV, JSON] {
        let read = admin.read_as("objects", "/3303", format);
        let read = read.unwrap_or_else(|error| panic!("in {format}: {error}"));
        assert_eq!(value(&read, "/3303/0/5700"), Kind::Float(21.5), "in {format}");
        assert_eq!(value(&read, "/3303/5/5700"), Kind::Float(-4.5), "in {format}");
        assert_eq!(value(&read, "/3303/5/5701"), Kind::String("Cel".into()), "in {format}");
        assert_eq!(read.result.unwrap().values.len(), 8, "in {format}");
    }
}

#[test]
fn a_resource_of_each_type_is_written_in_each_format() {
    let Some((node, client)) = start("written", &[]) else { return };
    let admin = node.admin();
    for (resource, text, kind) in types() {
        let path = format!("/3442/0/{resource}");
        let mut formats = vec![SENML_JSON, SENML_CBOR, TLV, JSON];
        formats.push(if matches!(kind, Kind::Opaque(_)) { OPAQUE } else { TEXT });
        for format in formats {
            client.command("reset", &[&path]);
            let written = admin.write_value("written", &path, kind.clone(), Some(format));
            let written = written.unwrap_or_else(|error| panic!("{path} in {format}: {error}"));
            assert_eq!(written.result.unwrap().code_text, "2.04");
            assert_eq!(client.value(&path).as_deref(), Some(text), "{path} in {format}");
        }
    }
}

#[test]
fn values_are_written_as_text_by_their_model() {
    let Some((node, client)) = start("texts", &[]) else { return };
    let admin = node.admin();
    for (resource, text, _) in types() {
        let path = format!("/3442/0/{resource}");
        admin.write("texts", &path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(client.value(&path).as_deref(), Some(text), "{path}");
    }
    let error = admin.write("texts", "/3442/0/120", "many").unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
}

#[test]
fn an_instance_is_updated_or_replaced() {
    let Some((node, client)) = start("replaced", &[]) else { return };
    let admin = node.admin();
    client.put("/3442/0/110", "old");
    client.put("/3442/0/120", "1");

    let values = [("/3442/0/120", "2"), ("/3442/0/1110/0", "a"), ("/3442/0/1110/9", "b")];
    admin.write_all("replaced", "/3442/0", &values, Mode::Update, None).unwrap();
    assert_eq!(client.value("/3442/0/110").as_deref(), Some("old"));
    assert_eq!(client.value("/3442/0/120").as_deref(), Some("2"));
    assert_eq!(client.value("/3442/0/1110/9").as_deref(), Some("b"));

    admin.write_all("replaced", "/3442/0", &[("/3442/0/120", "3")], Mode::Replace, Some(TLV)).unwrap();
    assert_eq!(client.value("/3442/0/110"), None);
    assert_eq!(client.value("/3442/0/120").as_deref(), Some("3"));
}

#[test]
fn a_resource_instance_is_written() {
    let Some((node, client)) = start("one-instance", &[]) else { return };
    let admin = node.admin();
    client.put("/3442/0/1120/0", "1");
    client.put("/3442/0/1120/1", "2");
    admin.write("one-instance", "/3442/0/1120/1", "22").unwrap();
    assert_eq!(client.value("/3442/0/1120/0").as_deref(), Some("1"));
    assert_eq!(client.value("/3442/0/1120/1").as_deref(), Some("22"));
}

#[test]
fn an_execute_carries_its_arguments() {
    let Some((node, mut client)) = start("executes", &[]) else { return };
    let admin = node.admin();
    admin.execute("executes", "/3/0/4", "").unwrap();
    let seen = client.event("execute");
    assert_eq!((&seen["path"], &seen["arguments"]), (&"/3/0/4".into(), &serde_json::Value::Null));
    for arguments in ["5", "2='10.3'", "7,0='https://www.oma.org'"] {
        let executed = admin.execute("executes", "/3442/0/3", arguments).unwrap();
        assert_eq!(executed.result.unwrap().code_text, "2.04");
        let seen = client.event("execute");
        let mut wanted: Vec<_> = arguments.split(',').collect();
        wanted.sort_unstable();
        let mut got: Vec<_> = seen["arguments"].as_str().unwrap().split(',').collect();
        got.sort_unstable();
        assert_eq!(got, wanted);
    }
    let error = admin.execute("executes", "/3442/0/3", "10='x'").unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
}

#[test]
fn an_instance_is_created_with_and_without_an_id() {
    let Some((node, mut client)) = start("creates", &[]) else { return };
    let admin = node.admin();
    let created = admin.create("creates", 3442, Some(42), &[("/3442/42/110", "here")]).unwrap();
    assert_eq!(created.result.unwrap().code_text, "2.01");
    assert_eq!(client.event("create")["path"], "/3442/42");
    assert_eq!(client.value("/3442/42/110").as_deref(), Some("here"));

    let created = admin.create("creates", 3442, None, &[("/3442/0/120", "5")]).unwrap();
    let result = created.result.unwrap();
    assert_eq!((result.code_text.as_str(), result.location.as_str()), ("2.01", "/3442/1"));
    assert_eq!(client.event("create")["path"], "/3442/1");
    assert_eq!(client.value("/3442/1/120").as_deref(), Some("5"));

    let error = admin.create("creates", 3442, Some(42), &[("/3442/42/110", "twice")]).unwrap_err();
    assert_eq!(reason(&error), "DEVICE_ERROR", "{error}");
}

#[test]
fn an_instance_is_deleted() {
    let Some((node, mut client)) = start("deletes", &["objects=3303:0,1"]) else { return };
    let admin = node.admin();
    assert_eq!(admin.delete("deletes", "/3303/1").unwrap().result.unwrap().code_text, "2.02");
    assert_eq!(client.event("delete")["path"], "/3303/1");
    admin.wait_registration("deletes", |registration| {
        registration.objects.iter().any(|object| object.object == 3303 && object.instances == [0])
    });
    let error = admin.delete("deletes", "/3303/1").unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");
}

#[test]
fn discover_tells_what_is_there_and_its_attributes() {
    let Some((node, _client)) = start("discovers", &["objects=3303:0,1"]) else { return };
    let admin = node.admin();
    let paths = |path: &str| -> Vec<String> {
        let links = admin.discover("discovers", path).unwrap().result.unwrap().links;
        links.into_iter().map(|link| link.path).collect()
    };
    let object = paths("/3303");
    assert!(object.contains(&"/3303/1".into()) && object.contains(&"/3303/0/5700".into()), "{object:?}");
    assert_eq!(
        paths("/3303/0"),
        ["/3303/0", "/3303/0/5601", "/3303/0/5602", "/3303/0/5605", "/3303/0/5700", "/3303/0/5701"]
    );

    let attributes = Attributes { pmin: Some(5), pmax: Some(60), gt: Some(42.5), ..Default::default() };
    admin.write_attributes("discovers", "/3303/0/5700", attributes).unwrap();
    let links = admin.discover("discovers", "/3303/0/5700").unwrap().result.unwrap().links;
    assert_eq!(links.len(), 1);
    assert_eq!(links[0].path, "/3303/0/5700");
    let attributes = &links[0].attributes;
    assert_eq!(attributes["pmin"], "5");
    assert_eq!(attributes["pmax"], "60");
    assert_eq!(attributes["gt"], "42.5");

    let links = admin.discover("discovers", "/3/0/7").unwrap().result.unwrap().links;
    assert!(links[0].attributes.get("dim").is_some_and(|dim| dim == "2"), "{links:?}");
}

#[test]
fn attributes_are_written_at_each_level() {
    let Some((node, mut client)) = start("attributes", &[]) else { return };
    let admin = node.admin();
    let attributes = || Attributes { pmin: Some(1), pmax: Some(10), ..Default::default() };
    for path in ["/3303", "/3303/0", "/3303/0/5700"] {
        let written = admin.write_attributes("attributes", path, attributes()).unwrap();
        assert_eq!(written.result.unwrap().code_text, "2.04");
        let request = client.request("PUT", path);
        let mut query: Vec<_> = request["query"].as_str().unwrap().split('&').collect();
        query.sort_unstable();
        assert_eq!((query, request["payload"].as_str()), (vec!["pmax=10", "pmin=1"], Some("")));
    }
    let step = Attributes { gt: Some(30.0), lt: Some(10.5), st: Some(0.25), ..Default::default() };
    admin.write_attributes("attributes", "/3303/0/5700", step).unwrap();
    let request = client.request("PUT", "/3303/0/5700");
    let mut query: Vec<_> = request["query"].as_str().unwrap().split('&').collect();
    query.sort_unstable();
    assert_eq!(query, ["gt=30", "lt=10.5", "st=0.25"]);
}

#[test]
fn errors_of_the_client_pass_through_with_their_code() {
    let Some((node, client)) = start("refuses", &[]) else { return };
    let admin = node.admin();
    let refusals = [
        ("/3303/0/5601", "4.01"),
        ("/3303/0/5602", "4.05"),
        ("/3303/0/5700", "5.00"),
        ("/3303/0/5701", "4.12"),
        ("/3442/0/110", "4.00"),
        ("/3442/0/3", "4.03"),
    ];
    for (path, refusal) in refusals {
        client.command("refuse", &[path, refusal]);
    }
    let cases = [
        (admin.read("refuses", "/3303/9/5700"), "4.04", Code::NotFound),
        (admin.read("refuses", "/3303/0/5601"), "4.01", Code::PermissionDenied),
        (admin.read("refuses", "/3303/0/5602"), "4.05", Code::FailedPrecondition),
        (admin.read("refuses", "/3303/0/5700"), "5.00", Code::Internal),
        (admin.read("refuses", "/3303/0/5701"), "4.12", Code::FailedPrecondition),
        (admin.write("refuses", "/3442/0/110", "x"), "4.00", Code::InvalidArgument),
        (admin.execute("refuses", "/3442/0/3", ""), "4.03", Code::PermissionDenied),
    ];
    for (outcome, code, grpc) in cases {
        let error = outcome.unwrap_err();
        assert_eq!((error.code(), reason(&error).as_str()), (grpc, "DEVICE_ERROR"), "{code}: {error}");
        let info = tonic_types::StatusExt::get_details_error_info(&error).unwrap();
        assert_eq!(info.metadata.get("coap_code").map(String::as_str), Some(code), "{error} {info:?}");
    }
}

#[test]
fn what_the_model_forbids_is_refused_before_the_device_is_asked() {
    let Some((node, client)) = start("forbids", &[]) else { return };
    let admin = node.admin();
    let errors = [
        admin.read("forbids", "/3303/0/5605").unwrap_err(),
        admin.write("forbids", "/3/0/0", "mine").unwrap_err(),
        admin.execute("forbids", "/3/0/9", "").unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }
    assert_eq!(client.events("request").len(), 0);
}
