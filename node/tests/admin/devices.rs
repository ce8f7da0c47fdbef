//! `DeviceService`.

use std::collections::HashSet;

use godwit::{identity::DeviceId, seal::Sealer};
use godwit_proto::v1::{
    BatchCreateDevicesRequest, CreateDeviceRequest, Credential, DeleteDeviceRequest, Device,
    ExportDevicesRequest, GetDeviceRequest, ListDevicesRequest, RotateSecretRequest, UpdateDeviceRequest,
    batch_create_devices_response::outcome::Outcome,
    credential::{Mode, Psk, psk::Secret},
    device_service_client::DeviceServiceClient,
};
use prost_types::FieldMask;
use tonic::{Code, transport::Channel};

use crate::node::{Node, field, reason};

type Client = DeviceServiceClient<Channel>;

async fn node() -> (Node, Client) {
    let node = Node::open().await;
    let client = Client::new(node.channel().await);
    (node, client)
}

fn create(endpoint: &str) -> CreateDeviceRequest {
    let device = Device { endpoint: endpoint.to_owned(), ..Default::default() };
    CreateDeviceRequest { device: Some(device), ..Default::default() }
}

fn with_psk(endpoint: &str, identity: &str, secret: Option<Secret>) -> CreateDeviceRequest {
    let mut request = create(endpoint);
    let psk = Psk { identity: identity.to_owned(), secret };
    request.device.as_mut().unwrap().credential = Some(Credential { psk: Some(psk), ..Default::default() });
    request
}

fn named(name: &str) -> GetDeviceRequest {
    GetDeviceRequest { name: name.to_owned() }
}

#[tokio::test]
async fn a_device_is_found_by_its_id_and_by_its_endpoint_name() {
    let (node, mut client) = node().await;
    let created = client.create_device(create("urn:dev:a/b")).await.unwrap().into_inner();
    assert_eq!(created.name, format!("devices/{}", DeviceId::of("urn:dev:a/b")));
    assert_eq!(created.profile, "profiles/default");
    assert_eq!(created.credential.as_ref().unwrap().modes, [i32::from(Mode::NoSec)]);
    for name in [&created.name, &created.name["devices/".len()..], "urn:dev:a/b", "devices/urn:dev:a/b"] {
        assert_eq!(client.get_device(named(name)).await.unwrap().into_inner(), created, "{name}");
    }
    assert_eq!(*node.endpoints.told.lock().unwrap(), [created.name]);
}

#[tokio::test]
async fn a_second_create_is_refused_and_a_repeated_one_answered_again() {
    let (_node, mut client) = node().await;
    let mut request = with_psk("ep", "", None);
    request.request_id = "123e4567-e89b-42d3-a456-426614174000".to_owned();
    let first = client.create_device(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.generated_secret.len(), 32);
    let again = client.create_device(request).await.unwrap().into_inner();
    assert_eq!(again, first);
    let other = client.create_device(create("ep")).await.unwrap_err();
    assert_eq!((other.code(), reason(&other).as_str()), (Code::AlreadyExists, "DEVICE_EXISTS"));
}

#[tokio::test]
async fn secrets_are_sealed_in_the_store_and_never_shown_again() {
    let (node, mut client) = node().await;
    let secret = Some(Secret::Hex("c0ffee".to_owned()));
    let created = client.create_device(with_psk("ep", "me", secret)).await.unwrap().into_inner();
    assert_eq!(created.generated_secret, "");
    let shown = client.get_device(named("ep")).await.unwrap().into_inner();
    assert_eq!(shown.credential.unwrap().psk, Some(Psk { identity: "me".to_owned(), secret: None }));
    let device = DeviceId::of("ep");
    let stored = node.store.load(device).await.unwrap().unwrap().document.unwrap().credential.unwrap();
    assert!(!stored.secret.windows(3).any(|bytes| bytes == [0xc0, 0xff, 0xee]));
    assert_eq!(Sealer::new(&[1; 32]).open(device, &stored.secret), Ok(vec![0xc0, 0xff, 0xee]));
}

