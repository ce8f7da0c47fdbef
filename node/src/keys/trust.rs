//! Whom devices' certificates may come from, and whether their dates count.

use godwit_dtls::Unacceptable;
use godwit_dtls::certificate::{Anchors, CertificateError, Leaf, Validity};
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Version;

use super::certificate::parse;
use super::fault::Problem;

/// Trust in devices' certificates.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    anchors: Anchors,
    ignore_expiry: bool,
}

impl Trust {
    /// Trust in these authorities, of which each certificate in DER must say that it is one.
    pub(super) fn new(authorities: &[Vec<u8>], ignore_expiry: bool) -> Result<Self, Problem> {
        for (at, der) in authorities.iter().enumerate() {
            let certificate = parse(der).ok_or(Problem::BadCertificate(at + 1))?;
            if !is_authority(&certificate) {
                return Err(Problem::NotAnAuthority(at + 1));
            }
        }
        let anchors = Anchors::new(authorities.iter().map(Vec::as_slice));
        let anchors = anchors.map_err(|(at, _)| Problem::BadCertificate(at + 1))?;
        Ok(Self { anchors, ignore_expiry })
    }

    /// Trust in no authority: certificates that are stored with their devices are accepted, no others.
    pub(super) fn nobody(ignore_expiry: bool) -> Self {
        Self { anchors: Anchors::default(), ignore_expiry }
    }

    /// Whether there is no authority.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    fn validity(&self, unix: u64) -> Validity {
        if self.ignore_expiry { Validity::Ignored } else { Validity::At(unix) }
    }
}

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The subject's first common name.
    pub common_name: Option<String>,
    /// Other common names, and alternative names that are text.
    pub alternative: Vec<String>,
    /// The issuer's name in DER.
    pub issuer: Vec<u8>,
}

impl Trust {
    /// Whether a chain, the device's own certificate first, leads to one of the authorities and is of its time (`unix`:
    /// seconds), and which names it then proves.
    ///
    /// # Errors
    /// Why the chain is not trusted.
    pub fn verify(&self, chain: &[Vec<u8>], unix: u64) -> Result<Names, Unacceptable> {
        let certificates: Vec<_> = chain.iter().map(Vec::as_slice).collect();
        self.anchors.verify(&certificates, self.validity(unix)).map_err(unacceptable)?;
        names(&chain[0])
    }

    /// Whether a certificate that is stored with its device is of its time.
    ///
    /// # Errors
    /// [`Unacceptable::Expired`], or that it can't be read.
    pub fn check_stored(&self, certificate: &[u8], unix: u64) -> Result<(), Unacceptable> {
        let leaf = Leaf::parse(certificate).map_err(unacceptable)?;
        let now = i64::try_from(unix).unwrap_or(i64::MAX);
        let fits = self.ignore_expiry || (leaf.not_before <= now && now <= leaf.not_after);
        if fits { Ok(()) } else { Err(Unacceptable::Expired) }
    }
}

/// An authority of X.509 version 3 says so; older roots could not.
fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        Ok(None) => certificate.version() != X509Version::V3,
        Err(_) => false,
    }
}

fn names(leaf: &[u8]) -> Result<Names, Unacceptable> {
    let certificate = parse(leaf).ok_or(Unacceptable::Bad)?;
    let common_name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
    let common_name = common_name.map(str::to_owned);
    let mut alternative = Leaf::parse(leaf).map_err(unacceptable)?.names;
    alternative.retain(|name| Some(name) != common_name.as_ref());
    Ok(Names { common_name, alternative, issuer: certificate.issuer().as_raw().to_vec() })
}

fn unacceptable(error: CertificateError) -> Unacceptable {
    match error {
        CertificateError::Expired | CertificateError::NotValidYet => Unacceptable::Expired,
        CertificateError::UnknownIssuer => Unacceptable::UnknownAuthority,
        CertificateError::UnsupportedKey => Unacceptable::Unsupported,
        CertificateError::Missing
        | CertificateError::Malformed
        | CertificateError::BadSignature
        | CertificateError::WrongUse => Unacceptable::Bad,
    }
}
