//! Secrets of sessions for checkers, in the format of NSS key logs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use godwit_dtls::client::Session;

/// Appends lines; the first fault ends the run, as a log with gaps proves nothing.
#[derive(Debug)]
pub(crate) struct KeyLog {
    file: BufWriter<File>,
    fault: Option<io::Error>,
}

impl KeyLog {
    /// Begins a new file; an old one of that name is replaced.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(File::create(path)?), fault: None })
    }

    pub(super) fn record(&mut self, session: &Session) {
        if let Err(fault) = writeln!(self.file, "{}", session.key_log()) {
            self.fault.get_or_insert(fault);
        }
    }

    /// Hands everything to the system and tells of the first fault so far.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => self.file.flush(),
        }
    }
}
