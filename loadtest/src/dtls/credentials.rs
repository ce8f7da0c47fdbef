//! Who each device is: from templates, or from a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use godwit_dtls::Secret;
use godwit_dtls::client::Credential;
use godwit_dtls::signature::SigningKey;
use ring::hmac;
use ring::rand::SystemRandom;
use serde::{Deserialize, Serialize};

use super::args::{DtlsArgs, Kind};
use crate::endpoint::Template;

/// One line of a credentials file; of PSK devices `godwit ctl devices import` takes it as it is. Bytes are hex.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) psk_identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) psk_hex: Option<String>,
    /// PKCS#8 in DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// SubjectPublicKeyInfo in DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<String>,
    /// Certificate in DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
}

/// Why devices have no credentials; the text names the flag.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    #[error("--identity has no {{}} where the endpoint's name would go: devices would share one identity")]
    Identity,
    #[error("--psk is no hex of 1 to 64 bytes")]
    Psk,
    #[error("--dtls {0} needs --credentials FILE: make one with `godwit-load credentials {0}`")]
    NoFile(&'static str),
    #[error("--credentials {}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("--credentials {}, line {line}: {reason}", path.display())]
    Line { path: PathBuf, line: usize, reason: String },
    #[error("--credentials {} has nothing for endpoint {endpoint}", path.display())]
    Missing { path: PathBuf, endpoint: String },
}

/// A key pair as the file has it; the key is read anew for each handshake, which keeps idle devices small.
#[derive(Clone, Debug)]
struct KeyPair {
    pkcs8: Box<[u8]>,
    certificate: Option<Box<[u8]>>,
}

#[derive(Debug)]
enum Source {
    OnePsk(Secret),
    SeededPsk(hmac::Key),
    KeyPairs(Vec<KeyPair>),
}

/// The credentials of a fleet.
#[derive(Debug)]
pub(crate) struct Identities {
    endpoint: Template,
    first: u64,
    identity: String,
    source: Source,
}

impl Identities {
    /// Reads what the flags name, for `devices` endpoints.
    pub(crate) fn new(
        args: &DtlsArgs,
        kind: Kind,
        endpoint: &Template,
        first: u64,
        devices: u32,
    ) -> Result<Self, CredentialError> {
        let source = match (kind, &args.psk) {
            (Kind::Rpk, _) => Source::KeyPairs(read(args, "rpk", endpoint, first, devices)?),
            (Kind::X509, _) => Source::KeyPairs(read(args, "x509", endpoint, first, devices)?),
            (Kind::Psk | Kind::Webrtc, Some(hex)) => Source::OnePsk(psk(hex)?),
            (Kind::Psk | Kind::Webrtc, None) => {
                Source::SeededPsk(hmac::Key::new(hmac::HMAC_SHA256, args.psk_seed.as_bytes()))
            }
        };
        // One identity for all can be meant, where one key for all is.
        if devices > 1 && !args.identity.contains("{}") && matches!(source, Source::SeededPsk(_)) {
            return Err(CredentialError::Identity);
        }
        Ok(Self { endpoint: endpoint.clone(), first, identity: args.identity.clone(), source })
    }

    /// Identity and key of a PSK device.
    pub(crate) fn psk(&self, device: u32) -> Option<(String, Secret)> {
        let name = self.endpoint.name(self.first + u64::from(device));
        let identity = self.identity.replace("{}", &name);
        match &self.source {
            Source::OnePsk(key) => Some((identity, key.clone())),
            Source::SeededPsk(seed) => {
                let key = seeded(seed, &identity);
                Some((identity, Secret::new(key)))
            }
            Source::KeyPairs(_) => None,
        }
    }

    /// What a handshake of this device needs.
    pub(crate) fn credential(&self, device: u32, random: &SystemRandom) -> Option<Credential> {
        let Source::KeyPairs(pairs) = &self.source else {
            let (identity, key) = self.psk(device)?;
            return Some(Credential::Psk { identity: identity.into_bytes(), key });
        };
        let pair = pairs.get(device as usize)?;
        let key = Arc::new(SigningKey::from_pkcs8(&pair.pkcs8, random).ok()?);
        Some(match &pair.certificate {
            Some(der) => Credential::X509 { key, chain: Arc::from([der.to_vec()]) },
            None => Credential::RawPublicKey(key),
        })
    }
}

/// A key as flags have it.
pub(crate) fn psk(hex: &str) -> Result<Secret, CredentialError> {
    let key = HEX.decode(hex.as_bytes()).map_err(|_| CredentialError::Psk)?;
    if key.is_empty() || key.len() > 64 { Err(CredentialError::Psk) } else { Ok(Secret::new(key)) }
}

/// The key of an identity under a seed.
pub(super) fn seeded(seed: &hmac::Key, identity: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&hmac::sign(seed, identity.as_bytes()).as_ref()[..16]);
    key
}

fn read(
    args: &DtlsArgs,
    kind: &'static str,
    endpoint: &Template,
    first: u64,
    devices: u32,
) -> Result<Vec<KeyPair>, CredentialError> {
    let path = args.credentials.clone().ok_or(CredentialError::NoFile(kind))?;
    let file = File::open(&path).map_err(|error| CredentialError::File { path: path.clone(), error })?;
    let random = SystemRandom::new();
    let mut pairs = HashMap::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| CredentialError::File { path: path.clone(), error })?;
        let bad = |reason: String| CredentialError::Line { path: path.clone(), line: number + 1, reason };
        let line: Line = serde_json::from_str(&line).map_err(|error| bad(error.to_string()))?;
        let bytes = |text: &Option<String>| {
            let decoded = text.as_ref().map(|text| HEX.decode(text.as_bytes())).transpose();
            decoded.map(|bytes| bytes.map(Vec::into_boxed_slice)).map_err(|error| bad(error.to_string()))
        };
        let pkcs8 = bytes(&line.key)?.ok_or_else(|| bad("no \"key\"".into()))?;
        SigningKey::from_pkcs8(&pkcs8, &random).map_err(|error| bad(format!("\"key\": {error}")))?;
        let certificate = if kind == "x509" {
            Some(bytes(&line.certificate)?.ok_or_else(|| bad("no \"certificate\"".into()))?)
        } else {
            None
        };
        pairs.insert(line.endpoint, KeyPair { pkcs8, certificate });
    }
    (0..devices)
        .map(|device| {
            let name = endpoint.name(first + u64::from(device));
            pairs.remove(&name).ok_or(CredentialError::Missing { path: path.clone(), endpoint: name })
        })
        .collect()
}
