//! What must hold between settings that are valid each by itself.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::contents::contents;
use super::data_dir::{CLUSTER_SECRETS, SEAL_KEYS};
use super::fault::{Fault, Problem};
use super::keyring;
use super::keys::Section;
use super::load::Loaded;
use super::node::is_node_id;
use super::{Config, Mode, Modes, REDACTED, Redis, RedisMode, SinkKind, StoreKind};
use crate::telemetry::sink::kafka;

/// Appends every contradiction.
pub(super) fn contradictions(loaded: &Loaded, sections: &[Section], faults: &mut Vec<Fault>) {
    let mut report = |key: &str, reason: &str, fix: &str| {
        let problem = Problem::Contradiction { reason: reason.to_owned(), fix: fix.to_owned() };
        faults.push(Fault::new(Some(key), loaded.source(key).clone(), problem));
    };
    let config = &loaded.config;
    names(config, &mut report);
    secrets(config, &mut report);
    redis(config, &mut report);
    sockets(config, &mut report);
    security(config, &mut report);
    spans(config, &mut report);
    admin(config, &mut report);
    sink(config, &mut report);
    cluster(config, &mut report);
    twins(config, sections, &mut report);
    unreadable(loaded, sections, faults);
    contents(loaded, faults);
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
}

/// Secrets that stand in the configuration itself.
fn secrets(config: &Config, report: Report<'_>) {
    let digits = "give it 64 hexadecimal digits, as `godwit keys generate` makes";
    if let Some(text) = &config.store.seal_key
        && let Err(fault) = keyring::plain(text.expose(), SEAL_KEYS)
    {
        report("store.seal_key", &fault.to_string(), digits);
    }
    if let Some(text) = &config.cluster.secret
        && let Err(fault) = keyring::generations(text.expose(), CLUSTER_SECRETS)
    {
        report("cluster.secret", &fault.to_string(), digits);
    }
}

/// What a store that nodes share needs.
fn redis(config: &Config, report: Report<'_>) {
    if config.store.kind != StoreKind::Redis {
        return;
    }
    let redis = &config.store.redis;
    if config.store.seal_key.is_none() && config.store.seal_key_file.is_none() {
        let fix = "set store.seal_key_file, the same on all nodes; `godwit keys generate store` makes one";
        report("store.seal_key", "not given, and the nodes of a Redis share it", fix);
    }
    if config.cluster.secret.is_none() && config.cluster.secret_file.is_none() {
        let fix = "set cluster.secret_file, the same on all nodes; `godwit keys generate cluster` makes one";
        report("cluster.secret", "not given, and the nodes of a Redis share it", fix);
    }
    if redis.addresses.is_empty() {
        report("store.redis.addresses", "no address", "name at least one `host:port`");
    }
    if redis.addresses.iter().any(|address| Redis::host_and_port(address).is_none()) {
        report("store.redis.addresses", "not an address", "write `host:port`, an IPv6 host in brackets");
    }
    if redis.mode == RedisMode::Single && redis.addresses.len() > 1 {
        let fix = "name one, or set store.redis.mode";
        report("store.redis.addresses", "several addresses of a single server", fix);
    }
    if redis.mode == RedisMode::Cluster && redis.database != 0 {
        report("store.redis.database", "not 0 in a Redis Cluster", "leave it out");
    }
    if redis.master.is_empty() {
        report("store.redis.master", "names no master", "name one, or leave the setting out");
    }
    if !is_node_id(&redis.prefix) || redis.prefix.len() > 32 {
        report("store.redis.prefix", "not a prefix", "use 1 to 32 letters, digits, `-`, `_` or `.`");
    }
    let (user, password) = (&redis.username, redis.password.is_some() || redis.password_file.is_some());
    if user.is_some() && !password {
        report("store.redis.username", "a user without a password", "set store.redis.password_file");
    }
    let tls = &redis.tls;
    if tls.cert_file.is_some() != (tls.key.is_some() || tls.key_file.is_some()) {
        let fix = "set store.redis.tls.cert_file and store.redis.tls.key_file, or neither";
        report("store.redis.tls.cert_file", "half of certificate and key", fix);
    }
    if !tls.enabled && (tls.ca_file.is_some() || tls.cert_file.is_some()) {
        report("store.redis.tls.enabled", "off, though its files are set", "set it to true");
    }
}

