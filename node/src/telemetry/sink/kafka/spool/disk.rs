//! The spool's folder: 64 queues in one tree of fjall.
//!
//! An entry's key is its queue and its number there, so that a queue is read in its order from any number on: reading begins
//! behind what was taken out, whose tombstones it never sees.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

/// Queues; a device's records are in one of them.
pub(crate) const QUEUES: usize = 64;

/// Memory for blocks of files that were read. What is drained is read once.
const BLOCK_CACHE: u64 = 4 << 20;
const MEMTABLE: u64 = 16 << 20;
/// The journal that is kept at most before memtables are written out.
const JOURNAL: u64 = 64 << 20;

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot {
    /// Below [`QUEUES`].
    pub(crate) queue: u8,
    /// Rises by one within the queue.
    pub(crate) number: u64,
}

/// What a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    /// The number of its first entry, or of the next one if it has none.
    pub(crate) first: u64,
    /// The number of the next entry.
    pub(crate) next: u64,
    /// Entries.
    pub(crate) records: u64,
    /// Bytes of them.
    pub(crate) bytes: u64,
}

/// The folder; one process has it, by a lock.
pub(crate) struct Disk {
    dir: PathBuf,
    /// `None` after a failure, until it opens again.
    engine: Option<Engine>,
    _lock: File,
}

struct Engine {
    database: Database,
    entries: Keyspace,
}

impl Slot {
    fn key(self) -> [u8; 9] {
        let mut key = [self.queue; 9];
        key[1..].copy_from_slice(&self.number.to_be_bytes());
        key
    }

    fn parse(key: &[u8]) -> io::Result<Slot> {
        match key.split_first_chunk::<1>() {
            Some(([queue], number)) if usize::from(*queue) < QUEUES => {
                let number = number.try_into().map_err(|_| unreadable())?;
                Ok(Slot { queue: *queue, number: u64::from_be_bytes(number) })
            }
            _ => Err(unreadable()),
        }
    }
}

impl Disk {
    /// Opens the folder, made if need be.
    ///
    /// # Errors
    /// Those of the file system, and `ResourceBusy` where another process has it.
    pub(crate) fn open(dir: &Path) -> io::Result<Disk> {
        fs::create_dir_all(dir)?;
        let lock = File::create(dir.join(".lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process has this spool")
            }
            fs::TryLockError::Error(error) => error,
        })?;
        let engine = Some(Engine::open(dir)?);
        Ok(Disk { dir: dir.to_owned(), engine, _lock: lock })
    }

    /// What each queue holds. Reads all of it: a second or two for 1 GiB.
    pub(crate) fn survey(&mut self) -> io::Result<[Extent; QUEUES]> {
        let mut extents = [Extent::default(); QUEUES];
        for guard in self.engine()?.entries.iter() {
            let (key, value) = guard.into_inner().map_err(io_error)?;
            let slot = Slot::parse(&key)?;
            let extent = &mut extents[usize::from(slot.queue)];
            if extent.records == 0 {
                extent.first = slot.number;
            }
            extent.next = slot.number + 1;
            extent.records += 1;
            extent.bytes += value.len() as u64;
        }
        Ok(extents)
    }

    /// Writes entries and syncs them, all or none.
    ///
    /// # Errors
    /// Those of the file system. The next call tries to open the folder anew.
    pub(crate) fn write(&mut self, entries: impl Iterator<Item = (Slot, Vec<u8>)>) -> io::Result<()> {
        let engine = self.engine()?;
        let mut batch = engine.database.batch().durability(Some(PersistMode::SyncData));
        for (slot, value) in entries {
            batch.insert(&engine.entries, slot.key(), value);
        }
        let written = batch.commit().map_err(io_error);
        self.note(written)
    }

    /// Takes entries out; not synced, since one that comes back is only sent once more.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn clear(&mut self, slots: impl Iterator<Item = Slot>) -> io::Result<()> {
        let engine = self.engine()?;
        let mut batch = engine.database.batch().durability(Some(PersistMode::Buffer));
        for slot in slots {
            batch.remove(&engine.entries, slot.key());
        }
        let written = batch.commit().map_err(io_error);
        self.note(written)
    }

    /// Entries of one queue from this one on, up to about so many bytes, at least one if there is any.
    pub(crate) fn read(&mut self, from: Slot, bytes: usize) -> io::Result<Vec<(Slot, Vec<u8>)>> {
        let end = [from.queue + 1];
        let range = self.engine()?.entries.range(from.key().as_slice()..end.as_slice());
        let (mut entries, mut read) = (Vec::new(), 0);
        for guard in range {
            let (key, value) = guard.into_inner().map_err(io_error)?;
            read += value.len();
            entries.push((Slot::parse(&key)?, value.to_vec()));
            if read >= bytes {
                break;
            }
        }
        Ok(entries)
    }

    fn engine(&mut self) -> io::Result<&Engine> {
        if self.engine.is_none() {
            self.engine = Some(Engine::open(&self.dir)?);
        }
        Ok(self.engine.as_ref().expect("invariant: opened above"))
    }

    /// After a failed write fjall takes no other, because what the disk has is uncertain: opening reads it again.
    fn note(&mut self, written: io::Result<()>) -> io::Result<()> {
        if written.is_err() {
            self.engine = None;
        }
        written
    }
}

impl Engine {
    fn open(dir: &Path) -> io::Result<Engine> {
        let database = Database::builder(dir.join("db"))
            .cache_size(BLOCK_CACHE)
            .max_journaling_size(JOURNAL)
            .worker_threads(1)
            .open()
            .map_err(io_error)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let entries = database.keyspace("entries", options).map_err(io_error)?;
        Ok(Engine { database, entries })
    }
}

fn io_error(error: fjall::Error) -> io::Error {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error,
        error => io::Error::other(format!("{error:?}")),
    }
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an entry of the spool has no readable key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(queue: u8, number: u64) -> Slot {
        Slot { queue, number }
    }

    #[test]
    fn a_queue_comes_out_in_order_and_goes_on_after_a_restart() {
        let dir = std::env::temp_dir().join(format!("godwit-spool-disk-{}", std::process::id()));
        _ = fs::remove_dir_all(&dir);
        let mut disk = Disk::open(&dir).unwrap();
        assert_eq!(Disk::open(&dir).map(|_| ()).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        let entries = (0..300).map(|number| (slot(5, number), vec![number as u8; 10]));
        disk.write(entries.chain([(slot(6, 0), vec![7])])).unwrap();
        disk.clear((0..250).map(|number| slot(5, number))).unwrap();
        drop(disk);

        let mut disk = Disk::open(&dir).unwrap();
        let extents = disk.survey().unwrap();
        assert_eq!(extents[5], Extent { first: 250, next: 300, records: 50, bytes: 500 });
        assert_eq!(extents[6], Extent { first: 0, next: 1, records: 1, bytes: 1 });
        assert_eq!(extents[7], Extent::default());
        let read = disk.read(slot(5, 260), 25).unwrap();
        assert_eq!(
            read,
            (260..263).map(|number| (slot(5, number), vec![number as u8; 10])).collect::<Vec<_>>()
        );
        assert_eq!(
            disk.read(slot(5, 299), 1 << 20).unwrap().len(),
            1,
            "another queue's entries are not read"
        );
        assert_eq!(disk.read(slot(5, 300), 1 << 20).unwrap(), []);
        fs::remove_dir_all(&dir).unwrap();
    }
}
