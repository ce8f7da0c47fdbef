//! ThingsBoard's devices with their LwM2M credentials.
//!
//! An array, or one object per line, each with `name`, `configKey` (or `credentialsId`), `profile` (or `type`) and the
//! credentials, as `credentials` or as the text that ThingsBoard's own export has in `credentialsValue`:
//!
//! ```json
//! { "client": { "securityConfigClientMode": "PSK", "endpoint": "LwPSK1", "identity": "id1", "key": "00ff" },
//!   "bootstrap": { … } }
//! ```
//!
//! An empty `endpoint` takes the config key; for PSK the config key is the identity and `endpoint` must be given.

use godwit_proto::v1::{
    Credential, Device,
    credential::{Mode, Psk, RawPublicKey, X509, psk},
};
use serde_json::{Map, Value};

use super::Read;

/// Reads an array of devices, one device, or one per line.
pub(super) fn devices(text: &str) -> Result<Read, String> {
    let mut read = Read::default();
    let items: Vec<(String, Value)> = match serde_json::from_str(text) {
        Ok(Value::Array(items)) => {
            items.into_iter().enumerate().map(|(index, item)| (format!("[{index}]"), item)).collect()
        }
        Ok(item) => vec![("$".to_owned(), item)],
        Err(whole) => {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            let lines =
                lines.map(|(index, line)| Ok((format!("line {}", index + 1), serde_json::from_str(line)?)));
            // What fails line by line too was meant as a whole.
            lines.collect::<Result<_, serde_json::Error>>().map_err(|_| whole.to_string())?
        }
    };
    for (at, item) in items {
        let fault = |fault: String| format!("{at}: {fault}");
        let Value::Object(item) = item else { return Err(fault("not a JSON object".into())) };
        let (device, notes) = device(&item).map_err(fault)?;
        read.notes.extend(notes.into_iter().map(|note| format!("{at}: {note}")));
        read.devices.push(device);
    }
    Ok(read)
}

fn device(item: &Map<String, Value>) -> Result<(Device, Vec<String>), String> {
    let config_key = either(item, "configKey", "credentialsId")?;
    let credentials = credentials(item)?;
    let client = match credentials.get("client") {
        Some(Value::Object(client)) => client,
        Some(_) => return Err("client: must be an object".into()),
        None => return Err("client: is missing".into()),
    };
    let mut notes = Vec::new();
    if credentials.get("bootstrap").is_some_and(|bootstrap| !bootstrap.is_null()) {
        notes.push("bootstrap is not taken over: the node has no bootstrap server yet".to_owned());
    }
    if client.contains_key("x509") {
        notes.push("client.x509 is ignored: the mode says it".to_owned());
    }
    let endpoint = text(client, "endpoint")?;
    let mut device = Device { profile: either(item, "profile", "type")?.to_owned(), ..Default::default() };
    let name = text(item, "name")?;
    if !name.is_empty() {
        device.labels.insert("name".to_owned(), name.to_owned());
    }
    match text(client, "securityConfigClientMode")? {
        "NO_SEC" => {
            agree("configKey", config_key, "client.endpoint", endpoint)?;
            device.endpoint = first(endpoint, config_key).to_owned();
            if device.endpoint.is_empty() {
                return Err("client.endpoint: must be given where configKey is empty".into());
            }
            device.credential = Some(Credential { modes: vec![Mode::NoSec.into()], ..Default::default() });
        }
        "PSK" => {
            let identity = text(client, "identity")?;
            agree("configKey", config_key, "client.identity", identity)?;
            if endpoint.is_empty() {
                return Err("client.endpoint: must be given for PSK".into());
            }
            endpoint.clone_into(&mut device.endpoint);
            device.credential = Some(psk(first(identity, config_key), text(client, "key")?)?);
        }
        "" => return Err("client.securityConfigClientMode: is missing".into()),
        mode @ ("RPK" | "X509") => {
            agree("configKey", config_key, "client.endpoint", endpoint)?;
            device.endpoint = first(endpoint, config_key).to_owned();
            if device.endpoint.is_empty() {
                return Err("client.endpoint: must be given where configKey is empty".into());
            }
            device.credential = Some(if mode == "RPK" { rpk(client)? } else { x509(client)? });
        }
        _ => {
            return Err("client.securityConfigClientMode: must be NO_SEC, PSK, RPK or X509".into());
        }
    }
    Ok((device, notes))
}

fn psk(identity: &str, key: &str) -> Result<Credential, String> {
    if identity.is_empty() {
        return Err("client.identity: must be given where configKey is empty".into());
    }
    if key.is_empty() || key.len() > 128 || !key.len().is_multiple_of(2) {
        return Err(format!(
            "client.key: has {} hex digits, must have 2 to 128, two for each byte",
            key.len()
        ));
    }
    if !key.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("client.key: must be hex digits".into());
    }
    let psk = Psk { identity: identity.to_owned(), secret: Some(psk::Secret::Hex(key.to_owned())) };
    Ok(Credential { modes: vec![Mode::Psk.into()], psk: Some(psk), ..Default::default() })
}

/// The node reads the key in any form and names `device.credential.rpk.key` where it can't.
fn rpk(client: &Map<String, Value>) -> Result<Credential, String> {
    let key = text(client, "key")?;
    if key.is_empty() {
        return Err("client.key: must be given for RPK".into());
    }
    let rpk = RawPublicKey { key: key.as_bytes().to_vec() };
    Ok(Credential { modes: vec![Mode::Rpk.into()], rpk: Some(rpk), ..Default::default() })
}

