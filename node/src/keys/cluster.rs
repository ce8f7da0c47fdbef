//! What is derived from the cluster's secret (HKDF-SHA-256): so that any node takes any node's cookies and Connection IDs.

use godwit_dtls::cid::CidKeys;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use crate::config::{Secret, keyring};

/// The keys that all nodes of a cluster share.
#[derive(Debug)]
pub struct ClusterKeys {
    /// What cookies are made with, and checked: `godwit_dtls::Gate` derives a key for each ten minutes from it. While a
    /// secret is changed, a cookie made under the other one costs its device one more round trip.
    pub cookie: Secret<[u8; 32]>,
    /// What makes and recognises Connection IDs.
    pub cids: CidKeys,
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
        }
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
    fn what_was_made_under_the_old_secret_is_known_while_secrets_change() {
        let old = ClusterKeys::new(&[entry(0, 1)]);
        let both = ClusterKeys::new(&[entry(1, 2), entry(0, 1)]);
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
