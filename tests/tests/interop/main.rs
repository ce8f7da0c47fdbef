//! DTLS clients of other makers against the node: one row per peer × mode × suite × {no CID, CID} × {full, resumed}.
//!
//! Each row proves, from what passed on the way, the suite, the connection id in content type 25, whether the handshake was
//! abbreviated, application data in both directions, and with a connection id no new handshake from another address. The
//! checker reads every record that it has keys for, and tshark judges the server's datagrams. What a peer can't do is in
//! `table::SKIPS`, with why. The results are the table in ARCHITECTURE.md: `UPDATE_DOCS=1` writes it.
#![allow(missing_docs, clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

mod command;
mod crates;
mod jumps;
mod leshan;
mod peer;
mod run;
mod table;
mod tshark;
mod world;

use std::{collections::BTreeSet, fs, path::Path};

use run::run;
use table::{Case, PEERS, Row, SKIPS, rendered};
use tshark::Recorded;
use world::World;

/// Every case of one peer. A peer that isn't installed is a printed skip; with CI=true a failure.
fn peer(name: &str) {
    let world = World::start();
    let (mut failures, mut recorded) = (Vec::new(), Recorded::default());
    for case in Case::all().filter(|case| case.peer == name) {
        let rows: Vec<Row> = case.rows().collect();
        for row in &rows {
            if let Some(reason) = row.skipped() {
                println!("skipped: {row}: {reason}");
            }
        }
        if rows.iter().all(|row| row.skipped().is_some()) {
            continue;
        }
        match run(&world, &case, &mut recorded) {
            Some(Ok(())) => println!("passed: {case}"),
            Some(Err(why)) => failures.push(format!("{case}: {why}")),
            None => return,
        }
    }
    if let Err(why) = recorded.judge(world.folder()) {
        failures.push(why);
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

macro_rules! peers {
    ($($test:ident $name:literal)*) => {
        $(#[test] fn $test() { peer($name); })*

        #[test]
        fn every_peer_of_the_table_has_its_test() {
            let tested = BTreeSet::from([$($name),*]);
            assert_eq!(tested, PEERS.iter().map(|peer| peer.name).collect());
        }
    };
}

peers! {
    openssl "OpenSSL"
    gnutls "GnuTLS"
    scandium "Scandium"
    libcoap_with_openssl "libcoap (OpenSSL)"
    libcoap_with_gnutls "libcoap (GnuTLS)"
    tinydtls "tinydtls (aiocoap)"
    pion "pion"
    webrtc "webrtc-dtls"
    dimpl "dimpl"
    mbedtls "Mbed TLS"
    node_coap_client "node-coap-client"
}

#[test]
fn every_skip_is_of_a_row() {
    let rows: Vec<Row> = Case::all().flat_map(|case| case.rows().collect::<Vec<_>>()).collect();
    for skip in SKIPS {
        assert!(rows.iter().any(|row| skip.covers(row)), "{skip:?} covers no row");
    }
}

#[test]
fn the_table_in_architecture_is_this_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = fs::read_to_string(&path).unwrap();
    let (start, end) = ("<!-- interoperability: begin -->\n", "<!-- interoperability: end -->");
    let (before, rest) = text.split_once(start).expect("the marker of the table's begin");
    let (table, after) = rest.split_once(end).expect("the marker of the table's end");
    let wanted = rendered();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{start}{wanted}{end}{after}")).unwrap();
    } else {
        assert_eq!(table, wanted, "run with UPDATE_DOCS=1");
    }
}
