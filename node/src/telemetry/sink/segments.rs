//! Rotating files that are only appended to.
//!
//! The current one is `telemetry.ndjson`; a full one is renamed to `telemetry-00000001.ndjson` and so on, so that all
//! names in byte order are the records in their order. What was appended is whole records, or nothing: a write that
//! stops half-way is cut off again, and a line that a power loss tore is closed with a newline at the next start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const CURRENT: &str = "telemetry.ndjson";
const LOCK: &str = ".lock";

/// A folder of rotating files. One process has it, by a lock.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    rotation: Rotation,
    /// `None` while the current file could not be opened.
    current: Option<Current>,
    /// The number of the next full file.
    next: u64,
    _lock: File,
}

/// When files are full and which are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rotation {
    /// Bytes of a full file; 0: never full.
    pub(super) size: u64,
    /// Full files that are kept; 0: all.
    pub(super) keep: u32,
    /// Whether files are synced before they are left behind.
    pub(super) sync: bool,
}

#[derive(Debug)]
struct Current {
    file: File,
    /// Bytes of whole records.
    length: u64,
    /// Whether bytes of a broken write stand after them.
    torn: bool,
}

impl Segments {
    /// Opens the folder, made if need be. Says whether the last line was torn, which is closed now.
    pub(super) fn open(dir: &Path, rotation: Rotation) -> io::Result<(Segments, bool)> {
        fs::create_dir_all(dir)?;
        let lock = File::create(dir.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process writes its telemetry there")
            }
            fs::TryLockError::Error(error) => error,
        })?;
        let next = numbers(dir)?.last().map_or(1, |last| last + 1);
        let mut segments = Segments { dir: dir.to_owned(), rotation, current: None, next, _lock: lock };
        let torn = segments.current()?.torn;
        if torn {
            segments.mend()?;
        }
        Ok((segments, torn))
    }

    /// Bytes that fit into the current file before it is full.
    pub(super) fn room(&self) -> u64 {
        let length = self.current.as_ref().map_or(0, |current| current.length);
        if self.rotation.size == 0 { u64::MAX } else { self.rotation.size.saturating_sub(length) }
    }

    /// Appends whole records, to a new file if they don't fit into this one.
    ///
    /// # Errors
    /// Those of the file system. Nothing of `records` is kept then.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.mend()?;
        let length = self.current()?.length;
        // An empty file takes whatever comes: a record is never parted.
        if length > 0 && records.len() as u64 > self.room() {
            self.rotate()?;
        }
        let current = self.current()?;
        match current.file.write_all(records) {
            Ok(()) => {
                current.length += records.len() as u64;
                Ok(())
            }
            Err(error) => {
                current.torn = current.file.set_len(current.length).is_err();
                Err(error)
            }
        }
    }

    /// Waits until all that was appended is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.current()?.file.sync_data()
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.rotation.sync {
            self.sync()?;
        }
        let full = self.dir.join(format!("telemetry-{:08}.ndjson", self.next));
        match fs::rename(self.dir.join(CURRENT), full) {
            // Someone moved or deleted it: then it is out of the way already.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.next += 1;
        self.current = None;
        self.prune();
        self.current()?;
        if self.rotation.sync {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Deletes the oldest files beyond those to keep. One that can't be deleted is tried again after the next.
    fn prune(&self) {
        if self.rotation.keep == 0 {
            return;
        }
        let Ok(numbers) = numbers(&self.dir) else { return };
        let beyond = numbers.len().saturating_sub(self.rotation.keep as usize);
        for number in &numbers[..beyond] {
            let path = self.dir.join(format!("telemetry-{number:08}.ndjson"));
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an old telemetry file can't be deleted");
            }
        }
    }

    /// Cuts off what a broken write left, or ends its line.
    fn mend(&mut self) -> io::Result<()> {
        let current = self.current()?;
        if !current.torn {
            return Ok(());
        }
        current.file.write_all(b"\n")?;
        current.length = current.file.metadata()?.len();
        current.torn = false;
        Ok(())
    }

    /// The current file, opened if need be.
    fn current(&mut self) -> io::Result<&mut Current> {
        if self.current.is_none() {
            let path = self.dir.join(CURRENT);
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
            let length = file.metadata()?.len();
            let mut last = [b'\n'];
            if length > 0 {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)?;
            }
            self.current = Some(Current { file, length, torn: last != *b"\n" });
        }
        Ok(self.current.as_mut().expect("invariant: opened above"))
    }
}

/// The numbers of the full files, sorted.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_prefix("telemetry-")?.strip_suffix(".ndjson")?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}
