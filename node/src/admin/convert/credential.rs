//! Credentials: what a caller gives, checked, and what is shown of them.

use std::mem;

use data_encoding::HEXLOWER_PERMISSIVE;
use godwit_proto::v1::{
    Credential, RotateSecretRequest,
    credential::{Mode, Psk, psk},
    rotate_secret_request,
};

use crate::{
    admin::error::{AdminError, invalid},
    entropy,
    identity::DeviceId,
    seal::Sealer,
    store::value,
};

/// The longest PSK identity and the longest PSK, in bytes.
const MAX_IDENTITY: usize = 128;
const MAX_SECRET: usize = 64;

/// Bytes of a secret that the node makes.
const MADE: usize = 16;

/// A credential ready to be stored, with the secret if the node made it (hex digits).
#[derive(Debug, PartialEq)]
pub(in crate::admin) struct Checked {
    pub(in crate::admin) credential: value::Credential,
    pub(in crate::admin) generated: Option<String>,
}

/// Checks a credential. `now` is the stored one that it replaces; its version counts up, and its secret stays if
/// none is given.
pub(in crate::admin) fn check(
    given: Option<Credential>,
    endpoint: &str,
    now: Option<&value::Credential>,
    sealer: &Sealer,
) -> Result<Checked, AdminError> {
    let given = given.unwrap_or_default();
    let mut stored = value::Credential {
        modes: modes(&given)?,
        version: now.map_or(1, |now| now.version + 1),
        ..Default::default()
    };
    let mut generated = None;
    if let Some(psk) = given.psk {
        let identity = if psk.identity.is_empty() { endpoint } else { &psk.identity };
        if identity.len() > MAX_IDENTITY {
            return Err(invalid("device.credential.psk.identity", "must have at most 128 bytes"));
        }
        stored.psk_identity = identity.as_bytes().to_vec();
        let kept = now.map(|now| now.secret.as_slice()).filter(|secret| !secret.is_empty());
        stored.secret = match (psk.secret, kept) {
            (None, Some(kept)) => kept.to_vec(),
            (secret, _) => {
                let text = secret.map(|secret| match secret {
                    psk::Secret::Hex(hex) => Given::Hex(hex),
                    psk::Secret::Text(text) => Given::Text(text),
                });
                let (secret, made) = secret_bytes("device.credential.psk", text)?;
                generated = made;
                sealer.seal(DeviceId::of(endpoint), &secret)
            }
        };
    }
    Ok(Checked { credential: stored, generated })
}

/// Replaces the secret of a PSK credential. The replaced one stays valid until the new one was used, so sessions go
/// on and the version stays. After two rotations without a use it is the oldest, which alone has been in use.
pub(in crate::admin) fn rotate(
    request: RotateSecretRequest,
    endpoint: &str,
    credential: &mut value::Credential,
    sealer: &Sealer,
) -> Result<Option<String>, AdminError> {
    if credential.secret.is_empty() {
        let message = "the device has no PSK: give it a credential first".to_owned();
        return Err(AdminError::Precondition { reason: "NO_SECRET", message });
    }
    let given = request.secret.map(|secret| match secret {
        rotate_secret_request::Secret::Hex(hex) => Given::Hex(hex),
        rotate_secret_request::Secret::Text(text) => Given::Text(text),
    });
    let (secret, generated) = secret_bytes("secret", given)?;
    let sealed = sealer.seal(DeviceId::of(endpoint), &secret);
    let replaced = mem::replace(&mut credential.secret, sealed);
    if credential.previous_secret.is_empty() {
        credential.previous_secret = replaced;
    }
    Ok(generated)
}

/// What is shown of a credential: everything but secrets.
pub(in crate::admin) fn show(stored: &value::Credential) -> Credential {
    let modes = stored.modes().filter_map(|mode| match mode {
        value::credential::Mode::NoSec => Some(Mode::NoSec.into()),
        value::credential::Mode::Psk => Some(Mode::Psk.into()),
        _ => None,
    });
    let identity = String::from_utf8_lossy(&stored.psk_identity).into_owned();
    Credential {
        modes: modes.collect(),
        psk: (!identity.is_empty()).then_some(Psk { identity, secret: None }),
    }
}

fn modes(given: &Credential) -> Result<Vec<i32>, AdminError> {
    use value::credential::Mode as Stored;

    let field = "device.credential.modes";
    let mut modes = Vec::new();
    for mode in &given.modes {
        let mode = match Mode::try_from(*mode) {
            Ok(Mode::NoSec) => Stored::NoSec,
            Ok(Mode::Psk) => Stored::Psk,
            _ => return Err(invalid(field, "must be MODE_NO_SEC or MODE_PSK")),
        };
        if !modes.contains(&mode.into()) {
            modes.push(mode.into());
        }
    }
    let names_psk = modes.contains(&Stored::Psk.into());
    match (&given.psk, modes.is_empty()) {
        (Some(_), true) => modes.push(Stored::Psk.into()),
        (None, true) => modes.push(Stored::NoSec.into()),
        (Some(_), false) if !names_psk => {
            return Err(invalid(field, "must hold MODE_PSK where `psk` is set, or be empty"));
        }
        (None, false) if names_psk => {
            return Err(invalid(
                "device.credential.psk",
                "must be set for MODE_PSK; `{}` has the node make a secret",
            ));
        }
        _ => {}
    }
    Ok(modes)
}

