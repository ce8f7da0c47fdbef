//! Credentials of every mode, and the sessions that were made with them.

use data_encoding::BASE64;
use godwit::{
    identity::{AssociationId, DeviceId, Owner, SessionId},
    store::{Change, Claim, Fence, Numbers, Session, StateStore, value},
};
use godwit_proto::v1::{
    CreateDeviceRequest, Credential, Device, GetDeviceRequest, ResealRequest, UpdateDeviceRequest,
    credential::{Mode, Psk, RawPublicKey, X509},
    device::session::State,
    device_service_client::DeviceServiceClient,
    store_service_client::StoreServiceClient,
};
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _};
use tonic::{Code, transport::Channel};

use crate::node::{Node, field, reason};

type Client = DeviceServiceClient<Channel>;

fn create(endpoint: &str, credential: Credential) -> CreateDeviceRequest {
    let device = Device { endpoint: endpoint.to_owned(), credential: Some(credential), ..Default::default() };
    CreateDeviceRequest { device: Some(device), ..Default::default() }
}

fn rpk(key: &[u8]) -> Credential {
    Credential { rpk: Some(RawPublicKey { key: key.to_vec() }), ..Default::default() }
}

fn x509(x509: X509) -> Credential {
    Credential { x509: Some(x509), ..Default::default() }
}

fn certificate(name: &str) -> rcgen::Certificate {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

async fn shown(client: &mut Client, endpoint: &str) -> Device {
    client.get_device(GetDeviceRequest { name: endpoint.to_owned() }).await.unwrap().into_inner()
}

/// Writes a session as an endpoint does.
async fn with_session(
    store: &dyn StateStore,
    device: DeviceId,
    n: u8,
    session: impl FnOnce(Session) -> Session,
) {
    let owner = Owner { node: "test".into(), boot: 1 };
    let claimed = store.claim(device, &owner, Claim { create: false, seen: None }).await.unwrap();
    let fence = Fence { owner, term: claimed.term, claims: claimed.claims };
    let new = session(Session {
        association: AssociationId::from_bytes([n; 8]),
        id: SessionId::from_bytes([n; 32]),
        provisional: false,
        resumed: false,
        closed: false,
        numbers: Numbers::default(),
        established_at: godwit::clock::unix_ms() - 3 * 3_600_000 + u64::from(n),
        heard_at: 1_700_000_000_000,
        expires_at: 0,
        cid: vec![n; 8],
        peer_cid: Some(6),
        peer: "127.0.0.9:40000".parse().ok(),
        local: None,
        mode: value::credential::Mode::Psk,
        suite: 0xc0a8,
        credential_version: 1,
        sealed: b"sealed".to_vec(),
        answer: Vec::new(),
    });
    store.commit(device, fence, vec![Change::Session(Box::new(new))]).await.unwrap();
}

#[tokio::test]
async fn a_device_is_created_in_each_mode() {
    let node = Node::open().await;
    let mut client = Client::new(node.channel().await);
    let pair = KeyPair::generate().unwrap();
    let own = certificate("anything");
    let exact = X509 { certificate: own.pem().into_bytes(), ..Default::default() };
    let named = X509 { common_name: "cn".into(), issuer: own.der().to_vec(), ..Default::default() };
    let psk = Credential { psk: Some(Psk { identity: "me".into(), secret: None }), ..Default::default() };
    let cases = [
        (Credential::default(), Mode::NoSec),
        (psk, Mode::Psk),
        (rpk(pair.public_key_pem().as_bytes()), Mode::Rpk),
        (x509(exact), Mode::X509),
        (x509(named), Mode::X509),
        (Credential { modes: vec![Mode::X509.into()], ..Default::default() }, Mode::X509),
    ];
    for (n, (credential, mode)) in cases.into_iter().enumerate() {
        let endpoint = format!("ep{n}");
        client.create_device(create(&endpoint, credential)).await.unwrap();
        let credential = shown(&mut client, &endpoint).await.credential.unwrap();
        assert_eq!(credential.modes().collect::<Vec<_>>(), [mode], "{endpoint}");
    }
    let key = shown(&mut client, "ep2").await.credential.unwrap().rpk.unwrap().key;
    assert_eq!(key, pair.subject_public_key_info(), "as DER, whatever form it was given in");
    let shown = shown(&mut client, "ep4").await.credential.unwrap();
    let again = client.create_device(create("again", shown)).await.unwrap_err();
    assert_eq!(reason(&again), "NAME_TAKEN", "what is shown may be given again");
}

#[tokio::test]
async fn keys_certificates_and_names_belong_to_one_device() {
    let node = Node::open().await;
    let mut client = Client::new(node.channel().await);
    let key = rpk(&KeyPair::generate().unwrap().subject_public_key_info());
    let exact = x509(X509 { certificate: certificate("a").der().to_vec(), ..Default::default() });
    let named = x509(X509 { common_name: "cn".into(), ..Default::default() });
    for (credential, expected) in [(key, "KEY_TAKEN"), (exact, "CERTIFICATE_TAKEN"), (named, "NAME_TAKEN")] {
        client.create_device(create(expected, credential.clone())).await.unwrap();
        let taken = client.create_device(create("other", credential)).await.unwrap_err();
        assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, expected));
    }
}

