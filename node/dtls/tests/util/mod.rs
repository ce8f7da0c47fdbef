//! What several tests need: the recorded handshakes of `vectors/dtls.json`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses a part")]

use std::collections::BTreeMap;

use godwit_dtls::{
    message::{Fragments, Message, MessageType},
    record::{ContentType, Records},
};
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
    pub handshake: Option<Vec<String>>,
    pub datagram: usize,
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
    /// Every handshake message on the way, in order, each once: the plain ones from the datagrams, the others from the
    /// opened records.
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
        let mut plain: Vec<_> = self.datagrams.iter().map(|one| plain_handshake(&unhex(&one.hex))).collect();
        for record in self.records.iter().filter(|record| record.handshake.is_some()) {
            let plaintext = match &record.plaintext {
                Some(opened) => unhex(opened),
                None => plain[record.datagram].remove(0),
            };
            take(record.from == "client", &plaintext);
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

/// The fragment of each handshake record of epoch 0 in a datagram.
fn plain_handshake(datagram: &[u8]) -> Vec<Vec<u8>> {
    let records = Records::parse(datagram, 0).map_while(Result::ok);
    records
        .filter(|record| record.content_type == ContentType::Handshake && record.epoch == 0)
        .map(|record| record.fragment.to_vec())
        .collect()
}
