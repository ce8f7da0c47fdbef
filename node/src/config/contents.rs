//! What the files hold that settings name: a node that can't use one does not start, so it is a fault here already.
//!
//! Only plain files are looked into: a pipe gives what it has once, and that is the start's. The server's own keys
//! (`security.identity`) are left to their room, where one that does not load takes modes away.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::data_dir::{CLUSTER_SECRETS, SEAL_KEYS};
use super::fault::{Fault, Problem};
use super::load::Loaded;
use super::{Config, Secret, StoreKind, keyring};
use crate::callers::{Table, TokensError};
use crate::tls::{self, Chain, Unusable};

/// The longest file that is looked into; the tokens' is the longest.
const MAX_FILE: u64 = 1 << 20;

/// Appends a fault for each file that holds something else than its setting says.
pub(super) fn contents(loaded: &Loaded, faults: &mut Vec<Fault>) {
    let mut report = |key: &str, reason: String, fix: &str| {
        let problem = Problem::Content { reason, fix: fix.to_owned() };
        faults.push(Fault::new(Some(key), loaded.source(key).clone(), problem));
    };
    secrets(&loaded.config, &mut report);
    tokens(&loaded.config, &mut report);
    admin(&loaded.config, &mut report);
    cluster(&loaded.config, &mut report);
}

type Report<'a> = &'a mut dyn FnMut(&str, String, &str);

fn secrets(config: &Config, report: Report<'_>) {
    let digits = "give it 64 hexadecimal digits, as `godwit keys generate` makes";
    let text = |path: &Option<_>| Some(Secret::new(String::from_utf8_lossy(&read(path)?).into_owned()));
    if let Some(text) = text(&config.store.seal_key_file)
        && let Err(fault) = keyring::plain(text.expose(), SEAL_KEYS)
    {
        report("store.seal_key_file", at(&config.store.seal_key_file, fault), digits);
    }
    if let Some(text) = text(&config.cluster.secret_file)
        && let Err(fault) = keyring::generations(text.expose(), CLUSTER_SECRETS)
    {
        report("cluster.secret_file", at(&config.cluster.secret_file, fault), digits);
    }
}

fn tokens(config: &Config, report: Report<'_>) {
    let path = &config.admin.tokens_file;
    let Some((path, bytes)) = path.as_ref().zip(read(path)) else { return };
    let fix = "write lines of `name role sha256`";
    match String::from_utf8(bytes).map(|text| Table::parse(path, &text)) {
        Ok(Ok(_)) => {}
        Ok(Err(error @ TokensError::Line { .. })) => report("admin.tokens_file", error.to_string(), fix),
        Ok(Err(error)) => report("admin.tokens_file", error.to_string(), "give it a file that can be read"),
        Err(_) => report("admin.tokens_file", format!("{}: not text", path.display()), fix),
    }
}

fn admin(config: &Config, report: Report<'_>) {
    let tls = &config.admin.tls;
    let own =
        Own { section: "admin.tls", certificate: &tls.cert_file, key: &tls.key, key_file: &tls.key_file };
    own.look(report);
    authority("admin.tls.client_ca_file", &tls.client_ca_file, report);
}

fn cluster(config: &Config, report: Report<'_>) {
    // A node with a store of its own has no peers.
    if config.store.kind == StoreKind::Embedded {
        return;
    }
    let tls = &config.cluster.tls;
    let own =
        Own { section: "cluster.tls", certificate: &tls.cert_file, key: &tls.key, key_file: &tls.key_file };
    let chain = own.look(report);
    authority("cluster.tls.ca_file", &tls.ca_file, report);
    let name = &config.cluster.name;
    match chain.map(|chain| chain.carries(name)) {
        Some(Err(Unusable::NotAName)) => {
            let reason = format!("no certificate carries the name {name}, and peers look for it");
            report("cluster.name", reason, "give it a name as DNS has them");
        }
        Some(Err(_)) => {
            let reason =
                at(&tls.cert_file, format_args!("does not carry the name {name}, and peers look for it"));
            let fix =
                format!("give it a certificate with the alternative name DNS:{name}, or set cluster.name");
            report("cluster.tls.cert_file", reason, &fix);
        }
        _ => {}
    }
}

/// A certificate and its key, as a section gives them.
struct Own<'a> {
    section: &'static str,
    certificate: &'a Option<PathBuf>,
    key: &'a Option<Secret<String>>,
    key_file: &'a Option<PathBuf>,
}

impl Own<'_> {
    /// Both, as far as they are given; the certificates when they can be used.
    fn look(&self, report: Report<'_>) -> Option<Chain> {
        let chain = match Chain::read(&read(self.certificate)?) {
            Ok(chain) => chain,
            Err(fault) => {
                let fix = "give it the node's certificate in PEM";
                report(&format!("{}.cert_file", self.section), at(self.certificate, fault), fix);
                return None;
            }
        };
        let fix = format!("give it the key of {}.cert_file in PEM", self.section);
        if let Some(key) = self.key {
            if let Err(fault) = chain.owns(key.expose().as_bytes()) {
                report(&format!("{}.key", self.section), fault.to_string(), &fix);
            }
        } else if let Some(key) = read(self.key_file).map(Secret::new)
            && let Err(fault) = chain.owns(key.expose())
        {
            report(&format!("{}.key_file", self.section), at(self.key_file, fault), &fix);
        }
        Some(chain)
    }
}

fn authority(key: &str, path: &Option<PathBuf>, report: Report<'_>) {
    if let Some(pem) = read(path)
        && let Err(fault) = tls::authority(&pem)
    {
        report(key, at(path, fault), "give it certificates of authorities in PEM");
    }
}

fn at(path: &Option<PathBuf>, fault: impl Display) -> String {
    path.as_deref().map_or_else(|| fault.to_string(), |path| format!("{}: {fault}", path.display()))
}

/// What a plain file holds. One that can't be read is a fault of its own already.
fn read(path: &Option<impl AsRef<Path>>) -> Option<Vec<u8>> {
    let path = path.as_ref()?.as_ref();
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