#[tokio::test]
async fn a_psk_identity_belongs_to_one_device() {
    let (_node, mut client) = node().await;
    client.create_device(with_psk("a", "shared", None)).await.unwrap();
    let taken = client.create_device(with_psk("b", "shared", None)).await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, "IDENTITY_TAKEN"));
}

#[tokio::test]
async fn a_rotation_gives_a_new_secret_once_and_needs_an_old_one() {
    let (_node, mut client) = node().await;
    client.create_device(with_psk("ep", "", None)).await.unwrap();
    client.create_device(create("plain")).await.unwrap();
    let request = |name: &str| RotateSecretRequest { name: name.to_owned(), ..Default::default() };
    let rotated = client.rotate_secret(request("ep")).await.unwrap().into_inner();
    assert_eq!(rotated.generated_secret.len(), 32);
    assert_eq!(client.get_device(named("ep")).await.unwrap().into_inner().generated_secret, "");
    let refused = client.rotate_secret(request("plain")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "NO_SECRET"));
}

#[tokio::test]
async fn an_export_is_what_a_create_takes() {
    let (node, mut client) = node().await;
    for endpoint in ["a", "b", "c"] {
        let secret = Some(Secret::Hex(format!("{endpoint}0ffee{endpoint}0")));
        client.create_device(with_psk(endpoint, "", secret)).await.unwrap();
    }
    let mut request = ExportDevicesRequest { page_size: 2, seal_key: vec![7; 32], ..Default::default() };
    let mut exported = Vec::new();
    while {
        let page = client.export_devices(request.clone()).await.unwrap().into_inner();
        exported.extend(page.devices);
        request.page_token = page.next_page_token;
        !request.page_token.is_empty()
    } {}
    assert_eq!(exported.len(), 3);

    let device = exported.remove(0);
    let id = DeviceId::of(&device.endpoint);
    let stored = async || node.store.load(id).await.unwrap().unwrap().document.unwrap().credential.unwrap();
    let open = |sealed: &[u8]| Sealer::new(&[1; 32]).open(id, sealed).unwrap();
    let before = open(&stored().await.secret);
    let delete = DeleteDeviceRequest { name: device.name.clone(), ..Default::default() };
    client.delete_device(delete).await.unwrap();
    let again =
        CreateDeviceRequest { device: Some(device.clone()), seal_key: vec![7; 32], ..Default::default() };
    client.create_device(again.clone()).await.unwrap();
    assert_eq!(open(&stored().await.secret), before);

    let other = CreateDeviceRequest { seal_key: vec![8; 32], ..again.clone() };
    assert_eq!(field(&client.create_device(other).await.unwrap_err()), "seal_key");
    let short = CreateDeviceRequest { seal_key: vec![7; 31], ..again };
    assert_eq!(field(&client.create_device(short).await.unwrap_err()), "seal_key");
    let device = Device { etag: String::new(), ..device };
    let update = UpdateDeviceRequest { device: Some(device), ..Default::default() };
    let refused = client.update_device(update).await.unwrap_err();
    assert_eq!(field(&refused), "device.credential.psk.sealed");
}

