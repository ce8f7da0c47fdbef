//! Resource names.
//!
//! A `{device}` is a device id or an endpoint name. Endpoint names may hold any character, '/' and ':' too, and may
//! even look like an id, so what stands in its place is told apart by what the store knows: an id that leads to a
//! device is an id, everything else an endpoint name.

use std::fmt;

use super::error::{AdminError, invalid};
use crate::identity::DeviceId;

/// What a caller wrote in the place of `{device}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeviceName {
    text: String,
}

impl DeviceName {
    /// Reads "devices/{device}" or "{device}" in `field`.
    pub(super) fn parse(field: &str, text: &str) -> Result<Self, AdminError> {
        let text = text.strip_prefix("devices/").unwrap_or(text);
        if text.is_empty() {
            return Err(invalid(field, "must name a device: \"devices/{device}\", its id or endpoint name"));
        }
        Ok(Self { text: text.to_owned() })
    }

    /// Reads "devices/{device}/registration", too.
    pub(super) fn parse_registration(field: &str, text: &str) -> Result<Self, AdminError> {
        match text.strip_prefix("devices/").and_then(|rest| rest.strip_suffix("/registration")) {
            Some(device) => Self::parse(field, device),
            None => Self::parse(field, text),
        }
    }

    /// The ids that it may mean, the likelier first.
    pub(super) fn candidates(&self) -> impl Iterator<Item = DeviceId> {
        self.text.parse().ok().into_iter().chain([DeviceId::of(&self.text)])
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits "devices/{device}/operations/{operation}".
pub(super) fn operation(field: &str, text: &str) -> Result<(DeviceName, String), AdminError> {
    let shape = || invalid(field, "must be \"devices/{device}/operations/{operation}\"");
    let (device, id) = text.rsplit_once("/operations/").ok_or_else(shape)?;
    let id = uuid::Uuid::parse_str(id).map_err(|_| shape())?;
    Ok((DeviceName::parse(field, device)?, id.to_string()))
}

/// The `{profile}` of "profiles/{profile}" or "{profile}": 1 to 64 of `a-z A-Z 0-9 . _ -`.
pub(super) fn profile<'a>(field: &str, text: &'a str) -> Result<&'a str, AdminError> {
    let id = text.strip_prefix("profiles/").unwrap_or(text);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if id.is_empty() || id.len() > 64 || !id.chars().all(fits) {
        return Err(invalid(
            field,
            "must be \"profiles/{profile}\" with 1 to 64 characters of a-z, A-Z, 0-9, '.', '_' and '-'",
        ));
    }
    Ok(id)
}

/// The parts of "models/{object}_{version}" or "profiles/{profile}/models/{object}_{version}": profile (empty for
/// all), object, version.
pub(super) fn model(field: &str, text: &str) -> Result<(String, u16, String), AdminError> {
    let shape = || invalid(field, "must be \"models/{object}_{version}\", as in \"models/3303_1.1\"");
    let (owner, rest) = match text.strip_prefix("models/") {
        Some(rest) => (String::new(), rest),
        None => {
            let (owner, rest) = text.split_once("/models/").ok_or_else(shape)?;
            (profile(field, owner)?.to_owned(), rest)
        }
    };
    let (object, version) = rest.split_once('_').ok_or_else(shape)?;
    Ok((owner, object.parse().map_err(|_| shape())?, version.to_owned()))
}

/// A model's name from its parts.
pub(super) fn of_model(profile: &str, object: u16, version: &str) -> String {
    if profile.is_empty() {
        format!("models/{object}_{version}")
    } else {
        format!("profiles/{profile}/models/{object}_{version}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_name_may_hold_slashes_and_colons() {
        let id = uuid::Uuid::nil();
        let (device, operation) = operation("name", &format!("devices/urn:dev:a/b/operations/{id}")).unwrap();
        assert_eq!((&*device.text, operation), ("urn:dev:a/b", id.to_string()));
        let device = DeviceName::parse_registration("name", "devices/a/b/registration").unwrap();
        assert_eq!(device.text, "a/b");
    }

    #[test]
    fn a_text_that_looks_like_an_id_may_still_be_an_endpoint_name() {
        let text = DeviceId::of("x").to_string();
        let name = DeviceName::parse("name", &format!("devices/{text}")).unwrap();
        assert_eq!(name.candidates().collect::<Vec<_>>(), [DeviceId::of("x"), DeviceId::of(&text)]);
    }

    #[test]
    fn names_of_the_wrong_shape_are_refused_with_the_right_one() {
        for text in ["", "devices/", "devices/x/operations/7", "x"] {
            assert!(matches!(operation("name", text), Err(AdminError::Invalid { .. })), "{text}");
        }
        for text in ["", "profiles/", "a/b", "ä", &"x".repeat(65)] {
            assert!(profile("profile", text).is_err(), "{text}");
        }
        for text in ["models/3", "3_1.0", "models/70000_1.0", "profiles/a b/models/3_1.0"] {
            assert!(model("name", text).is_err(), "{text}");
        }
        assert_eq!(model("name", "profiles/p/models/3_1.2"), Ok(("p".into(), 3, "1.2".into())));
    }
}
