//! What was provisioned for a device: whether it may register, how, and under which profile.

use std::sync::Arc;

use godwit_proto::store::v1::{Device, credential::Mode};

/// A device's rights, from its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    /// The name of its profile.
    pub(super) profile: Arc<str>,
    /// It may not register at all.
    pub(super) disabled: bool,
    /// It may register without DTLS.
    pub(super) no_sec: bool,
}

/// The profile of a device whose document names none.
pub(super) const DEFAULT_PROFILE: &str = "default";

impl Access {
    /// Reads a device's document. Without a credential nobody may register under its name, unless devices are
    /// created on their own (`registration.auto_create`).
    pub(super) fn of(document: &Device, auto_create: bool) -> Self {
        let profile = if document.profile.is_empty() { DEFAULT_PROFILE } else { &document.profile };
        let no_sec = match &document.credential {
            Some(credential) => credential.modes().any(|mode| mode == Mode::NoSec),
            None => auto_create,
        };
        Self { profile: profile.into(), disabled: document.disabled, no_sec }
    }

    /// Why the device may not speak on the port without security; `None` if it may.
    pub(super) fn refuses_no_sec(&self) -> Option<&'static str> {
        if self.disabled {
            Some("the device is disabled")
        } else if !self.no_sec {
            Some("this device must use DTLS: its credential does not allow NoSec")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use godwit_proto::store::v1::Credential;

    use super::*;

    fn device(modes: &[Mode]) -> Device {
        let credential =
            Credential { modes: modes.iter().map(|mode| *mode as i32).collect(), ..Credential::default() };
        Device { credential: Some(credential), ..Device::default() }
    }

    #[test]
    fn only_a_no_sec_credential_opens_the_plain_port() {
        assert_eq!(Access::of(&device(&[Mode::NoSec]), false).refuses_no_sec(), None);
        assert_eq!(Access::of(&device(&[Mode::Psk, Mode::NoSec]), false).refuses_no_sec(), None);
        assert!(Access::of(&device(&[Mode::Psk]), true).refuses_no_sec().is_some());
        assert!(Access::of(&Device::default(), false).refuses_no_sec().is_some());
        assert_eq!(Access::of(&Device::default(), true).refuses_no_sec(), None);
        let disabled = Device { disabled: true, ..device(&[Mode::NoSec]) };
        assert_eq!(Access::of(&disabled, false).refuses_no_sec(), Some("the device is disabled"));
    }

    #[test]
    fn a_document_without_a_profile_has_the_default_one() {
        assert_eq!(&*Access::of(&Device::default(), true).profile, "default");
    }
}
