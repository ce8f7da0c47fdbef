//! What the embedded store asks of an ordered key-value engine.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use crate::store::StoreError;

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// A row and its device's entries in the queue table.
pub(super) type RowAndQueue = (Vec<u8>, Vec<Entry>);

/// What one batch writes: `None` removes.
pub(super) type Writes = BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>;

/// The tables; one key space each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// Device id → row.
    Device,
    /// Device id, kind, id → an operation or an event.
    Queue,
    /// Kind, time, device id → nothing.
    Due,
    /// Pointer → device id.
    Pointer,
    /// Document key → document.
    Document,
    /// Counters.
    Meta,
}

impl Table {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Self; 6] =
        [Self::Device, Self::Queue, Self::Due, Self::Pointer, Self::Document, Self::Meta];
}

/// An ordered key-value engine with atomic batches and one writer.
pub(super) trait Engine: Send + Sync + 'static {
    /// Reads one value. Sees every batch that [`write`](Self::write) has returned from.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Entries from `from` (inclusive) up to `to` (exclusive), in order, at most `limit`.
    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// A row, and if `wants` says so of it, the queue entries from `from` up to `to`, all as of one moment.
    fn row_and_queue(
        &self,
        row: &[u8],
        wants: &dyn Fn(&[u8]) -> bool,
        from: &[u8],
        to: &[u8],
    ) -> Result<Option<RowAndQueue>, StoreError>;

    /// Writes a batch, all or nothing; it survives the death of the process, and with `sync` a power loss.
    fn write(&self, writes: Writes, sync: bool) -> Result<(), StoreError>;

    /// See [`StateStore::memory`](crate::store::StateStore::memory).
    fn memory(&self) -> u64 {
        0
    }

    /// Gives back what memory writing has taken. Called by the writer while it has nothing to do.
    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

type Entries = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// The engine that forgets at exit.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: RwLock<Entries>,
}

impl Engine for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        Ok(entries.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let range = entries.range((table, from.to_vec())..(table, to.to_vec()));
        Ok(range.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn row_and_queue(
        &self,
        row: &[u8],
        wants: &dyn Fn(&[u8]) -> bool,
        from: &[u8],
        to: &[u8],
    ) -> Result<Option<RowAndQueue>, StoreError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = entries.get(&(Table::Device, row.to_vec())).cloned() else { return Ok(None) };
        let mut queue = Vec::new();
        if wants(&row) {
            let range = entries.range((Table::Queue, from.to_vec())..(Table::Queue, to.to_vec()));
            queue.extend(range.map(|((_, key), value)| (key.clone(), value.clone())));
        }
        Ok(Some((row, queue)))
    }

    fn write(&self, writes: Writes, _sync: bool) -> Result<(), StoreError> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in writes {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        Ok(())
    }
}
