//! Devices.

use std::collections::HashMap;

use godwit_proto::v1::Device;

use super::{credential, timestamp};
use crate::{
    admin::{
        error::{AdminError, invalid},
        name,
    },
    identity::DeviceId,
    profile,
    seal::Sealer,
    store::value,
};

/// The longest endpoint name in bytes.
const MAX_ENDPOINT: usize = 255;

/// A device ready to be stored, with the secret if the node made it.
pub(in crate::admin) struct NewDevice {
    pub(in crate::admin) document: value::Device,
    pub(in crate::admin) generated: Option<String>,
}

/// Checks a device to be created. Whether its profile exists is for the caller to see.
pub(in crate::admin) fn check(device: Device, sealer: &Sealer) -> Result<NewDevice, AdminError> {
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
        endpoint: device.endpoint,
        ..Default::default()
    };
    Ok(NewDevice { document, generated: checked.generated })
}

/// Fields that an update may change.
pub(in crate::admin) const UPDATABLE: [&str; 4] = ["profile", "credential", "disabled", "labels"];

/// Takes over the fields of an update. A generated secret is returned.
pub(in crate::admin) fn update(
    document: &mut value::Device,
    given: &Device,
    fields: &[&str],
    sealer: &Sealer,
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
                matches!(check(device, &Sealer::new(&[1; 32])), Err(AdminError::Invalid { field, .. }) if field == "device.endpoint")
            );
        }
    }

    #[test]
    fn a_stored_device_shows_its_names_and_no_secret() {
        let device = Device { endpoint: "urn:imei:1".into(), ..Default::default() };
        let shown = show(&check(device, &Sealer::new(&[1; 32])).unwrap().document);
        assert_eq!(shown.name, "devices/dpu72e6kfgi7n7tnz");
        assert_eq!(shown.profile, "profiles/default");
        assert_eq!(shown.generated_secret, "");
    }
}