fn sockets(config: &Config, report: Report<'_>) {
    let (plain, dtls) = (&config.server.listen, &config.server.listen_dtls);
    let modes = &config.security.modes;
    if plain.is_empty() && dtls.is_empty() {
        report("server.listen", "no address to listen on", "give it or server.listen_dtls an `address:port`");
    }
    if let Modes::Listed(listed) = modes {
        if listed.is_empty() {
            report("security.modes", "no mode at all", "list at least one, or write \"auto\"");
        }
        if plain.is_empty() && modes.allow(Mode::NoSec) {
            report("security.modes", "no_sec without an address", "set server.listen, or take no_sec out");
        }
        if dtls.is_empty() && modes.allow_dtls() {
            let fix = "set server.listen_dtls, or list no_sec alone";
            report("security.modes", "modes of DTLS without an address", fix);
        }
    }
    let fixed = |a: &SocketAddr, b: &SocketAddr| a == b && a.port() != 0;
    for (key, addresses, before) in
        [("server.listen", plain, &[][..]), ("server.listen_dtls", dtls, plain.as_slice())]
    {
        let twice = |(at, a)| before.iter().chain(&addresses[..at]).any(|b| fixed(a, b));
        if addresses.iter().enumerate().any(twice) {
            report(key, "the same address twice", "name each address once");
        }
    }
    if fixed(&config.admin.listen, &config.metrics.listen) {
        report("metrics.listen", "the same address as admin.listen", "give each a port of its own");
    }
}

/// Suites that serve the modes, and the forms of the server's own key.
fn security(config: &Config, report: Report<'_>) {
    let (modes, suites) = (&config.security.modes, &config.dtls.suites);
    let some = |psk: bool| suites.iter().any(|suite| suite.is_psk() == psk);
    if suites.is_empty() {
        report("dtls.suites", "no suite at all", "name at least one");
    } else if modes.demand(Mode::Psk) && !some(true) {
        report("dtls.suites", "no suite for psk, which security.modes lists", "add a TLS_PSK suite");
    } else if (modes.demand(Mode::Rpk) || modes.demand(Mode::X509)) && !some(false) {
        let reason = "no suite for rpk and x509, which security.modes lists";
        report("dtls.suites", reason, "add a TLS_ECDHE_ECDSA suite");
    }
    let own = &config.security.identity;
    let key = if own.key.is_some() { "security.identity.key" } else { "security.identity.key_file" };
    let has_password = own.keystore_password.is_some() || own.keystore_password_file.is_some();
    if own.keystore_file.is_some() {
        let fix = "keep security.identity.keystore_file or the others";
        if own.has_key() {
            report(key, "set together with a key store", fix);
        }
        if own.cert_file.is_some() {
            report("security.identity.cert_file", "set together with a key store", fix);
        }
    } else {
        let fix = "set security.identity.keystore_file";
        if has_password {
            let twin = if own.keystore_password.is_some() { "" } else { "_file" };
            report(
                &format!("security.identity.keystore_password{twin}"),
                "a password without its store",
                fix,
            );
        }
        if own.keystore_alias.is_some() {
            report("security.identity.keystore_alias", "an alias without its store", fix);
        }
        if own.cert_file.is_some() && !own.has_key() {
            let fix = "set security.identity.key_file";
            report("security.identity.cert_file", "a certificate without its key", fix);
        }
    }
    for (key, half, other) in [
        ("security.identity.public_x", &own.public_x, &own.public_y),
        ("security.identity.public_y", &own.public_y, &own.public_x),
    ] {
        let Some(half) = half else { continue };
        if other.is_none() {
            report(key, "half a public key", "set public_x and public_y, or neither");
        }
        if !is_coordinate(half) {
            report(key, "not 32 bytes", "give it 64 hexadecimal digits");
        }
        if !own.has_key() && own.keystore_file.is_none() {
            report(key, "a public key without its private half", "set security.identity.key_file");
        }
    }
}

