//! One device by named fields, as a line of CSV or NDJSON gives it, and as an export writes it.

use data_encoding::HEXLOWER;
use godwit_proto::v1::{
    Device,
    credential::{Mode, psk::Secret},
};
use serde_json::{Map, Value};

use super::Read;
use crate::ctl::devices::Settings;

/// Reads NDJSON: one object per line.
pub(super) fn devices(text: &str) -> Result<Read, String> {
    let mut read = Read::default();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |fault: String| format!("line {}: {fault}", index + 1);
        let value: Value = serde_json::from_str(line).map_err(|error| at(error.to_string()))?;
        let Value::Object(members) = value else { return Err(at("not a JSON object".into())) };
        let mut fields = Vec::new();
        for (name, value) in members {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text,
                Value::Bool(truth) => truth.to_string(),
                _ => return Err(at(format!("{name}: must be a text, true or false"))),
            };
            fields.push((name, text));
        }
        read.devices.push(device(fields).map_err(at)?);
    }
    Ok(read)
}

/// A device of these fields. Empty ones count as not given; an unknown name is an error, most likely misspelt.
pub(super) fn device(fields: impl IntoIterator<Item = (String, String)>) -> Result<Device, String> {
    let (mut endpoint, mut disabled, mut settings) = (String::new(), false, Settings::default());
    let mut sealed = None;
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "endpoint" => endpoint = value,
            "profile" => settings.profile = Some(value),
            "psk" => settings.psk = truth(&name, &value)?,
            "psk_identity" => settings.psk_identity = Some(value),
            "psk_hex" => settings.psk_hex = Some(value),
            "psk_text" => settings.psk_text = Some(value),
            "psk_sealed" => {
                let bytes = HEXLOWER.decode(value.as_bytes());
                let bytes = bytes.map_err(|_| format!("{name}: must be what an export wrote"))?;
                (settings.psk, sealed) = (true, Some(bytes));
            }
            "rpk" => settings.rpk = Some(value),
            "x509" => settings.x509 = truth(&name, &value)?,
            "x509_common_name" => settings.x509_common_name = Some(value),
            "x509_issuer" => settings.x509_issuer = Some(value),
            "x509_certificate" => settings.x509_certificate = Some(value),
            "activation_timeout" => {
                let seconds = value.parse().map_err(|_| format!("{name}: must be a number of seconds"))?;
                settings.activation_timeout = Some(seconds);
            }
            "no_sec" => settings.no_sec = truth(&name, &value)?,
            "disabled" => disabled = truth(&name, &value)?,
            _ => match name.strip_prefix("label.") {
                Some(label) => settings.labels.push((label.to_owned(), value)),
                None => return Err(format!("{name}: is no field of a device")),
            },
        }
    }
    if endpoint.is_empty() {
        return Err("endpoint: must not be empty".into());
    }
    let given = [("psk_hex", settings.psk_hex.is_some()), ("psk_text", settings.psk_text.is_some())];
    let mut given = given.into_iter().chain([("psk_sealed", sealed.is_some())]).filter(|(_, given)| *given);
    if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
        return Err(format!("{second}: must be empty where {first} is given"));
    }
    let mut device = settings.device(&endpoint)?;
    if let (Some(sealed), Some(credential)) = (sealed, &mut device.credential) {
        credential.psk.get_or_insert_default().secret = Some(Secret::Sealed(sealed));
    }
    Ok(Device { disabled, ..device })
}

/// The line of an exported device, which [`device`] reads.
pub(in crate::ctl) fn line(device: &Device) -> Result<Value, String> {
    let mut fields = Map::new();
    let mut text = |name: &str, value: &str| {
        // Where a device is read, {} stands for its endpoint name.
        let template = ["psk_identity", "x509_common_name"].contains(&name) && value.contains("{}");
        if template {
            return Err(format!("{:?} can't be exported: its {name} holds {{}}", device.endpoint));
        }
        if !value.is_empty() {
            fields.insert(name.to_owned(), value.into());
        }
        Ok(())
    };
    text("endpoint", &device.endpoint)?;
    text("profile", device.profile.trim_start_matches("profiles/"))?;
    for (name, value) in &device.labels {
        text(&format!("label.{name}"), value)?;
    }
    let credential = device.credential.clone().unwrap_or_default();
    if let Some(psk) = &credential.psk {
        text("psk_identity", &psk.identity)?;
        if let Some(Secret::Sealed(sealed)) = &psk.secret {
            text("psk_sealed", &HEXLOWER.encode(sealed))?;
        }
    }
    if let Some(rpk) = &credential.rpk {
        text("rpk", &HEXLOWER.encode(&rpk.key))?;
    }
    if let Some(x509) = &credential.x509 {
        text("x509_certificate", &HEXLOWER.encode(&x509.certificate))?;
        text("x509_common_name", &x509.common_name)?;
        text("x509_issuer", &HEXLOWER.encode(&x509.issuer))?;
    }
    if let Some(timeout) = &device.activation_timeout {
        text("activation_timeout", &timeout.seconds.to_string())?;
    }
    let modes: Vec<Mode> = credential.modes().collect();
    let flags = [
        ("psk", modes.contains(&Mode::Psk)),
        ("x509", modes.contains(&Mode::X509)),
        ("no_sec", modes.contains(&Mode::NoSec)),
        ("disabled", device.disabled),
    ];
    fields.extend(flags.into_iter().filter(|(_, set)| *set).map(|(name, set)| (name.to_owned(), set.into())));
    Ok(fields.into())
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{name}: must be true or false"))
}

