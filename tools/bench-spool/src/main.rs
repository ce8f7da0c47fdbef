//! The work of the Kafka sink's spool on fjall and on redb: entries of 64 queues are written in batches, one fsync each; then each
//! queue is read in its order, in portions, and what was read is taken out.
//!
//! `cargo run --release -- [records] [folder]` prints a table. CPU is the process's, all threads.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const QUEUES: u64 = 64;
/// Bytes of an entry: a notification in JSON with its headers.
const VALUE: usize = 600;
/// Entries that are read, and taken out, at once.
const PORTION: usize = 400;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let records: u64 = arguments.next().map_or(Ok(200_000), |text| text.parse())?;
    let folder = arguments.next().map_or_else(|| env::temp_dir().join("bench-spool"), PathBuf::from);
    println!("| store | entries in a batch | written | CPU each | drained | CPU each | files at most |");
    println!("|---|---|---|---|---|---|---|");
    for batch in [1, 16, 256] {
        // One fsync each: fewer of them show the same.
        let records = if batch == 1 { records / 20 } else { records };
        measure::<Fjall>("fjall", &folder, records, batch)?;
        measure::<Redb>("redb", &folder, records, batch)?;
    }
    Ok(())
}

trait Store: Sized {
    fn open(folder: &Path) -> Result<Self>;
    /// Writes and syncs.
    fn write(&self, entries: impl Iterator<Item = ([u8; 9], [u8; VALUE])>) -> Result<()>;
    /// Keys of up to so many entries from this key on, whose values are read.
    fn read(&self, from: [u8; 9], count: usize) -> Result<Vec<[u8; 9]>>;
    /// Takes out, not synced.
    fn clear(&self, keys: &[[u8; 9]]) -> Result<()>;
}

fn key(queue: u64, number: u64) -> [u8; 9] {
    let mut key = [queue as u8; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn measure<S: Store>(name: &str, folder: &Path, records: u64, batch: u64) -> Result<()> {
    let folder = folder.join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let store = S::open(&folder)?;
    let mut most = 0;
    let written = timed(|| {
        for first in (0..records).step_by(batch as usize) {
            let entries = first..(first + batch).min(records);
            store.write(
                entries.map(|number| (key(number % QUEUES, number / QUEUES), [number as u8; VALUE])),
            )?;
            if first / batch % 256 == 0 {
                most = most.max(size(&folder)?);
            }
        }
        Ok(())
    })?;
    let mut drained = 0;
    let out = timed(|| {
        for queue in 0..QUEUES {
            let mut from = 0;
            loop {
                let keys = store.read(key(queue, from), PORTION)?;
                let Some(last) = keys.last() else { break };
                from = u64::from_be_bytes(last[1..].try_into()?) + 1;
                drained += keys.len() as u64;
                store.clear(&keys)?;
            }
        }
        Ok(())
    })?;
    assert_eq!(drained, records, "all that was written came out");
    most = most.max(size(&folder)?);
    let rate = |took: Duration| records as f64 / took.as_secs_f64();
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / records as f64;
    println!(
        "| {name} | {batch} | {:.0}/s | {:.1} µs | {:.0}/s | {:.1} µs | {:.0} MiB for {:.0} |",
        rate(written.0),
        each(written.1),
        rate(out.0),
        each(out.1),
        most as f64 / f64::from(1 << 20),
        (records as usize * VALUE) as f64 / f64::from(1 << 20),
    );
    drop(store);
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// How long it took, and the process's CPU.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<(Duration, Duration)> {
    let (began, before) = (Instant::now(), cpu()?);
    work()?;
    Ok((began.elapsed(), cpu()? - before))
}

/// User and system, in ticks of 10 ms.
fn cpu() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn size(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Files that a compaction has just deleted are no fault.
        sum += match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path())?,
            Ok(found) => found.len(),
            Err(_) => 0,
        };
    }
    Ok(sum)
}

/// As the node's spool opens it.
struct Fjall(fjall::Database, fjall::Keyspace);

impl Store for Fjall {
    fn open(folder: &Path) -> Result<Fjall> {
        let database = fjall::Database::builder(folder)
            .cache_size(4 << 20)
            .max_journaling_size(64 << 20)
            .worker_threads(1)
            .open()?;
        let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(16 << 20);
        let entries = database.keyspace("entries", options)?;
        Ok(Fjall(database, entries))
    }

    fn write(&self, entries: impl Iterator<Item = ([u8; 9], [u8; VALUE])>) -> Result<()> {
        let mut batch = self.0.batch().durability(Some(fjall::PersistMode::SyncData));
        entries.for_each(|(key, value)| batch.insert(&self.1, key, value));
        Ok(batch.commit()?)
    }

    fn read(&self, from: [u8; 9], count: usize) -> Result<Vec<[u8; 9]>> {
        let end = [from[0] + 1];
        let range = self.1.range(from.as_slice()..end.as_slice());
        range.take(count).map(|guard| Ok(guard.into_inner()?.0.as_ref().try_into()?)).collect()
    }

    fn clear(&self, keys: &[[u8; 9]]) -> Result<()> {
        let mut batch = self.0.batch().durability(Some(fjall::PersistMode::Buffer));
        keys.iter().for_each(|key| batch.remove(&self.1, *key));
        Ok(batch.commit()?)
    }
}

struct Redb(redb::Database);

const TABLE: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("entries");

impl Store for Redb {
    fn open(folder: &Path) -> Result<Redb> {
        Ok(Redb(redb::Builder::new().set_cache_size(20 << 20).create(folder.join("db"))?))
    }

    fn write(&self, entries: impl Iterator<Item = ([u8; 9], [u8; VALUE])>) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in entries {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read(&self, from: [u8; 9], count: usize) -> Result<Vec<[u8; 9]>> {
        use redb::{ReadableDatabase as _, ReadableTable as _};
        let table = self.0.begin_read()?.open_table(TABLE)?;
        let end = [from[0] + 1];
        let range = table.range(from.as_slice()..end.as_slice())?;
        range.take(count).map(|entry| Ok(entry?.0.value().try_into()?)).collect()
    }

    fn clear(&self, keys: &[[u8; 9]]) -> Result<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(redb::Durability::None)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for key in keys {
                table.remove(key.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }
}
