//! The `godwit-load` command: simulates fleets of LwM2M devices, measures the server that serves them, and
//! checks that what the server acknowledged came out.
//!
//! ```text
//! schedule ──due──▶ fleet ──messages──▶ [dtls] ──▶ socket ──▶ server
//!                   │  ▲                             │
//!          journal ◀┘  └─────────datagrams───────────┘          journal + output ──▶ check
//! ```

mod abort;
mod address;
mod batch;
#[cfg(test)]
mod bench;
mod capture;
mod check;
mod cli;
mod clock;
mod coap;
mod content;
mod demo;
mod device;
mod downlink;
mod driver;
mod dtls;
mod echo;
mod echo_dtls;
mod endpoint;
mod error;
mod exchange;
mod fleet;
mod fuzz;
mod journal;
mod measure;
mod model;
mod mutate;
mod observation;
mod output;
mod path;
mod process;
mod progress;
mod random;
mod replies;
mod report;
mod run;
mod schedule;
mod senml;
mod serve;
mod socket;
mod target;
mod uplink;
mod wheel;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Credentials(args) => dtls::provision(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Abort(args) => abort::abort(&args),
        Command::Echo(args) => echo::serve(&args),
        Command::EchoClient(args) => echo::client(&args),
    };
    result.unwrap_or_else(|error| {
        // Where stderr is closed, the exit code still tells.
        let _ = writeln!(std::io::stderr(), "godwit-load: {error}");
        ExitCode::from(error.exit_code())
    })
}
