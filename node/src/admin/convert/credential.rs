//! Credentials: what a caller gives, checked, and what is shown of them.

use std::mem;

use data_encoding::HEXLOWER_PERMISSIVE;
use godwit_proto::v1::{
    Credential, RotateSecretRequest,
    credential::{Mode, Psk, RawPublicKey, X509, psk},
    rotate_secret_request,
};

use super::material;
use crate::{
    admin::error::{AdminError, invalid},
    entropy,
    identity::DeviceId,
    seal::{SealError, Sealer},
    store::value::{self, credential::Mode as Stored},
};

/// The longest PSK identity and the longest PSK, in bytes.
const MAX_IDENTITY: usize = 128;
const MAX_SECRET: usize = 64;

/// The longest common name in bytes; X.520 has 64 characters.
const MAX_NAME: usize = 255;

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
    if let Some(rpk) = given.rpk {
        stored.public_key = material::public_key("device.credential.rpk.key", &rpk.key)?;
    }
    if let Some(x509) = given.x509 {
        take_x509(&mut stored, x509, endpoint)?;
    }
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
                let given = match secret {
                    None => None,
                    Some(psk::Secret::Hex(hex)) => Some(Given::Hex(hex)),
                    Some(psk::Secret::Text(text)) => Some(Given::Text(text)),
                    // A create opens it first.
                    Some(psk::Secret::Sealed(_)) => {
                        return Err(invalid("device.credential.psk.sealed", "is for devices to be created"));
                    }
                };
                let (secret, made) = secret_bytes("device.credential.psk", given)?;
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

/// Seals a credential's secrets under the newer store key. Whether one lay under the older.
pub(in crate::admin) fn reseal(
    credential: &mut value::Credential,
    device: DeviceId,
    sealer: &Sealer,
) -> Result<bool, SealError> {
    let mut changed = false;
    for sealed in [&mut credential.secret, &mut credential.previous_secret] {
        if !sealed.is_empty() && sealer.is_stale(sealed) {
            *sealed = sealer.seal(device, &sealer.open(device, sealed)?);
            changed = true;
        }
    }
    Ok(changed)
}

/// What is shown of a credential: everything but secrets.
pub(in crate::admin) fn show(stored: &value::Credential) -> Credential {
    let modes: Vec<Mode> = stored.modes().map(show_mode).filter(|mode| *mode != Mode::Unspecified).collect();
    let identity = String::from_utf8_lossy(&stored.psk_identity).into_owned();
    let x509 = X509 {
        certificate: stored.certificate.clone(),
        common_name: stored.common_name.clone(),
        issuer: stored.issuer.clone(),
    };
    Credential {
        psk: (!identity.is_empty()).then_some(Psk { identity, secret: None }),
        rpk: (!stored.public_key.is_empty()).then(|| RawPublicKey { key: stored.public_key.clone() }),
        x509: modes.contains(&Mode::X509).then_some(x509),
        modes: modes.into_iter().map(i32::from).collect(),
    }
}

/// A stored mode as the API names it.
pub(in crate::admin) fn show_mode(mode: Stored) -> Mode {
    match mode {
        Stored::NoSec => Mode::NoSec,
        Stored::Psk => Mode::Psk,
        Stored::Rpk => Mode::Rpk,
        Stored::X509 => Mode::X509,
        Stored::Unspecified => Mode::Unspecified,
    }
}

fn take_x509(stored: &mut value::Credential, given: X509, endpoint: &str) -> Result<(), AdminError> {
    let field = |name: &str| format!("device.credential.x509.{name}");
    if !given.certificate.is_empty() {
        if !given.common_name.is_empty() {
            return Err(invalid(field("common_name"), "must be empty beside a certificate, which says all"));
        }
        if !given.issuer.is_empty() {
            return Err(invalid(field("issuer"), "must be empty beside a certificate, which says all"));
        }
        stored.certificate = material::certificate(&field("certificate"), &given.certificate)?;
        return Ok(());
    }
    if given.common_name.len() > MAX_NAME {
        return Err(invalid(field("common_name"), format!("must have at most {MAX_NAME} bytes")));
    }
    // The endpoint name is found without being written down.
    if given.common_name != endpoint {
        stored.common_name = given.common_name;
    }
    if !given.issuer.is_empty() {
        stored.issuer = material::issuer(&field("issuer"), &given.issuer)?;
    }
    Ok(())
}

