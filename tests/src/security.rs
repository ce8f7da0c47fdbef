//! How a Leshan client shows who it is.

use data_encoding::HEXUPPER as HEX;

use crate::{Authority, Identity};

/// The harness's options for a client's security; further ones of `tests/leshan/src/godwit/tests/Endpoints.java` with
/// [`Security::with`], "cid=0".
#[derive(Debug, Clone)]
pub struct Security(Vec<String>);

impl Security {
    /// A pre-shared key.
    pub fn psk(identity: &str, key: &[u8]) -> Security {
        let options =
            ["security=psk".into(), format!("identity={identity}"), format!("key={}", HEX.encode(key))];
        Security(options.into())
    }

    /// A raw public key; the server must have that of this SPKI.
    pub fn rpk(own: &Identity, server: &[u8]) -> Security {
        Security::keyed("rpk", own, &HEX.encode(&own.spki()), server)
    }

    /// A certificate; the server must have exactly this one (DER).
    pub fn x509(own: &Identity, server: &[u8]) -> Security {
        let chain: Vec<_> = own.chain().iter().map(|certificate| HEX.encode(certificate)).collect();
        Security::keyed("x509", own, &chain.join(","), server)
    }

    /// A certificate; the server must have one that this authority signed.
    pub fn x509_of(own: &Identity, authority: &Authority) -> Security {
        let certificate = authority.certificate();
        Security::x509(own, certificate).with("usage=2").with(format!("trust={}", HEX.encode(certificate)))
    }

    fn keyed(mode: &str, own: &Identity, shown: &str, server: &[u8]) -> Security {
        let key = HEX.encode(own.pkcs8());
        let server = HEX.encode(server);
        Security(vec![
            format!("security={mode}"),
            format!("own={shown}"),
            format!("key={key}"),
            format!("server={server}"),
        ])
    }

    /// With this option as well.
    pub fn with(mut self, option: impl Into<String>) -> Security {
        self.0.push(option.into());
        self
    }

    /// The options, for [`Leshan::start_at`](crate::Leshan::start_at).
    pub fn options(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}
