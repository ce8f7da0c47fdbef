//! Handshakes recorded between other implementations (OpenSSL, GnuTLS, Scandium): our key schedule leads from their
//! secrets to their keys, and every protected record opens to what its sender meant.

#![allow(clippy::unwrap_used, reason = "a test")]

use data_encoding::HEXLOWER;
use godwit_dtls::{
    prf::{KeyPair, MasterSecret, Side, psk_premaster},
    protection::{Freshness, ReadKeys, Rejected, SealError, WriteKeys},
    record::{ContentType, Header, Record, Records},
    suite::CipherSuite,
    window::ReplayWindow,
};
use serde_json::Value;

fn vectors(kind: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("vectors/dtls.json")).unwrap();
    let all = file["vectors"].as_array().unwrap().iter();
    all.filter(|v| v["kind"] == kind).cloned().collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn suite(v: &Value) -> CipherSuite {
    let name = v["suite"].as_str().unwrap();
    CipherSuite::ALL.into_iter().find(|suite| suite.name() == name).unwrap()
}

fn key_pair(v: &Value) -> KeyPair {
    let cipher = suite(v).cipher(v["encrypt_then_mac"].as_bool().unwrap());
    let secret = MasterSecret::new(array(&v["master_secret"]));
    secret.keys(cipher, &array(&v["client_random"]), &array(&v["server_random"]))
}

fn content_type(name: &str) -> ContentType {
    match name {
        "change_cipher_spec" => ContentType::ChangeCipherSpec,
        "alert" => ContentType::Alert,
        "handshake" => ContentType::Handshake,
        "application_data" => ContentType::ApplicationData,
        "tls12_cid" => ContentType::Tls12Cid,
        other => panic!("{other}"),
    }
}

/// The CID that records *from* this side carry.
fn cid_from(v: &Value, side: &str) -> Vec<u8> {
    let name = if side == "client" { "client_to_server" } else { "server_to_client" };
    v["connection_id"].get(name).map(bytes).unwrap_or_default()
}

/// Calls back with each record as framed by us and as described by the recording.
fn each_record(v: &Value, mut check: impl FnMut(&Record<'_>, &Value)) -> usize {
    let mut described = v["records"].as_array().unwrap().iter();
    let mut opened = 0;
    for (index, datagram) in v["datagrams"].as_array().unwrap().iter().enumerate() {
        let cid = cid_from(v, datagram["from"].as_str().unwrap());
        for record in Records::parse(&bytes(&datagram["hex"]), cid.len()) {
            let (record, meant) = (record.unwrap(), described.next().unwrap());
            assert_eq!(meant["datagram"].as_u64().unwrap() as usize, index);
            assert_eq!(meant["from"], datagram["from"]);
            check(&record, meant);
            opened += usize::from(record.epoch > 0);
        }
    }
    assert_eq!(described.next(), None);
    opened
}

#[test]
fn headers_are_read_as_the_recording_describes_them() {
    for v in vectors("handshake") {
        each_record(&v, |record, meant| {
            assert_eq!(record.content_type, content_type(meant["type"].as_str().unwrap()));
            assert_eq!(u64::from(record.epoch), meant["epoch"].as_u64().unwrap());
            assert_eq!(record.number, meant["seq"].as_u64().unwrap());
            if let Some(cid) = meant.get("cid") {
                assert_eq!(record.cid, bytes(cid));
            }
        });
    }
}

#[test]
fn secrets_lead_to_the_recorded_keys() {
    let mut seen = 0;
    for v in vectors("handshake") {
        let id = v["id"].as_str().unwrap();
        if let Some(psk) = v.get("psk") {
            let premaster = psk_premaster(&bytes(psk));
            assert_eq!(*premaster, bytes(&v["premaster_secret"]), "{id}");
            let secret = if v["extended_master_secret"].as_bool().unwrap() {
                MasterSecret::extended(&premaster, &array(&v["session_hash"]))
            } else {
                MasterSecret::derive(&premaster, &array(&v["client_random"]), &array(&v["server_random"]))
            };
            assert_eq!(secret.as_bytes()[..], bytes(&v["master_secret"])[..], "{id}");
            seen += 1;
        }
        let secret = MasterSecret::new(array(&v["master_secret"]));
        for (side, name) in [(Side::Client, "client_finished"), (Side::Server, "server_finished")] {
            let hash = array(&v[name]["transcript_sha256"]);
            assert_eq!(secret.verify_data(side, &hash)[..], bytes(&v[name]["verify_data"])[..], "{id}");
        }
        let pair = key_pair(&v);
        for (side, keys) in [("client", &pair.client), ("server", &pair.server)] {
            let given = |part: &str| v["keys"].get(format!("{side}_write_{part}")).map(bytes);
            let parts = [given("key"), given("iv"), given("mac_key")];
            let joined: Vec<u8> = parts.into_iter().flatten().flatten().collect();
            assert_eq!(keys.to_bytes()[1..], joined[..], "{id} {}", v["keys"]);
        }
    }
    assert_eq!(seen, 9);
}

#[test]
fn every_protected_record_opens_to_what_was_meant() {
    let mut total = 0;
    for v in vectors("handshake") {
        let id = v["id"].as_str().unwrap();
        let (from_client, from_server) = {
            let pair = key_pair(&v);
            (ReadKeys::from(pair.client), ReadKeys::from(pair.server))
        };
        let mut windows = [ReplayWindow::new(); 2];
        total += each_record(&v, |record, meant| {
            if record.epoch == 0 {
                return;
            }
            let client = meant["from"] == "client";
            let keys = if client { &from_client } else { &from_server };
            let opened = keys.open(record).unwrap_or_else(|why| panic!("{id} {meant}: {why}"));
            assert_eq!(opened.plaintext, bytes(&meant["plaintext"]), "{id} {meant}");
            let inner = meant.get("inner_type").unwrap_or(&meant["type"]);
            assert_eq!(opened.content_type, content_type(inner.as_str().unwrap()), "{id} {meant}");
            assert!(windows[usize::from(client)].accept(record.number).is_some(), "{id} {meant}");

            // The same bytes under another number, or with the other side's keys, are nobody's.
            let moved = Record { number: record.number + 1, ..*record };
            assert_eq!(keys.open(&moved), Err(Rejected::Forged), "{id} {meant}");
            let others = if client { &from_server } else { &from_client };
            assert_eq!(others.open(record), Err(Rejected::Forged), "{id} {meant}");
        });
    }
    assert_eq!(total, 64);
}

/// The recording's own nonces and IVs.
struct Recorded<'a>(&'a [u8]);

