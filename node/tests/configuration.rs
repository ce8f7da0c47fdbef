//! Where settings come from, which one wins, and what a faulty configuration reports.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use godwit::config::{self, Inputs, LogFormat, Source, load, print};
use godwit_dtls::suite::CipherSuite;

/// A file that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("godwit-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn with(assignments: &[&str]) -> Inputs {
    Inputs { assignments: assignments.iter().map(|&text| text.to_owned()).collect(), ..Inputs::default() }
}

fn environment(variables: &[(&str, &str)]) -> Inputs {
    let environment = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Inputs { environment, ..Inputs::default() }
}

fn faults(inputs: &Inputs) -> Vec<String> {
    load(inputs).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let config = load(&Inputs::default()).unwrap().config;
    assert_eq!(config, config::Config::default());
    assert_eq!(config.server.listen, ["[::]:5683".parse().unwrap()]);
    assert_eq!(config.server.listen_dtls, ["[::]:5684".parse().unwrap()]);
    assert_eq!(config.security.modes, config::Modes::Auto);
    assert_eq!((config.dtls.cid_length, config.dtls.suites.len()), (8, 5));
    assert_eq!(config.dtls.first_retransmission, Duration::from_secs(2));
    assert_eq!(config.dtls.association_idle, Duration::from_secs(30 * 86_400));
    assert_eq!((config.limits.handshakes, config.limits.handshakes_per_prefix), (1000, 32));
    assert_eq!(config.limits.cookies, 10_000);
    assert_eq!(config.limits.live_actors, 250_000);
    assert_eq!(config.limits.passivate_after, Duration::from_secs(600));
    assert_eq!((config.limits.observations, config.limits.queued_operations), (256, 64));
    assert_eq!(config.limits.operation_ttl, Duration::from_secs(86_400));
    assert_eq!((config.limits.dedup_entries, config.limits.uplink_body), (32, 65_536));
    assert_eq!(config.registration.lifetime_grace, Duration::from_secs(30));
    assert_eq!(config.registration.lifetime_cap, Duration::from_secs(365 * 86_400));
    assert_eq!((config.sink.queue, config.node.drain_grace), (64 << 20, Duration::from_secs(30)));
    assert_eq!(config.admin.listen, "127.0.0.1:5690".parse().unwrap());
    assert_eq!(config.metrics.listen.port(), 9464);
}

#[test]
fn each_layer_overrides_the_one_below() {
    let file = Scratch::new(
        "layers.toml",
        "[server]\nlisten = [\"127.0.0.1:1\"]\nshards = 1\n[limits]\nobservations = 1\n",
    );
    let mut inputs = Inputs {
        preset: Some("thingsboard".to_owned()),
        ..environment(&[("GODWIT_SERVER__SHARDS", "2"), ("GODWIT_LIMITS__OBSERVATIONS", "2")])
    };
    let loaded = load(&inputs).unwrap();
    assert_eq!(loaded.config.server.listen, ["[::]:5685".parse().unwrap()]);
    assert_eq!(loaded.source("server.listen"), &Source::Preset("thingsboard"));

    inputs.file = Some(file.0.clone());
    inputs.assignments = vec!["limits.observations=3".to_owned()];
    let loaded = load(&inputs).unwrap();
    assert_eq!(loaded.config.server.listen, ["127.0.0.1:1".parse().unwrap()]);
    assert_eq!(loaded.source("server.listen"), &Source::File(file.0.clone(), Some(2)));
    assert_eq!(loaded.config.server.shards, 2);
    assert_eq!(loaded.source("server.shards").to_string(), "GODWIT_SERVER__SHARDS");
    assert_eq!(loaded.config.limits.observations, 3);
    assert_eq!(loaded.source("limits.observations").to_string(), "--set limits.observations");
    assert_eq!(loaded.source("limits.dedup_entries"), &Source::Default);
}

