//! Secrets at rest: AES-256-GCM under keys that HKDF derives from the store key, one per device for its credential and one
//! per session for its keys.
//!
//! ```text
//! version (1) · key id (8) · nonce (12) · ciphertext and tag
//! ```
//! The store key's id is derived from it too, so a sealed value says which key opens it. Version, key id and the place of
//! the value (device, and session) are authenticated: a value moved to another place does not open there.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{self, HKDF_SHA256},
};
use thiserror::Error;

use crate::{
    entropy,
    identity::{AssociationId, DeviceId},
};

const VERSION: u8 = 1;
const KEY_ID: usize = 8;
const NONCE_AT: usize = 1 + KEY_ID;
const SEALED_AT: usize = NONCE_AT + NONCE_LEN;
const TAG: usize = 16;

/// Why a sealed value did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// It is too short, or of a newer version.
    #[error("not a sealed value of a known version")]
    Malformed,
    /// It was sealed under a key that this node was not given.
    #[error("sealed under an unknown store key")]
    UnknownKey,
    /// It was damaged, or sealed for another place.
    #[error("a sealed value does not open")]
    Forged,
}

/// Seals and opens secrets. It accepts two store keys and uses the first, so that a key can be changed while values
/// sealed under the old one remain.
#[derive(Debug)]
pub struct Sealer {
    current: Key,
    previous: Option<Key>,
}

struct Key {
    id: [u8; KEY_ID],
    extracted: hkdf::Prk,
}

impl Sealer {
    /// A sealer with one key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { current: Key::new(key), previous: None }
    }

    /// The same sealer, which also opens what was sealed under an earlier key.
    #[must_use]
    pub fn accepting(self, previous: &[u8; 32]) -> Self {
        Self { previous: Some(Key::new(previous)), ..self }
    }

    /// Seals a device's secret.
    pub fn seal(&self, device: DeviceId, secret: &[u8]) -> Vec<u8> {
        self.seal_at(&Place::of_device(device), secret)
    }

    /// Opens what was sealed for this device.
    pub fn open(&self, device: DeviceId, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.open_at(&Place::of_device(device), sealed)
    }

    /// Seals the keys of a device's session: once, at its handshake.
    pub fn seal_session(&self, device: DeviceId, association: AssociationId, secrets: &[u8]) -> Vec<u8> {
        self.seal_at(&Place::of_session(device, association), secrets)
    }

    /// Opens the keys of a device's session. Erase them when they are parsed.
    pub fn open_session(
        &self,
        device: DeviceId,
        association: AssociationId,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        self.open_at(&Place::of_session(device, association), sealed)
    }

    fn seal_at(&self, place: &Place, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        entropy::fill(&mut nonce);
        let mut sealed = Vec::with_capacity(SEALED_AT + secret.len() + TAG);
        sealed.push(VERSION);
        sealed.extend(self.current.id);
        sealed.extend(nonce);
        sealed.extend(secret);
        let key = self.current.derive(place);
        let nonce = Nonce::assume_unique_for_key(nonce);
        // In its final place: a copy would leave the secret behind in freed memory.
        let tag = key
            .seal_in_place_separate_tag(
                nonce,
                Aad::from(place.aad(&self.current.id)),
                &mut sealed[SEALED_AT..],
            )
            .expect("invariant: far below the 64 GiB that GCM seals at once");
        sealed.extend(tag.as_ref());
        sealed
    }

    fn open_at(&self, place: &Place, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        if sealed.len() < SEALED_AT + TAG || sealed[0] != VERSION {
            return Err(SealError::Malformed);
        }
        let id = &sealed[1..NONCE_AT];
        let key =
            [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|key| key.id == id);
        let key = key.ok_or(SealError::UnknownKey)?;
        let nonce = Nonce::try_assume_unique_for_key(&sealed[NONCE_AT..SEALED_AT]);
        let nonce = nonce.map_err(|_| SealError::Malformed)?;
        let mut body = sealed[SEALED_AT..].to_vec();
        let opened = key.derive(place).open_in_place(nonce, Aad::from(place.aad(&key.id)), &mut body);
        let length = opened.map_err(|_| SealError::Forged)?.len();
        body.truncate(length);
        Ok(body)
    }

    /// Whether a sealed value should be sealed again, because it is under the older key.
    pub fn is_stale(&self, sealed: &[u8]) -> bool {
        sealed.get(1..NONCE_AT) != Some(&self.current.id)
    }
}

