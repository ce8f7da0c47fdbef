//! The log, on standard error.
//!
//! What never appears: secrets, at any level (they are [`crate::config::Secret`]s), and above `debug` the address of a
//! device.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// What the store's engine says is of use to its authors; `log.level` can still name these modules.
const QUIET: &str = "fjall=warn,lsm_tree=warn";

/// Starts the log, once per process; a later call changes nothing.
pub fn install(log: &Log) {
    // The level was checked with the rest of the configuration.
    let filter =
        EnvFilter::try_new(format!("{QUIET},{}", log.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