#[test]
fn untyped_sources_need_no_quotes() {
    let loaded = load(&environment(&[
        ("GODWIT_NODE__ID", "1234"),
        ("GODWIT_SECURITY__MODES", "psk"),
        ("GODWIT_DTLS__SUITES", "TLS_PSK_WITH_AES_128_CCM_8,TLS_PSK_WITH_AES_128_CBC_SHA256"),
        ("GODWIT_SERVER__LISTEN", "127.0.0.1:1, 127.0.0.1:2"),
        ("GODWIT_LIMITS__UPLINK_BODY", "1MiB"),
        ("GODWIT_LIMITS__PASSIVATE_AFTER", "1h30m"),
        ("GODWIT_LOG__FORMAT", "json"),
        ("GODWIT_SINK__FILE__KEEP", "7"),
        ("GODWIT_COAP__ACK_RANDOM_FACTOR", "2"),
    ]));
    let config = loaded.unwrap().config;
    assert_eq!(config.node.id.as_deref(), Some("1234"));
    assert_eq!(config.security.modes, config::Modes::Listed(vec![config::Mode::Psk]));
    assert_eq!(
        config.dtls.suites,
        [CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128Cbc].map(config::Suite)
    );
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(config.limits.uplink_body, 1 << 20);
    assert_eq!(config.limits.passivate_after, Duration::from_secs(5400));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.sink.file.keep, 7);
    assert!((config.coap.ack_random_factor - 2.0).abs() < f64::EPSILON);
}

#[test]
fn every_fault_is_reported_at_once_with_key_source_and_fix() {
    let file = Scratch::new(
        "faults.toml",
        "[server]\nlisten = [\"nonsense\"]\nshard = 4\n\n[limits]\nlive_actors = 0\nuplink_body = \"64KB\"\n",
    );
    let name = file.0.display();
    let inputs = Inputs {
        file: Some(file.0.clone()),
        environment: vec![
            ("GODWIT_COAP__BLOCK_SIZE".to_owned(), "100".to_owned()),
            ("GODWIT_SERVER__LIFETIME_GRACE".to_owned(), "1s".to_owned()),
        ],
        assignments: vec![
            "log.format=xml".to_owned(),
            "admin.listen=0.0.0.0:5690".to_owned(),
            "admin=1".to_owned(),
            "nothing".to_owned(),
        ],
        preset: Some("demon".to_owned()),
        ..Inputs::default()
    };
    let found = faults(&inputs);
    let expected = [
        "--preset: no preset `demon`; there are demo, thingsboard".to_owned(),
        "--set: `nothing` has no `=`; write section.key=value".to_owned(),
        format!("limits.live_actors ({name}:6): out of range; give it a whole number of at least 1"),
        format!("limits.uplink_body ({name}:7): `64KB` is not a size; give it a size, such as \"64KiB\""),
        format!("server.shard ({name}:3): no such setting; did you mean server.shards?"),
        "server.lifetime_grace (GODWIT_SERVER__LIFETIME_GRACE): no such setting; \
         did you mean registration.lifetime_grace?"
            .to_owned(),
        "admin (--set admin): is a section, not a setting; set one of its keys".to_owned(),
        "admin.listen (--set admin.listen): not loopback, and without TLS; \
         set admin.tls.cert_file and admin.tls.key_file, or admin.allow_plaintext = true"
            .to_owned(),
        "admin.listen (--set admin.listen): not loopback, and open to every caller; \
         set admin.tokens_file or admin.tls.client_ca_file"
            .to_owned(),
    ];
    for line in &expected {
        assert!(found.contains(line), "no fault\n  {line}\namong\n  {}", found.join("\n  "));
    }
    for start in [
        format!("server.listen ({name}:2): invalid socket address"),
        "coap.block_size (GODWIT_COAP__BLOCK_SIZE): out of range".to_owned(),
        "log.format (--set log.format): unknown variant `xml`".to_owned(),
    ] {
        assert!(found.iter().any(|fault| fault.starts_with(&start)), "no fault {start} among {found:#?}");
    }
    assert_eq!(found.len(), expected.len() + 3, "{found:#?}");
}

