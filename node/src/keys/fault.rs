//! Why a key, a certificate or a trust anchor did not load: which setting, which file, what is wrong, what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// One fault of the server's key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting, `section.key`.
    pub setting: &'static str,
    /// The file that it names, unless the value stands in the setting itself.
    pub file: Option<PathBuf>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The file can't be read.
    Unreadable(io::ErrorKind),
    /// The file is larger than any key material, 1 MiB.
    TooLarge,
    /// Nothing that could be a private key. What it is instead, where that can be told.
    NotAKey(Option<String>),
    /// A private key under a password.
    Encrypted,
    /// A key for another algorithm.
    Algorithm(String),
    /// An elliptic curve key on another curve.
    Curve(String),
    /// The number is zero or beyond the curve's order.
    Range,
    /// A private key without its public half, where nothing else gives it.
    NoPublicHalf,
    /// Private and public half belong to different keys: inside the file, or `public_x` and `public_y` against it.
    Halves,
    /// The certificate is for another key.
    OtherKey,
    /// No certificate in it.
    NoCertificate,
    /// Certificate number `.0`, from 1, does not read.
    BadCertificate(usize),
    /// Certificate number `.0`, from 1, was not issued by the one after it.
    ChainOrder(usize),
    /// A key store in Java's own format.
    JavaKeystore,
    /// No PKCS#12.
    NotPkcs12,
    /// A key store that does not open with this password.
    Password,
    /// A key store without a key and certificate, or without one of this alias; the aliases that it has.
    NoEntry(Vec<String>),
    /// A key store with several keys; their aliases.
    SeveralEntries(Vec<String>),
    /// Certificate number `.0`, from 1, of the trust anchors is no authority's.
    NotAnAuthority(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.setting)?;
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        self.problem.fmt(f)?;
        f.write_str("; ")?;
        self.fix(f)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(kind) => write!(f, "can't be read: {kind}"),
            Self::TooLarge => f.write_str("larger than 1 MiB"),
            Self::NotAKey(None) => f.write_str("holds no private key"),
            Self::NotAKey(Some(other)) => write!(f, "holds no private key but {other}"),
            Self::Encrypted => f.write_str("the private key is encrypted"),
            Self::Algorithm(name) => write!(f, "a key for {name}"),
            Self::Curve(name) => write!(f, "a key on the curve {name}"),
            Self::Range => f.write_str("not a private key of the curve secp256r1"),
            Self::NoPublicHalf => f.write_str("holds the private half of the key alone"),
            Self::Halves => f.write_str("the private and the public half don't belong together"),
            Self::OtherKey => f.write_str("the certificate is for another key"),
            Self::NoCertificate => f.write_str("holds no certificate"),
            Self::BadCertificate(at) => write!(f, "certificate {at} does not read"),
            Self::ChainOrder(at) => write!(f, "certificate {at} was not issued by the one after it"),
            Self::JavaKeystore => f.write_str("a key store in Java's own format"),
            Self::NotPkcs12 => f.write_str("no PKCS#12 file"),
            Self::Password => f.write_str("does not open with this password"),
            Self::NoEntry(found) if found.is_empty() => f.write_str("holds no key with a certificate"),
            Self::NoEntry(_) => f.write_str("holds no key of this alias"),
            Self::SeveralEntries(_) => f.write_str("holds several keys"),
            Self::NotAnAuthority(at) => write!(f, "certificate {at} is no authority's"),
        }
    }
}

impl Fault {
    /// What to do.
    fn fix(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_ref().map_or_else(|| "FILE".to_owned(), |file| file.display().to_string());
        match &self.problem {
            Problem::Unreadable(_) => f.write_str("name a file that the node may read"),
            Problem::TooLarge | Problem::NotAKey(_) => {
                f.write_str("give it a private key in PEM (PKCS#8 or SEC1), DER or hexadecimal digits")
            }
            Problem::Encrypted => {
                write!(
                    f,
                    "decrypt it: `openssl pkey -in {file} -out NEW` (mode 0600), or use a PKCS#12 key store"
                )
            }
            Problem::Algorithm(_) | Problem::Curve(_) => f.write_str(
                "make one for ECDSA on secp256r1: `openssl ecparam -name prime256v1 -genkey -noout -out KEY`",
            ),
            Problem::Range => f.write_str("check the digits"),
            Problem::NoPublicHalf => write!(
                f,
                "set security.identity.public_x and public_y, or rewrite it: `openssl pkey -in {file} -out NEW`"
            ),
            Problem::Halves => f.write_str("check which key is the right one"),
            Problem::OtherKey => {
                f.write_str("give the certificate of this key, or the key of this certificate")
            }
            Problem::NoCertificate | Problem::BadCertificate(_) => f.write_str(
                "give it the chain in PEM, the server's own certificate first, or one certificate in DER",
            ),
            Problem::ChainOrder(_) => {
                f.write_str("put the server's own certificate first and each issuer behind it")
            }
            Problem::JavaKeystore => write!(
                f,
                "convert it: `keytool -importkeystore -srckeystore {file} -destkeystore NEW.p12 -deststoretype PKCS12`"
            ),
            Problem::NotPkcs12 => {
                f.write_str("give it a `.p12` or `.pfx` file; PEM goes to cert_file and key_file")
            }
            Problem::Password => f.write_str("set security.identity.keystore_password_file"),
            Problem::NoEntry(found) if found.is_empty() => {
                f.write_str("export the key together with its certificate")
            }
            Problem::NoEntry(found) | Problem::SeveralEntries(found) => {
                write!(f, "set security.identity.keystore_alias to one of: {}", found.join(", "))
            }
            Problem::NotAnAuthority(_) => {
                f.write_str("give it certificates of authorities; a device's own is stored with the device")
            }
        }
    }
}

impl std::error::Error for Fault {}