impl Key {
    fn new(key: &[u8; 32]) -> Self {
        let extracted = hkdf::Salt::new(HKDF_SHA256, b"godwit store key").extract(key);
        let mut id = [0; KEY_ID];
        extracted
            .expand(&[b"id"], IdLength)
            .and_then(|okm| okm.fill(&mut id))
            .expect("invariant: eight bytes are within HKDF's bounds");
        Self { id, extracted }
    }

    fn derive(&self, place: &Place) -> LessSafeKey {
        let info = [place.kind, &place.name];
        let okm =
            self.extracted.expand(&info, &AES_256_GCM).expect("invariant: one key is within HKDF's bounds");
        LessSafeKey::new(UnboundKey::from(okm))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", data_encoding::HEXLOWER.encode(&self.id))
    }
}

struct IdLength;

impl hkdf::KeyType for IdLength {
    fn len(&self) -> usize {
        KEY_ID
    }
}

/// Where a sealed value lies.
struct Place {
    kind: &'static [u8],
    name: Vec<u8>,
}

impl Place {
    fn of_device(device: DeviceId) -> Self {
        Self { kind: b"device ", name: device.as_bytes().to_vec() }
    }

    fn of_session(device: DeviceId, association: AssociationId) -> Self {
        Self { kind: b"session ", name: [device.as_bytes().as_slice(), association.as_bytes()].concat() }
    }

    fn aad(&self, id: &[u8; KEY_ID]) -> Vec<u8> {
        [&[VERSION], id.as_slice(), &self.name].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn it() -> DeviceId {
        DeviceId::of("it")
    }

    #[test]
    fn a_secret_opens_for_its_device_alone() {
        let sealer = Sealer::new(&[1; 32]);
        let sealed = sealer.seal(it(), b"hunter2");
        assert_eq!(sealer.open(it(), &sealed), Ok(b"hunter2".to_vec()));
        assert_eq!(sealer.open(DeviceId::of("another"), &sealed), Err(SealError::Forged));
        assert!(!sealed.windows(7).any(|bytes| bytes == b"hunter2"));
        assert_ne!(sealer.seal(it(), b"hunter2"), sealed, "equal secrets don't look equal");
    }

    #[test]
    fn the_keys_of_a_session_open_for_it_alone() {
        let sealer = Sealer::new(&[1; 32]);
        let (one, two) = (AssociationId::from_bytes([1; 8]), AssociationId::from_bytes([2; 8]));
        let sealed = sealer.seal_session(it(), one, b"keys");
        assert_eq!(sealer.open_session(it(), one, &sealed), Ok(b"keys".to_vec()));
        assert_eq!(sealer.open_session(it(), two, &sealed), Err(SealError::Forged));
        assert_eq!(sealer.open_session(DeviceId::of("another"), one, &sealed), Err(SealError::Forged));
        assert_eq!(sealer.open(it(), &sealed), Err(SealError::Forged), "it is no credential");
    }

    #[test]
    fn a_changed_store_key_opens_what_the_old_one_sealed() {
        let sealed = Sealer::new(&[1; 32]).seal(it(), b"x");
        let both = Sealer::new(&[2; 32]).accepting(&[1; 32]);
        assert_eq!(both.open(it(), &sealed), Ok(b"x".to_vec()));
        assert!(both.is_stale(&sealed));
        let again = both.seal(it(), b"x");
        assert!(!both.is_stale(&again));
        assert_eq!(Sealer::new(&[2; 32]).open(it(), &again), Ok(b"x".to_vec()));
        assert_eq!(Sealer::new(&[2; 32]).open(it(), &sealed), Err(SealError::UnknownKey));
    }

    #[test]
    fn a_value_changed_or_cut_anywhere_does_not_open() {
        let sealer = Sealer::new(&[1; 32]);
        let sealed = sealer.seal(it(), b"secret");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer.open(it(), &changed).is_err(), "{at}");
            assert!(sealer.open(it(), &sealed[..at]).is_err(), "{at}");
        }
    }

    /// Values of version 1 must open for ever. This one was computed with Python's `hmac` and `cryptography`.
    #[test]
    fn version_1_opens() {
        let golden = "0147d7853bbc635071000102030405060708090a0b7ea1eb67bf0024cc64c4e6fd6664282fae05e5f2ae45";
        let sealed = data_encoding::HEXLOWER.decode(golden.as_bytes()).unwrap();
        assert_eq!(Sealer::new(&[1; 32]).open(it(), &sealed), Ok(b"secret".to_vec()));
    }

    #[test]
    fn keys_do_not_print() {
        let shown = format!("{:?}", Sealer::new(&[7; 32]));
        assert!(!shown.contains("0707") && !shown.contains("7, 7"), "{shown}");
    }
}