enum Given {
    Hex(String),
    Text(String),
}

fn secret_bytes(field: &str, given: Option<Given>) -> Result<(Vec<u8>, Option<String>), AdminError> {
    let (secret, field) = match given {
        None => {
            let mut secret = vec![0; MADE];
            entropy::fill(&mut secret);
            let text = HEXLOWER_PERMISSIVE.encode(&secret);
            return Ok((secret, Some(text)));
        }
        Some(Given::Text(text)) => (text.into_bytes(), format!("{field}.text")),
        Some(Given::Hex(hex)) => {
            let field = format!("{field}.hex");
            if hex.len() % 2 != 0 {
                return Err(invalid(field, format!("has {} digits: two make a byte", hex.len())));
            }
            // The error must not quote the secret.
            let secret = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|error| {
                invalid(&*field, format!("must be hex digits, position {} holds another", error.position + 1))
            })?;
            (secret, field)
        }
    };
    match secret.len() {
        1..=MAX_SECRET => Ok((secret, None)),
        length => Err(invalid(field, format!("has {length} bytes, must have 1 to {MAX_SECRET}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        given: Option<Credential>,
        endpoint: &str,
        now: Option<&value::Credential>,
    ) -> Result<Checked, AdminError> {
        super::check(given, endpoint, now, &sealer())
    }

    fn sealer() -> Sealer {
        Sealer::new(&[1; 32])
    }

    fn open(sealed: &[u8]) -> Vec<u8> {
        sealer().open(DeviceId::of("ep"), sealed).unwrap()
    }

    fn psk(identity: &str, secret: Option<psk::Secret>) -> Option<Credential> {
        Some(Credential { modes: Vec::new(), psk: Some(Psk { identity: identity.into(), secret }) })
    }

    fn hex(text: &str) -> Option<psk::Secret> {
        Some(psk::Secret::Hex(text.into()))
    }

    fn field(result: Result<Checked, AdminError>) -> String {
        match result {
            Err(AdminError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_credential_a_device_is_no_sec() {
        let checked = check(None, "ep", None).unwrap();
        assert_eq!(checked.credential.modes().collect::<Vec<_>>(), [value::credential::Mode::NoSec]);
        assert_eq!(checked.generated, None);
    }

    #[test]
    fn a_psk_without_a_secret_gets_sixteen_bytes() {
        let checked = check(psk("", None), "ep", None).unwrap();
        assert_eq!(checked.credential.psk_identity, b"ep");
        assert_eq!(open(&checked.credential.secret).len(), 16);
        assert_eq!(checked.generated.unwrap().len(), 32);
    }

    #[test]
    fn an_update_without_a_secret_keeps_it_and_counts_the_version() {
        let before = check(psk("a", hex("0102")), "ep", None).unwrap().credential;
        let after = check(psk("b", None), "ep", Some(&before)).unwrap();
        assert_eq!((open(&after.credential.secret), after.credential.version), (vec![1, 2], 2));
        assert_eq!(after.generated, None);
    }

    #[test]
    fn bad_secrets_name_their_field_and_are_not_quoted() {
        for bad in ["abc", "zz", "", &"00".repeat(65)] {
            let error = check(psk("", hex(bad)), "ep", None);
            if !bad.is_empty() {
                assert!(!format!("{error:?}").contains(bad), "{bad}");
            }
            assert_eq!(field(error), "device.credential.psk.hex");
        }
        let text = Some(psk::Secret::Text(String::new()));
        assert_eq!(field(check(psk("", text), "ep", None)), "device.credential.psk.text");
    }

    #[test]
    fn modes_and_keys_must_agree() {
        let mut no_key = Credential { modes: vec![Mode::Psk.into()], psk: None };
        assert_eq!(field(check(Some(no_key.clone()), "ep", None)), "device.credential.psk");
        no_key.modes = vec![77];
        assert_eq!(field(check(Some(no_key), "ep", None)), "device.credential.modes");
        let mut key = psk("", hex("01")).unwrap();
        key.modes = vec![Mode::NoSec.into()];
        assert_eq!(field(check(Some(key), "ep", None)), "device.credential.modes");
        let long = "i".repeat(129);
        assert_eq!(field(check(psk(&long, None), "ep", None)), "device.credential.psk.identity");
    }

    #[test]
    fn rotating_keeps_the_secret_that_was_in_use() {
        let mut credential = check(psk("", hex("01")), "ep", None).unwrap().credential;
        let version = credential.version;
        let request = |hex: &str| RotateSecretRequest {
            secret: Some(rotate_secret_request::Secret::Hex(hex.into())),
            ..Default::default()
        };
        rotate(request("02"), "ep", &mut credential, &sealer()).unwrap();
        rotate(request("03"), "ep", &mut credential, &sealer()).unwrap();
        assert_eq!((open(&credential.secret), open(&credential.previous_secret)), (vec![3], vec![1]));
        assert_eq!(credential.version, version);
    }

    #[test]
    fn a_shown_credential_holds_no_secret() {
        let stored = check(psk("me", hex("c0ffee")), "ep", None).unwrap().credential;
        let shown = show(&stored);
        assert_eq!(shown.psk, Some(Psk { identity: "me".into(), secret: None }));
        assert_eq!(shown.modes, [i32::from(Mode::Psk)]);
    }
}
