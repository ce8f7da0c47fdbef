//! Names of devices, registrations, DTLS sessions and processes.

use std::{fmt, str::FromStr, sync::Arc};

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use ring::digest;
use thiserror::Error;

/// A device's id: `d` and 16 lower-case base32 characters, from the SHA-256 of its endpoint name.
///
/// Never given by a caller, so that an endpoint name is unique because one key is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId([u8; 10]);

impl DeviceId {
    /// The id of the device with this endpoint name.
    pub fn of(endpoint: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, endpoint.as_bytes());
        Self::from_slice(hash.as_ref())
    }

    /// The id as 10 bytes, as the store keeps it.
    pub fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }

    /// The id from its 10 bytes.
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(bytes)
    }

    fn from_slice(bytes: &[u8]) -> Self {
        let mut id = [0; 10];
        id.copy_from_slice(&bytes[..10]);
        Self(id)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no device id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a device id is 'd' and 16 characters of a-z and 2-7")]
pub struct NotADeviceId;

impl FromStr for DeviceId {
    type Err = NotADeviceId;

    fn from_str(text: &str) -> Result<Self, NotADeviceId> {
        let rest = text.strip_prefix('d').filter(|rest| rest.len() == 16).ok_or(NotADeviceId)?;
        if rest.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(NotADeviceId);
        }
        let bytes = BASE32_NOPAD.decode(rest.to_ascii_uppercase().as_bytes()).map_err(|_| NotADeviceId)?;
        Ok(Self::from_slice(&bytes))
    }
}

/// The id in a registration's location `rd/<id>`: 12 base62 characters that nobody can guess (71 bits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistrationId([u8; 12]);

impl RegistrationId {
    /// Makes an id from 128 random bits; 62¹² is so far below 2¹²⁸ that no character is favoured.
    pub fn from_random(random: [u8; 16]) -> Self {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut rest = u128::from_be_bytes(random);
        Self(std::array::from_fn(|_| {
            let digit = (rest % 62) as usize;
            rest /= 62;
            ALPHABET[digit]
        }))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base62 characters are ASCII")
    }

    /// Reads the id of a location path; `None` if it can't be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 12] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphanumeric).then_some(Self(bytes))
    }
}

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A DTLS session's id, as handshakes carry it: random, for the server names it before it knows with whom it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// The id from its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The id as a device or the store gives it; `None` unless it has 32 bytes.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What one device's record names the session by, beside the session itself.
    pub fn tag(&self) -> SessionTag {
        let (tag, _) = self.0.split_first_chunk().expect("invariant: 32 bytes are more than 8");
        SessionTag(*tag)
    }
}

impl fmt::Debug for SessionId {
    /// Its beginning: enough to tell sessions apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", HEXLOWER.encode(&self.0[..4]))
    }
}

/// The first 8 bytes of a session's id: they tell the few sessions of one device apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTag([u8; 8]);

impl SessionTag {
    /// The tag as the store gives it; `None` unless it has 8 bytes.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// One association: one set of keys. A session id may have several, one for each time that it was resumed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssociationId([u8; 8]);

impl AssociationId {
    /// The id from its bytes, which were random when it was made.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Debug for AssociationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// One run of one node: a restarted node is a stranger to its earlier self.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The node's name, by default its host name.
    pub node: Arc<str>,
    /// Random, new at each start.
    pub boot: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}", self.node, self.boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_is_the_start_of_the_endpoint_names_hash() {
        // printf urn:imei:1 | sha256sum | xxd -r -p | head -c 10 | base32
        let id = DeviceId::of("urn:imei:1");
        assert_eq!(id.to_string(), "dpu72e6kfgi7n7tnz");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(id, DeviceId::of("urn:imei:2"));
    }

    #[test]
    fn texts_that_are_no_device_ids_are_refused() {
        let good = DeviceId::of("x").to_string();
        for text in ["", "d", &good[1..], &good.to_uppercase(), &format!("{good}a"), "d0000000000000000"] {
            assert_eq!(text.parse::<DeviceId>(), Err(NotADeviceId), "{text}");
        }
    }

    #[test]
    fn a_registration_id_has_twelve_base62_characters() {
        let id = RegistrationId::from_random([0xff; 16]);
        assert_eq!(id.as_str().len(), 12);
        assert_eq!(RegistrationId::parse(id.as_str()), Some(id));
        assert_eq!(RegistrationId::parse("too short"), None);
        assert_eq!(RegistrationId::parse("abc/defghijk"), None);
    }
}
