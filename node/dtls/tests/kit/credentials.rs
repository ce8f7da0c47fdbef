//! Keys and certificates, made once for each test binary.

use std::sync::{Arc, LazyLock};

use godwit_dtls::{ServerIdentity, signature::SigningKey};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _};
use ring::rand::SystemRandom;

pub const IDENTITY: &[u8] = b"urn:dev:1";
pub const KEY: &[u8] = b"0123456789abcdef";

/// A key pair with the chain that an authority of ours, or a stranger, made for it.
pub struct Device {
    pub key: KeyPair,
    pub chain: Vec<Vec<u8>>,
}

impl Device {
    pub fn spki(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    pub fn pkcs8(&self) -> Vec<u8> {
        self.key.serialize_der()
    }
}

pub struct Credentials {
    pub authority: Vec<u8>,
    pub device: Device,
    pub stranger: Device,
    pub server: Arc<ServerIdentity>,
}

pub static CREDENTIALS: LazyLock<Credentials> = LazyLock::new(|| {
    let (anchor, issuer) = authority("authority");
    let (_, other) = authority("somebody");
    let server = device(&issuer, "server");
    let key = SigningKey::from_pkcs8(&server.pkcs8(), &SystemRandom::new()).unwrap();
    let server = ServerIdentity::new(key, server.chain);
    Credentials {
        authority: anchor,
        device: device(&issuer, "urn:dev:1"),
        stranger: device(&other, "urn:dev:1"),
        server: Arc::new(server.unwrap()),
    }
});

fn authority(name: &str) -> (Vec<u8>, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let der = params.self_signed(&key).unwrap().der().to_vec();
    (der, Issuer::new(params, key))
}

fn device(issuer: &Issuer<'static, KeyPair>, name: &str) -> Device {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let der = params.signed_by(&key, issuer).unwrap().der().to_vec();
    Device { key, chain: vec![der] }
}

pub fn signing_key(device: &Device) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_pkcs8(&device.pkcs8(), &SystemRandom::new()).unwrap())
}