fn is_coordinate(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn spans(config: &Config, report: Report<'_>) {
    let positive = [
        ("coap.ack_timeout", config.coap.ack_timeout),
        ("coap.response_timeout", config.coap.response_timeout),
        ("dtls.first_retransmission", config.dtls.first_retransmission),
        ("dtls.association_idle", config.dtls.association_idle),
        ("registration.lifetime_cap", config.registration.lifetime_cap),
        ("limits.operation_ttl", config.limits.operation_ttl),
        ("store.redis.connect_timeout", config.store.redis.connect_timeout),
        ("store.redis.timeout", config.store.redis.timeout),
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

/// What the Kafka sink needs, in words of its settings.
fn sink(config: &Config, report: Report<'_>) {
    let settings = &config.sink.kafka;
    if config.sink.kind != SinkKind::Kafka {
        return;
    }
    if settings.brokers.is_empty() {
        report("sink.kafka.brokers", "names no broker", "name at least one, `host:port`");
    }
    if !kafka::is_topic_prefix(&settings.topic_prefix) {
        let fix = "use up to 200 letters, digits, `.`, `_` or `-`";
        report("sink.kafka.topic_prefix", "not the beginning of a topic's name", fix);
    }
    let has_key = settings.key.is_some() || settings.key_file.is_some();
    match (settings.cert_file.is_some(), has_key) {
        (true, false) => {
            report("sink.kafka.cert_file", "a certificate without its key", "set sink.kafka.key_file");
        }
        (false, true) => {
            let key = if settings.key.is_some() { "sink.kafka.key" } else { "sink.kafka.key_file" };
            report(key, "a key without its certificate", "set sink.kafka.cert_file");
        }
        _ => {}
    }
    let password = match (&settings.password, &settings.password_file) {
        (Some(_), _) => Some("sink.kafka.password"),
        (None, Some(_)) => Some("sink.kafka.password_file"),
        (None, None) => None,
    };
    match (settings.sasl_mechanism.is_some(), password) {
        (true, None) => {
            report("sink.kafka.sasl_mechanism", "no password to go with it", "set sink.kafka.password_file");
        }
        (false, Some(key)) => report(key, "a password without a mechanism", "set sink.kafka.sasl_mechanism"),
        _ => {}
    }
    if settings.sasl_mechanism.is_some() && settings.username.is_empty() {
        report("sink.kafka.username", "nobody, for sink.kafka.sasl_mechanism", "name the user");
    }
    for route in &settings.routes {
        if route.topic.is_empty() || !kafka::is_topic_prefix(&route.topic) {
            let fix = "use up to 200 letters, digits, `.`, `_` or `-`";
            report("sink.kafka.routes", &format!("\"{}\" is not the name of a topic", route.topic), fix);
        }
        if route.profile.is_none() && route.object.is_none() {
            let reason = format!("nothing says what \"{}\" is for", route.topic);
            report("sink.kafka.routes", &reason, "give it a profile or an object");
        }
    }
    for (name, value) in &settings.settings {
        if let Some((reason, fix)) = kafka::refusal(name, value.expose()) {
            report(&format!("sink.kafka.settings.{name}"), &reason, fix);
        }
    }
}

/// Whether nodes may speak with each other as they are told.
fn cluster(config: &Config, report: Report<'_>) {
    let cluster = &config.cluster;
    let tls = &cluster.tls;
    let has_key = tls.key.is_some() || tls.key_file.is_some();
    let given = [tls.cert_file.is_some(), has_key, tls.ca_file.is_some()];
    if given.contains(&true) && given.contains(&false) {
        let fix = "set cluster.tls.cert_file, key_file and ca_file, or none of them";
        let key = match (&tls.cert_file, &tls.key, &tls.key_file) {
            (Some(_), ..) => "cluster.tls.cert_file",
            (_, Some(_), _) => "cluster.tls.key",
            (_, _, Some(_)) => "cluster.tls.key_file",
            _ => "cluster.tls.ca_file",
        };
        report(key, "only a part of what mutual TLS needs", fix);
    }
    let fix = "set cluster.tls.cert_file, key_file and ca_file";
    for (key, address) in [("cluster.listen", Some(cluster.listen)), ("cluster.advertise", cluster.advertise)]
    {
        let far = address.is_some_and(|address| !address.ip().to_canonical().is_loopback());
        if far && !given.contains(&true) {
            report(key, "not loopback, and without TLS", fix);
        }
    }
    let wildcard = "a wildcard, which no peer can reach";
    match cluster.advertise {
        Some(advertise) if advertise.ip().is_unspecified() => {
            report("cluster.advertise", wildcard, "give it the address by which peers reach this node");
        }
        None if cluster.listen.ip().is_unspecified() => {
            report("cluster.listen", wildcard, "set cluster.advertise");
        }
        _ => {}
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

/// Every file that a setting names must open. The server's own keys are left to their room, where one that does not load
/// takes modes away.
fn unreadable(loaded: &Loaded, sections: &[Section], faults: &mut Vec<Fault>) {
    for key in sections.iter().flat_map(|section| &section.keys).filter(|key| key.path.ends_with("_file")) {
        if key.path.starts_with("security.") {
            continue;
        }
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
