//! `godwit serve`.

use std::io::{self, Write};

use super::Settings;
use crate::exit::Exit;
use crate::{app, log};

/// Runs a node until it is told to stop.
///
/// # Errors
/// Those of the writer.
pub fn serve(settings: Settings, err: &mut dyn Write) -> io::Result<Exit> {
    let loaded = match settings.load() {
        Ok(loaded) => loaded,
        Err(faults) => {
            writeln!(err, "{faults}")?;
            return Ok(Exit::Usage);
        }
    };
    log::install(&loaded.config.log);
    match app::run(loaded.config) {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => {
            writeln!(err, "godwit: {error}")?;
            Ok(Exit::Failed)
        }
    }
}