#[tokio::test]
async fn bad_requests_name_the_field() {
    let (_node, mut client) = node().await;
    let mut check = async |request: CreateDeviceRequest, expected: &str| {
        let status = client.create_device(request).await.unwrap_err();
        assert_eq!(field(&status), expected);
    };
    check(CreateDeviceRequest::default(), "device").await;
    check(create(""), "device.endpoint").await;
    check(CreateDeviceRequest { request_id: "7".to_owned(), ..create("ep") }, "request_id").await;
    check(with_psk("ep", "", Some(Secret::Hex("abc".to_owned()))), "device.credential.psk.hex").await;
    let mut request = create("ep");
    request.device.as_mut().unwrap().profile = "profiles/none".to_owned();
    check(request, "device.profile").await;
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names() {
    let (_node, mut client) = node().await;
    client.create_device(create("ep")).await.unwrap();
    let mut device = Device { endpoint: "ep".to_owned(), disabled: true, ..Default::default() };
    device.profile = "demo".to_owned();
    let mut request = UpdateDeviceRequest { device: Some(device), update_mask: None };
    request.update_mask = Some(FieldMask { paths: vec!["disabled".to_owned()] });
    let updated = client.update_device(request.clone()).await.unwrap().into_inner();
    assert_eq!((updated.disabled, updated.profile.as_str()), (true, "profiles/default"));
    request.update_mask = None;
    let updated = client.update_device(request.clone()).await.unwrap().into_inner();
    assert_eq!(updated.profile, "profiles/demo");

    request.update_mask = Some(FieldMask { paths: vec!["endpoint".to_owned()] });
    assert_eq!(field(&client.update_device(request.clone()).await.unwrap_err()), "update_mask");
    request.update_mask = None;
    request.device.as_mut().unwrap().etag = "1".to_owned();
    let stale = client.update_device(request).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
}

#[tokio::test]
async fn a_deleted_device_is_gone() {
    let (_node, mut client) = node().await;
    client.create_device(create("ep")).await.unwrap();
    let request = DeleteDeviceRequest { name: "ep".to_owned(), etag: "99".to_owned() };
    assert_eq!(reason(&client.delete_device(request.clone()).await.unwrap_err()), "ETAG_MISMATCH");
    let request = DeleteDeviceRequest { etag: String::new(), ..request };
    client.delete_device(request.clone()).await.unwrap();
    for status in
        [client.delete_device(request).await.unwrap_err(), client.get_device(named("ep")).await.unwrap_err()]
    {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NO_SUCH_DEVICE"));
    }
}

#[tokio::test]
async fn a_batch_creates_what_it_can() {
    let (_node, mut client) = node().await;
    let requests = vec![create("a"), create(""), create("b"), create("a")];
    let answer = client.batch_create_devices(BatchCreateDevicesRequest { requests }).await.unwrap();
    let outcomes: Vec<_> = answer.into_inner().outcomes.into_iter().map(|o| o.outcome.unwrap()).collect();
    assert!(matches!(&outcomes[0], Outcome::Device(device) if device.endpoint == "a"));
    assert!(matches!(&outcomes[1], Outcome::Failure(failure) if failure.field == "device.endpoint"));
    assert!(matches!(&outcomes[2], Outcome::Device(device) if device.endpoint == "b"));
    assert!(matches!(&outcomes[3], Outcome::Failure(failure) if failure.reason == "DEVICE_EXISTS"));
    let empty = client.batch_create_devices(BatchCreateDevicesRequest::default()).await.unwrap_err();
    assert_eq!(field(&empty), "requests");
}

#[tokio::test]
async fn pages_show_each_device_once() {
    let (_node, mut client) = node().await;
    let mut requests: Vec<_> = (0..250).map(|number| create(&format!("lamp-{number}"))).collect();
    requests.push(create("door"));
    client.batch_create_devices(BatchCreateDevicesRequest { requests }).await.unwrap();
    let mut seen = HashSet::new();
    let mut request =
        ListDevicesRequest { page_size: 64, endpoint_prefix: "lamp-".to_owned(), ..Default::default() };
    loop {
        let page = client.list_devices(request.clone()).await.unwrap().into_inner();
        assert!(page.devices.len() <= 64);
        for device in page.devices {
            assert!(seen.insert(device.endpoint.clone()), "{} came twice", device.endpoint);
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 250);
    request.page_token = "made up".to_owned();
    assert_eq!(field(&client.list_devices(request.clone()).await.unwrap_err()), "page_token");
    request.page_size = -1;
    assert_eq!(field(&client.list_devices(request).await.unwrap_err()), "page_size");
}
