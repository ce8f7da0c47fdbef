//! Devices.

use std::collections::HashMap;

use godwit_proto::v1::Device;
use prost_types::Duration;

use super::{credential, session, timestamp};
use crate::{
    admin::{
        error::{AdminError, invalid},
        name,
    },
    identity::DeviceId,
    profile,
    seal::Sealer,
    store::{DeviceRecord, value},
};

/// The longest endpoint name in bytes.
const MAX_ENDPOINT: usize = 255;

/// The longest time that a device may be given to be used, in seconds.
const MAX_TIMEOUT: u64 = 10 * 365 * 86_400;

/// A device ready to be stored, with the secret if the node made it.
pub(in crate::admin) struct NewDevice {
    pub(in crate::admin) document: value::Device,
    pub(in crate::admin) generated: Option<String>,
}

/// Checks a device to be created. Whether its profile exists is for the caller to see.
pub(in crate::admin) fn check(device: Device, sealer: &Sealer, now_ms: u64) -> Result<NewDevice, AdminError> {
    endpoint(&device.endpoint)?;
    let profile = match device.profile.as_str() {
        "" => profile::DEFAULT,
        given => name::profile("device.profile", given)?,
    };
    labels(&device.labels)?;
    let checked = credential::check(device.credential, &device.endpoint, None, sealer)?;
    let document = value::Device {
        profile: profile.to_owned(),
        disabled: device.disabled,
        credential: Some(checked.credential),
        labels: device.labels,
        activate_by: activate_by(device.activation_timeout, now_ms)?,
        endpoint: device.endpoint,
        ..Default::default()
    };
    Ok(NewDevice { document, generated: checked.generated })
}

/// Fields that an update may change.
pub(in crate::admin) const UPDATABLE: [&str; 5] =
    ["profile", "credential", "disabled", "labels", "activation_timeout"];

/// Takes over the fields of an update. A generated secret is returned.
pub(in crate::admin) fn update(
    document: &mut value::Device,
    given: &Device,
    fields: &[&str],
    sealer: &Sealer,
    now_ms: u64,
) -> Result<Option<String>, AdminError> {
    let mut generated = None;
    for field in fields {
        match *field {
            "profile" if given.profile.is_empty() => document.profile = profile::DEFAULT.to_owned(),
            "profile" => document.profile = name::profile("device.profile", &given.profile)?.to_owned(),
            "disabled" => document.disabled = given.disabled,
            "labels" => {
                labels(&given.labels)?;
                document.labels.clone_from(&given.labels);
            }
            "activation_timeout" => document.activate_by = activate_by(given.activation_timeout, now_ms)?,
            _ => {
                let now = document.credential.as_ref();
                let checked = credential::check(given.credential.clone(), &document.endpoint, now, sealer)?;
                document.credential = Some(checked.credential);
                generated = checked.generated;
            }
        }
    }
    Ok(generated)
}

/// A device's record as the API shows it alone: with its sessions, and without a deadline that it has met.
pub(in crate::admin) fn show_record(document: &value::Device, record: &DeviceRecord) -> Device {
    let shown = show(document);
    let activate_by_time = shown.activate_by_time.filter(|_| !record.header.activated);
    Device { sessions: session::show_all(&record.sessions), activate_by_time, ..shown }
}

/// A stored device as the API shows it.
pub(in crate::admin) fn show(stored: &value::Device) -> Device {
    let profile = if stored.profile.is_empty() { profile::DEFAULT } else { &stored.profile };
    Device {
        name: format!("devices/{}", DeviceId::of(&stored.endpoint)),
        endpoint: stored.endpoint.clone(),
        profile: format!("profiles/{profile}"),
        credential: stored.credential.as_ref().map(credential::show),
        disabled: stored.disabled,
        labels: stored.labels.clone(),
        create_time: timestamp(stored.created_at),
        update_time: timestamp(stored.updated_at),
        etag: stored.revision.to_string(),
        generated_secret: String::new(),
        activation_timeout: None,
        activate_by_time: timestamp(stored.activate_by),
        sessions: Vec::new(),
    }
}

/// When a device is deleted unless it was used; 0: never.
fn activate_by(timeout: Option<Duration>, now_ms: u64) -> Result<u64, AdminError> {
    let timeout = timeout.unwrap_or_default();
    let wrong = || invalid("device.activation_timeout", "must be 0 (never), or 1 s to 10 years");
    match u64::try_from(timeout.seconds).map_err(|_| wrong())? {
        0 if timeout.nanos == 0 => Ok(0),
        seconds @ 1..=MAX_TIMEOUT => Ok(now_ms.saturating_add(seconds * 1000)),
        _ => Err(wrong()),
    }
}

fn endpoint(endpoint: &str) -> Result<(), AdminError> {
    if endpoint.is_empty() || endpoint.len() > MAX_ENDPOINT || endpoint.chars().any(char::is_control) {
        return Err(invalid("device.endpoint", "must have 1 to 255 bytes and no control characters"));
    }
    Ok(())
}

fn labels(labels: &HashMap<String, String>) -> Result<(), AdminError> {
    let fits = |(key, value): (&String, &String)| (1..=64).contains(&key.len()) && value.len() <= 256;
    if labels.len() > 32 || !labels.iter().all(fits) {
        return Err(invalid("device.labels", "must be at most 32, of 1 to 64 and up to 256 bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_needs_an_endpoint_name() {
        for bad in ["", "a\nb", &"x".repeat(256)] {
            let device = Device { endpoint: bad.into(), ..Default::default() };
            assert!(
                matches!(check(device, &Sealer::new(&[1; 32]), 0), Err(AdminError::Invalid { field, .. }) if field == "device.endpoint")
            );
        }
    }

    #[test]
    fn a_time_to_be_used_in_is_counted_from_now() {
        let by = |seconds, nanos| activate_by(Some(Duration { seconds, nanos }), 5_000);
        assert_eq!((activate_by(None, 5_000), by(0, 0), by(60, 0)), (Ok(0), Ok(0), Ok(65_000)));
        for (seconds, nanos) in [(-1, 0), (0, 5), (i64::MAX, 0)] {
            assert!(by(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }

    #[test]
    fn a_stored_device_shows_its_names_and_no_secret() {
        let device = Device { endpoint: "urn:imei:1".into(), ..Default::default() };
        let shown = show(&check(device, &Sealer::new(&[1; 32]), 0).unwrap().document);
        assert_eq!(shown.name, "devices/dpu72e6kfgi7n7tnz");
        assert_eq!(shown.profile, "profiles/default");
        assert_eq!(shown.generated_secret, "");
    }
}