/// Exactly the certificate that is given; without one, any of a trusted authority with the endpoint name.
fn x509(client: &Map<String, Value>) -> Result<Credential, String> {
    let certificate = text(client, "cert")?.as_bytes().to_vec();
    let x509 = X509 { certificate, ..Default::default() };
    Ok(Credential { modes: vec![Mode::X509.into()], x509: Some(x509), ..Default::default() })
}

/// The credentials: a member, the text in ThingsBoard's export, or the object itself.
fn credentials(item: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    match (item.get("credentials"), item.get("credentialsValue")) {
        (Some(Value::Object(credentials)), _) => Ok(credentials.clone()),
        (Some(_), _) => Err("credentials: must be an object".into()),
        (None, Some(Value::String(text))) => {
            serde_json::from_str(text).map_err(|error| format!("credentialsValue: {error}"))
        }
        (None, Some(_)) => Err("credentialsValue: must be a text".into()),
        (None, None) => Ok(item.clone()),
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("{name}: must be a text")),
    }
}

fn either<'a>(object: &'a Map<String, Value>, name: &str, other: &str) -> Result<&'a str, String> {
    Ok(first(text(object, name)?, text(object, other)?))
}

fn first<'a>(one: &'a str, other: &'a str) -> &'a str {
    if one.is_empty() { other } else { one }
}

fn agree(name: &str, one: &str, other_name: &str, other: &str) -> Result<(), String> {
    if one.is_empty() || other.is_empty() || one == other {
        return Ok(());
    }
    Err(format!("{name}: {one:?} contradicts {other_name} {other:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Device, String> {
        devices(text).map(|mut read| read.devices.remove(0))
    }

    #[test]
    fn an_empty_endpoint_takes_the_config_key() {
        let device = one(r#"[{"name": "Lamp", "configKey": "lamp-1", "profile": "lamp",
                 "credentials": {"client": {"securityConfigClientMode": "NO_SEC", "endpoint": ""}}}]"#)
        .unwrap();
        assert_eq!((device.endpoint.as_str(), device.profile.as_str()), ("lamp-1", "lamp"));
        assert_eq!(device.labels["name"], "Lamp");
    }

    #[test]
    fn the_config_key_of_a_psk_is_its_identity() {
        let device = one(
            r#"{"credentialsId": "id1", "credentialsValue":
                "{\"client\": {\"securityConfigClientMode\": \"PSK\", \"endpoint\": \"ep1\", \"key\": \"00ff\"}}"}"#,
        )
        .unwrap();
        assert_eq!(device.endpoint, "ep1");
        assert_eq!(device.credential.unwrap().psk.unwrap().identity, "id1");
    }

    #[test]
    fn a_raw_key_and_a_certificate_are_handed_on_as_they_stand() {
        let client = |mode: &str, member: &str| {
            let client = format!(r#"{{"securityConfigClientMode": "{mode}", "endpoint": "", {member}}}"#);
            one(&format!(r#"{{"configKey": "ep", "client": {client}}}"#)).unwrap()
        };
        let rpk = client("RPK", r#""key": "3059""#);
        assert_eq!(rpk.endpoint, "ep");
        assert_eq!(rpk.credential.unwrap().rpk.unwrap().key, b"3059");
        let exact = client("X509", r#""cert": "MIIB", "x509": true"#);
        assert_eq!(exact.credential.unwrap().x509.unwrap().certificate, b"MIIB");
        let named = client("X509", r#""cert": null"#).credential.unwrap();
        assert_eq!((named.modes().next(), named.x509), (Some(Mode::X509), Some(X509::default())));
    }

    #[test]
    fn one_object_per_line_is_read_too() {
        let line = r#"{"client": {"securityConfigClientMode": "NO_SEC", "endpoint": "X"}, "bootstrap": {}}"#;
        let text = format!("{}\n{}\n", line.replace('X', "a"), line.replace('X', "b"));
        let read = devices(&text).unwrap();
        let names: Vec<_> = read.devices.iter().map(|device| device.endpoint.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(read.notes[1].starts_with("line 2: bootstrap"));
    }

    #[test]
    fn faults_name_their_field() {
        let client = |client: &str| format!("{{\"configKey\": \"k\", \"client\": {{{client}}}}}");
        for (members, expected) in [
            (r#""endpoint": "a""#, "client.securityConfigClientMode: is missing"),
            (r#""securityConfigClientMode": "NO_SEC", "endpoint": "a""#, "configKey: \"k\" contradicts"),
            (r#""securityConfigClientMode": "PSK", "key": "00""#, "client.endpoint"),
            (r#""securityConfigClientMode": "PSK", "endpoint": "a", "key": "000""#, "client.key: has 3"),
            (r#""securityConfigClientMode": "PSK", "endpoint": "a", "key": "zz""#, "client.key: must be hex"),
            (r#""securityConfigClientMode": "PSK", "endpoint": "a", "identity": "i""#, "configKey"),
            (r#""securityConfigClientMode": "RPK", "endpoint": "k""#, "client.key: must be given for RPK"),
            (r#""securityConfigClientMode": "X509", "endpoint": "a""#, "configKey: \"k\" contradicts"),
            (r#""securityConfigClientMode": "TLS", "endpoint": "k""#, "must be NO_SEC"),
        ] {
            let fault = one(&client(members)).unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
        assert!(one("{").unwrap_err().contains("line 1"));
    }
}
