//! What several tests need: the recorded handshakes of `vectors/dtls.json`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses a part")]

use std::collections::BTreeMap;

use godwit_dtls::message::{Fragments, Message, MessageType};
use serde::Deserialize;

/// One vector of `dtls.json`; which members it has follows from `kind`.
#[derive(Debug, Deserialize)]
pub struct Vector {
    pub id: String,
    pub kind: String,
    pub expect: Option<String>,
    pub hex: Option<String>,
    pub fields: Option<serde_json::Value>,
    pub suite: Option<String>,
    pub client_random: Option<String>,
    pub server_random: Option<String>,
    pub session_hash: Option<String>,
    pub client_finished: Option<RecordedFinished>,
    pub server_finished: Option<RecordedFinished>,
    #[serde(default)]
    pub datagrams: Vec<RecordedDatagram>,
    #[serde(default)]
    pub records: Vec<RecordedRecord>,
}

#[derive(Debug, Deserialize)]
pub struct RecordedFinished {
    pub transcript_sha256: String,
    pub verify_data: String,
}

#[derive(Debug, Deserialize)]
pub struct RecordedDatagram {
    pub from: String,
    pub hex: String,
}

#[derive(Debug, Deserialize)]
pub struct RecordedRecord {
    pub from: String,
    pub r#type: String,
    pub epoch: u16,
    pub plaintext: Option<String>,
}

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

pub fn vectors(kind: &str) -> Vec<Vector> {
    let file: File = serde_json::from_str(include_str!("../vectors/dtls.json")).unwrap();
    file.vectors.into_iter().filter(|vector| vector.kind == kind).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
}

pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// A message as one side sent it, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub client: bool,
    pub message: Message,
}

impl Vector {
    /// Every handshake message on the way, in order, each once: the plain ones from the datagrams, the two Finished
    /// from the opened records.
    pub fn messages(&self) -> Vec<Sent> {
        let mut parts: BTreeMap<(bool, u16, u8), Vec<u8>> = BTreeMap::new();
        let mut order = Vec::new();
        let mut take = |client: bool, plaintext: &[u8]| {
            for fragment in Fragments::parse(plaintext) {
                let fragment = fragment.unwrap();
                let key = (client, fragment.seq, fragment.kind.0);
                let body = parts.entry(key).or_insert_with(|| {
                    order.push(key);
                    vec![0; fragment.total]
                });
                body[fragment.offset..][..fragment.bytes.len()].copy_from_slice(fragment.bytes);
            }
        };
        for datagram in &self.datagrams {
            for (epoch, kind, fragment) in plain_records(&unhex(&datagram.hex)) {
                if epoch == 0 && kind == 22 {
                    take(datagram.from == "client", &fragment);
                }
            }
        }
        for record in self.records.iter().filter(|record| record.r#type == "handshake" && record.epoch == 1) {
            take(record.from == "client", &unhex(record.plaintext.as_deref().unwrap()));
        }
        order
            .into_iter()
            .map(|key| {
                let (client, seq, kind) = key;
                Sent { client, message: Message { kind: MessageType(kind), seq, body: parts[&key].clone() } }
            })
            .collect()
    }
}

/// Epoch, type and fragment of each record without a connection id.
pub fn plain_records(mut datagram: &[u8]) -> Vec<(u16, u8, Vec<u8>)> {
    let mut records = Vec::new();
    while let [kind, _, _, e1, e0, _, _, _, _, _, _, l1, l0, rest @ ..] = datagram {
        let len = usize::from(u16::from_be_bytes([*l1, *l0]));
        if *kind == 25 || rest.len() < len {
            break;
        }
        records.push((u16::from_be_bytes([*e1, *e0]), *kind, rest[..len].to_vec()));
        datagram = &rest[len..];
    }
    records
}
