//! Published link-format payloads: registrations, Discover answers, Write-Attributes queries.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use godwit_coap::Code;
use godwit_lwm2m::attributes::{AttributeChange, LinkAttributes};
use godwit_lwm2m::link::{self, Link};
use godwit_lwm2m::model::LwM2mVersion;
use godwit_lwm2m::registration::{RegisteredLinks, RootPath};
use serde_json::Value;

/// Blanks that the RFC 6690 grammar has nowhere. Clients send them (OMA's own example of an
/// alternate path has one behind a comma), so they are borne here, against the vectors' verdict.
const BLANKS_BORNE: [&str; 6] =
    ["leshan-bad-8", "leshan-bad-12", "leshan-bad-19", "leshan-bad-20", "leshan-bad-21", "leshan-bad-22"];

/// Where the vectors contradict each other. Object 1 without a version is 1.1 under LwM2M 1.1, as
/// `leshan-reg-core-versions-11` has it and Core 1.1.1 §7.2 says, not 1.0.
const VERSIONS_DECIDED: [(&str, &str, &str); 1] = [("anjay-reg-11", "1", "1.1")];

fn vectors(kinds: &[&str]) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("vectors/links.json")).unwrap();
    let all = file["vectors"].as_array().unwrap();
    all.iter().filter(|v| kinds.contains(&v["kind"].as_str().unwrap())).cloned().collect()
}

fn id(vector: &Value) -> &str {
    vector["id"].as_str().unwrap()
}

fn bytes(vector: &Value) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(vector["hex"].as_str().unwrap().as_bytes()).unwrap()
}

fn expected(vector: &Value) -> Vec<Link<'static>> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let links = vector["links"].as_array().unwrap().iter();
    links
        .map(|link| {
            link["attributes"].as_array().unwrap().iter().fold(
                Link::new(text(&link["uri"])),
                |link, attribute| match &attribute[1] {
                    Value::Null => link.with_flag(text(&attribute[0])),
                    value => link.with(text(&attribute[0]), text(value)),
                },
            )
        })
        .collect()
}

/// Whether the payload is link format; Discover answers also need attributes that make sense.
fn read<'a>(vector: &Value, payload: &'a [u8]) -> Result<Vec<Link<'a>>, String> {
    let links = link::parse(payload).map_err(|error| error.to_string())?;
    if vector["kind"].as_str().unwrap().ends_with("discover") {
        for link in &links {
            LinkAttributes::from_link(link).map_err(|error| error.to_string())?;
        }
    }
    Ok(links)
}

#[test]
fn every_payload_is_read_or_refused_as_published() {
    let vectors = vectors(&["core", "register", "discover", "bootstrap-discover"]);
    assert!(vectors.len() > 80);
    for vector in vectors {
        let payload = bytes(&vector);
        let links = read(&vector, &payload);
        if BLANKS_BORNE.contains(&id(&vector)) {
            assert!(vector["disagree"].is_string() && links.is_ok(), "{}: {links:?}", id(&vector));
        } else if vector["expect"] == "ok" {
            assert_eq!(links, Ok(expected(&vector)), "{}", id(&vector));
        } else {
            assert!(links.is_err(), "{}: {links:?}", id(&vector));
        }
    }
}

#[test]
fn every_registration_says_what_was_published() {
    let mut read = 0;
    for vector in vectors(&["register"]) {
        let version = LwM2mVersion::parse(vector["lwm2m"].as_str().unwrap()).unwrap();
        let links = RegisteredLinks::parse(&bytes(&vector), version, &RootPath::default());
        if vector["expect"] == "refuse" {
            assert_eq!(links.unwrap_err().code, Code::BAD_REQUEST, "{}", id(&vector));
            continue;
        }
        let links = links.unwrap();
        let Some(published) = vector["registration"].as_object() else { continue };
        read += 1;
        assert_eq!(links.root.unwrap_or_default().to_string(), published["root"].as_str().unwrap());
        let instances: Vec<String> = links.objects.instances().map(|path| path.to_string()).collect();
        let mut expected: Vec<&str> =
            published["instances"].as_array().unwrap().iter().map(|i| i.as_str().unwrap()).collect();
        expected
            .sort_by_key(|path| path.split('/').skip(1).map(|n| n.parse().unwrap()).collect::<Vec<u16>>());
        assert_eq!(instances, expected, "{}", id(&vector));
        let versions = published["objects"].as_object().unwrap();
        assert_eq!(links.objects.len(), versions.len(), "{}", id(&vector));
        for (object, version) in versions {
            let ours = links.objects.object(object.parse().unwrap()).unwrap();
            let decided = VERSIONS_DECIDED.iter().find(|d| d.0 == id(&vector) && d.1 == object).map(|d| d.2);
            match decided.or(version.as_str()) {
                Some(version) => assert_eq!(ours.version.to_string(), version, "{} {object}", id(&vector)),
                None => assert!(!ours.named, "{} {object}", id(&vector)),
            }
        }
        let formats: Option<Vec<u64>> =
            links.formats.map(|set| set.iter().map(|format| u64::from(format.number())).collect());
        let listed = published.get("content_formats").and_then(Value::as_array);
        assert_eq!(
            formats,
            listed.map(|l| l.iter().map(|n| n.as_u64().unwrap()).collect()),
            "{}",
            id(&vector)
        );
    }
    assert!(read >= 18, "{read}");
}

#[test]
fn a_version_on_an_instance_link_is_taken_for_its_object() {
    let vectors = vectors(&["register"]);
    let vector = vectors.iter().find(|v| id(v) == "wakaama-reg-instance-version").unwrap();
    let links = RegisteredLinks::parse(&bytes(vector), LwM2mVersion::V1_1, &RootPath::default()).unwrap();
    assert_eq!(links.objects.to_string(), "</1/0>,</3>;ver=1.2,</3/0>");
}

#[test]
fn what_is_written_of_every_payload_reads_back() {
    for vector in vectors(&["core", "register", "discover", "bootstrap-discover"]) {
        if vector["expect"] == "ok" {
            let links = expected(&vector);
            let payload = link::write(&links);
            assert_eq!(link::parse(payload.as_bytes()), Ok(expected(&vector)), "{}", id(&vector));
        }
    }
}

#[test]
fn every_query_is_read_or_refused_as_published() {
    let vectors = vectors(&["write-attributes"]);
    assert!(vectors.len() >= 20);
    for vector in vectors {
        let payload = bytes(&vector);
        let query = std::str::from_utf8(&payload).unwrap();
        let change = AttributeChange::parse(query.split('&'));
        assert_eq!(change.is_ok(), vector["expect"] == "ok", "{}: {change:?}", id(&vector));
        if let Ok(change) = change {
            assert_eq!(change.queries().join("&"), query);
        }
    }
}
