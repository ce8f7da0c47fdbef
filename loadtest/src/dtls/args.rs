//! The flags that concern DTLS.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use godwit_dtls::client::Settings;
use godwit_dtls::flight::Backoff;
use godwit_dtls::suite::{Cipher, CipherSuite};

use crate::endpoint::Template;
use crate::schedule::{Rate, duration};

/// How devices prove who they are, or by whose code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Pre-shared keys
    Psk,
    /// Raw public keys, RFC 7250
    Rpk,
    /// Certificates
    X509,
    /// Pre-shared keys, spoken by webrtc-dtls: slower, but no code of Godwit's
    Webrtc,
}

/// The suites by what protects records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protection {
    /// AES-128-CCM_8
    Ccm8,
    /// AES-128-GCM, not with PSK
    Gcm,
    /// AES-128-CBC with SHA-256
    Cbc,
}

/// DTLS for a fleet.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "DTLS")]
pub(crate) struct DtlsArgs {
    /// Speak DTLS 1.2, with this kind of credential
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) dtls: Option<Kind>,
    /// PSK identities: text with {} where the endpoint's name goes
    #[arg(long, default_value = "{}-identity", value_name = "TEXT")]
    pub(crate) identity: String,
    /// The same PSK for every device, in hex [default: one for each, from --psk-seed]
    #[arg(long, value_name = "HEX")]
    pub(crate) psk: Option<String>,
    /// A device's PSK is the first 16 bytes of HMAC-SHA256(this text, its identity)
    #[arg(long, default_value = "godwit-load", value_name = "TEXT")]
    pub(crate) psk_seed: String,
    /// Keys and certificates, as `godwit-load credentials` writes them (needed for rpk and x509)
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,
    /// Suites to offer, the preferred first (repeatable) [default: all]
    #[arg(long = "suite", value_enum, value_name = "SUITE")]
    pub(crate) suites: Vec<Protection>,
    /// Offer a Connection ID (RFC 9146) of this many bytes for records to the devices; 0 asks only for the server's
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u8).range(0..=32))]
    pub(crate) cid: Option<u8>,
    /// Offer no extended master secret
    #[arg(long)]
    pub(crate) no_ems: bool,
    /// Offer no encrypt-then-MAC
    #[arg(long)]
    pub(crate) no_etm: bool,
    /// First retransmission of a handshake's flight, doubling
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "TIME")]
    pub(crate) flight_timeout: Duration,
    /// Abbreviated handshakes per second, over all devices in turn
    #[arg(long, default_value = "0", value_name = "RATE")]
    pub(crate) resume_rate: Rate,
    /// Full handshakes per second on live sessions, over all devices in turn
    #[arg(long, default_value = "0", value_name = "RATE")]
    pub(crate) handshake_rate: Rate,
    /// Changes of a device's source port per second, over all devices in turn: with a Connection ID nothing breaks
    #[arg(long = "rebind", default_value = "0", value_name = "RATE")]
    pub(crate) rebind_rate: Rate,
    /// Messages in a row without any answer, after which a device starts over with a handshake; 0: never
    #[arg(long, default_value_t = 5, value_name = "COUNT")]
    pub(crate) give_up_after: u8,
    /// Write the secrets of every session to this file, in the format of NSS key logs: checkers and tshark read it
    #[arg(long, value_name = "FILE")]
    pub(crate) key_log: Option<PathBuf>,
}

impl DtlsArgs {
    /// What all clients of the fleet have in common.
    pub(crate) fn settings(&self) -> Settings {
        let wanted = |suite: &CipherSuite| {
            let protection = match suite.cipher(false) {
                Cipher::Ccm8 => Protection::Ccm8,
                Cipher::Gcm => Protection::Gcm,
                Cipher::Cbc | Cipher::CbcEtm => Protection::Cbc,
            };
            if self.suites.is_empty() { Some(0) } else { self.suites.iter().position(|s| *s == protection) }
        };
        let mut suites: Vec<_> =
            CipherSuite::ALL.into_iter().filter(|suite| wanted(suite).is_some()).collect();
        suites.sort_by_key(wanted);
        let backoff = Backoff { first: self.flight_timeout, ..Backoff::default() };
        Settings {
            suites,
            extended_master_secret: !self.no_ems,
            encrypt_then_mac: !self.no_etm,
            backoff,
            ..Settings::default()
        }
    }
}

/// What to provision.
#[derive(Debug, Args)]
pub(crate) struct CredentialsArgs {
    /// Kind of credential
    #[arg(value_enum)]
    pub(crate) kind: Kind,
    /// Number of devices
    #[arg(long, short = 'n', default_value_t = 1000)]
    pub(crate) devices: u32,
    /// Endpoint names: text with {} or {:08} where the device's number goes
    #[arg(long, default_value = "load-{:08}")]
    pub(crate) endpoint: Template,
    /// The number of the first device
    #[arg(long, default_value_t = 0)]
    pub(crate) first: u64,
    /// PSK identities: text with {} where the endpoint's name goes
    #[arg(long, default_value = "{}-identity", value_name = "TEXT")]
    pub(crate) identity: String,
    /// As for `run`
    #[arg(long, default_value = "godwit-load", value_name = "TEXT")]
    pub(crate) psk_seed: String,
    /// Where to write them, one JSON object per line; for x509 the authority goes to FILE.ca.pem
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
}
