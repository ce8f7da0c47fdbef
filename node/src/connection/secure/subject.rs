//! Whom a session belongs to, as it is kept beside its keys.

use godwit_dtls as dtls;

use crate::{
    identity::DeviceId,
    store::value::{self, credential::Mode},
};

/// A device, and the credential by which it proved who it is.
///
/// ```text
/// device id (10) · mode (1) · version of the credential (8) · 1: by the new secret of a rotation (1)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connection) struct Subject {
    pub(in crate::connection) device: DeviceId,
    pub(in crate::connection) mode: Mode,
    /// The credential's version.
    pub(in crate::connection) credential: u64,
    /// By the new secret of a rotation, which ends the time of the one before.
    pub(in crate::connection) rotated: bool,
}

const LENGTH: usize = 20;

impl Subject {
    /// As a session keeps it.
    pub(in crate::connection) fn encode(&self) -> dtls::Subject {
        let mut bytes = [0; LENGTH];
        bytes[..10].copy_from_slice(self.device.as_bytes());
        bytes[10] = self.mode as u8;
        bytes[11..19].copy_from_slice(&self.credential.to_be_bytes());
        bytes[19] = self.rotated.into();
        dtls::Subject::new(&bytes).expect("invariant: 20 bytes are fewer than 64")
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(in crate::connection) fn read(subject: &dtls::Subject) -> Option<Self> {
        let bytes: &[u8; LENGTH] = subject.as_bytes().try_into().ok()?;
        let (device, rest) = bytes.split_first_chunk::<10>()?;
        let (mode, rest) = rest.split_first()?;
        let (credential, rotated) = rest.split_first_chunk::<8>()?;
        Some(Self {
            device: DeviceId::from_bytes(*device),
            mode: Mode::try_from(i32::from(*mode)).ok()?,
            credential: u64::from_be_bytes(*credential),
            rotated: rotated == [1],
        })
    }

    /// The device of this document, if it may come in this mode.
    pub(in crate::connection) fn of(document: &value::Device, mode: Mode, rotated: bool) -> Option<Self> {
        let credential = document.credential.as_ref()?;
        let allowed = !document.disabled && credential.modes().any(|allowed| allowed == mode);
        allowed.then(|| Self {
            device: DeviceId::of(&document.endpoint),
            mode,
            credential: credential.version,
            rotated,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(modes: &[Mode]) -> value::Device {
        value::Device {
            endpoint: "a".into(),
            credential: Some(value::Credential {
                modes: modes.iter().map(|mode| *mode as i32).collect(),
                version: 7,
                ..value::Credential::default()
            }),
            ..value::Device::default()
        }
    }

    #[test]
    fn a_subject_reads_back() {
        let subject = Subject::of(&document(&[Mode::Rpk]), Mode::Rpk, true).unwrap();
        assert_eq!(Subject::read(&subject.encode()), Some(subject));
        assert_eq!((subject.device, subject.credential), (DeviceId::of("a"), 7));
        assert_eq!(Subject::read(&dtls::Subject::new(&[0; 5]).unwrap()), None);
    }

    #[test]
    fn only_the_modes_of_the_credential_are_open_and_none_of_a_disabled_device() {
        let mut document = document(&[Mode::Psk]);
        assert!(Subject::of(&document, Mode::Psk, false).is_some());
        assert!(Subject::of(&document, Mode::X509, false).is_none());
        document.disabled = true;
        assert!(Subject::of(&document, Mode::Psk, false).is_none());
    }
}
