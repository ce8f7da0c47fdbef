//! What is derived from the cluster's secret (HKDF-SHA-256): so that any node takes any node's cookies, Connection IDs and
//! session ids.
//!
//! ```text
//! session id (32)   AES-128(device id (10) · random (6)) · random (16)
//! ```
//! It leads to its device without a look-up, and tells outsiders nothing.

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use godwit_dtls::cid::CidKeys;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use crate::config::{Secret, keyring};
use crate::entropy;
use crate::identity::{DeviceId, SessionId};

/// The keys that all nodes of a cluster share.
#[derive(Debug)]
pub struct ClusterKeys {
    /// What cookies are made with, and checked: `godwit_dtls::Gate` derives a key for each ten minutes from it. While a
    /// secret is changed, a cookie made under the other one costs its device one more round trip.
    pub cookie: Secret<[u8; 32]>,
    /// What makes and recognises Connection IDs.
    pub cids: CidKeys,
    /// What makes and reads session ids.
    pub sessions: SessionIds,
}

impl ClusterKeys {
    /// The keys under these secrets, of which the first is used and all are accepted.
    ///
    /// # Panics
    /// Without a secret, or with a generation above 7: [`keyring::generations`] gives neither.
    #[must_use]
    pub fn new(secrets: &[keyring::Entry]) -> Self {
        let first = secrets.first().expect("invariant: a keyring holds a secret");
        let derived: Vec<_> =
            secrets.iter().map(|entry| (entry.generation, extract(&entry.secret))).collect();
        let used = CidKeys::new(first.generation, &expand::<32>(&derived[0].1, b"cid tag"));
        Self {
            cookie: Secret::new(expand(&derived[0].1, b"cookie")),
            cids: derived[1..].iter().fold(used, |keys, (generation, secret)| {
                keys.with_known(*generation, &expand::<32>(secret, b"cid tag"))
            }),
            sessions: SessionIds {
                keys: derived
                    .iter()
                    .map(|(_, secret)| Aes128::new(&expand(secret, b"session id").into()))
                    .collect(),
            },
        }
    }
}

/// Makes and reads session ids.
pub struct SessionIds {
    /// The first is used.
    keys: Vec<Aes128>,
}

impl SessionIds {
    /// A new id for a session of this device.
    #[must_use]
    pub fn mint(&self, device: DeviceId) -> SessionId {
        let mut id: [u8; 32] = entropy::bytes();
        let mut block = [0; 16];
        block[..10].copy_from_slice(device.as_bytes());
        block[10..].copy_from_slice(&id[10..16]);
        let mut block = block.into();
        self.keys[0].encrypt_block(&mut block);
        id[..16].copy_from_slice(&block);
        SessionId::from_bytes(id)
    }

    /// The devices that may have this id, likeliest first: one for each secret in rotation. Whether one has it, its record
    /// tells; an id that is not ours leads to devices that don't exist.
    pub fn devices(&self, id: &SessionId) -> impl Iterator<Item = DeviceId> {
        let sealed: [u8; 16] = std::array::from_fn(|at| id.as_bytes()[at]);
        self.keys.iter().map(move |key| {
            let mut block = sealed.into();
            key.decrypt_block(&mut block);
            DeviceId::from_bytes(std::array::from_fn(|at| block[at]))
        })
    }
}

impl std::fmt::Debug for SessionIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionIds({} keys)", self.keys.len())
    }
}

fn extract(secret: &Secret<[u8; 32]>) -> Prk {
    Salt::new(HKDF_SHA256, b"godwit cluster secret").extract(secret.expose())
}

fn expand<const N: usize>(secret: &Prk, label: &[u8]) -> [u8; N] {
    let mut key = [0; N];
    let label = [label];
    let okm = secret.expand(&label, Length(N)).and_then(|okm| okm.fill(&mut key));
    okm.expect("invariant: a key is within HKDF's bounds");
    key
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(generation: u8, byte: u8) -> keyring::Entry {
        keyring::Entry { generation, secret: Secret::new([byte; 32]) }
    }

    #[test]
    fn a_session_id_leads_to_its_device_and_looks_different_each_time() {
        let keys = ClusterKeys::new(&[entry(0, 1)]);
        let device = DeviceId::of("it");
        let (one, two) = (keys.sessions.mint(device), keys.sessions.mint(device));
        assert_ne!(one.as_bytes()[..16], two.as_bytes()[..16]);
        for id in [one, two] {
            assert_eq!(keys.sessions.devices(&id).collect::<Vec<_>>(), [device]);
        }
        let other = ClusterKeys::new(&[entry(0, 2)]);
        assert_ne!(other.sessions.devices(&one).collect::<Vec<_>>(), [device]);
    }

    #[test]
    fn what_was_made_under_the_old_secret_is_known_while_secrets_change() {
        let old = ClusterKeys::new(&[entry(0, 1)]);
        let both = ClusterKeys::new(&[entry(1, 2), entry(0, 1)]);
        let device = DeviceId::of("it");
        assert!(both.sessions.devices(&old.sessions.mint(device)).any(|found| found == device));
        assert!(both.cids.check(old.cids.mint([7; 5], 3).as_ref()));
        assert_eq!(both.cids.mint([7; 5], 3).generation(), 1);
        assert!(!old.cids.check(both.cids.mint([7; 5], 3).as_ref()));
    }

    /// Keys of a running cluster must never change. Computed with Python's `hmac`.
    #[test]
    fn derivations_are_fixed() {
        let keys = ClusterKeys::new(&[entry(0, 1)]);
        assert_eq!(data_encoding::HEXLOWER.encode(keys.cookie.expose()), GOLDEN);
    }

    const GOLDEN: &str = "4f4ccfabf6b4750f0310d41216be33b79582280a792c98f2dfbbf8fb03c73ea2";
}
