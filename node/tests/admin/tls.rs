//! TLS, client certificates, and settings that are refused at the start.

use std::{io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};

use godwit::{
    admin::{Admin, Parts, ServeError},
    callers::Role,
    config::{self, Tls},
};
use godwit_proto::v1::{CreateDeviceRequest, ListDevicesRequest, device_service_client::DeviceServiceClient};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::node::{Node, file, reason};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

async fn client(
    node: &Node,
    authority: &Authority,
    name: Option<&str>,
) -> Result<DeviceServiceClient<Channel>, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.pem()))
        .domain_name("localhost");
    if let Some(name) = name {
        let (certificate, key) = authority.issue(name);
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Channel::from_shared(node.url.clone()).unwrap().tls_config(tls).unwrap();
    Ok(DeviceServiceClient::new(endpoint.connect().await?))
}

fn tls(authority: &Authority) -> Tls {
    let (certificate, key) = authority.issue("localhost");
    Tls {
        cert_file: Some(file(&certificate)),
        key_file: Some(file(&key)),
        client_ca_file: Some(file(&authority.pem())),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_client_certificates_name_gives_the_role() {
    let authority = Authority::new();
    let config = config::Admin {
        tls: tls(&authority),
        tokens_file: Some(file("ops.example admin -\n")),
        client_role: Role::Read,
        ..Default::default()
    };
    let node = Node::start(config).await;

    let mut ops = client(&node, &authority, Some("ops.example")).await.unwrap();
    let status = ops.create_device(CreateDeviceRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD", "let in");

    let mut other = client(&node, &authority, Some("other.example")).await.unwrap();
    other.list_devices(ListDevicesRequest::default()).await.unwrap();
    let status = other.create_device(CreateDeviceRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), "ROLE");
    assert!(status.message().contains("other.example"), "{status:?}");
}

#[tokio::test]
async fn without_a_certificate_of_our_authority_nobody_gets_in() {
    let authority = Authority::new();
    let node = Node::start(config::Admin { tls: tls(&authority), ..Default::default() }).await;
    // TLS 1.3 lets a client find out at its first read only.
    let outcome = match client(&node, &authority, None).await {
        Ok(mut client) => client.list_devices(ListDevicesRequest::default()).await.map(drop).is_err(),
        Err(_) => true,
    };
    assert!(outcome, "let in without a certificate");
}

async fn bound(config: config::Admin) -> Result<Admin, ServeError> {
    let node = Node::open().await;
    let parts = Parts {
        place: crate::node::place(),
        store: node.store.clone(),
        endpoints: node.endpoints.clone(),
        models: Arc::default(),
        tail: node.tail.clone(),
        sink: Arc::new(godwit::telemetry::sink::StdoutSink::to(std::io::sink(), 1 << 10).unwrap()),
        node: "node-1".into(),
        sealer: Arc::new(godwit::seal::Sealer::new(&[1; 32])),
        operation_ttl: Duration::from_secs(1),
    };
    Admin::bind(&config, parts)
}

async fn refused(config: config::Admin) -> ServeError {
    bound(config).await.err().expect("a refusal")
}

#[tokio::test]
async fn callers_of_a_node_that_does_not_serve_yet_are_refused_at_once() {
    let config = config::Admin { listen: "127.0.0.1:0".parse().unwrap(), ..Default::default() };
    let admin = bound(config).await.unwrap();
    let address = admin.local_addr();
    let error = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let _listening = admin.listen().unwrap();
    TcpStream::connect(address).await.unwrap();
}

#[tokio::test]
async fn settings_that_would_let_everybody_in_are_start_errors() {
    let anywhere = config::Admin { listen: "0.0.0.0:0".parse().unwrap(), ..Default::default() };
    assert!(matches!(refused(anywhere.clone()).await, ServeError::Plaintext(_)));
    let plaintext = config::Admin { allow_plaintext: true, ..anywhere };
    assert!(matches!(refused(plaintext).await, ServeError::Unauthenticated(_)));
}

#[tokio::test]
async fn settings_that_cant_work_are_start_errors() {
    let with_tls =
        |tls: Tls| config::Admin { listen: "127.0.0.1:0".parse().unwrap(), tls, ..Default::default() };
    let missing = Some(PathBuf::from("/nonexistent/file"));
    let certificate = Tls { cert_file: missing.clone(), ..Default::default() };
    assert!(matches!(refused(with_tls(certificate)).await, ServeError::Incomplete(_)));
    let authority = Tls { client_ca_file: missing.clone(), ..Default::default() };
    assert!(matches!(refused(with_tls(authority)).await, ServeError::Incomplete(_)));
    let both = Tls { cert_file: missing.clone(), key_file: missing.clone(), ..Default::default() };
    assert!(matches!(refused(with_tls(both)).await, ServeError::File { .. }));
    let tokens = config::Admin { tokens_file: missing, ..with_tls(Tls::default()) };
    assert!(matches!(refused(tokens).await, ServeError::Tokens(_)));
    let taken = Node::open().await;
    let listen = taken.url.trim_start_matches("http://").parse().unwrap();
    let same = config::Admin { listen, ..Default::default() };
    assert!(matches!(refused(same).await, ServeError::Listen(..)));
}
