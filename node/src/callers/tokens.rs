//! The tokens file: who may call, as what.
//!
//! ```text
//! # name   role     SHA-256 of the token in hex, or - for a caller that has a client certificate of this name
//! ops      admin    9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! grafana  read     -
//! ```
//!
//! The file is read again when its time or length has changed, looked at once a second at most and only when
//! somebody calls. A change that can't be read leaves the callers as they were, with an error in the log.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use data_encoding::HEXLOWER_PERMISSIVE;
use ring::digest;
use thiserror::Error;

use super::role::Role;
use crate::clock;

/// The least time between two looks at the file.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Larger files are refused.
const MAX_FILE: u64 = 1 << 20;

/// Why a tokens file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokensError {
    /// The file can't be read.
    #[error("{}: {kind}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        kind: io::ErrorKind,
    },
    /// A line is not one of ours.
    #[error("{}:{line}: {fault}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LineFault {
    /// Not three words.
    #[error("a line is `name role sha256`")]
    Shape,
    /// The second word.
    #[error("a role is read, operate or admin")]
    Role,
    /// The third word.
    #[error("the hash is 64 hexadecimal digits, or - for a client certificate's name")]
    Hash,
    /// One token for two callers.
    #[error("this hash stands in an earlier line")]
    Duplicate,
    /// One name, two roles.
    #[error("this name has another role in an earlier line")]
    Contradiction,
}

/// What one reading of the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table {
    tokens: HashMap<[u8; 32], Arc<str>>,
    roles: HashMap<Arc<str>, Role>,
}

impl Table {
    /// Reads the lines; `path` is for errors.
    ///
    /// # Errors
    /// The first line that is not of the shape above.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TokensError> {
        let mut table = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                table.add(line).map_err(|fault| TokensError::Line {
                    path: path.to_owned(),
                    line: index + 1,
                    fault,
                })?;
            }
        }
        Ok(table)
    }

    fn add(&mut self, line: &str) -> Result<(), LineFault> {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(role), Some(hash), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(LineFault::Shape);
        };
        let name: Arc<str> = name.into();
        let role = role.parse().map_err(|_| LineFault::Role)?;
        if *self.roles.entry(name.clone()).or_insert(role) != role {
            return Err(LineFault::Contradiction);
        }
        if hash == "-" {
            return Ok(());
        }
        let hash = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).map_err(|_| LineFault::Hash)?;
        let hash = hash.try_into().map_err(|_| LineFault::Hash)?;
        match self.tokens.insert(hash, name) {
            None => Ok(()),
            Some(_) => Err(LineFault::Duplicate),
        }
    }

    /// Who comes with this bearer token. Looked up by its hash, so the time taken tells nothing of the tokens.
    pub fn by_token(&self, token: &str) -> Option<(Arc<str>, Role)> {
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        let hash: [u8; 32] = hash.as_ref().try_into().ok()?;
        let name = self.tokens.get(&hash)?;
        Some((name.clone(), *self.roles.get(name)?))
    }

    /// The role of a client certificate's name.
    pub fn role(&self, name: &str) -> Option<Role> {
        self.roles.get(name).copied()
    }
}

/// The file, as it was read last.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    table: Arc<Table>,
    stamp: Stamp,
    looked: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl Tokens {
    /// Reads the file.
    ///
    /// # Errors
    /// When it can't be read, is larger than 1 MiB, or holds a line of another shape.
    pub fn open(path: &Path) -> Result<Self, TokensError> {
        let (table, stamp) = load(path)?;
        let seen = Seen { table: Arc::new(table), stamp, looked: clock::now() };
        Ok(Self { path: path.to_owned(), seen: Mutex::new(seen) })
    }

    /// The table as of `now`.
    pub fn table(&self, now: Instant) -> Arc<Table> {
        let mut seen = self.seen.lock().expect("invariant: nothing panics while it holds this lock");
        if now.saturating_duration_since(seen.looked) >= LOOK_AGAIN {
            seen.looked = now;
            self.look(&mut seen);
        }
        seen.table.clone()
    }

    fn look(&self, seen: &mut Seen) {
        match stamp(&self.path) {
            Ok(stamp) if stamp == seen.stamp => return,
            _ => {}
        }
        match load(&self.path) {
            Ok((table, stamp)) => {
                tracing::info!(file = %self.path.display(), "tokens were read again");
                (seen.table, seen.stamp) = (Arc::new(table), stamp);
            }
            Err(error) => tracing::error!(%error, "tokens can't be read again, the earlier ones stay valid"),
        }
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    Ok(Stamp { modified: metadata.modified().ok(), length: metadata.len() })
}

fn load(path: &Path) -> Result<(Table, Stamp), TokensError> {
    let failed = |error: io::Error| TokensError::Io { path: path.to_owned(), kind: error.kind() };
    let stamp = stamp(path).map_err(failed)?;
    if stamp.length > MAX_FILE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    Ok((Table::parse(path, &text)?, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    // printf test | sha256sum
    const TEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn fault(text: &str) -> Option<(usize, LineFault)> {
        match Table::parse(Path::new("tokens"), text) {
            Err(TokensError::Line { line, fault, .. }) => Some((line, fault)),
            _ => None,
        }
    }

    #[test]
    fn a_token_is_found_by_its_hash() {
        let text = format!("# people\n ops admin {TEST} # her\n\ngrafana read -\n");
        let table = Table::parse(Path::new("tokens"), &text).unwrap();
        assert_eq!(table.by_token("test"), Some(("ops".into(), Role::Admin)));
        assert_eq!(table.by_token("Test"), None);
        assert_eq!(table.role("grafana"), Some(Role::Read));
        assert_eq!(table.role("nobody"), None);
    }

    #[test]
    fn each_fault_names_its_line() {
        assert_eq!(fault("ops admin"), Some((1, LineFault::Shape)));
        assert_eq!(fault(&format!("ops admin {TEST} more")), Some((1, LineFault::Shape)));
        assert_eq!(fault(&format!("\nops root {TEST}")), Some((2, LineFault::Role)));
        assert_eq!(fault("ops admin secret"), Some((1, LineFault::Hash)));
        assert_eq!(fault(&format!("ops admin {}", &TEST[2..])), Some((1, LineFault::Hash)));
        assert_eq!(fault(&format!("a admin {TEST}\nb read {TEST}")), Some((2, LineFault::Duplicate)));
        assert_eq!(fault(&format!("a admin {TEST}\na read -")), Some((2, LineFault::Contradiction)));
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let path = Path::new("/nonexistent/tokens");
        let error = Tokens::open(path).unwrap_err();
        assert_eq!(error, TokensError::Io { path: path.into(), kind: io::ErrorKind::NotFound });
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not() {
        let directory = std::env::temp_dir().join(format!("godwit-tokens-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("tokens");
        fs::write(&path, "a read -\n").unwrap();
        let tokens = Tokens::open(&path).unwrap();
        let start = clock::now();

        fs::write(&path, "a read -\nb operate -\n").unwrap();
        assert_eq!(tokens.table(start).role("b"), None, "looked at too often");
        assert_eq!(tokens.table(start + LOOK_AGAIN * 2).role("b"), Some(Role::Operate));

        fs::write(&path, "nonsense\n").unwrap();
        assert_eq!(tokens.table(start + LOOK_AGAIN * 4).role("b"), Some(Role::Operate));
        fs::remove_dir_all(&directory).unwrap();
    }
}
