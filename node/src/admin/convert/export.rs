//! Devices that leave one store for another: their secrets are sealed to a key of the caller's, or left out.
//!
//! Sealed, as [`seal`](crate::seal) does it for a device, is the secret's length (1 byte), the secret, and the secret that it
//! replaces, while a rotation is under way.

use std::mem;

use data_encoding::HEXLOWER;
use godwit_proto::v1::{Credential, Device, credential::psk::Secret};
use prost_types::Duration;

use super::device;
use crate::{
    admin::error::{AdminError, invalid},
    identity::DeviceId,
    seal::{SealError, Sealer},
    store::value,
};

const SEALED: &str = "device.credential.psk.sealed";

/// The key that a caller seals to: 32 bytes, or none.
pub(in crate::admin) fn key(given: &[u8]) -> Result<Option<Sealer>, AdminError> {
    match (given.len(), given.try_into()) {
        (0, _) => Ok(None),
        (_, Ok(key)) => Ok(Some(Sealer::new(key))),
        (length, Err(_)) => Err(invalid("seal_key", format!("has {length} bytes, must have 32 or none"))),
    }
}

/// A stored device as a create takes it elsewhere. `own` opens its secrets, `to` seals them.
pub(in crate::admin) fn export(
    stored: &value::Device,
    activated: bool,
    own: &Sealer,
    to: Option<&Sealer>,
    now_ms: u64,
) -> Result<Device, AdminError> {
    let mut shown = device::show(stored);
    if stored.activate_by != 0 && !activated {
        let left = stored.activate_by.saturating_sub(now_ms).div_ceil(1000).max(1);
        let seconds = i64::try_from(left).unwrap_or(i64::MAX);
        shown.activation_timeout = Some(Duration { seconds, nanos: 0 });
    }
    let psk = shown.credential.as_mut().and_then(|credential| credential.psk.as_mut());
    if let (Some(to), Some(psk), Some(credential)) = (to, psk, &stored.credential)
        && !credential.secret.is_empty()
    {
        let sealed = reseal(credential, DeviceId::of(&stored.endpoint), own, to).map_err(|error| {
            AdminError::Damaged(format!("the secret of {:?} can't be read: {error}", stored.endpoint))
        })?;
        psk.secret = Some(Secret::Sealed(sealed));
    }
    Ok(shown)
}

fn reseal(
    credential: &value::Credential,
    device: DeviceId,
    own: &Sealer,
    to: &Sealer,
) -> Result<Vec<u8>, SealError> {
    let secret = own.open(device, &credential.secret)?;
    let length = u8::try_from(secret.len()).map_err(|_| SealError::Malformed)?;
    let mut both = [&[length], secret.as_slice()].concat();
    if !credential.previous_secret.is_empty() {
        both.extend(own.open(device, &credential.previous_secret)?);
    }
    Ok(to.seal(device, &both))
}

/// Opens a sealed secret in a device to be created, which then has it in hex digits; the one that it replaces, if any.
pub(in crate::admin) fn open(
    given: &mut Device,
    key: Option<&Sealer>,
) -> Result<Option<Vec<u8>>, AdminError> {
    let device = DeviceId::of(&given.endpoint);
    let Some(Credential { psk: Some(psk), .. }) = &mut given.credential else { return Ok(None) };
    let Some(Secret::Sealed(sealed)) = &mut psk.secret else { return Ok(None) };
    let key = key.ok_or_else(|| invalid("seal_key", "must be the key that the secret was sealed to"))?;
    let opened = key.open(device, &mem::take(sealed)).map_err(|error| match error {
        SealError::UnknownKey => invalid("seal_key", "is not the key that the secret was sealed to"),
        SealError::Malformed => invalid(SEALED, "must be what ExportDevices gave"),
        SealError::Forged => invalid(SEALED, "must be what ExportDevices gave for this endpoint"),
    })?;
    let parts = opened.split_first().and_then(|(length, both)| both.split_at_checked((*length).into()));
    let (secret, previous) = parts.ok_or_else(|| invalid(SEALED, "must be what ExportDevices gave"))?;
    psk.secret = Some(Secret::Hex(HEXLOWER.encode(secret)));
    Ok((!previous.is_empty()).then(|| previous.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 32] = [1; 32];
    const TO: [u8; 32] = [2; 32];

    fn stored(secret: &[u8], previous: &[u8]) -> value::Device {
        let (own, device) = (Sealer::new(&OWN), DeviceId::of("ep"));
        let seal = |secret: &[u8]| if secret.is_empty() { Vec::new() } else { own.seal(device, secret) };
        let credential = value::Credential {
            modes: vec![value::credential::Mode::Psk.into()],
            psk_identity: b"me".to_vec(),
            secret: seal(secret),
            previous_secret: seal(previous),
            ..Default::default()
        };
        value::Device { endpoint: "ep".into(), credential: Some(credential), ..Default::default() }
    }

    fn secret(device: &Device) -> Option<Secret> {
        device.credential.as_ref().unwrap().psk.as_ref().unwrap().secret.clone()
    }

    fn exported(stored: &value::Device, to: Option<&Sealer>) -> Device {
        export(stored, false, &Sealer::new(&OWN), to, 10_000).unwrap()
    }

    #[test]
    fn a_secret_leaves_sealed_and_opens_with_the_key_alone() {
        let to = Sealer::new(&TO);
        for (new, old) in [(&[7; 64][..], &[][..]), (&[8], &[9; 64])] {
            let leaving = exported(&stored(new, old), Some(&to));
            let mut taken = leaving.clone();
            assert_eq!(open(&mut taken, Some(&to)), Ok((!old.is_empty()).then(|| old.to_vec())));
            assert_eq!(secret(&taken), Some(Secret::Hex(HEXLOWER.encode(new))));

            let field = |mut device: Device, key: Option<&Sealer>| match open(&mut device, key) {
                Err(AdminError::Invalid { field, .. }) => field,
                other => panic!("{other:?}"),
            };
            assert_eq!(field(leaving.clone(), None), "seal_key");
            assert_eq!(field(leaving.clone(), Some(&Sealer::new(&OWN))), "seal_key");
            let renamed = Device { endpoint: "other".into(), ..leaving };
            assert_eq!(field(renamed, Some(&to)), SEALED);
        }
    }

    #[test]
    fn without_a_key_no_secret_leaves() {
        assert_eq!(secret(&exported(&stored(&[7; 16], &[]), None)), None);
    }

    #[test]
    fn a_secret_that_can_not_be_read_is_an_error_that_names_its_device() {
        let error = export(&stored(&[7; 16], &[]), false, &Sealer::new(&TO), Some(&Sealer::new(&TO)), 0);
        assert!(matches!(error, Err(AdminError::Damaged(text)) if text.contains("\"ep\"")));
    }

    #[test]
    fn what_is_left_of_the_time_to_be_used_in_goes_along() {
        let left = |activate_by, activated| {
            let stored = value::Device { activate_by, ..stored(&[7], &[]) };
            let device = export(&stored, activated, &Sealer::new(&OWN), None, 10_000).unwrap();
            device.activation_timeout.map(|left| left.seconds)
        };
        assert_eq!((left(0, false), left(12_500, false), left(12_500, true)), (None, Some(3), None));
        assert_eq!(left(9_000, false), Some(1), "it may still be there for a moment");
    }

    #[test]
    fn a_key_has_32_bytes() {
        assert!(key(&[]).unwrap().is_none() && key(&[0; 32]).unwrap().is_some());
        assert!(matches!(key(&[0; 31]), Err(AdminError::Invalid { field, .. }) if field == "seal_key"));
    }
}
