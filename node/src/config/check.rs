//! What must hold between settings that are valid each by itself.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::fault::{Fault, Problem};
use super::keys::Section;
use super::load::Loaded;
use super::node::is_node_id;
use super::{Config, REDACTED};

/// Appends every contradiction.
pub(super) fn contradictions(loaded: &Loaded, sections: &[Section], faults: &mut Vec<Fault>) {
    let mut report = |key: &str, reason: &str, fix: &str| {
        let problem = Problem::Contradiction { reason: reason.to_owned(), fix: fix.to_owned() };
        faults.push(Fault::new(Some(key), loaded.source(key).clone(), problem));
    };
    let config = &loaded.config;
    names(config, &mut report);
    sockets(config, &mut report);
    spans(config, &mut report);
    admin(config, &mut report);
    twins(config, sections, &mut report);
    unreadable(loaded, sections, faults);
}

type Report<'a> = &'a mut dyn FnMut(&str, &str, &str);

fn names(config: &Config, report: Report<'_>) {
    let rule = "use 1 to 63 letters, digits, `-`, `_` or `.`";
    if config.node.id.as_deref().is_some_and(|id| !is_node_id(id)) {
        report("node.id", "not a node id", rule);
    }
    if !is_node_id(&config.cluster.name) {
        report("cluster.name", "not a name", rule);
    }
    if config.registration.auto_create.as_deref().is_some_and(str::is_empty) {
        report("registration.auto_create", "names no profile", "name one, or leave the setting out");
    }
    if EnvFilter::try_new(&config.log.level).is_err() {
        report("log.level", "not a level", "use error, warn, info, debug or trace, or `info,module=debug`");
    }
    if let Some(key) = &config.store.seal_key
        && !is_key(key.expose())
    {
        report(
            "store.seal_key",
            "not 32 bytes",
            "give it 64 hexadecimal digits, as `openssl rand -hex 32` makes",
        );
    }
}

/// Whether a text is 32 bytes in hexadecimal.
pub(super) fn is_key(text: &str) -> bool {
    let text = text.trim();
    text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn sockets(config: &Config, report: Report<'_>) {
    let listen = &config.server.listen;
    if listen.is_empty() {
        report("server.listen", "no address to listen on", "give it at least one `address:port`");
    }
    let fixed = |a: &SocketAddr, b: &SocketAddr| a == b && a.port() != 0;
    if listen.iter().enumerate().any(|(at, a)| listen[..at].iter().any(|b| fixed(a, b))) {
        report("server.listen", "the same address twice", "name each address once");
    }
    if fixed(&config.admin.listen, &config.metrics.listen) {
        report("metrics.listen", "the same address as admin.listen", "give each a port of its own");
    }
}

fn spans(config: &Config, report: Report<'_>) {
    let positive = [
        ("coap.ack_timeout", config.coap.ack_timeout),
        ("coap.response_timeout", config.coap.response_timeout),
        ("registration.lifetime_cap", config.registration.lifetime_cap),
        ("limits.operation_ttl", config.limits.operation_ttl),
    ];
    for (key, span) in positive {
        if span == Duration::ZERO {
            report(key, "no time at all", "give it more than 0s");
        }
    }
    if config.limits.passivate_after < config.limits.passivate_floor {
        report(
            "limits.passivate_after",
            "shorter than limits.passivate_floor, below which no actor is passivated",
            "raise it or lower the floor",
        );
    }
    if config.sink.queue < config.limits.uplink_body {
        report("sink.queue", "smaller than one limits.uplink_body", "raise it");
    }
}

fn admin(config: &Config, report: Report<'_>) {
    let admin = &config.admin;
    let tls = &admin.tls;
    let has_key = tls.key.is_some() || tls.key_file.is_some();
    match (tls.cert_file.is_some(), has_key) {
        (true, false) => {
            report("admin.tls.cert_file", "a certificate without its key", "set admin.tls.key_file");
        }
        (false, true) => {
            let key = if tls.key.is_some() { "admin.tls.key" } else { "admin.tls.key_file" };
            report(key, "a key without its certificate", "set admin.tls.cert_file");
        }
        (false, false) if tls.client_ca_file.is_some() => {
            report(
                "admin.tls.client_ca_file",
                "client certificates need TLS",
                "set admin.tls.cert_file and admin.tls.key_file",
            );
        }
        _ => {}
    }
    if admin.listen.ip().to_canonical().is_loopback() {
        return;
    }
    if tls.cert_file.is_none() && !admin.allow_plaintext {
        report(
            "admin.listen",
            "not loopback, and without TLS",
            "set admin.tls.cert_file and admin.tls.key_file, or admin.allow_plaintext = true",
        );
    }
    if tls.client_ca_file.is_none() && admin.tokens_file.is_none() {
        report(
            "admin.listen",
            "not loopback, and open to every caller",
            "set admin.tokens_file or admin.tls.client_ca_file",
        );
    }
}

/// A secret and the file that holds it must not both be set.
fn twins(config: &Config, sections: &[Section], report: Report<'_>) {
    for key in sections.iter().flat_map(|section| &section.keys).filter(|key| key.secret) {
        let file = format!("{}_file", key.path);
        if value(config, &key.path).is_some() && value(config, &file).is_some() {
            report(&key.path, &format!("set together with {file}"), "keep one of the two");
        }
    }
}

/// Every file that a setting names must open.
fn unreadable(loaded: &Loaded, sections: &[Section], faults: &mut Vec<Fault>) {
    for key in sections.iter().flat_map(|section| &section.keys).filter(|key| key.path.ends_with("_file")) {
        let Some(path) = value(&loaded.config, &key.path) else { continue };
        if let Err(error) = File::open(Path::new(&path)) {
            let problem = Problem::Unreadable(format!("{path}: {error}"));
            faults.push(Fault::new(Some(&key.path), loaded.source(&key.path).clone(), problem));
        }
    }
}

/// The effective value of a key as text; [`REDACTED`] for a secret that is set.
fn value(config: &Config, key: &str) -> Option<String> {
    let tree = toml::Table::try_from(config).expect("invariant: a configuration is TOML");
    let mut at = &toml::Value::Table(tree);
    for part in key.split('.') {
        at = at.get(part)?;
    }
    Some(at.as_str().unwrap_or(REDACTED).to_owned())
}
