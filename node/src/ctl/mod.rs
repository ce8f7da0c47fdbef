//! `godwit ctl`: the admin API from a shell.
//!
//! ```text
//! connect        where the node is, and who asks
//! console        tables for people, JSON for scripts
//! fault          what goes wrong, and the exit code
//! filter         which of many are listed
//! devices profiles models registrations operations telemetry nodes store     one noun each, with its verbs
//! export         devices as NDJSON
//! import         devices from CSV, NDJSON, ThingsBoard's JSON, and name patterns
//! live           a table that redraws itself
//! ```
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 the node can't be reached, 4 the device answered with an error.

mod connect;
mod console;
mod devices;
mod export;
mod fault;
mod filter;
mod import;
mod live;
mod models;
mod nodes;
mod operations;
mod profiles;
mod registrations;
mod store;
mod telemetry;

use std::io::{self, IsTerminal, Write};

use clap::{Args, Subcommand};

use crate::exit::Exit;
pub use connect::Connection;
use console::Console;
pub use console::Format;
use fault::CtlError;

/// Arguments of `godwit ctl`.
#[derive(Args, Debug)]
pub struct Ctl {
    #[command(flatten)]
    connection: Connection,
    /// How results are written
    #[arg(long, short, global = true, value_enum, default_value_t, env = "GODWIT_OUTPUT")]
    output: Format,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Subcommand, Debug)]
enum Noun {
    /// Devices: who may register, and how
    #[command(subcommand)]
    Devices(devices::Verb),
    /// Profiles: what is done with devices after they register
    #[command(subcommand)]
    Profiles(profiles::Verb),
    /// Object models: names and types of resources
    #[command(subcommand)]
    Models(models::Verb),
    /// Registrations: which devices are there now
    #[command(subcommand)]
    Registrations(registrations::Verb),
    /// Operations: read, write and command devices
    #[command(subcommand)]
    Operations(operations::Verb),
    /// Telemetry: look at what leaves the node
    #[command(subcommand)]
    Telemetry(telemetry::Verb),
    /// Nodes: which ones live, which has a device, how they fare
    #[command(subcommand)]
    Nodes(nodes::Verb),
    /// The store: keys of its secrets
    #[command(subcommand)]
    Store(store::Verb),
}

impl Ctl {
    /// Runs it to its end, or until it is interrupted. Faults go to `err`, as text or, with `--output json`, as JSON.
    ///
    /// # Errors
    /// Those of the writers.
    pub fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.execute(out, err, io::stdout().is_terminal()))
    }

    /// The same on a runtime that is there already. `terminal`: whether somebody looks at `out`.
    ///
    /// # Errors
    /// Those of the writers.
    pub async fn execute(self, out: &mut dyn Write, err: &mut dyn Write, terminal: bool) -> io::Result<Exit> {
        let connection = &self.connection;
        let mut console = Console::new(out, err, self.output, terminal);
        let verb = async {
            match self.noun {
                Noun::Devices(verb) => verb.run(connection, &mut console).await,
                Noun::Profiles(verb) => verb.run(connection, &mut console).await,
                Noun::Models(verb) => verb.run(connection, &mut console).await,
                Noun::Registrations(verb) => verb.run(connection, &mut console).await,
                Noun::Operations(verb) => verb.run(connection, &mut console).await,
                Noun::Telemetry(verb) => verb.run(connection, &mut console).await,
                Noun::Nodes(verb) => verb.run(connection, &mut console).await,
                Noun::Store(verb) => verb.run(connection, &mut console).await,
            }
        };
        let ended = tokio::select! {
            ended = verb => ended,
            // Whoever interrupts a watch has seen enough.
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        match ended {
            Ok(()) => Ok(Exit::Ok),
            Err(CtlError::Io(error)) => Err(error),
            Err(error) => {
                console.fault(&error)?;
                Ok(error.exit())
            }
        }
    }
}
