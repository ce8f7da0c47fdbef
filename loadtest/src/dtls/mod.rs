//! DTLS under a fleet: between its CoAP messages and the sockets.
//!
//! ```text
//! fleet ──message──▶ sessions ──records──▶ sockets        a message without a session starts a handshake and waits
//! fleet ◀─messages── sessions ◀─datagrams─ sockets        what is not authentic is dropped and counted
//! ```
//! The client is `godwit_dtls::client`, so that ten thousands of sessions fit into one process. `--dtls webrtc` puts
//! webrtc-dtls between fleet and server instead, which shares no code with the server.

mod args;
mod attempt;
mod credentials;
mod devices;
mod keylog;
mod provision;
mod sessions;
mod tally;
mod webrtc;
mod webrtc_echo;

pub(crate) use self::{
    args::{CredentialsArgs, DtlsArgs, Kind},
    attempt::{Attempt, Loot, Step, Way},
    credentials::{CredentialError, Identities, psk},
    devices::{Devices, Due},
    keylog::KeyLog,
    provision::provision,
    sessions::Sessions,
    tally::TallyReport,
    webrtc::Gateway,
    webrtc_echo::serve as webrtc_echo,
};
