//! What finds a device.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ring::digest;

use super::value::Credential;
use crate::identity::{RegistrationId, SessionId};

/// A key that leads to a device. The store makes and removes pointers along with what they come from: a
/// registration, a NoSec address ([`Change::Address`](super::Change::Address)), a session, a credential. Those that must be
/// unique are refused to a second device ([`StoreError::Taken`](super::StoreError::Taken)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pointer {
    /// The last part of a registration's location. Leads there for as long as the registration or its tombstone.
    Registration(RegistrationId),
    /// The address of a device without DTLS. The last device to register from it has it.
    Address(SocketAddr),
    /// A PSK identity: unique among all credentials.
    PskIdentity(Vec<u8>),
    /// A connection id of ours: unique among all sessions.
    Cid(Vec<u8>),
    /// The id of a session, by which a handshake resumes it. Several associations of one device may share it.
    Session(SessionId),
    /// The address of a device whose session has no connection id. The last session from it has it.
    SessionAddress(SocketAddr),
    /// The SHA-256 of a raw public key (SubjectPublicKeyInfo): unique among all credentials.
    PublicKey([u8; 32]),
    /// The SHA-256 of a certificate (DER): unique among all credentials.
    Certificate([u8; 32]),
    /// The common name of a certificate, where it is not the endpoint name: unique among all credentials.
    CommonName(String),
}

impl Pointer {
    /// The pointer as a key: a letter for its kind, then the thing itself.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Registration(id) => [b"r", id.as_str().as_bytes()].concat(),
            Self::Address(address) => [b"a", &*address_bytes(*address)].concat(),
            Self::PskIdentity(identity) => [b"p", identity.as_slice()].concat(),
            Self::Cid(cid) => [b"c", cid.as_slice()].concat(),
            Self::Session(id) => [b"i", id.as_bytes().as_slice()].concat(),
            Self::SessionAddress(address) => [b"s", &*address_bytes(*address)].concat(),
            Self::PublicKey(digest) => [b"k", digest.as_slice()].concat(),
            Self::Certificate(digest) => [b"x", digest.as_slice()].concat(),
            Self::CommonName(name) => [b"n", name.as_bytes()].concat(),
        }
    }

    /// The pointer from a raw public key, given as its SubjectPublicKeyInfo (DER).
    pub fn public_key(spki: &[u8]) -> Self {
        Self::PublicKey(sha256(spki))
    }

    /// The pointer from a certificate, given as DER.
    pub fn certificate(der: &[u8]) -> Self {
        Self::Certificate(sha256(der))
    }

    /// What a device is found by through its credential.
    pub fn of_credential(credential: &Credential) -> Vec<Self> {
        let given = |bytes: &Vec<u8>| Some(bytes.clone()).filter(|bytes| !bytes.is_empty());
        let name = Some(credential.common_name.clone()).filter(|name| !name.is_empty());
        let pointers = [
            given(&credential.psk_identity).map(Self::PskIdentity),
            given(&credential.public_key).map(|spki| Self::public_key(&spki)),
            given(&credential.certificate).map(|der| Self::certificate(&der)),
            name.map(Self::CommonName),
        ];
        pointers.into_iter().flatten().collect()
    }

    /// Whether one device alone may have it. Of the others the last to claim it has it.
    pub fn is_unique(&self) -> bool {
        !matches!(self, Self::Address(_) | Self::SessionAddress(_))
    }
}

impl fmt::Display for Pointer {
    /// Names the kind alone: addresses, identities and names stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registration(_) => "the registration id",
            Self::Address(_) | Self::SessionAddress(_) => "the address",
            Self::PskIdentity(_) => "the PSK identity",
            Self::Cid(_) => "the connection id",
            Self::Session(_) => "the session id",
            Self::PublicKey(_) => "the public key",
            Self::Certificate(_) => "the certificate",
            Self::CommonName(_) => "the common name",
        })
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref().try_into().expect("invariant: SHA-256 makes 32 bytes")
}

/// An address as the store keeps it: 4 or 16 bytes of IP, 2 of port, big-endian. IPv4-mapped addresses become
/// IPv4; flow label and scope are not kept.
pub fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(address.port().to_be_bytes());
    bytes
}

/// The reverse of [`address_bytes`]; `None` for anything else than 6 or 18 bytes.
pub fn address_from_bytes(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_ip_and_port() {
        for text in ["127.3.0.1:5683", "[2001:db8::1]:61616"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(address_from_bytes(&address_bytes(address)), Some(address));
        }
        assert_eq!(address_from_bytes(&[1, 2, 3]), None);
    }

    #[test]
    fn a_mapped_address_is_the_same_key_as_its_ipv4() {
        let mapped = Pointer::Address("[::ffff:10.0.0.1]:1".parse().unwrap());
        assert_eq!(mapped.key(), Pointer::Address("10.0.0.1:1".parse().unwrap()).key());
    }
}
