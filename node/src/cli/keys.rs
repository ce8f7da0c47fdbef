//! `godwit keys show | generate`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use data_encoding::{BASE64, HEXLOWER};

use super::Settings;
use crate::config::{Config, Secret};
use crate::entropy;
use crate::exit::Exit;
use crate::keys::{KeyPair, Security, describe};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Print what devices are provisioned with: URIs, modes, and the public half of the server's key
    Show(Settings),
    /// Make a new secret
    Generate {
        /// What it is for
        kind: KeyKind,
        /// File to write it to, which must not exist yet (mode 0600); without it, standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyKind {
    /// The server's own key pair on secp256r1, PKCS#8 in PEM: for security.identity.key_file
    Server,
    /// The secret that a cluster shares: for cluster.secret_file
    Cluster,
    /// The key that seals secrets at rest: for store.seal_key_file
    Store,
}

impl KeysCommand {
    /// Runs it; faults go to `err`.
    ///
    /// # Errors
    /// Those of the writers.
    pub fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
        match self {
            Self::Show(settings) => show(settings, out, err),
            Self::Generate { kind, out: file } => {
                let secret = generate(kind, err)?;
                let Some(path) = file else {
                    out.write_all(secret.expose().as_bytes())?;
                    return Ok(Exit::Ok);
                };
                let made = OpenOptions::new().mode(0o600).create_new(true).write(true).open(&path);
                let written = made.and_then(|mut file| {
                    file.write_all(secret.expose().as_bytes())?;
                    file.sync_all()
                });
                match written {
                    Ok(()) => Ok(Exit::Ok),
                    Err(error) => {
                        writeln!(err, "godwit: {}: {error}", path.display())?;
                        // Half a key is worse than none; a file that was there before stays.
                        if error.kind() != io::ErrorKind::AlreadyExists {
                            let _ = fs::remove_file(&path);
                        }
                        Ok(Exit::Failed)
                    }
                }
            }
        }
    }
}

fn show(settings: Settings, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    match settings.load() {
        Ok(loaded) => explain(&loaded.config, out, err),
        Err(faults) => {
            writeln!(err, "{faults}")?;
            Ok(Exit::Usage)
        }
    }
}

/// Loads the server's keys and says which modes result. A key that does not load is a fault here even where the node would
/// start without it.
pub(super) fn explain(config: &Config, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    match Security::load(config) {
        Ok(security) => {
            for fault in &security.faults {
                writeln!(err, "{fault}")?;
            }
            out.write_all(describe(config, &security).as_bytes())?;
            Ok(if security.faults.is_empty() { Exit::Ok } else { Exit::Usage })
        }
        Err(unavailable) => {
            writeln!(err, "{unavailable}")?;
            Ok(Exit::Usage)
        }
    }
}

/// The text of a new secret; the public half of a key pair goes to `err`, for those who redirect the output.
fn generate(kind: KeyKind, err: &mut dyn Write) -> io::Result<Secret<String>> {
    if kind == KeyKind::Server {
        let pair = KeyPair::generate();
        writeln!(err, "public_key = {}", HEXLOWER.encode(&pair.spki()))?;
        return Ok(Secret::new(pem(pair.pkcs8().expose())));
    }
    let mut secret = [0; 32];
    entropy::fill(&mut secret);
    Ok(Secret::new(HEXLOWER.encode(&secret) + "\n"))
}

fn pem(pkcs8: &[u8]) -> String {
    let text = BASE64.encode(pkcs8);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("invariant: Base64 is ASCII"))
        .collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
