//! What ends a command early, with the flag and the remedy.

use std::io;
use std::path::PathBuf;

use crate::address::AddressError;
use crate::dtls::CredentialError;
use crate::model::ObjectError;

/// Every way in which a command can fail before it has a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    #[error("{0} needs --dtls")]
    NeedsDtls(&'static str),
    #[error("{0} is nothing that --dtls webrtc can do: use psk")]
    NotWithWebrtc(&'static str),
    #[error("the gateway for --dtls webrtc could not be started: {0}")]
    Gateway(io::Error),
    #[error("the attackers' own key could not be made: {0}")]
    OwnKey(io::Error),
    #[error("--object: {0}")]
    Object(#[from] ObjectError),
    #[error("{flag} {}: {error}", path.display())]
    File { flag: &'static str, path: PathBuf, error: io::Error },
    #[error("{flag} {}, line {line}: {reason}", path.display())]
    Line { flag: &'static str, path: PathBuf, line: usize, reason: String },
    #[error("the UDP socket failed: {0}; is --port free, and --source an address of this host?")]
    Socket(io::Error),
    #[error("the echo server for --baseline could not be started: {0}")]
    Baseline(io::Error),
    #[error(
        "--notify-rate: the server observes nothing that these devices measure, so there is nothing to notify; \
         let it observe /3303/0/5700 or /3/0/9 (a profile, in Godwit), or give it more time with --settle"
    )]
    NothingObserved,
    #[error("the result could not be printed: {0}")]
    Print(io::Error),
}

impl Error {
    /// 2 for what other flags would mend, 1 otherwise.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Address(_)
            | Self::Credentials(_)
            | Self::NeedsDtls(_)
            | Self::NotWithWebrtc(_)
            | Self::Object(_)
            | Self::File { .. }
            | Self::Line { .. } => 2,
            _ => 1,
        }
    }
}
