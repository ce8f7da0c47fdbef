//! Keys and certificates (P-256) for tests, made anew each time.

use std::net::Ipv4Addr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, date_time_ymd,
};

/// Signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificates, DER, from itself up to below the root; empty for a root.
    above: Vec<Vec<u8>>,
    certificate: Vec<u8>,
}

impl Authority {
    /// A root of this name.
    pub fn new(name: &str) -> Authority {
        let (parameters, key) = (authority(name), generate());
        let certificate = parameters.self_signed(&key).unwrap().der().to_vec();
        Authority { issuer: Issuer::new(parameters, key), above: Vec::new(), certificate }
    }

    /// An authority below this one. What it issues brings its certificate along.
    pub fn intermediate(&self, name: &str) -> Authority {
        let (parameters, key) = (authority(name), generate());
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let above = [&[certificate.clone()][..], &self.above].concat();
        Authority { issuer: Issuer::new(parameters, key), above, certificate }
    }

    /// Its own certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// A key with a certificate for this common name, which is also its DNS name, or its address.
    pub fn issue(&self, name: &str) -> Identity {
        self.sign(leaf(name))
    }

    /// For a server on loopback: named "godwit", with the address 127.0.0.1.
    pub fn server(&self) -> Identity {
        let mut parameters = leaf("godwit");
        parameters.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        self.sign(parameters)
    }

    /// The same as [`Authority::issue`], but its time ended in 2020.
    pub fn issue_expired(&self, name: &str) -> Identity {
        let mut parameters = leaf(name);
        (parameters.not_before, parameters.not_after) =
            (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
        self.sign(parameters)
    }

    fn sign(&self, parameters: CertificateParams) -> Identity {
        let key = generate();
        let own = parameters.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Identity { key, chain: [&[own][..], &self.above].concat() }
    }
}

/// A private key and the certificates that go with it.
#[derive(Debug)]
pub struct Identity {
    key: KeyPair,
    chain: Vec<Vec<u8>>,
}

impl Identity {
    /// A key with a certificate signed by itself.
    pub fn self_signed(name: &str) -> Identity {
        let key = generate();
        let certificate = leaf(name).self_signed(&key).unwrap();
        Identity { key, chain: vec![certificate.der().to_vec()] }
    }

    /// The private key, PKCS#8 DER.
    pub fn pkcs8(&self) -> &[u8] {
        self.key.serialized_der()
    }

    /// The public key, SPKI DER.
    pub fn spki(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    /// Its certificates, DER: its own, then the intermediate ones; the root is not among them.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The private key in PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The public key in PEM.
    pub fn spki_pem(&self) -> String {
        self.key.public_key_pem()
    }

    /// Its certificates in PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
    }
}

/// DER as PEM under this label.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn generate() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    // Clients without a clock's battery should believe it, and no longer than RFC 5280's UTCTime.
    (parameters.not_before, parameters.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2049, 1, 1));
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

fn leaf(name: &str) -> CertificateParams {
    let mut parameters = named(name);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.subject_alt_names = vec![match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }];
    parameters
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = named(name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}
