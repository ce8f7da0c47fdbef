//! The engine in a folder: fjall, a log-structured merge tree.

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use thiserror::Error;

use super::engine::{Engine, Entry, RowAndQueue, Table, Writes};
use crate::store::StoreError;

/// Why a folder could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process{}", path.display(), pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who, if it said so.
        pid: Option<u32>,
    },
    /// It can't be made, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is in it can't be read.
    #[error("the database in {} can't be opened: {reason}", path.display())]
    Database {
        /// The folder.
        path: PathBuf,
        /// What the engine said.
        reason: String,
    },
}

/// Memory for blocks of the folder's files that were read.
const BLOCK_CACHE: u64 = 32 << 20;
/// The log that is kept at most before memtables are written out. A start reads it again: about 1.5 s when it is full.
const JOURNAL: u64 = 64 << 20;

/// Memory of what was written lately that is not worth a file.
const SETTLED: u64 = 1 << 20;
/// A key of [`Table::Meta`] that nobody reads.
const MARK: &[u8] = b"settled";

/// fjall in a locked folder.
pub(super) struct Folder {
    database: Database,
    tables: [Keyspace; Table::ALL.len()],
    // Held for as long as the database is open; dropped after it.
    _lock: File,
}

impl Folder {
    /// Opens a folder, makes it if need be, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let lock = lock(path)?;
        let failed =
            |error: fjall::Error| OpenError::Database { path: path.to_owned(), reason: format!("{error:?}") };
        let database = Database::builder(path.join("db"))
            .cache_size(BLOCK_CACHE)
            .max_journaling_size(JOURNAL)
            .worker_threads(2)
            .open()
            .map_err(failed)?;
        let open = |table: Table| {
            let (name, memtable) = match table {
                Table::Device => ("device", 32 << 20),
                Table::Queue => ("queue", 8 << 20),
                Table::Due => ("due", 8 << 20),
                Table::Pointer => ("pointer", 8 << 20),
                Table::Document => ("document", 4 << 20),
                Table::Meta => ("meta", 1 << 20),
            };
            database
                .keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(memtable))
                .map_err(failed)
        };
        let [device, queue, due, pointer, document, meta] = Table::ALL.map(open);
        let tables = [device?, queue?, due?, pointer?, document?, meta?];
        Ok(Self { database, tables, _lock: lock })
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }

    /// Bytes in memtables: those that are filled, those that wait to be files, and those that are files but still kept.
    fn written(&self) -> u64 {
        self.tables.iter().map(|table| table.tree.version_memtable_size_sum()).sum()
    }
}

/// Takes the folder's lock and writes the process id into it.
fn lock(path: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(io)?;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join("lock"))
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).ok();
            return Err(OpenError::InUse { path: path.to_owned(), pid: pid.trim().parse().ok() });
        }
        Err(fs::TryLockError::Error(source)) => return Err(io(source)),
    }
    file.set_len(0).map_err(io)?;
    file.rewind().map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

impl Engine for Folder {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.table(table).get(key).map_err(unavailable)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = self.table(table).range(from..to);
        range.take(limit).map(|guard| guard.into_inner().map(entry).map_err(unavailable)).collect()
    }

    fn row_and_queue(
        &self,
        row: &[u8],
        wants: &dyn Fn(&[u8]) -> bool,
        from: &[u8],
        to: &[u8],
    ) -> Result<Option<RowAndQueue>, StoreError> {
        // A snapshot costs more than a read, and few devices have anything queued.
        let Some(alone) = self.get(Table::Device, row)? else { return Ok(None) };
        if !wants(&alone) {
            return Ok(Some((alone, Vec::new())));
        }
        let snapshot = self.database.snapshot();
        let Some(row) = snapshot.get(self.table(Table::Device), row).map_err(unavailable)? else {
            return Ok(None);
        };
        let range = snapshot.range(self.table(Table::Queue), from..to);
        let queue = range.map(|guard| guard.into_inner().map(entry)).collect::<Result<_, _>>();
        Ok(Some((row.to_vec(), queue.map_err(unavailable)?)))
    }

    fn write(&self, writes: Writes, sync: bool) -> Result<(), StoreError> {
        // fjall writes the journal, and syncs it, before it shows the batch to readers.
        let mut batch = self.database.batch().durability(Some(if sync {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        }));
        for ((table, key), value) in writes {
            match value {
                Some(value) => batch.insert(self.table(table), key, value),
                None => batch.remove(self.table(table), key),
            }
        }
        batch.commit().map_err(unavailable)
    }

    fn memory(&self) -> u64 {
        self.written() + self.database.cache_size()
    }

    fn settle(&self) -> Result<(), StoreError> {
        if self.written() < SETTLED {
            return Ok(());
        }
        // A memtable that is in a file already is kept until any memtable is replaced: for want of another, one with a mark.
        self.table(Table::Meta).insert(MARK, []).map_err(unavailable)?;
        self.tables.iter().try_for_each(|table| table.rotate_memtable().map(drop)).map_err(unavailable)
    }
}

fn entry((key, value): fjall::KvPair) -> Entry {
    (key.to_vec(), value.to_vec())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unavailable(error: fjall::Error) -> StoreError {
    StoreError::Unavailable(format!("{error:?}"))
}
