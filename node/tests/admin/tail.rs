//! `TelemetryService`.

use std::{sync::Arc, time::Duration};

use godwit::{
    identity::DeviceId,
    telemetry::{Orders, Origin, Record, Site, operation},
};
use godwit_proto::v1::{
    Operation, TailRequest, TailResponse, tail_response::Event,
    telemetry_service_client::TelemetryServiceClient,
};
use tonic::{Code, Streaming};

use crate::node::{Node, field, reason};

/// A record of this endpoint; `number` tells it apart.
fn record(endpoint: &str, number: u32) -> Record {
    let origin = Origin {
        site: &Arc::new(Site::new("main", "node-1")),
        device: DeviceId::of(endpoint),
        endpoint: &endpoint.into(),
        profile: &"demo".into(),
        registration: None,
    };
    let ended = Operation { name: number.to_string(), ..Default::default() };
    operation(&origin, Arc::new(ended), &mut Orders::new(1), 1_000)
}

async fn next(records: &mut Streaming<TailResponse>) -> Event {
    let message = tokio::time::timeout(Duration::from_secs(10), records.message()).await.unwrap();
    message.unwrap().unwrap().event.unwrap()
}

#[tokio::test]
async fn a_tail_shows_what_passes_its_filter() {
    let node = Node::open().await;
    let mut client = TelemetryServiceClient::new(node.channel().await);
    let request = TailRequest { endpoints: vec!["lamp-*".to_owned()], ..Default::default() };
    let mut records = client.tail(request).await.unwrap().into_inner();
    node.tail.show(&[record("door-1", 0), record("lamp-1", 1)]);
    let Event::Record(shown) = next(&mut records).await else { panic!("missed") };
    assert_eq!((shown.endpoint.as_str(), shown.kind.as_str()), ("lamp-1", "operations"));
    assert_eq!(shown.profile, "profiles/demo");
    assert_eq!(shown.device, format!("devices/{}", DeviceId::of("lamp-1")));
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_missed() {
    let node = Node::open().await;
    let mut client = TelemetryServiceClient::new(node.channel().await);
    let mut records = client.tail(TailRequest::default()).await.unwrap().into_inner();
    // The server's tasks run on this thread: nothing is read before the next await.
    let all: Vec<Record> = (0..6_000).map(|number| record("ep", number)).collect();
    node.tail.show(&all);
    let (mut shown, mut missed) = (0, 0);
    while shown + missed < 6_000 {
        match next(&mut records).await {
            Event::Record(_) => shown += 1,
            Event::Missed(count) => missed += count,
        }
    }
    assert!(missed > 0 && shown > 0, "{shown} shown, {missed} missed");
    assert_eq!(shown + missed, 6_000);
}

#[tokio::test]
async fn a_bad_filter_is_named_and_a_stopping_node_ends_the_tail() {
    let mut node = Node::open().await;
    let mut client = TelemetryServiceClient::new(node.channel().await);
    let request = TailRequest { paths: vec!["nonsense".to_owned()], ..Default::default() };
    assert_eq!(field(&client.tail(request).await.unwrap_err()), "paths[0]");
    let mut records = client.tail(TailRequest::default()).await.unwrap().into_inner();
    node.stop();
    let status = records.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "STOPPING"));
}
