//! `godwit spool status | drain`: the Kafka sink's spool while no node has it.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use clap::{Args, Subcommand};

use super::Settings;
use crate::exit::Exit;
use crate::{
    clock,
    config::{AckAfter, Config},
    log,
    telemetry::{
        Completion, Completions, Sink,
        sink::{KafkaSink, SpoolStatus, spooled},
    },
};

/// Between looks at how much is left.
const PAUSE: Duration = Duration::from_millis(100);

/// What to do with a spool.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// Say what it holds
    Status(Spool),
    /// Send it to Kafka, for a node that won't come back
    Drain {
        /// Which
        #[command(flatten)]
        spool: Spool,
        /// Seconds after which what is left stays
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        within: u64,
    },
}

/// A spool.
#[derive(Args, Debug)]
pub struct Spool {
    /// Its folder; without it, that of the configuration
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Brokers and all that belongs to them
    #[command(flatten)]
    settings: Settings,
}

impl SpoolCommand {
    /// Runs it; faults go to `err`.
    ///
    /// # Errors
    /// Those of the writers.
    pub fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
        let (spool, within) = match self {
            Self::Status(spool) => (spool, None),
            Self::Drain { spool, within } => (spool, Some(Duration::from_secs(within))),
        };
        let mut config = match spool.settings.load() {
            Ok(loaded) => loaded.config,
            Err(faults) => {
                writeln!(err, "{faults}")?;
                return Ok(Exit::Usage);
            }
        };
        let kafka = &mut config.sink.kafka;
        kafka.ack_after = AckAfter::Spool;
        match spool.path {
            // As the shell means it, not below the data directory.
            Some(path) => kafka.spool.dir = std::path::absolute(path)?,
            None => kafka.spool.dir = config.node.data_dir.join(&kafka.spool.dir),
        }
        if !kafka.spool.dir.is_dir() {
            writeln!(err, "godwit: {}: no such folder", kafka.spool.dir.display())?;
            return Ok(Exit::Failed);
        }
        let done = match within {
            None => spooled(&config.sink.kafka.spool.dir),
            Some(within) => drain(&config, within),
        };
        match done {
            Ok(SpoolStatus { records, bytes, .. }) => {
                writeln!(out, "{records} records, {bytes} bytes")?;
                Ok(if within.is_some() && records > 0 { Exit::Failed } else { Exit::Ok })
            }
            Err(error) => {
                writeln!(err, "godwit: {error}")?;
                Ok(Exit::Failed)
            }
        }
    }
}

/// Sends it; what is left.
fn drain(config: &Config, within: Duration) -> io::Result<SpoolStatus> {
    log::install(&config.log);
    let sink =
        KafkaSink::open(&config.sink.kafka, config.sink.queue, &config.node.data_dir, Arc::new(Nobody))?;
    let until = clock::now() + within;
    loop {
        let left = sink.spool().unwrap_or_default();
        if left.records == 0 || clock::now() >= until {
            return Ok(left);
        }
        thread::sleep(PAUSE);
    }
}

/// No device waits for what is drained.
struct Nobody;

impl Completions for Nobody {
    fn complete(&self, _: u16, _: Vec<Completion>) {}
}