#[test]
fn a_file_that_is_no_toml_names_its_lines() {
    let file = Scratch::new("syntax.toml", "[server]\nshards = \n[limits]\nobservations = = 3\n");
    let found = faults(&Inputs { file: Some(file.0.clone()), ..Inputs::default() });
    for line in [2, 4] {
        let start = format!("{}:{line}: not TOML", file.0.display());
        assert!(found.iter().any(|fault| fault.starts_with(&start)), "no {start} in {found:#?}");
    }
}

#[test]
fn an_empty_section_is_fine_where_there_is_one() {
    let file = Scratch::new("empty.toml", "[server]\n[admin.tls]\n[servr]\n");
    let found = faults(&Inputs { file: Some(file.0.clone()), ..Inputs::default() });
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("servr ({}:3): no such setting", file.0.display())), "{found:?}");
}

#[test]
fn a_missing_file_is_a_fault() {
    let found = faults(&Inputs { file: Some("/nonexistent/godwit.toml".into()), ..Inputs::default() });
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("/nonexistent/godwit.toml: can't be read"), "{found:?}");
}

#[test]
fn variables_of_kubernetes_services_are_no_settings() {
    let inputs = environment(&[("GODWIT_PORT", "udp://10.0.0.1:5683"), ("GODWIT_SERVICE_HOST", "10.0.0.1")]);
    assert!(load(&inputs).is_ok());
}

#[test]
fn contradictions_name_what_does_not_go_together() {
    let key = "0123456789abcdef".repeat(4);
    let file = Scratch::new("seal.key", &key);
    for (settings, expected) in [
        (vec!["server.listen=[]", "server.listen_dtls=[]"], "no address to listen on"),
        (vec!["server.listen=127.0.0.1:1,127.0.0.1:1"], "the same address twice"),
        (vec!["metrics.listen=127.0.0.1:5690"], "the same address as admin.listen"),
        (vec!["limits.passivate_after=1s"], "shorter than limits.passivate_floor"),
        (vec!["node.id=a/b"], "not a node id"),
        (vec!["log.level=a=b=c"], "not a level"),
        (vec!["store.seal_key=abc"], "not 32 bytes"),
        (vec![&format!("store.seal_key={key} {key} {key}")], "more than 2 secrets"),
        (vec![&format!("cluster.secret=9:{key}")], "not a number from 0 to 7"),
        (vec!["server.listen_dtls=[::]:5683"], "the same address twice"),
        (vec!["security.modes=[]"], "no mode at all"),
        (vec!["security.modes=no_sec,psk", "server.listen_dtls=[]"], "modes of DTLS without an address"),
        (vec!["security.modes=no_sec", "server.listen=[]"], "no_sec without an address"),
        (vec!["dtls.suites=[]"], "no suite at all"),
        (
            vec!["security.modes=psk,rpk", "dtls.suites=TLS_PSK_WITH_AES_128_CCM_8"],
            "no suite for rpk and x509",
        ),
        (vec!["security.modes=psk", "dtls.suites=TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"], "no suite for psk"),
        (vec!["dtls.cid_length=4"], "one of `0`, `8`"),
        (vec!["security.identity.cert_file=c.pem"], "a certificate without its key"),
        (
            vec!["security.identity.keystore_file=k.p12", "security.identity.key=pem"],
            "set together with a key store",
        ),
        (vec!["security.identity.keystore_password=x"], "a password without its store"),
        (vec!["security.identity.keystore_alias=x"], "an alias without its store"),
        (vec!["security.identity.key=k", &format!("security.identity.public_x={key}")], "half a public key"),
        (
            vec![
                "security.identity.key=k",
                "security.identity.public_x=0",
                &format!("security.identity.public_y={key}"),
            ],
            "not 32 bytes",
        ),
        (vec!["admin.tls.key=pem"], "a key without its certificate"),
        (vec!["coap.ack_timeout=0s"], "no time at all"),
        (vec!["admin.tokens_file=/nonexistent/tokens"], "can't be read"),
        (
            vec![&format!("store.seal_key={key}"), &format!("store.seal_key_file={}", file.0.display())],
            "set together with store.seal_key_file",
        ),
    ] {
        let found = faults(&with(&settings));
        assert_eq!(found.len(), 1, "{settings:?}: {found:#?}");
        assert!(found[0].contains(expected), "{settings:?}: {found:?}");
    }
}

