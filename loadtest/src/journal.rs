//! The journal: what the server has acknowledged, one JSON object per line.
//!
//! A value is in the journal only if the server took responsibility for it; `check` holds the server to that.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path as FilePath;

use serde::{Deserialize, Serialize};

/// One acknowledged event. `t` is the time of the acknowledgement in ms since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Entry {
    Registered { t: u64, endpoint: String },
    Updated { t: u64, endpoint: String },
    Deregistered { t: u64, endpoint: String },
    Value { t: u64, endpoint: String, path: String, count: u64 },
}

/// Appends entries through a buffer. An error is kept and ends the run: a journal with gaps proves nothing.
pub(crate) struct Journal<W: Write = File> {
    file: BufWriter<W>,
    fault: Option<io::Error>,
}

impl Journal {
    /// Begins a new journal; an old file of that name is replaced.
    pub(crate) fn create(path: &FilePath) -> io::Result<Self> {
        File::create(path).map(Self::new)
    }
}

impl<W: Write> Journal<W> {
    pub(crate) fn new(file: W) -> Self {
        Self { file: BufWriter::with_capacity(1 << 18, file), fault: None }
    }

    /// Writes an entry; afterwards, and not before, it may be counted.
    pub(crate) fn record(&mut self, entry: &Entry) {
        let written = serde_json::to_writer(&mut self.file, entry)
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"));
        if let Err(fault) = written {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_as_they_were_written() {
        let entries = [
            Entry::Registered { t: 5, endpoint: "load-1".into() },
            Entry::Value { t: 6, endpoint: "a\"b".into(), path: "/3303/0/5700".into(), count: 7 },
            Entry::Deregistered { t: 7, endpoint: "load-1".into() },
        ];
        let mut journal = Journal::new(Vec::new());
        entries.iter().for_each(|entry| journal.record(entry));
        journal.flush().unwrap();
        let text = String::from_utf8(journal.file.get_ref().clone()).unwrap();
        let read: Vec<Entry> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, entries);
    }

    #[test]
    fn a_full_disk_is_told_of_and_not_passed_over() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut journal = Journal::new(Full);
        let entry = Entry::Updated { t: 0, endpoint: "x".repeat(1 << 19) };
        journal.record(&entry);
        assert_eq!(journal.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
