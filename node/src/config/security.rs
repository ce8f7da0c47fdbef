//! The secure half: modes, the server's own keys, DTLS.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use godwit_dtls::suite::{Authentication, CipherSuite};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Secret, span};

/// How devices prove who they are, and how the server does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Security modes on offer. `auto` offers what the addresses and keys given allow: `no_sec` with `server.listen`;
    /// `psk` with `server.listen_dtls`; `rpk` too with a key of the server's own; `x509` too with its certificate.
    /// Keys that fail to load take their modes away, with an error in the log. With a list the node offers
    /// these and no others, and does not start where one of them can't be had.
    pub modes: Modes,
    /// File of the authorities that devices' certificates may chain to, PEM or DER. Unset: only certificates that are
    /// stored with their devices are accepted. Read again when it has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub device_ca_file: Option<PathBuf>,
    /// Accept devices' certificates that have expired or are not valid yet: for fleets that outlive theirs, and for
    /// authorities whose clock can't be trusted.
    pub ignore_expiry: bool,
    /// The LwM2M server's own key and certificate.
    pub identity: Identity,
}

/// Which security modes are on offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Modes {
    /// Those that addresses and keys allow.
    #[default]
    Auto,
    /// These.
    Listed(Vec<Mode>),
}

/// A security mode of LwM2M.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Plain CoAP.
    #[serde(rename = "no_sec")]
    NoSec,
    /// DTLS with pre-shared keys.
    Psk,
    /// DTLS with raw public keys (RFC 7250).
    Rpk,
    /// DTLS with certificates.
    X509,
}

impl Mode {
    /// Every mode, weakest first.
    pub const ALL: [Self; 4] = [Self::NoSec, Self::Psk, Self::Rpk, Self::X509];

    /// As the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSec => "no_sec",
            Self::Psk => "psk",
            Self::Rpk => "rpk",
            Self::X509 => "x509",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Modes {
    /// Whether a mode may be offered at all: the rest depends on addresses and keys.
    #[must_use]
    pub fn allow(&self, mode: Mode) -> bool {
        match self {
            Self::Auto => true,
            Self::Listed(modes) => modes.contains(&mode),
        }
    }

    /// Whether a list demands this mode.
    #[must_use]
    pub fn demand(&self, mode: Mode) -> bool {
        *self != Self::Auto && self.allow(mode)
    }

    /// Whether any mode that needs DTLS may be offered.
    #[must_use]
    pub fn allow_dtls(&self) -> bool {
        [Mode::Psk, Mode::Rpk, Mode::X509].into_iter().any(|mode| self.allow(mode))
    }
}

impl Serialize for Modes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => to.serialize_str("auto"),
            Self::Listed(modes) => modes.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Modes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Modes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or a list of modes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Modes, E> {
                match text {
                    "auto" => Ok(Modes::Auto),
                    _ => Err(E::custom(format_args!("`{text}` is not `auto` and no list of known modes"))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Modes, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(Modes::Listed)
            }
        }
        from.deserialize_any(Words)
    }
}

impl JsonSchema for Modes {
    fn schema_name() -> Cow<'static, str> {
        "Modes".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = Mode::ALL.map(Mode::name);
        json_schema!({
            "anyOf": [
                { "const": "auto" },
                { "type": "array", "items": { "enum": names }, "minItems": 1, "uniqueItems": true },
            ],
            "x-shape": "`\"auto\"`, or a list of `no_sec`, `psk`, `rpk`, `x509`",
        })
    }
}

/// A server's own key and certificate on the curve secp256r1, in one of three forms: `cert_file` with `key`; `key` alone, a raw
/// public key; or `keystore_file`. Files are read again when they have changed, and sessions live on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// File of the certificate chain, the server's own first: PEM, or DER where it is one certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub cert_file: Option<PathBuf>,
    /// The private key: PEM (PKCS#8 or SEC1), or in hexadecimal digits the DER of PKCS#8, or the 32 bytes of the number itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret<String>>,
    /// File that holds `key`; it may also be DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub key_file: Option<PathBuf>,
    /// The public key's x, 64 hexadecimal digits: checked against the private key, and needed with one that does not hold its public
    /// half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_x: Option<String>,
    /// The public key's y, as `public_x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_y: Option<String>,
    /// PKCS#12 file (`.p12`, `.pfx`) of key and chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub keystore_file: Option<PathBuf>,
    /// Password of the key store. Unset: the empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keystore_password: Option<Secret<String>>,
    /// File that holds `keystore_password`; a line end at its end does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-shape" = "a path"))]
    pub keystore_password_file: Option<PathBuf>,
    /// Alias of the key in the key store, in any case of letters. Needed where it holds several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keystore_alias: Option<String>,
}

