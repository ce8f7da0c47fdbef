//! `godwit config print | check | schema`.

use std::io::{self, Write};

use clap::Subcommand;

use super::{Exit, Settings};
use crate::config::{Loaded, print, schema};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration as TOML, with the source of each value
    Print(Settings),
    /// Report every fault at once; exit code 2 when there is one
    Check(Settings),
    /// Print the JSON Schema
    Schema,
}

impl ConfigCommand {
    /// Runs it; faults go to `err`.
    ///
    /// # Errors
    /// Those of the writers.
    pub fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
        let (settings, show): (Settings, fn(&Loaded) -> String) = match self {
            Self::Print(settings) => (settings, print),
            Self::Check(settings) => (settings, |_| "the configuration has no faults\n".to_owned()),
            Self::Schema => {
                writeln!(out, "{:#}", schema())?;
                return Ok(Exit::Ok);
            }
        };
        match settings.load() {
            Ok(loaded) => {
                out.write_all(show(&loaded).as_bytes())?;
                Ok(Exit::Ok)
            }
            Err(faults) => {
                writeln!(err, "{faults}")?;
                Ok(Exit::Usage)
            }
        }
    }
}
