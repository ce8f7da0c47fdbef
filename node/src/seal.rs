//! Secrets at rest: AES-256-GCM under the node's seal key.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use thiserror::Error;

use crate::{entropy, identity::DeviceId};

/// The first byte of a sealed secret: its form.
const FORM: u8 = 1;
const NONCE: usize = 12;

/// Seals secrets, and opens them. A sealed secret belongs to one device: another's record does not open with it.
pub struct Sealer {
    key: LessSafeKey,
}

/// A sealed secret that does not open: damaged, of another device, or sealed under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a sealed secret can't be opened: is store.seal_key the one that it was sealed with?")]
pub struct CannotOpen;

impl Sealer {
    /// A sealer with this key.
    pub fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("invariant: the key has 32 bytes");
        Self { key: LessSafeKey::new(key) }
    }

    /// Seals a device's secret: a form byte, 12 bytes of nonce, the ciphertext, 16 bytes of tag. The nonce is random,
    /// which is good for 2³² secrets under one key.
    pub fn seal(&self, device: DeviceId, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        entropy::fill(&mut nonce);
        let mut sealed = secret.to_vec();
        let aad = Aad::from(*device.as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .expect("invariant: secrets are shorter than 64 GiB");
        [&[FORM], nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// [`CannotOpen`].
    pub fn open(&self, device: DeviceId, sealed: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        let rest = sealed.strip_prefix(&[FORM]).ok_or(CannotOpen)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or(CannotOpen)?;
        let mut secret = rest.to_vec();
        let aad = Aad::from(*device.as_bytes());
        let length = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut secret)
            .map_err(|_| CannotOpen)?
            .len();
        secret.truncate(length);
        Ok(secret)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_device_under_its_key_only() {
        let (sealer, device) = (Sealer::new(&[7; 32]), DeviceId::of("a"));
        let sealed = sealer.seal(device, b"secret");
        assert_eq!(sealer.open(device, &sealed), Ok(b"secret".to_vec()));
        assert_eq!(sealer.open(DeviceId::of("b"), &sealed), Err(CannotOpen));
        assert_eq!(Sealer::new(&[8; 32]).open(device, &sealed), Err(CannotOpen));
        assert_ne!(sealer.seal(device, b"secret"), sealed, "each has its own nonce");
    }

    #[test]
    fn a_damaged_secret_does_not_open() {
        let (sealer, device) = (Sealer::new(&[7; 32]), DeviceId::of("a"));
        let sealed = sealer.seal(device, b"secret");
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(sealer.open(device, &damaged), Err(CannotOpen), "{at}");
            assert_eq!(sealer.open(device, &sealed[..at]), Err(CannotOpen), "{at}");
        }
    }
}
