//! Which modes are on offer, and why others are not.

use std::fmt;

use super::load::ServerKey;
use crate::config::{Config, Mode};

/// The modes on offer, and those that the configuration would have but that can't be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Weakest first.
    pub modes: Vec<Mode>,
    /// What is missing.
    pub lost: Vec<Loss>,
}

/// A mode that can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The mode.
    pub mode: Mode,
    /// Whether `security.modes` lists it: then the node does not start.
    pub demanded: bool,
    why: Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Address(&'static str),
    Key,
    Certificate,
    Suite,
}

impl Offer {
    /// Whether a mode is on offer.
    #[must_use]
    pub fn has(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    /// Whether any mode that needs DTLS is on offer.
    #[must_use]
    pub fn has_dtls(&self) -> bool {
        self.modes.iter().any(|mode| *mode != Mode::NoSec)
    }

    /// The modes of DTLS alone, as a list for people.
    #[must_use]
    pub fn dtls(&self) -> String {
        list(self.modes.iter().copied().filter(|mode| *mode != Mode::NoSec))
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&list(self.modes.iter().copied()))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = if self.demanded { ", which security.modes lists" } else { "" };
        write!(f, "no {}{list}: ", self.mode)?;
        match self.why {
            Missing::Address(setting) => write!(f, "{setting} is empty"),
            Missing::Key => f.write_str("no key of the server's own; set security.identity.key_file"),
            Missing::Certificate => {
                f.write_str("no certificate of the server's own; set security.identity.cert_file")
            }
            Missing::Suite => f.write_str("no suite for it in dtls.suites"),
        }
    }
}

/// What addresses, suites and keys allow of what `security.modes` asks for.
#[must_use]
pub fn offer(config: &Config, own: Option<&ServerKey>) -> Offer {
    let (mut modes, mut lost) = (Vec::new(), Vec::new());
    for mode in Mode::ALL.into_iter().filter(|mode| config.security.modes.allow(*mode)) {
        match missing(config, own, mode) {
            None => modes.push(mode),
            Some(why) => lost.push(Loss { mode, demanded: config.security.modes.demand(mode), why }),
        }
    }
    Offer { modes, lost }
}

fn missing(config: &Config, own: Option<&ServerKey>, mode: Mode) -> Option<Missing> {
    let (setting, addresses) = match mode {
        Mode::NoSec => ("server.listen", &config.server.listen),
        _ => ("server.listen_dtls", &config.server.listen_dtls),
    };
    let suite = |psk: bool| config.dtls.suites.iter().any(|suite| suite.is_psk() == psk);
    match mode {
        _ if addresses.is_empty() => Some(Missing::Address(setting)),
        Mode::NoSec => None,
        Mode::Psk => (!suite(true)).then_some(Missing::Suite),
        Mode::Rpk | Mode::X509 if !suite(false) => Some(Missing::Suite),
        Mode::Rpk | Mode::X509 if own.is_none() => Some(Missing::Key),
        Mode::Rpk => None,
        Mode::X509 => own.is_none_or(|own| own.chain.is_none()).then_some(Missing::Certificate),
    }
}

fn list(modes: impl Iterator<Item = Mode>) -> String {
    let names: Vec<_> = modes.map(Mode::name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use godwit_dtls::suite::CipherSuite;

    use super::*;
    use crate::config::{Modes, Suite};
    use crate::keys::KeyPair;

    fn key() -> ServerKey {
        ServerKey { pair: KeyPair::generate(), chain: None }
    }

    #[test]
    fn modes_follow_the_keys_that_there_are() {
        let config = Config::default();
        assert_eq!(offer(&config, None).to_string(), "no_sec, psk");
        let with_key = offer(&config, Some(&key()));
        assert_eq!(with_key.to_string(), "no_sec, psk, rpk");
        assert_eq!(
            with_key.lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["no x509: no certificate of the server's own; set security.identity.cert_file"]
        );
    }

    #[test]
    fn a_list_offers_no_more_and_demands_what_is_missing() {
        let mut config = Config::default();
        config.security.modes = Modes::Listed(vec![Mode::Psk, Mode::Rpk]);
        let offer = offer(&config, None);
        assert_eq!((offer.to_string().as_str(), offer.has(Mode::NoSec)), ("psk", false));
        assert!(offer.lost[0].demanded);
        assert_eq!(
            offer.lost[0].to_string(),
            "no rpk, which security.modes lists: no key of the server's own; set security.identity.key_file"
        );
    }

    #[test]
    fn modes_without_address_or_suite_are_lost() {
        let mut config = Config::default();
        config.dtls.suites = vec![Suite(CipherSuite::PskAes128Ccm8)];
        assert_eq!(offer(&config, Some(&key())).to_string(), "no_sec, psk");
        config.server.listen_dtls = Vec::new();
        assert_eq!(offer(&config, Some(&key())).to_string(), "no_sec");
    }
}
