//! Credentials for a fleet, in a file that both the fleet and whoever provisions the server read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use data_encoding::HEXLOWER as HEX;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use ring::hmac;

use super::args::{CredentialsArgs, Kind};
use super::credentials::{Line, seeded};
use crate::error::Error;

/// Writes one line per device.
pub(crate) fn provision(args: &CredentialsArgs) -> Result<ExitCode, Error> {
    let fault = |error: io::Error| Error::File { flag: "--output", path: args.output.clone(), error };
    let mut file = BufWriter::new(File::create(&args.output).map_err(fault)?);
    let authority = (args.kind == Kind::X509).then(authority).transpose().map_err(fault)?;
    let seed = hmac::Key::new(hmac::HMAC_SHA256, args.psk_seed.as_bytes());
    for number in args.first..args.first + u64::from(args.devices) {
        let endpoint = args.endpoint.name(number);
        let line = match args.kind {
            Kind::Psk | Kind::Webrtc => {
                let identity = args.identity.replace("{}", &endpoint);
                let psk_hex = HEX.encode(&seeded(&seed, &identity));
                Line { endpoint, psk_identity: Some(identity), psk_hex: Some(psk_hex), ..Line::default() }
            }
            Kind::Rpk | Kind::X509 => key_pair(endpoint, authority.as_ref()).map_err(fault)?,
        };
        serde_json::to_writer(&mut file, &line).map_err(|error| fault(error.into()))?;
        file.write_all(b"\n").map_err(fault)?;
    }
    file.flush().map_err(fault)?;
    if let Some(authority) = &authority {
        let mut path = args.output.clone().into_os_string();
        path.push(".ca.pem");
        std::fs::write(PathBuf::from(path), authority.pem()).map_err(fault)?;
    }
    Ok(ExitCode::SUCCESS)
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> io::Result<Authority> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "godwit-load");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
    CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)
}

fn key_pair(endpoint: String, authority: Option<&Authority>) -> io::Result<Line> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
    let certificate = match authority {
        Some(authority) => {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, endpoint.as_str());
            let certificate = params.signed_by(&key, authority).map_err(io::Error::other)?;
            Some(HEX.encode(certificate.der()))
        }
        None => None,
    };
    Ok(Line {
        endpoint,
        key: Some(HEX.encode(key.serialized_der())),
        public_key: Some(HEX.encode(&key.subject_public_key_info())),
        certificate,
        ..Line::default()
    })
}
