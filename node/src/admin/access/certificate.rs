//! The names in a client certificate.

use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The names that a certificate (DER) gives its holder: DNS names, URIs and mail addresses of its subject
/// alternative names, then the subject's common names. Empty for one that can't be read.
///
/// The chain was checked before, by the TLS handshake.
pub(super) fn names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                Some((*name).to_owned())
            }
            _ => None,
        }));
    }
    let common = certificate.subject().iter_common_name();
    names.extend(common.filter_map(|name| name.as_str().ok()).map(str::to_owned));
    names
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn alternative_names_come_before_the_subject() {
        let mut params = CertificateParams::new(vec!["ops.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Operations");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(names(certificate.der()), ["ops.example", "Operations"]);
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_names() {
        assert_eq!(names(b"\x30\x03\x02\x01"), Vec::<String>::new());
    }
}
