//! `godwit config print | check | schema`.

use std::io::{self, Write};

use clap::Subcommand;

use super::Settings;
use super::keys::explain;
use crate::config::{Loaded, print, schema};
use crate::exit::Exit;

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration as TOML, with the source of each value
    Print(Settings),
    /// Report every fault at once, exit code 2 when there is one; and the security modes that result
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
        let (settings, show): (Settings, Show) = match self {
            Self::Print(settings) => (settings, |loaded, out, _| {
                out.write_all(print(loaded).as_bytes())?;
                Ok(Exit::Ok)
            }),
            Self::Check(settings) => (settings, check),
            Self::Schema => {
                writeln!(out, "{:#}", schema())?;
                return Ok(Exit::Ok);
            }
        };
        match settings.load() {
            Ok(loaded) => show(&loaded, out, err),
            Err(faults) => {
                writeln!(err, "{faults}")?;
                Ok(Exit::Usage)
            }
        }
    }
}

type Show = fn(&Loaded, &mut dyn Write, &mut dyn Write) -> io::Result<Exit>;

fn check(loaded: &Loaded, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let mut modes = Vec::new();
    let exit = explain(&loaded.config, &mut modes, err)?;
    if exit == Exit::Ok {
        writeln!(out, "the configuration has no faults")?;
    }
    out.write_all(&modes)?;
    Ok(exit)
}