#[cfg(test)]
mod tests {
    use godwit_proto::v1::{
        Credential,
        credential::{Psk, RawPublicKey, X509},
    };
    use prost_types::Duration;

    use super::*;

    #[test]
    fn a_line_is_a_device() {
        let text =
            r#"{"endpoint": "a", "psk_identity": "{}-identity", "psk_hex": "00ff", "label.site": "x"}"#;
        let read = devices(&format!("{text}\n\n")).unwrap();
        let device = &read.devices[0];
        let psk = device.credential.as_ref().unwrap().psk.as_ref().unwrap();
        assert_eq!((device.endpoint.as_str(), psk.identity.as_str()), ("a", "a-identity"));
        assert_eq!(psk.secret, Some(Secret::Hex("00ff".into())));
        assert_eq!(device.labels["site"], "x");
    }

    #[test]
    fn a_device_may_have_both_modes() {
        let read = devices(r#"{"endpoint": "a", "psk": true, "no_sec": true}"#).unwrap();
        let modes: Vec<_> = read.devices[0].credential.as_ref().unwrap().modes().collect();
        assert_eq!(modes, [Mode::Psk, Mode::NoSec]);
    }

    #[test]
    fn what_an_export_writes_is_read_again() {
        let psk = |secret| Some(Psk { identity: "me: \"ü\"".into(), secret });
        let credentials = [
            Credential { modes: vec![Mode::NoSec.into()], ..Default::default() },
            Credential { modes: vec![Mode::Psk.into()], psk: psk(None), ..Default::default() },
            Credential {
                modes: [Mode::Psk, Mode::Rpk, Mode::X509, Mode::NoSec].map(i32::from).into(),
                psk: psk(Some(Secret::Sealed(vec![0, 255, 7]))),
                rpk: Some(RawPublicKey { key: b"00ff".to_vec() }),
                x509: Some(X509 { certificate: b"30".to_vec(), ..Default::default() }),
            },
            Credential {
                modes: vec![Mode::X509.into()],
                x509: Some(X509 { common_name: "cn".into(), issuer: b"3030".to_vec(), ..Default::default() }),
                ..Default::default()
            },
            Credential { modes: vec![Mode::X509.into()], x509: Some(X509::default()), ..Default::default() },
        ];
        for credential in credentials {
            let device = Device {
                endpoint: "urn:dev:1, \"x\"".into(),
                profile: "meter".into(),
                credential: Some(credential),
                disabled: true,
                labels: [("site".to_owned(), "a=b".to_owned())].into(),
                activation_timeout: Some(Duration { seconds: 60, nanos: 0 }),
                ..Default::default()
            };
            let mut exported = device.clone();
            exported.profile = "profiles/meter".into();
            let written = line(&exported).unwrap().to_string();
            let mut read = devices(&written).unwrap().devices.remove(0);
            // What the node takes in either form.
            let read_credential = read.credential.as_mut().unwrap();
            let digits = |bytes: &mut Vec<u8>| *bytes = HEXLOWER.decode(bytes).unwrap();
            if let Some(rpk) = &mut read_credential.rpk {
                digits(&mut rpk.key);
            }
            if let Some(x509) = &mut read_credential.x509 {
                digits(&mut x509.certificate);
                digits(&mut x509.issuer);
            }
            assert_eq!(read, device, "{written}");
        }
    }

    #[test]
    fn an_identity_that_would_be_read_as_a_template_is_not_exported() {
        let psk = Some(Psk { identity: "{}".into(), secret: None });
        let credential = Some(Credential { psk, ..Default::default() });
        let device = Device { endpoint: "a".into(), credential, ..Default::default() };
        assert!(line(&device).unwrap_err().contains("\"a\""));
    }

    #[test]
    fn faults_name_line_and_field() {
        for (text, expected) in [
            ("{\"endpoint\": \"a\"}\n{", "line 2"),
            ("[]", "not a JSON object"),
            ("{\"profile\": \"x\"}", "endpoint"),
            ("{\"endpoint\": \"a\", \"key\": \"00\"}", "key: is no field"),
            ("{\"endpoint\": \"a\", \"psk\": \"yes\"}", "psk: must be true or false"),
            ("{\"endpoint\": 5}", "endpoint: must be a text"),
            ("{\"endpoint\": \"a\", \"psk_hex\": \"00\", \"psk_text\": \"x\"}", "psk_text"),
            ("{\"endpoint\": \"a\", \"psk_hex\": \"00\", \"psk_sealed\": \"00\"}", "psk_sealed"),
            ("{\"endpoint\": \"a\", \"psk_sealed\": \"zz\"}", "psk_sealed"),
        ] {
            let fault = devices(text).unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
    }
}