impl Freshness for Recorded<'_> {
    fn nonce(&mut self, _: &Header<'_>) -> Result<[u8; 8], SealError> {
        Ok(self.0[..8].try_into().unwrap())
    }

    fn iv(&mut self) -> Result<[u8; 16], SealError> {
        Ok(self.0[..16].try_into().unwrap())
    }
}

#[test]
fn sealing_again_gives_the_same_bytes() {
    let mut same = 0;
    for v in vectors("handshake") {
        each_record(&v, |record, meant| {
            if record.epoch == 0 {
                return;
            }
            let pair = key_pair(&v);
            let keys = if meant["from"] == "client" { pair.client } else { pair.server };
            let inner = meant.get("inner_type").unwrap_or(&meant["type"]);
            let header = Header {
                content_type: content_type(inner.as_str().unwrap()),
                version: record.version,
                epoch: record.epoch,
                number: record.number,
                cid: record.cid,
            };
            let plaintext = bytes(&meant["plaintext"]);
            let inner = meant.get("inner_plaintext").map_or(plaintext.len() + 1, |i| bytes(i).len());
            let mut out = Vec::new();
            WriteKeys::from(keys)
                .seal_padded(
                    &header,
                    &plaintext,
                    inner - plaintext.len() - 1,
                    &mut Recorded(record.fragment),
                    &mut out,
                )
                .unwrap();
            assert!(out.ends_with(record.fragment), "{} {meant}", v["id"]);
            same += 1;
        });
    }
    assert_eq!(same, 64);
}

#[test]
fn single_records_are_framed_or_refused_as_expected() {
    for v in vectors("record") {
        let id = v["id"].as_str().unwrap();
        if !id.starts_with("pion-record-") {
            continue; // Inner plaintexts and additional data: units of `protection`.
        }
        let datagram = bytes(&v["hex"]);
        let records: Result<Vec<_>, _> = Records::parse(&datagram, 0).collect();
        assert_eq!(records.is_ok(), v["expect"] == "ok", "{id}");
        let (Ok(records), Some(fields)) = (records, v.get("fields")) else { continue };
        match fields.get("records") {
            Some(count) => assert_eq!(records.len() as u64, count.as_u64().unwrap()),
            None => {
                assert_eq!(u64::from(records[0].content_type.code()), fields["type"].as_u64().unwrap());
                assert_eq!(u64::from(records[0].epoch), fields["epoch"].as_u64().unwrap());
                assert_eq!(records[0].number, fields["seq"].as_u64().unwrap());
                assert_eq!(records[0].fragment.len() as u64, fields["length"].as_u64().unwrap());
            }
        }
    }
}
