//! The audit log.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use godwit_proto::v1::{
    CreateDeviceRequest, Credential, DeleteDeviceRequest, Device, ListDevicesRequest,
    credential::{Psk, psk::Secret},
    device_service_client::DeviceServiceClient,
};
use serde_json::Value;

use crate::node::{Node, listen_to_every_event};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_change_leaves_one_line_without_secrets() {
    listen_to_every_event();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    // The server runs on this test's thread.
    let _guard = tracing::subscriber::set_default(subscriber);

    let node = Node::open().await;
    let mut client = DeviceServiceClient::new(node.channel().await);
    let psk = Psk { identity: String::new(), secret: Some(Secret::Hex("deadbeefcafe".to_owned())) };
    let credential = Some(Credential { psk: Some(psk), ..Default::default() });
    let device = Some(Device { endpoint: "ep".to_owned(), credential, ..Default::default() });
    client.create_device(CreateDeviceRequest { device, ..Default::default() }).await.unwrap();
    client.list_devices(ListDevicesRequest::default()).await.unwrap();
    let delete = DeleteDeviceRequest { name: "other".to_owned(), ..Default::default() };
    client.delete_device(delete).await.unwrap_err();

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("deadbeefcafe"));
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<Value> =
        lines.filter(|line| line["target"] == "audit").map(|line| line["fields"].clone()).collect();
    let told = |line: &Value| {
        ["caller", "role", "method", "resource", "outcome"]
            .map(|field| line[field].as_str().unwrap().to_owned())
    };
    assert_eq!(
        lines.iter().map(told).collect::<Vec<_>>(),
        [
            ["local", "admin", "godwit.v1.DeviceService/CreateDevice", "devices/ep", "OK"],
            ["local", "admin", "godwit.v1.DeviceService/DeleteDevice", "other", "NOT_FOUND"],
        ]
    );
}
