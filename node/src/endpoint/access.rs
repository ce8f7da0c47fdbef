//! What was provisioned for a device: whether it may register, how, and under which profile.

use std::sync::Arc;

use godwit_proto::store::v1::{Device, credential::Mode};

use super::link::Security;

/// A device's rights, from its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    /// The name of its profile.
    pub(super) profile: Arc<str>,
    /// It may not register at all.
    pub(super) disabled: bool,
    /// The modes in which it may, one bit each.
    modes: u8,
    /// The version of its credential: sessions made by another are over.
    pub(super) version: u64,
    /// The device is deleted unless it has registered by then, Unix milliseconds; 0: never.
    pub(super) activate_by: u64,
}

/// The profile of a device whose document names none.
pub(super) const DEFAULT_PROFILE: &str = "default";

impl Access {
    /// Reads a device's document. Without a credential nobody may register under its name, unless devices are
    /// created on their own (`registration.auto_create`).
    pub(super) fn of(document: &Device, auto_create: bool) -> Self {
        let profile = if document.profile.is_empty() { DEFAULT_PROFILE } else { &document.profile };
        let credential = document.credential.as_ref();
        let modes = match credential {
            Some(credential) => credential.modes().map(bit).fold(0, |all, mode| all | mode),
            None if auto_create => bit(Mode::NoSec),
            None => 0,
        };
        Self {
            profile: profile.into(),
            disabled: document.disabled,
            modes,
            version: credential.map_or(0, |credential| credential.version),
            activate_by: document.activate_by,
        }
    }

    /// Why the device may not speak over a connection that is secured like this; `None` if it may.
    pub(super) fn refuses(&self, security: &Security) -> Option<&'static str> {
        if self.disabled {
            return Some("the device is disabled");
        }
        match security {
            Security::NoSec if self.allows(Mode::NoSec) => None,
            Security::NoSec => Some("this device must use DTLS: its credential does not allow NoSec"),
            Security::Dtls(secured) if !self.allows(secured.mode) => {
                Some("the device's credential does not allow this kind of key")
            }
            Security::Dtls(secured) if secured.credential != self.version => {
                Some("the device's credential was changed")
            }
            Security::Dtls(_) => None,
        }
    }

    /// Whether a session of this mode, made by this version of the credential, may be used.
    pub(super) fn honours(&self, mode: Mode, version: u64) -> bool {
        !self.disabled && self.allows(mode) && version == self.version
    }

    /// Whether the device may speak in no way at all.
    pub(super) fn is_closed(&self) -> bool {
        self.disabled || self.modes == 0
    }

    fn allows(&self, mode: Mode) -> bool {
        self.modes & bit(mode) != 0
    }
}

const fn bit(mode: Mode) -> u8 {
    match mode {
        Mode::Unspecified => 0,
        Mode::NoSec => 1,
        Mode::Psk => 2,
        Mode::Rpk => 4,
        Mode::X509 => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{endpoint::link::Secured, identity::AssociationId};
    use godwit_proto::store::v1::Credential;

    fn device(modes: &[Mode]) -> Device {
        let modes = modes.iter().map(|mode| *mode as i32).collect();
        let credential =
            Credential { modes, version: 3, psk_identity: b"me".to_vec(), ..Credential::default() };
        Device { credential: Some(credential), ..Device::default() }
    }

    fn dtls(mode: Mode, credential: u64) -> Security {
        Security::Dtls(Secured { association: AssociationId::from_bytes([1; 8]), mode, credential })
    }

    #[test]
    fn only_a_no_sec_credential_opens_the_plain_port() {
        let refuses =
            |device: &Device, auto_create| Access::of(device, auto_create).refuses(&Security::NoSec);
        assert_eq!(refuses(&device(&[Mode::NoSec]), false), None);
        assert_eq!(refuses(&device(&[Mode::Psk, Mode::NoSec]), false), None);
        assert!(refuses(&device(&[Mode::Psk]), true).is_some());
        assert!(refuses(&Device::default(), false).is_some());
        assert_eq!(refuses(&Device::default(), true), None);
        let disabled = Device { disabled: true, ..device(&[Mode::NoSec]) };
        assert_eq!(refuses(&disabled, false), Some("the device is disabled"));
    }

    #[test]
    fn a_session_counts_in_its_mode_and_by_the_credential_as_it_is() {
        let access = Access::of(&device(&[Mode::Psk]), false);
        assert_eq!(access.refuses(&dtls(Mode::Psk, 3)), None);
        assert!(access.refuses(&dtls(Mode::Psk, 2)).is_some());
        assert!(access.refuses(&dtls(Mode::Rpk, 3)).is_some());
        assert!(access.honours(Mode::Psk, 3) && !access.honours(Mode::Psk, 4));
        let disabled = Access { disabled: true, ..access };
        assert!(!disabled.honours(Mode::Psk, 3) && disabled.is_closed());
    }

    #[test]
    fn a_document_without_a_profile_has_the_default_one() {
        assert_eq!(&*Access::of(&Device::default(), true).profile, "default");
    }
}
