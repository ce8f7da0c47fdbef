//! A folder of key files, and what makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use godwit::config::{Config, Modes, Security};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SignatureAlgorithm,
};

/// A folder that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("godwit-keys-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Runs a program in the folder. `false`, printed: it is not installed here, which fails under CI=true.
    pub(crate) fn run(&self, program: &str, arguments: &str) -> bool {
        let words = arguments.split_ascii_whitespace();
        match Command::new(program).args(words).current_dir(&self.0).output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success(), "{program} {arguments}: {said}");
                true
            }
            Err(error) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{program}: {error}");
                println!("skipped: {program} is not installed");
                false
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An authority and what it issues.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let (params, key) = Self::params(name);
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// An authority below this one.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let (params, key) = Self::params(name);
        Self(CertifiedIssuer::signed_by(params, key, &self.0).unwrap())
    }

    fn params(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        (params, KeyPair::generate().unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A certificate for a key, PEM and DER.
    pub(crate) fn issue(&self, params: &CertificateParams, key: &KeyPair) -> (String, Vec<u8>) {
        let certificate = params.clone().signed_by(key, &self.0).unwrap();
        (certificate.pem(), certificate.der().to_vec())
    }
}

/// What a certificate of this common name says.
pub(crate) fn named(common_name: &str, alternative: &[&str]) -> CertificateParams {
    let names = alternative.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// A key pair of an algorithm.
pub(crate) fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

/// A configuration with these security settings and `modes = "auto"`.
pub(crate) fn config(security: Security) -> Config {
    Config { security: Security { modes: Modes::Auto, ..security }, ..Config::default() }
}

/// The settings of a key file, with a certificate's.
pub(crate) fn files(key: &Path, certificate: Option<&Path>) -> Security {
    let mut security = Security::default();
    security.identity.key_file = Some(key.to_owned());
    security.identity.cert_file = certificate.map(Path::to_owned);
    security
}
