//! One direction's keys: plain bytes, wiped on drop, never printed.

use zeroize::{Zeroize, Zeroizing};

use crate::suite::Cipher;

/// AES-128.
pub(super) const KEY_LEN: usize = 16;
pub(super) const SALT_LEN: usize = 4;
pub(super) const MAC_KEY_LEN: usize = 32;

/// The keys with which one side writes and the other reads: 53 bytes, no key schedule.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    cipher: Cipher,
    key: [u8; KEY_LEN],
    /// The nonce's fixed part; AEAD only.
    salt: [u8; SALT_LEN],
    /// CBC only.
    mac_key: [u8; MAC_KEY_LEN],
}

impl Keys {
    /// Keys of the lengths that the cipher names; parts that it doesn't use are empty.
    ///
    /// # Panics
    /// If a part has another length.
    pub fn new(cipher: Cipher, key: &[u8], salt: &[u8], mac_key: &[u8]) -> Self {
        assert_eq!(salt.len(), cipher.fixed_iv_len(), "invariant: the key block is cut by the cipher");
        assert_eq!(mac_key.len(), cipher.mac_key_len(), "invariant: the key block is cut by the cipher");
        let mut keys = Self { cipher, key: [0; KEY_LEN], salt: [0; SALT_LEN], mac_key: [0; MAC_KEY_LEN] };
        keys.key.copy_from_slice(key);
        keys.salt[..salt.len()].copy_from_slice(salt);
        keys.mac_key[..mac_key.len()].copy_from_slice(mac_key);
        keys
    }

    /// How records are protected.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    pub(super) fn key(&self) -> &[u8; KEY_LEN] {
        &self.key
    }

    pub(super) fn mac_key(&self) -> &[u8; MAC_KEY_LEN] {
        &self.mac_key
    }

    /// The 12-byte nonce: salt, then what the record carries (RFC 6655 §3).
    pub(super) fn nonce(&self, explicit: [u8; 8]) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..SALT_LEN].copy_from_slice(&self.salt);
        nonce[SALT_LEN..].copy_from_slice(&explicit);
        nonce
    }

    /// For storing: the cipher's number, then the parts that it uses (21 bytes for AEAD, 49 for CBC).
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + KEY_LEN + MAC_KEY_LEN));
        bytes.push(self.cipher.code());
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(&self.salt[..self.cipher.fixed_iv_len()]);
        bytes.extend_from_slice(&self.mac_key[..self.cipher.mac_key_len()]);
        bytes
    }

    /// Stored keys at the head of `bytes`, and what follows them.
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&code, rest) = bytes.split_first()?;
        let cipher = Cipher::from_code(code)?;
        let (key, rest) = rest.split_at_checked(KEY_LEN)?;
        let (salt, rest) = rest.split_at_checked(cipher.fixed_iv_len())?;
        let (mac_key, rest) = rest.split_at_checked(cipher.mac_key_len())?;
        Some((Self::new(cipher, key, salt, mac_key), rest))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
        self.mac_key.zeroize();
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({:?}, ..)", self.cipher)
    }
}

/// What this side seals with. A type of its own, so that nothing is ever sealed with the peer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteKeys(Keys);

/// What this side opens with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadKeys(Keys);

impl WriteKeys {
    /// The plain keys, for storing.
    pub fn keys(&self) -> &Keys {
        &self.0
    }
}

impl ReadKeys {
    /// The plain keys, for storing.
    pub fn keys(&self) -> &Keys {
        &self.0
    }
}

impl From<Keys> for WriteKeys {
    fn from(keys: Keys) -> Self {
        Self(keys)
    }
}

impl From<Keys> for ReadKeys {
    fn from(keys: Keys) -> Self {
        Self(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_keys_are_read_back_and_cut_ones_are_not() {
        let keys = [
            (Keys::new(Cipher::Ccm8, &[1; 16], &[2; 4], &[]), 21),
            (Keys::new(Cipher::Gcm, &[1; 16], &[2; 4], &[]), 21),
            (Keys::new(Cipher::Cbc, &[1; 16], &[], &[3; 32]), 49),
            (Keys::new(Cipher::CbcEtm, &[1; 16], &[], &[3; 32]), 49),
        ];
        for (keys, len) in keys {
            let mut bytes = keys.to_bytes();
            assert_eq!(bytes.len(), len);
            assert!((0..len).all(|cut| Keys::read(&bytes[..cut]).is_none()));
            bytes.push(9);
            assert_eq!(Keys::read(&bytes), Some((keys, &[9][..])));
        }
        assert_eq!(Keys::read(&[9; 60]), None);
    }

    #[test]
    fn keys_stay_small() {
        assert!(size_of::<Keys>() <= 53);
    }
}
