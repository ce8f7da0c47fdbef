//! A request's view of the store while a batch is put together: what it wrote itself, over what earlier requests of
//! the batch wrote, over what is stored.

use std::collections::BTreeMap;

use super::engine::{Engine, Entry, Table, Writes};
use crate::store::{Counts, StoreError};

/// A batch in the making.
pub(super) struct Txn<'a> {
    engine: &'a dyn Engine,
    batch: Writes,
    own: Writes,
    /// The clock of this batch, Unix milliseconds.
    pub(super) now: u64,
    /// Counters, with this batch's changes.
    pub(super) counts: Counts,
    kept_counts: Counts,
    /// The earliest times that were put into the due index, as [due, sweep].
    pub(super) earliest: [u64; 2],
    /// What the batch holds, for fault points.
    pub(super) labels: Vec<&'static str>,
}

impl<'a> Txn<'a> {
    pub(super) fn new(engine: &'a dyn Engine, now: u64, counts: Counts) -> Self {
        Self {
            engine,
            batch: BTreeMap::new(),
            own: BTreeMap::new(),
            now,
            counts,
            kept_counts: counts,
            earliest: [u64::MAX; 2],
            labels: Vec::new(),
        }
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let written = (table, key.to_vec());
        match self.own.get(&written).or_else(|| self.batch.get(&written)) {
            Some(value) => Ok(value.clone()),
            None => self.engine.get(table, key),
        }
    }

    pub(super) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.own.insert((table, key), Some(value));
    }

    pub(super) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.own.insert((table, key), None);
    }

    /// All entries from `from` (inclusive) up to `to` (exclusive), for short ranges.
    pub(super) fn scan(&self, table: Table, from: &[u8], to: &[u8]) -> Result<Vec<Entry>, StoreError> {
        let stored = self.engine.scan(table, from, to, usize::MAX)?;
        let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
        let range = (table, from.to_vec())..(table, to.to_vec());
        for ((_, key), value) in self.batch.range(range.clone()).chain(self.own.range(range)) {
            match value {
                Some(value) => entries.insert(key.clone(), value.clone()),
                None => entries.remove(key),
            };
        }
        Ok(entries.into_iter().collect())
    }

    /// Ends one request: a successful one joins the batch, of a failed one nothing remains.
    pub(super) fn close(&mut self, keep: bool) {
        let own = std::mem::take(&mut self.own);
        if keep {
            self.batch.extend(own);
            self.kept_counts = self.counts;
        } else {
            self.counts = self.kept_counts;
        }
    }

    /// What the whole batch writes.
    pub(super) fn into_writes(self) -> Writes {
        self.batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::engine::Memory;

    #[test]
    fn a_request_sees_earlier_ones_of_its_batch_and_leaves_nothing_when_it_fails() {
        let engine = Memory::default();
        engine
            .write(Writes::from([((Table::Queue, b"a".to_vec()), Some(b"stored".to_vec()))]), false)
            .unwrap();
        let mut txn = Txn::new(&engine, 0, Counts::default());
        txn.put(Table::Queue, b"b".to_vec(), b"kept".to_vec());
        txn.counts.registered += 1;
        txn.close(true);
        txn.remove(Table::Queue, b"a".to_vec());
        assert_eq!(txn.get(Table::Queue, b"a"), Ok(None));
        assert_eq!(txn.scan(Table::Queue, b"a", b"z"), Ok(vec![(b"b".to_vec(), b"kept".to_vec())]));
        txn.counts.registered += 1;
        txn.close(false);
        assert_eq!(txn.get(Table::Queue, b"a"), Ok(Some(b"stored".to_vec())));
        assert_eq!(txn.scan(Table::Queue, b"a", b"z").unwrap().len(), 2);
        assert_eq!(txn.counts.registered, 1);
        assert_eq!(txn.into_writes().len(), 1);
    }
}
