//! PKCS#12 key stores, as OpenSSL and Java write them.

use p12_keystore::error::Error;
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};

use super::fault::Problem;
use super::private::Private;

/// First bytes of Java's own formats, JKS and JCEKS.
const JAVA: [[u8; 4]; 2] = [[0xfe, 0xed, 0xfe, 0xed], [0xce, 0xce, 0xce, 0xce]];

/// A private key with its certificates, the key's own first.
pub(super) struct Entry {
    pub(super) private: Private,
    pub(super) certificates: Vec<Vec<u8>>,
}

/// Opens a store and takes the key of this alias, or the one that there is.
pub(super) fn open(content: &[u8], password: &str, alias: Option<&str>) -> Result<Entry, Problem> {
    if JAVA.iter().any(|magic| content.starts_with(magic)) {
        return Err(Problem::JavaKeystore);
    }
    let store = KeyStore::from_pkcs12(content, password, Pkcs12ImportPolicy::Strict).map_err(problem)?;
    let mut found = Vec::new();
    for (name, entry) in store.entries() {
        if let KeyStoreEntry::PrivateKeyChain(chain) = entry {
            found.push((name, chain));
        }
    }
    let names = || found.iter().map(|(name, _)| (*name).clone()).collect();
    let chain = match (alias, found.as_slice()) {
        (None, [(_, chain)]) => chain,
        (None, []) => return Err(Problem::NoEntry(names())),
        (None, _) => return Err(Problem::SeveralEntries(names())),
        (Some(alias), found) => {
            let of_alias = found.iter().find(|(name, _)| name.to_lowercase() == alias.to_lowercase());
            let Some((_, chain)) = of_alias else { return Err(Problem::NoEntry(names())) };
            chain
        }
    };
    Ok(Entry {
        private: Private::from_pkcs8(chain.key().as_der())?,
        certificates: chain.certs().iter().map(|certificate| certificate.as_der().to_vec()).collect(),
    })
}

/// A wrong password shows as a MAC that does not fit, or, in stores without one, as padding that doesn't.
fn problem(error: Error) -> Problem {
    match error {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => Problem::Password,
        _ => Problem::NotPkcs12,
    }
}
