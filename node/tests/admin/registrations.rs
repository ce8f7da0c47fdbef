//! `RegistrationService` and `TelemetryService`.

use std::time::Duration;

use godwit::endpoint::handle::RegistrationChangeKind;
use godwit_proto::v1::{
    GetRegistrationRequest, ListRegistrationsRequest, WatchRegistrationsRequest, WatchRegistrationsResponse,
    registration_service_client::RegistrationServiceClient,
    watch_registrations_response::{Event, change::Kind},
};
use tonic::{Code, Streaming, transport::Channel};

use crate::node::{Node, reason};

type Client = RegistrationServiceClient<Channel>;

async fn node() -> (Node, Client) {
    let node = Node::open().await;
    let client = Client::new(node.channel().await);
    (node, client)
}

async fn next(events: &mut Streaming<WatchRegistrationsResponse>) -> (Event, String) {
    let message = tokio::time::timeout(Duration::from_secs(10), events.message()).await.unwrap();
    let message = message.unwrap().unwrap();
    (message.event.unwrap(), message.resume_token)
}

async fn change(events: &mut Streaming<WatchRegistrationsResponse>) -> (Kind, String, bool, String) {
    match next(events).await {
        (Event::Change(change), token) => {
            (change.kind(), change.endpoint.clone(), change.registration.is_some(), token)
        }
        other => panic!("not a change: {other:?}"),
    }
}

#[tokio::test]
async fn a_registration_is_shown_with_what_the_device_said() {
    let (node, mut client) = node().await;
    node.register("ep", "</>;rt=\"oma.lwm2m\",</3/0>,</3303>;ver=1.1,</3303/2>").await;
    for name in ["ep", "devices/ep", "devices/ep/registration"] {
        let request = GetRegistrationRequest { name: name.to_owned() };
        let shown = client.get_registration(request).await.unwrap().into_inner();
        assert_eq!(shown.endpoint, "ep");
        assert_eq!(shown.lifetime.unwrap().seconds, 300);
        assert_eq!(shown.expire_time.unwrap().seconds, 302);
        assert_eq!(shown.objects[1].version, "1.1");
        assert_eq!(shown.objects[1].instances, [2]);
    }
}

#[tokio::test]
async fn a_device_that_is_not_registered_has_no_registration() {
    let (node, mut client) = node().await;
    node.register("ep", "</3/0>").await;
    let device = node.store.put_device(
        godwit::store::value::Device { endpoint: "away".into(), ..Default::default() },
        godwit::store::Expect::Absent,
    );
    device.await.unwrap();
    for (name, expected) in [("away", "NOT_REGISTERED"), ("nobody", "NO_SUCH_DEVICE")] {
        let request = GetRegistrationRequest { name: name.to_owned() };
        let status = client.get_registration(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, expected));
    }
    let list = client.list_registrations(ListRegistrationsRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.registrations.len(), 1);
}

#[tokio::test]
async fn a_watch_gives_a_snapshot_then_synced_then_changes() {
    let (node, mut client) = node().await;
    node.register("a", "</3/0>").await;
    node.register("b", "</3/0>").await;
    let mut events =
        client.watch_registrations(WatchRegistrationsRequest::default()).await.unwrap().into_inner();
    let mut present = Vec::new();
    loop {
        match next(&mut events).await {
            (Event::Present(registration), _) => present.push(registration.endpoint),
            (Event::Synced(_), token) => {
                assert!(!token.is_empty());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    present.sort();
    assert_eq!(present, ["a", "b"]);

    node.register("c", "</3/0>").await;
    node.tell("c", RegistrationChangeKind::Registered);
    let (kind, endpoint, shown, _) = change(&mut events).await;
    assert_eq!((kind, endpoint.as_str(), shown), (Kind::Registered, "c", true));
    node.deregister("a").await;
    let (kind, endpoint, shown, _) = change(&mut events).await;
    assert_eq!((kind, endpoint.as_str(), shown), (Kind::Deregistered, "a", false));
}

#[tokio::test]
async fn a_watch_resumes_behind_its_token() {
    let (node, mut client) = node().await;
    node.register("a", "</3/0>").await;
    let mut events =
        client.watch_registrations(WatchRegistrationsRequest::default()).await.unwrap().into_inner();
    while !matches!(next(&mut events).await, (Event::Synced(_), _)) {}
    node.tell("a", RegistrationChangeKind::Updated);
    let (.., token) = change(&mut events).await;
    drop(events);

    node.tell("a", RegistrationChangeKind::Expired);
    let request = WatchRegistrationsRequest { resume_token: token, ..Default::default() };
    let mut events = client.watch_registrations(request).await.unwrap().into_inner();
    let (kind, ..) = change(&mut events).await;
    assert_eq!(kind, Kind::Expired);
}

#[tokio::test]
async fn a_watch_that_cant_resume_begins_anew() {
    let (node, mut client) = node().await;
    node.register("a", "</3/0>").await;
    let request = WatchRegistrationsRequest { resume_token: "00-1".to_owned(), ..Default::default() };
    let mut events = client.watch_registrations(request).await.unwrap().into_inner();
    assert!(matches!(next(&mut events).await, (Event::Reset(_), _)));
    assert!(matches!(next(&mut events).await, (Event::Present(_), _)));
    assert!(matches!(next(&mut events).await, (Event::Synced(_), _)));
}

#[tokio::test]
async fn a_watch_passes_over_what_is_not_wanted() {
    let (node, mut client) = node().await;
    node.register("lamp-1", "</3/0>").await;
    node.register("door-1", "</3/0>").await;
    let request = WatchRegistrationsRequest { endpoint_prefix: "lamp".to_owned(), ..Default::default() };
    let mut events = client.watch_registrations(request).await.unwrap().into_inner();
    assert!(matches!(next(&mut events).await, (Event::Present(r), _) if r.endpoint == "lamp-1"));
    assert!(matches!(next(&mut events).await, (Event::Synced(_), _)));
    node.tell("door-1", RegistrationChangeKind::Updated);
    node.tell("lamp-1", RegistrationChangeKind::Updated);
    assert_eq!(change(&mut events).await.1, "lamp-1");
}
