//! One device by named fields, as a line of CSV or NDJSON gives it.

use godwit_proto::v1::Device;
use serde_json::Value;

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
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "endpoint" => endpoint = value,
            "profile" => settings.profile = Some(value),
            "psk" => settings.psk = truth(&name, &value)?,
            "psk_identity" => settings.psk_identity = Some(value),
            "psk_hex" => settings.psk_hex = Some(value),
            "psk_text" => settings.psk_text = Some(value),
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
    if settings.psk_hex.is_some() && settings.psk_text.is_some() {
        return Err("psk_text: must be empty where psk_hex is given".into());
    }
    Ok(Device { disabled, ..settings.device(&endpoint)? })
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{name}: must be true or false"))
}

#[cfg(test)]
mod tests {
    use godwit_proto::v1::credential::{Mode, psk::Secret};

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
    fn faults_name_line_and_field() {
        for (text, expected) in [
            ("{\"endpoint\": \"a\"}\n{", "line 2"),
            ("[]", "not a JSON object"),
            ("{\"profile\": \"x\"}", "endpoint"),
            ("{\"endpoint\": \"a\", \"key\": \"00\"}", "key: is no field"),
            ("{\"endpoint\": \"a\", \"psk\": \"yes\"}", "psk: must be true or false"),
            ("{\"endpoint\": 5}", "endpoint: must be a text"),
            ("{\"endpoint\": \"a\", \"psk_hex\": \"00\", \"psk_text\": \"x\"}", "psk_text"),
        ] {
            let fault = devices(text).unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
    }
}
