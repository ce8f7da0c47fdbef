//! The one directory that a node writes in.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use thiserror::Error;

use super::keyring::{self, KeyringError};
use super::{Cluster, Secret, Store};
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
    /// A file of secrets holds something else.
    #[error("{place}: {fault}; a secret is 64 hexadecimal digits")]
    NotAKey {
        /// The setting and the file, as far as there are.
        place: String,
        /// What is wrong with it.
        fault: KeyringError,
    },
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

    /// The keys that seal secrets at rest, the one in use first: as configured, else `secrets/store.key`, which the
    /// first start makes.
    ///
    /// # Errors
    /// When a file can't be read or made, or holds no key.
    pub fn seal_keys(&self, store: &Store) -> Result<Vec<Secret<[u8; 32]>>, DataDirError> {
        let given = Given { name: "store.seal_key", text: &store.seal_key, file: &store.seal_key_file };
        let (text, place) = self.secret(&given, "secrets/store.key")?;
        keyring::plain(text.expose(), SEAL_KEYS).map_err(|fault| DataDirError::NotAKey { place, fault })
    }

    /// The secrets that the cluster shares, the one in use first: as configured, else `secrets/cluster.key`, which the
    /// first start makes.
    ///
    /// # Errors
    /// As [`DataDir::seal_keys`].
    pub fn cluster_secrets(&self, cluster: &Cluster) -> Result<Vec<keyring::Entry>, DataDirError> {
        let given = Given { name: "cluster.secret", text: &cluster.secret, file: &cluster.secret_file };
        let (text, place) = self.secret(&given, "secrets/cluster.key")?;
        keyring::generations(text.expose(), CLUSTER_SECRETS)
            .map_err(|fault| DataDirError::NotAKey { place, fault })
    }

    /// The text of a secret, and where it stands.
    fn secret(&self, given: &Given<'_>, own: &str) -> Result<(Secret<String>, String), DataDirError> {
        if let Some(text) = given.text {
            return Ok((text.clone(), given.name.to_owned()));
        }
        if let Some(path) = given.file {
            return Ok((read(path)?, format!("{}_file: {}", given.name, path.display())));
        }
        let path = self.join(own);
        let text = match read(&path) {
            Err(DataDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                make_dir(&self.join("secrets"))?;
                make_key(&path)
            }
            other => other,
        };
        Ok((text?, path.display().to_string()))
    }
}

/// Keys that seal secrets at rest, in rotation.
pub(super) const SEAL_KEYS: usize = 2;
/// Cluster secrets in rotation: a Connection ID tells its generation in three bits.
pub(super) const CLUSTER_SECRETS: usize = 8;

/// A secret as the configuration gives it.
struct Given<'a> {
    name: &'a str,
    text: &'a Option<Secret<String>>,
    file: &'a Option<PathBuf>,
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

fn read(path: &Path) -> Result<Secret<String>, DataDirError> {
    let mut text = String::new();
    // Eight secrets and a good deal of white space; what is longer holds none and is not worth reading.
    let read = File::open(path).and_then(|file| file.take(4096).read_to_string(&mut text));
    read.map_err(|source| DataDirError::Io { path: path.to_owned(), source })?;
    Ok(Secret::new(text))
}

/// Makes a key that is on the disk, under its name, when this returns: what it seals must stay readable.
fn make_key(path: &Path) -> Result<Secret<String>, DataDirError> {
    let mut key = [0; 32];
    entropy::fill(&mut key);
    let text = HEX.encode(&key);
    let draft = path.with_extension("new");
    let write = || {
        let mut file = private().create(true).truncate(true).write(true).open(&draft)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|source| DataDirError::Io { path: path.to_owned(), source })?;
    Ok(Secret::new(text))
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
        let made = dir.seal_keys(&Store::default()).unwrap();
        let shared = dir.cluster_secrets(&Cluster::default()).unwrap();
        assert_ne!(made[0], shared[0].secret);
        let mode = fs::metadata(dir.join("secrets/store.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(dir);
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(dir.seal_keys(&Store::default()).unwrap(), made);
        assert_eq!(dir.cluster_secrets(&Cluster::default()).unwrap(), shared);
        drop(dir);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let path = scratch("damaged");
        let dir = DataDir::open(&path).unwrap();
        dir.seal_keys(&Store::default()).unwrap();
        fs::write(dir.join("secrets/store.key"), "0123").unwrap();
        assert!(matches!(dir.seal_keys(&Store::default()), Err(DataDirError::NotAKey { .. })));
        fs::remove_dir_all(path).unwrap();
    }
}