fn modes(given: &Credential) -> Result<Vec<i32>, AdminError> {
    let field = "device.credential.modes";
    let mut modes: Vec<Stored> = Vec::new();
    for mode in &given.modes {
        let mode = match Mode::try_from(*mode) {
            Ok(Mode::NoSec) => Stored::NoSec,
            Ok(Mode::Psk) => Stored::Psk,
            Ok(Mode::Rpk) => Stored::Rpk,
            Ok(Mode::X509) => Stored::X509,
            _ => return Err(invalid(field, "must be MODE_NO_SEC, MODE_PSK, MODE_RPK or MODE_X509")),
        };
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    let members = [
        (Stored::Psk, "psk", given.psk.is_some()),
        (Stored::Rpk, "rpk", given.rpk.is_some()),
        (Stored::X509, "x509", given.x509.is_some()),
    ];
    if modes.is_empty() {
        modes.extend(members.iter().filter(|(.., set)| *set).map(|(mode, ..)| *mode));
        if modes.is_empty() {
            modes.push(Stored::NoSec);
        }
    }
    for (mode, name, set) in members {
        if set && !modes.contains(&mode) {
            let fix = format!("must hold MODE_{} where `{name}` is set, or be empty", name.to_uppercase());
            return Err(invalid(field, fix));
        }
        // Any certificate of a trusted authority with the endpoint name will do; a key must be known.
        if modes.contains(&mode) && !set && mode != Stored::X509 {
            let fix = match mode {
                Stored::Psk => "must be set for MODE_PSK; `{}` has the node make a secret",
                _ => "must be set for MODE_RPK: the device's public key",
            };
            return Err(invalid(format!("device.credential.{name}"), fix));
        }
    }
    Ok(modes.into_iter().map(i32::from).collect())
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
        Some(Credential { psk: Some(Psk { identity: identity.into(), secret }), ..Credential::default() })
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
        let mut no_key = Credential { modes: vec![Mode::Psk.into()], ..Credential::default() };
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
    fn each_mode_takes_what_proves_the_name() {
        use rcgen::PublicKeyData as _;

        let pair = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["ep".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let rpk = Credential {
            rpk: Some(RawPublicKey { key: pair.public_key_pem().into_bytes() }),
            ..Credential::default()
        };
        let stored = check(Some(rpk), "ep", None).unwrap().credential;
        assert_eq!(stored.modes().collect::<Vec<_>>(), [Stored::Rpk]);
        assert_eq!(show(&stored).rpk.unwrap().key, pair.subject_public_key_info());
        let x509 = |x509: X509| Some(Credential { x509: Some(x509), ..Credential::default() });
        let exact = X509 { certificate: own.pem().into_bytes(), ..X509::default() };
        let stored = check(x509(exact.clone()), "ep", None).unwrap().credential;
        assert_eq!(show(&stored).x509.unwrap().certificate, own.der().to_vec());
        let both = X509 { common_name: "x".into(), ..exact };
        assert_eq!(field(check(x509(both), "ep", None)), "device.credential.x509.common_name");
        for (given, kept) in [("", ""), ("ep", ""), ("other", "other")] {
            let named = X509 { common_name: given.into(), ..X509::default() };
            let stored = check(x509(named), "ep", None).unwrap().credential;
            assert_eq!((stored.common_name.as_str(), stored.modes().next()), (kept, Some(Stored::X509)));
        }
        let by_name = Credential { modes: vec![Mode::X509.into()], ..Credential::default() };
        assert!(check(Some(by_name), "ep", None).is_ok(), "the endpoint name is enough");
        let no_key = Credential { modes: vec![Mode::Rpk.into()], ..Credential::default() };
        assert_eq!(field(check(Some(no_key), "ep", None)), "device.credential.rpk");
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
    fn a_credential_is_sealed_anew_under_the_newer_key_once() {
        let mut credential = check(psk("", hex("01")), "ep", None).unwrap().credential;
        let device = DeviceId::of("ep");
        let both = Sealer::new(&[2; 32]).accepting(&[1; 32]);
        assert_eq!(reseal(&mut credential, device, &both), Ok(true));
        assert_eq!(reseal(&mut credential, device, &both), Ok(false));
        assert_eq!(Sealer::new(&[2; 32]).open(device, &credential.secret), Ok(vec![1]));
        let stranger = Sealer::new(&[3; 32]);
        assert_eq!(reseal(&mut credential, device, &stranger), Err(SealError::UnknownKey));
    }

    #[test]
    fn a_shown_credential_holds_no_secret() {
        let stored = check(psk("me", hex("c0ffee")), "ep", None).unwrap().credential;
        let shown = show(&stored);
        assert_eq!(shown.psk, Some(Psk { identity: "me".into(), secret: None }));
        assert_eq!(shown.modes, [i32::from(Mode::Psk)]);
    }
}