#[test]
fn several_port_zero_addresses_do_not_collide() {
    assert!(load(&with(&["server.listen=127.0.0.1:0,127.0.0.1:0", "admin.listen=127.0.0.1:0"])).is_ok());
}

#[test]
fn secrets_show_neither_in_print_nor_in_faults() {
    let key = "fedcba9876543210".repeat(4);
    let loaded = load(&with(&[&format!("store.seal_key={key}")])).unwrap();
    let printed = print(&loaded);
    assert!(!printed.contains(&key) && !format!("{loaded:?}").contains(&key));
    assert!(printed.contains("# seal_key is set and secret (--set store.seal_key)"), "{printed}");

    let wrong = faults(&with(&["store.seal_key={hunter2=1}", "admin.tls.key=hunter2"])).join("\n");
    assert!(!wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn what_print_shows_loads_to_the_same_configuration() {
    let loaded =
        load(&with(&["server.shards=3", "registration.auto_create=demo", "coap.ack_timeout=1.5s"])).unwrap();
    let file = Scratch::new("printed.toml", &print(&loaded));
    let again = load(&Inputs { file: Some(file.0.clone()), ..Inputs::default() }).unwrap();
    assert_eq!(again.config, loaded.config);
}

#[test]
fn settings_of_librdkafka_are_taken_by_their_names_and_never_shown() {
    let file = Scratch::new(
        "kafka.toml",
        "[sink.kafka.settings]\nmessage.max.bytes = 2000000\n\"ssl.key.password\" = \"hunter2\"\n",
    );
    let loaded = load(&Inputs {
        file: Some(file.0.clone()),
        ..with(&[
            "sink.kind=kafka",
            "sink.kafka.brokers=a:9092,b:9092",
            "sink.kafka.settings.compression.type=lz4",
        ])
    })
    .unwrap();
    let kafka = &loaded.config.sink.kafka;
    assert_eq!(kafka.brokers, ["a:9092", "b:9092"]);
    let of = |name: &str| kafka.settings[name].expose().as_str();
    assert_eq!((of("message.max.bytes"), of("compression.type")), ("2000000", "lz4"));
    assert_eq!(of("ssl.key.password"), "hunter2");
    assert!(!print(&loaded).contains("hunter2"));
}

#[test]
fn every_fault_of_a_kafka_sink_names_its_setting() {
    let faults = faults(&with(&[
        "sink.kind=kafka",
        "sink.kafka.topic_prefix=a b",
        "sink.kafka.cert_file=/dev/null",
        "sink.kafka.sasl_mechanism=plain",
        "sink.kafka.settings.acks=1",
        "sink.kafka.settings.linger.ms=7",
        "sink.kafka.settings.mesage.max.bytes=7",
        "sink.kafka.settings.message.max.bytes=seven",
    ]));
    for (key, says) in [
        ("sink.kafka.brokers", "names no broker"),
        ("sink.kafka.topic_prefix", "not the beginning"),
        ("sink.kafka.cert_file", "without its key"),
        ("sink.kafka.sasl_mechanism", "no password"),
        ("sink.kafka.username", "nobody"),
        ("sink.kafka.settings.acks", "promise"),
        ("sink.kafka.settings.linger.ms", "sink.kafka.linger"),
        ("sink.kafka.settings.mesage.max.bytes", "not a setting"),
        ("sink.kafka.settings.message.max.bytes", "refused by librdkafka"),
    ] {
        let found = faults
            .iter()
            .any(|fault| fault.contains(&format!("{key} ")) || fault.contains(&format!("{key}:")));
        assert!(found, "{key} in {faults:#?}");
        assert!(
            faults.iter().any(|fault| fault.contains(key) && fault.contains(says)),
            "{says} in {faults:#?}"
        );
    }
    assert_eq!(faults.len(), 9, "{faults:#?}");
}

#[test]
fn what_files_hold_is_looked_into_and_every_fault_names_its_setting() {
    let pair = || rcgen::generate_simple_self_signed(vec!["plant-7".to_owned()]).unwrap();
    let (own, other) = (pair(), pair());
    let file = |name: &str, text: &str| Scratch::new(&format!("contents-{name}"), text);
    let certificate = file("cert.pem", &own.cert.pem());
    let key = file("key.pem", &own.signing_key.serialize_pem());
    let strange = file("strange.pem", &other.signing_key.serialize_pem());
    let garbage = file("garbage", "hunter2 is none of them");
    let set = |key: &str, file: &Scratch| format!("{key}={}", file.0.display());
    let of = |settings: &[String]| faults(&with(&settings.iter().map(String::as_str).collect::<Vec<_>>()));

    let found = of(&[
        "store.kind=redis".to_owned(),
        set("store.seal_key_file", &garbage),
        set("cluster.secret_file", &garbage),
        set("admin.tokens_file", &garbage),
        set("admin.tls.cert_file", &garbage),
        set("admin.tls.key_file", &key),
        set("admin.tls.client_ca_file", &garbage),
        set("cluster.tls.cert_file", &certificate),
        set("cluster.tls.key_file", &strange),
        set("cluster.tls.ca_file", &key),
    ]);
    for (fault, expected) in found.iter().zip([
        "store.seal_key_file (--set ",
        "cluster.secret_file (--set ",
        "admin.tokens_file (--set ",
        "admin.tls.cert_file (--set ",
        "admin.tls.client_ca_file (--set ",
        "cluster.tls.key_file (--set ",
        "cluster.tls.ca_file (--set ",
        "cluster.tls.cert_file (--set ",
    ]) {
        assert!(fault.starts_with(expected), "{expected}: {found:#?}");
        assert!(!fault.contains("hunter2 is"), "{fault}");
    }
    assert_eq!(found.len(), 8, "{found:#?}");
    assert!(found[5].contains("not the key of the certificate; give it the key of cluster.tls.cert_file"));
    assert!(found[7].contains("does not carry the name godwit") && found[7].contains("cluster.name"));

    let digits = file("digits", &"01".repeat(32));
    let shared = [
        "store.kind=redis".to_owned(),
        set("store.seal_key_file", &digits),
        set("cluster.secret_file", &digits),
        "cluster.name=plant-7".to_owned(),
        set("cluster.tls.cert_file", &certificate),
        set("cluster.tls.ca_file", &certificate),
    ];
    let with_key = |key: String| [&shared[..], &[key]].concat();
    let whole = with_key(set("cluster.tls.key_file", &key));
    assert!(load(&with(&whole.iter().map(String::as_str).collect::<Vec<_>>())).is_ok());
    let found = of(&with_key(format!("cluster.tls.key={}", other.signing_key.serialize_pem())));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("cluster.tls.key (--set cluster.tls.key): not the key of the certificate"),
        "{found:?}"
    );
    // With a store of its own a node has no peers.
    let alone = ["cert_file", "ca_file", "key_file"].map(|key| set(&format!("cluster.tls.{key}"), &strange));
    assert!(load(&with(&alone.each_ref().map(String::as_str))).is_ok());
}

#[test]
fn a_wildcard_is_blamed_on_the_setting_that_says_it() {
    let found = faults(&with(&["cluster.listen=127.0.0.1:5691", "cluster.advertise=0.0.0.0:5691"]));
    assert!(found.iter().all(|fault| fault.starts_with("cluster.advertise ")), "{found:#?}");
    assert!(found.iter().any(|fault| fault.contains("a wildcard")), "{found:#?}");
    let found = faults(&with(&["cluster.listen=0.0.0.0:5691"]));
    assert!(found.iter().all(|fault| fault.starts_with("cluster.listen ")), "{found:#?}");
    assert!(found.iter().any(|fault| fault.contains("set cluster.advertise")), "{found:#?}");
}
