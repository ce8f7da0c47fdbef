//! Every RPC × every role, against a running server.

use std::{collections::BTreeSet, time::Duration};

use bytes::{Buf, BufMut};
use data_encoding::HEXLOWER;
use godwit::{
    callers::{METHODS, Role, method},
    config,
};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use ring::digest;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

use crate::node::{Node, file, reason};

/// Bytes as they are: an empty message is a message of any type.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length).to_vec()))
    }
}

/// "/package.Service/Method" of every RPC that the server has.
fn described() -> BTreeSet<String> {
    let sets = [
        godwit_proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.into_iter().flat_map(|set| FileDescriptorSet::decode(set).unwrap().file);
    files
        .flat_map(|file| {
            let package = file.package().to_owned();
            file.service.into_iter().flat_map(move |service| {
                let service_name = format!("/{package}.{}/", service.name());
                service.method.into_iter().map(move |method| format!("{service_name}{}", method.name()))
            })
        })
        .collect()
}

/// Calls a method with an empty message; the code and reason of the refusal, if it was one.
async fn call(channel: &Channel, path: &str, token: Option<&str>) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::once(Vec::new()));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let path: PathAndQuery = path.parse().unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(10), grpc.streaming(request, path, Raw)).await;
    // A watch that was let in answers by headers; the body of all others is not of interest.
    answer.expect("an answer").map(drop)
}

fn tokens() -> std::path::PathBuf {
    let line = |role: &str| {
        let hash = digest::digest(&digest::SHA256, role.as_bytes());
        format!("{role}-caller {role} {}\n", HEXLOWER.encode(hash.as_ref()))
    };
    file(&["read", "operate", "admin"].map(line).concat())
}

#[test]
fn every_rpc_has_a_row_and_every_row_an_rpc() {
    let rows: BTreeSet<String> = METHODS.iter().map(|method| method.path.to_owned()).collect();
    assert_eq!(rows.len(), METHODS.len(), "a row twice");
    assert_eq!(rows, described());
}

#[tokio::test]
async fn every_rpc_lets_in_its_roles_and_no_others() {
    let node = Node::start(config::Admin { tokens_file: Some(tokens()), ..Default::default() }).await;
    let channel = node.channel().await;
    let roles = [None, Some(Role::Read), Some(Role::Operate), Some(Role::Admin)];
    for path in described() {
        let needed = method(&path).unwrap().role;
        for role in roles {
            let result = call(&channel, &path, role.map(Role::name)).await;
            let refused = match &result {
                Err(status) if status.code() == Code::Unauthenticated => Some("UNAUTHENTICATED"),
                Err(status) if status.code() == Code::PermissionDenied => Some("ROLE"),
                _ => None,
            };
            let expected = match (needed, role) {
                (None, _) => None,
                (Some(_), None) => Some("UNAUTHENTICATED"),
                (Some(needed), Some(role)) => (role < needed).then_some("ROLE"),
            };
            assert_eq!(refused, expected, "{path} as {role:?}: {result:?}");
            if let (Some(expected), Err(status)) = (expected, &result) {
                assert_eq!(reason(status), expected);
            }
        }
    }
}

#[tokio::test]
async fn a_method_without_a_row_is_denied_to_admins_too() {
    let node = Node::open().await;
    let channel = node.channel().await;
    for path in ["/godwit.v1.DeviceService/DropAll", "/godwit.v1.NoService/Get", "/x"] {
        let status = call(&channel, path, None).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "ROLE"), "{path}");
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let node = Node::start(config::Admin { tokens_file: Some(tokens()), ..Default::default() }).await;
    let channel = node.channel().await;
    let status = call(&channel, "/godwit.v1.DeviceService/ListDevices", Some("guess")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "UNAUTHENTICATED"));
}

#[tokio::test]
async fn on_loopback_without_tokens_every_caller_is_admin() {
    let node = Node::open().await;
    let status =
        call(&node.channel().await, "/godwit.v1.DeviceService/CreateDevice", None).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
}
