//! The command line: `godwit serve | ctl … | config … | keys … | spool … | completions …`.

mod config;
mod keys;
mod serve;
mod spool;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

pub use config::ConfigCommand;
pub use keys::{KeyKind, KeysCommand};
pub use serve::serve;
pub use spool::SpoolCommand;

use crate::config::{Faults, Inputs, Loaded, load};
use crate::ctl::Ctl;

/// An LwM2M/CoAP transport cluster node, and what goes with it.
#[derive(Debug, Parser)]
#[command(name = "godwit", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node
    Serve {
        /// Where its configuration comes from.
        #[command(flatten)]
        settings: Settings,
    },
    /// Command a node through its admin API
    Ctl(Box<Ctl>),
    /// Print, check or describe the configuration
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Make keys, or show what devices must know of the server's
    Keys {
        /// What to do.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Look at the Kafka sink's spool, or send it, while no node has it
    Spool {
        /// What to do.
        #[command(subcommand)]
        command: SpoolCommand,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell that reads it.
        shell: Shell,
    },
}

/// Where the configuration comes from. Each layer overrides the one before: defaults, preset, file, environment
/// (`GODWIT_SECTION__KEY`), flags.
#[derive(Args, Clone, Debug, Default)]
pub struct Settings {
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "GODWIT_CONFIG")]
    config: Option<PathBuf>,
    /// Named set of settings: demo, thingsboard
    #[arg(long, value_name = "NAME", env = "GODWIT_PRESET")]
    preset: Option<String>,
    /// Directory that the node writes in; short for --set node.data_dir=DIR
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// One setting; may be given several times
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// Loads the configuration, with the process's environment.
    ///
    /// # Errors
    /// Every fault there is.
    pub fn load(self) -> Result<Loaded, Faults> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        load(&Inputs {
            preset: self.preset,
            file: self.config,
            environment: environment.collect(),
            data_dir: self.data_dir,
            assignments: self.set,
        })
    }
}

/// Writes a shell's completion script.
///
/// # Errors
/// Those of the writer.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    // The generator panics when a write fails, so it gets memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "godwit", &mut script);
    out.write_all(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_subcommands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            completions(shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("config") && script.contains("schema"), "{shell}");
        }
    }

    #[test]
    fn a_setting_may_be_given_several_times_and_the_last_counts() {
        let arguments = ["godwit", "config", "check", "--set", "server.shards=1", "--set", "server.shards=2"];
        let Command::Config { command: ConfigCommand::Check(settings) } =
            Cli::try_parse_from(arguments).unwrap().command
        else {
            panic!("not config check")
        };
        assert_eq!(settings.load().unwrap().config.server.shards, 2);
    }
}