#[tokio::test]
async fn bad_credentials_name_the_field_and_quote_nothing() {
    let node = Node::open().await;
    let mut client = Client::new(node.channel().await);
    let bad = |name: &str| format!("device.credential.{name}");
    let cases = [
        (rpk(b"3059zz"), bad("rpk.key")),
        (rpk(b""), bad("rpk.key")),
        (x509(X509 { certificate: b"MIIB".to_vec(), ..Default::default() }), bad("x509.certificate")),
        (x509(X509 { issuer: b"nobody".to_vec(), ..Default::default() }), bad("x509.issuer")),
        (x509(X509 { common_name: "x".repeat(256), ..Default::default() }), bad("x509.common_name")),
        (Credential { modes: vec![Mode::Rpk.into()], ..Default::default() }, bad("rpk")),
        (Credential { modes: vec![Mode::NoSec.into()], ..rpk(b"x") }, bad("modes")),
    ];
    for (credential, expected) in cases {
        let status = client.create_device(create("ep", credential)).await.unwrap_err();
        assert_eq!(field(&status), expected);
        assert!(!status.message().contains("3059zz"), "{}", status.message());
    }
}

#[tokio::test]
async fn a_changed_credential_counts_its_version_and_is_told() {
    let node = Node::open().await;
    let mut client = Client::new(node.channel().await);
    let first = rpk(&KeyPair::generate().unwrap().subject_public_key_info());
    client.create_device(create("ep", first)).await.unwrap();
    let version = async || {
        let record = node.store.load(DeviceId::of("ep")).await.unwrap().unwrap();
        record.document.unwrap().credential.unwrap().version
    };
    let before = version().await;
    let second = rpk(&KeyPair::generate().unwrap().subject_public_key_info());
    let device = Device { endpoint: "ep".into(), credential: Some(second), ..Default::default() };
    client.update_device(UpdateDeviceRequest { device: Some(device), update_mask: None }).await.unwrap();
    assert!(version().await > before, "sessions of the first one no longer count");
    assert_eq!(node.endpoints.told.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_device_shows_its_sessions_newest_first() {
    let node = Node::open().await;
    let mut client = Client::new(node.channel().await);
    let psk = Credential { modes: vec![Mode::Psk.into()], psk: Some(Psk::default()), ..Default::default() };
    client.create_device(create("ep", psk)).await.unwrap();
    let device = DeviceId::of("ep");
    with_session(&*node.store, device, 1, |it| Session { closed: true, ..it }).await;
    with_session(&*node.store, device, 2, |it| Session { resumed: true, cid: Vec::new(), ..it }).await;
    let sessions = shown(&mut client, "ep").await.sessions;
    assert_eq!(
        sessions.iter().map(godwit_proto::v1::device::Session::state).collect::<Vec<_>>(),
        [State::Live, State::Closed]
    );
    let (newest, oldest) = (&sessions[0], &sessions[1]);
    assert_eq!((newest.mode(), newest.resumed, newest.connection_id_length), (Mode::Psk, true, 0));
    assert_eq!((oldest.connection_id_length, oldest.peer_connection_id_length), (8, 6));
    assert_eq!(newest.cipher_suite, "TLS_PSK_WITH_AES_128_CCM_8");
    assert_eq!(newest.last_heard_time.as_ref().unwrap().seconds, 1_700_000_000);

    let run = crate::ctl::ok(&node, &["devices", "show", "ep"]).await.out;
    for expected in
        ["SESSION", "live", "closed", "TLS_PSK_WITH_AES_128_CCM_8", "8 bytes", "none", "3 h", "yes"]
    {
        assert!(run.contains(expected), "no {expected} in\n{run}");
    }
    assert!(!run.contains("127.0.0.9"), "an address is for --output json");
}

#[tokio::test]
async fn ctl_takes_keys_and_certificates_from_files_and_as_digits() {
    let node = Node::open().await;
    let pair = KeyPair::generate().unwrap();
    let pem = crate::node::file(&pair.public_key_pem());
    let digits = BASE64.encode(certificate("a").der());
    let run = async |arguments: &[&str]| {
        let arguments = [&["devices", "create"], arguments, &["-o", "json"]].concat();
        crate::ctl::ok(&node, &arguments).await.json().remove(0)
    };
    let rpk = run(&["a", "--rpk", pem.to_str().unwrap(), "--activation-timeout", "3600"]).await;
    assert_eq!(rpk["credential"]["rpk"]["key"], BASE64.encode(&pair.subject_public_key_info()));
    assert!(rpk["activateByTime"].is_string());
    let exact = run(&["b", "--x509-certificate", &digits]).await;
    assert_eq!(exact["credential"]["x509"]["certificate"], digits);
    let named = run(&["c", "--x509-common-name", "{}-cn"]).await;
    assert_eq!(named["credential"]["x509"]["commonName"], "c-cn");
    let both = run(&["d", "--x509", "--psk", "--psk-hex", "00ff"]).await;
    assert_eq!(both["credential"]["modes"].as_array().unwrap().len(), 2);
    let table = crate::ctl::ok(&node, &["devices", "list"]).await.out;
    assert!(table.contains("RPK") && table.contains("PSK+X509"), "{table}");
    let missing = crate::ctl::ctl(&node, &["devices", "create", "e", "--rpk", "no/such.pem"]).await;
    assert!(missing.err.contains("no/such.pem"), "{}", missing.err);
}

#[tokio::test]
async fn thingsboards_raw_keys_and_certificates_are_imported() {
    let node = Node::open().await;
    let key = BASE64.encode(&KeyPair::generate().unwrap().subject_public_key_info());
    let own = BASE64.encode(certificate("a").der());
    let client = |mode: &str, name: &str, value: &str| {
        format!(
            r#"{{"configKey": "{mode}-1", "credentials": {{"client": {{"securityConfigClientMode": "{mode}", "endpoint": "", "{name}": "{value}"}}}}}}"#
        )
    };
    let file =
        crate::node::file(&format!("[{}, {}]", client("RPK", "key", &key), client("X509", "cert", &own)));
    let path = file.to_str().unwrap();
    crate::ctl::ok(&node, &["devices", "import", path, "--format", "thingsboard"]).await;
    let mut devices = Client::new(node.channel().await);
    let rpk = shown(&mut devices, "RPK-1").await.credential.unwrap();
    assert_eq!(BASE64.encode(&rpk.rpk.unwrap().key), key);
    let x509 = shown(&mut devices, "X509-1").await.credential.unwrap();
    assert_eq!(BASE64.encode(&x509.x509.unwrap().certificate), own);
}

#[tokio::test]
async fn resealing_names_the_devices_whose_sessions_their_owners_must_write() {
    let node = Node::open().await;
    let mut client = Client::new(node.channel().await);
    let psk = Credential { psk: Some(Psk::default()), ..Default::default() };
    for endpoint in ["a", "b"] {
        client.create_device(create(endpoint, psk.clone())).await.unwrap();
    }
    with_session(&*node.store, DeviceId::of("a"), 1, |it| it).await;
    let mut store = StoreServiceClient::new(node.channel().await);
    let request = ResealRequest { page_size: 1, ..Default::default() };
    let first = store.reseal(request).await.unwrap().into_inner();
    let rest = ResealRequest { page_token: first.next_page_token.clone(), ..Default::default() };
    let second = store.reseal(rest).await.unwrap().into_inner();
    assert_eq!((first.devices, second.devices, second.next_page_token.as_str()), (1, 1, ""));
    assert_eq!((first.sessions + second.sessions, first.credentials + second.credentials), (1, 0));
    let told = node.endpoints.told.lock().unwrap().clone();
    assert!(told.contains(&format!("reclaim {}", DeviceId::of("a"))), "{told:?}");
}

#[tokio::test]
async fn a_time_to_be_used_in_may_be_set_and_reset() {
    let node = Node::open().await;
    let mut client = Client::new(node.channel().await);
    let timeout = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let device = Device { endpoint: "ep".into(), activation_timeout: timeout(60), ..Default::default() };
    let request = CreateDeviceRequest { device: Some(device.clone()), ..Default::default() };
    let created = client.create_device(request).await.unwrap().into_inner();
    let by = created.activate_by_time.unwrap();
    let device = Device { activation_timeout: timeout(3600), ..device };
    let request = UpdateDeviceRequest { device: Some(device.clone()), update_mask: None };
    let later = client.update_device(request).await.unwrap().into_inner().activate_by_time.unwrap();
    assert!(later.seconds > by.seconds + 3000);
    let device = Device { activation_timeout: timeout(0), ..device };
    let request = UpdateDeviceRequest { device: Some(device.clone()), update_mask: None };
    assert_eq!(client.update_device(request).await.unwrap().into_inner().activate_by_time, None);
    let device = Device { endpoint: "b".into(), activation_timeout: timeout(-1), ..device };
    let request = CreateDeviceRequest { device: Some(device), ..Default::default() };
    assert_eq!(field(&client.create_device(request).await.unwrap_err()), "device.activation_timeout");
}
