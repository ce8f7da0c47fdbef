//! The one directory that a node writes in.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use thiserror::Error;

use super::{Secret, Store};
use crate::entropy;

/// A locked data directory. The lock falls with the value, also when the process dies.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a data directory can't be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another process holds it.
    #[error("{} is in use by another process; give each node a data directory of its own", .0.display())]
    InUse(PathBuf),
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A key file holds something else.
    #[error("{} does not hold 32 bytes in 64 hexadecimal digits", .0.display())]
    NotAKey(PathBuf),
}

impl DataDir {
    /// Opens a directory, making it (0700) where there is none, and locks it.
    ///
    /// # Errors
    /// When another process holds it, or the file system refuses.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        make_dir(path)?;
        let lock_path = path.join("lock");
        let at = |source| DataDirError::Io { path: lock_path.clone(), source };
        let lock = private().create(true).truncate(false).write(true).open(&lock_path).map_err(at)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DataDirError::InUse(path.to_owned()),
            TryLockError::Error(source) => at(source),
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// A path in the directory; an absolute one stays as it is.
    #[must_use]
    pub fn join(&self, below: impl AsRef<Path>) -> PathBuf {
        self.path.join(below)
    }

    /// The key that seals secrets at rest: as configured, else `secrets/store.key`, which the first start makes.
    ///
    /// # Errors
    /// When a file can't be read or made, or holds no key.
    pub fn seal_key(&self, store: &Store) -> Result<Secret<[u8; 32]>, DataDirError> {
        if let Some(key) = &store.seal_key {
            return decode(key.expose(), Path::new("store.seal_key"));
        }
        if let Some(path) = &store.seal_key_file {
            return read_key(path);
        }
        let path = self.join("secrets/store.key");
        match read_key(&path) {
            Err(DataDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                make_dir(&self.join("secrets"))?;
                make_key(&path)
            }
            other => other,
        }
    }
}

fn make_dir(path: &Path) -> Result<(), DataDirError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DataDirError::Io { path: path.to_owned(), source })
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn read_key(path: &Path) -> Result<Secret<[u8; 32]>, DataDirError> {
    let mut text = String::new();
    // 64 digits and a line end; what is longer is no key and not worth reading.
    let read = File::open(path).and_then(|file| file.take(128).read_to_string(&mut text));
    read.map_err(|source| DataDirError::Io { path: path.to_owned(), source })?;
    decode(&text, path)
}

fn decode(text: &str, path: &Path) -> Result<Secret<[u8; 32]>, DataDirError> {
    let bytes = HEX.decode(text.trim().as_bytes()).ok();
    let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    key.map(Secret::new).ok_or_else(|| DataDirError::NotAKey(path.to_owned()))
}

/// Makes a key that is on the disk, under its name, when this returns: what it seals must stay readable.
fn make_key(path: &Path) -> Result<Secret<[u8; 32]>, DataDirError> {
    let mut key = [0; 32];
    entropy::fill(&mut key);
    let draft = path.with_extension("new");
    let write = || {
        let mut file = private().create(true).truncate(true).write(true).open(&draft)?;
        writeln!(file, "{}", HEX.encode(&key))?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|source| DataDirError::Io { path: path.to_owned(), source })?;
    Ok(Secret::new(key))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("godwit-{name}-{:016x}", entropy::u64()));
        assert!(!dir.exists());
        dir
    }

    #[test]
    fn a_second_process_is_refused_until_the_first_lets_go() {
        let path = scratch("lock");
        let first = DataDir::open(&path).unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::InUse(_))));
        drop(first);
        assert!(DataDir::open(&path).is_ok());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn the_first_start_makes_a_private_key_and_later_ones_find_it() {
        let path = scratch("key");
        let dir = DataDir::open(&path).unwrap();
        let made = dir.seal_key(&Store::default()).unwrap();
        let mode = fs::metadata(dir.join("secrets/store.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(dir);
        let again = DataDir::open(&path).unwrap().seal_key(&Store::default()).unwrap();
        assert_eq!(made.expose(), again.expose());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let path = scratch("damaged");
        let dir = DataDir::open(&path).unwrap();
        dir.seal_key(&Store::default()).unwrap();
        fs::write(dir.join("secrets/store.key"), "0123").unwrap();
        assert!(matches!(dir.seal_key(&Store::default()), Err(DataDirError::NotAKey(_))));
        fs::remove_dir_all(path).unwrap();
    }
}
