//! The TLS 1.2 key schedule with SHA-256 (RFC 5246 §5, §6.3, §8.1; RFC 4279 §2; RFC 7627).

use ring::hmac;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    protection::{Keys, ReadKeys, WriteKeys},
    suite::Cipher,
};

/// Bytes of a ClientHello's or ServerHello's random value.
pub const RANDOM_LEN: usize = 32;
/// Bytes of a Finished's verify_data.
pub const VERIFY_DATA_LEN: usize = 12;
/// Bytes of a master secret.
pub const MASTER_SECRET_LEN: usize = 48;

/// Fills `out` with PRF(secret, label, seed), the seed being the parts joined.
pub fn prf(secret: &[u8], label: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let sign = |chained: Option<&hmac::Tag>, with_seed: bool| {
        let mut context = hmac::Context::with_key(&key);
        if let Some(tag) = chained {
            context.update(tag.as_ref());
        }
        if with_seed {
            context.update(label);
            seed.iter().for_each(|part| context.update(part));
        }
        context.sign()
    };
    let mut chained = sign(None, true);
    for chunk in out.chunks_mut(32) {
        let block = sign(Some(&chained), true);
        chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
        chained = sign(Some(&chained), false);
    }
}

/// The premaster secret of a plain PSK suite (RFC 4279 §2): zeros as long as the key, then the key, each after its
/// 16-bit length. `key` is at most 65,535 bytes; longer ones are cut, so bound them at the configuration.
pub fn psk_premaster(key: &[u8]) -> Zeroizing<Vec<u8>> {
    let len = key.len().min(usize::from(u16::MAX));
    let mut premaster = Zeroizing::new(Vec::with_capacity(2 * (2 + len)));
    premaster.extend_from_slice(&(len as u16).to_be_bytes());
    premaster.resize(2 + len, 0);
    premaster.extend_from_slice(&(len as u16).to_be_bytes());
    premaster.extend_from_slice(&key[..len]);
    premaster
}

/// Which side a Finished or a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who sent the ClientHello.
    Client,
    /// Who answered it.
    Server,
}

/// The 48 bytes from which a session's keys come, and from which it can be resumed. Wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterSecret([u8; MASTER_SECRET_LEN]);

impl MasterSecret {
    /// A stored one.
    pub fn new(bytes: [u8; MASTER_SECRET_LEN]) -> Self {
        Self(bytes)
    }

    /// Without extended master secret (RFC 5246 §8.1).
    pub fn derive(
        premaster: &[u8],
        client_random: &[u8; RANDOM_LEN],
        server_random: &[u8; RANDOM_LEN],
    ) -> Self {
        let mut secret = Self([0; MASTER_SECRET_LEN]);
        prf(premaster, b"master secret", &[client_random, server_random], &mut secret.0);
        secret
    }

    /// With it (RFC 7627 §4). `session_hash`: SHA-256 of the messages from the ClientHello with the cookie up to and
    /// including ClientKeyExchange.
    pub fn extended(premaster: &[u8], session_hash: &[u8; 32]) -> Self {
        let mut secret = Self([0; MASTER_SECRET_LEN]);
        prf(premaster, b"extended master secret", &[session_hash], &mut secret.0);
        secret
    }

    /// The raw bytes, for sealing.
    pub fn as_bytes(&self) -> &[u8; MASTER_SECRET_LEN] {
        &self.0
    }

    /// Both sides' keys (RFC 5246 §6.3).
    pub fn keys(
        &self,
        cipher: Cipher,
        client_random: &[u8; RANDOM_LEN],
        server_random: &[u8; RANDOM_LEN],
    ) -> KeyPair {
        let (mac, iv) = (cipher.mac_key_len(), cipher.fixed_iv_len());
        let mut block = Zeroizing::new([0; 2 * (32 + 16)]);
        let block = &mut block[..2 * (mac + 16 + iv)];
        prf(&self.0, b"key expansion", &[server_random, client_random], block);
        let (macs, rest) = block.split_at(2 * mac);
        let (keys, ivs) = rest.split_at(2 * 16);
        let of = |half: usize| {
            let part = |from: &'_ [u8]| from.len() / 2 * half..from.len() / 2 * (half + 1);
            Keys::new(cipher, &keys[part(keys)], &ivs[part(ivs)], &macs[part(macs)])
        };
        KeyPair { client: of(0), server: of(1) }
    }

    /// What a side's Finished must hold. `transcript`: SHA-256 of all handshake messages before it.
    pub fn verify_data(&self, side: Side, transcript: &[u8; 32]) -> [u8; VERIFY_DATA_LEN] {
        let label: &[u8] = match side {
            Side::Client => b"client finished",
            Side::Server => b"server finished",
        };
        let mut out = [0; VERIFY_DATA_LEN];
        prf(&self.0, label, &[transcript], &mut out);
        out
    }
}

impl Drop for MasterSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for MasterSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterSecret(..)")
    }
}

/// The keys of both sides; each side turns them into what it reads and what it writes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The client writes with these.
    pub client: Keys,
    /// The server writes with these.
    pub server: Keys,
}

impl KeyPair {
    /// What a server reads and writes with.
    pub fn for_server(self) -> (ReadKeys, WriteKeys) {
        (ReadKeys::from(self.client), WriteKeys::from(self.server))
    }

    /// What a client reads and writes with.
    pub fn for_client(self) -> (ReadKeys, WriteKeys) {
        (ReadKeys::from(self.server), WriteKeys::from(self.client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let secret = MasterSecret::new([0xab; 48]);
        let keys = secret.keys(Cipher::Ccm8, &[1; 32], &[2; 32]);
        let text = format!("{secret:?} {keys:?}");
        assert!(!text.contains("171") && !text.contains("ab,"), "{text}");
        assert!(text.len() < 120, "{text}");
    }

    #[test]
    fn the_two_sides_read_with_what_the_other_writes_with() {
        let pair = MasterSecret::new([3; 48]).keys(Cipher::Cbc, &[1; 32], &[2; 32]);
        assert_ne!(pair.client, pair.server);
        let ((server_read, _), (_, client_write)) = (pair.clone().for_server(), pair.for_client());
        assert_eq!(server_read.keys(), client_write.keys());
    }

    #[test]
    fn verify_data_differs_by_side() {
        let secret = MasterSecret::new([3; 48]);
        assert_ne!(secret.verify_data(Side::Client, &[9; 32]), secret.verify_data(Side::Server, &[9; 32]));
    }
}