impl Identity {
    /// Whether a private key is set outside a key store.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key.is_some() || self.key_file.is_some()
    }
}

/// DTLS 1.2 towards devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dtls {
    /// Cipher suites on offer. Of those that a device offers too, suites with AEAD come before CBC; leave the two
    /// with CBC out where no device needs them.
    #[schemars(extend("x-shape" = "a list of suites as IANA names them"))]
    pub suites: Vec<Suite>,
    /// Bytes of the Connection IDs that devices are given (RFC 9146): 8, or 0 for none. With one, a session survives a change of
    /// the device's address.
    #[schemars(extend("enum" = [0, 8]))]
    pub cid_length: u8,
    /// Extended master secret (RFC 7627): `prefer` serves devices without it, `require` refuses them.
    pub ems: Ems,
    /// Wait before a handshake flight is sent again; it doubles up to 60s.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub first_retransmission: Duration,
    /// What is known, after a crash, of the records that were received before. `default` writes it every 64 records or 60 s:
    /// a record repeated from within that lag can't change anything. `strict` writes it before each answer.
    pub replay_floor: ReplayFloor,
    /// A session without a record for so long ends.
    #[serde(with = "span")]
    #[schemars(with = "span::Shape")]
    pub association_idle: Duration,
}

impl Default for Dtls {
    fn default() -> Self {
        Self {
            suites: CipherSuite::ALL.map(Suite).to_vec(),
            cid_length: 8,
            ems: Ems::Prefer,
            first_retransmission: Duration::from_secs(2),
            replay_floor: ReplayFloor::Default,
            association_idle: Duration::from_hours(30 * 24),
        }
    }
}

/// A cipher suite, written as IANA names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite(pub CipherSuite);

impl Suite {
    /// Whether it serves pre-shared keys; the others serve raw public keys and certificates.
    #[must_use]
    pub fn is_psk(self) -> bool {
        self.0.authentication() == Authentication::Psk
    }
}

impl Serialize for Suite {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for Suite {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let known = CipherSuite::ALL.into_iter().find(|suite| suite.name() == name);
        known.map(Self).ok_or_else(|| {
            let names = CipherSuite::ALL.map(CipherSuite::name).join(", ");
            serde::de::Error::custom(format_args!("unknown suite `{name}`, there are {names}"))
        })
    }
}

impl JsonSchema for Suite {
    fn schema_name() -> Cow<'static, str> {
        "Suite".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": CipherSuite::ALL.map(CipherSuite::name) })
    }
}

/// Extended master secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Ems {
    /// Used where the device has it.
    Prefer,
    /// Devices without it are refused.
    Require,
}

/// How far the stored replay window may lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ReplayFloor {
    /// 64 records or 60 s.
    Default,
    /// Not at all.
    Strict,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_and_write_as_a_word_or_a_list() {
        for (text, modes) in [
            ("\"auto\"", Modes::Auto),
            ("[\"no_sec\",\"x509\"]", Modes::Listed(vec![Mode::NoSec, Mode::X509])),
        ] {
            assert_eq!(serde_json::from_str::<Modes>(text).unwrap(), modes);
            assert_eq!(serde_json::to_string(&modes).unwrap(), text);
        }
        for text in ["\"psk\"", "[\"PSK\"]", "1"] {
            assert!(serde_json::from_str::<Modes>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_demands_its_modes_and_allows_no_other() {
        let modes = Modes::Listed(vec![Mode::Psk]);
        assert!(modes.demand(Mode::Psk) && !modes.allow(Mode::NoSec));
        assert!(Modes::Auto.allow(Mode::X509) && !Modes::Auto.demand(Mode::X509));
    }
}
