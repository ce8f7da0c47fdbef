//! `OperationService`.

use std::time::Duration;

use godwit::{endpoint::handle::SubmitError, identity::DeviceId};
use godwit_proto::v1::{
    CancelOperationRequest, CommandResult, Delivery, ExecuteRequest, GetOperationRequest,
    ListOperationsRequest, Operation, PathValue, ReadRequest, WatchOperationsRequest, WriteRequest,
    command::{self, Execute, Read, Write},
    operation::{Reason, State},
    operation_service_client::OperationServiceClient,
    value, watch_operations_response,
};
use tonic::{Code, Request, transport::Channel};
use tonic_types::StatusExt as _;

use crate::node::{Behaviour, Node, field, reason};

type Client = OperationServiceClient<Channel>;

async fn node() -> (Node, Client) {
    let node = Node::open().await;
    node.register("ep", "</1/0>,</3/0>").await;
    let client = Client::new(node.channel().await);
    (node, client)
}

fn read(path: &str) -> ReadRequest {
    ReadRequest {
        device: "ep".to_owned(),
        command: Some(Read { path: path.to_owned(), format: None }),
        delivery: None,
    }
}

fn queued(path: &str) -> ReadRequest {
    ReadRequest { delivery: Some(Delivery { queue: true, ..Default::default() }), ..read(path) }
}

fn answer(code: u32, text: &str) -> Behaviour {
    let diagnostic = "says the device".to_owned();
    Behaviour::Answer(CommandResult { code, code_text: text.to_owned(), diagnostic, ..Default::default() })
}

#[tokio::test]
async fn a_read_ends_with_the_devices_answer() {
    let (node, mut client) = node().await;
    node.endpoints.behave(answer(69, "2.05"));
    let operation = client.read(read("/3/0/9")).await.unwrap().into_inner();
    assert_eq!((operation.state(), operation.endpoint.as_str()), (State::Succeeded, "ep"));
    let request = GetOperationRequest { name: operation.name.clone() };
    assert_eq!(client.get_operation(request).await.unwrap().into_inner().name, operation.name);
}

#[tokio::test]
async fn an_error_of_the_device_keeps_its_code() {
    let (node, mut client) = node().await;
    node.endpoints.behave(answer(132, "4.04"));
    let status = client.read(read("/3/0/99")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "DEVICE_ERROR");
    assert_eq!(info.metadata["coap_code"], "4.04");
    assert_eq!(info.metadata["diagnostic"], "says the device");
    assert!(info.metadata["operation"].starts_with("devices/d"));
}

#[tokio::test]
async fn each_way_to_fail_has_its_reason() {
    let (node, mut client) = node().await;
    for (behaviour, code, expected) in [
        (Behaviour::Fail(Reason::Timeout), Code::DeadlineExceeded, "DEVICE_TIMEOUT"),
        (Behaviour::Fail(Reason::Reset), Code::Unavailable, "DEVICE_RESET"),
        (Behaviour::Refuse(SubmitError::NotRegistered), Code::FailedPrecondition, "NOT_REGISTERED"),
        (
            Behaviour::Refuse(SubmitError::QueueFull { queued: 64, limit: 64 }),
            Code::ResourceExhausted,
            "QUEUE_FULL",
        ),
        (Behaviour::Refuse(SubmitError::Overloaded), Code::Unavailable, "OVERLOADED"),
        (Behaviour::Refuse(SubmitError::Store("away".into())), Code::Unavailable, "STORE_UNAVAILABLE"),
    ] {
        node.endpoints.behave(behaviour);
        let status = client.read(read("/3/0/9")).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
    }
}

#[tokio::test]
async fn bad_commands_name_the_field_and_are_not_sent() {
    let (node, mut client) = node().await;
    assert_eq!(field(&client.read(read("/3/0/9/1/5")).await.unwrap_err()), "command.path");
    let execute = ExecuteRequest {
        device: "ep".to_owned(),
        command: Some(Execute { path: "/3/0".to_owned(), ..Default::default() }),
        delivery: None,
    };
    assert_eq!(field(&client.execute(execute).await.unwrap_err()), "command.path");
    assert_eq!(
        field(&client.read(ReadRequest { device: String::new(), ..read("/3") }).await.unwrap_err()),
        "device"
    );
    let mut request = read("/3");
    request.delivery = Some(Delivery { request_id: "7".to_owned(), ..Default::default() });
    assert_eq!(field(&client.read(request).await.unwrap_err()), "delivery.request_id");
    let unknown = client.read(ReadRequest { device: "nobody".to_owned(), ..read("/3") }).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "NO_SUCH_DEVICE"));
    assert!(node.endpoints.submitted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_text_is_sent_as_the_models_type() {
    let (node, mut client) = node().await;
    let values = vec![PathValue { text: Some("600".to_owned()), ..Default::default() }];
    let command = Write { path: "/1/0/1".to_owned(), values, ..Default::default() };
    let request = WriteRequest { device: "ep".to_owned(), command: Some(command), delivery: None };
    client.write(request).await.unwrap();
    let submitted = node.endpoints.submitted.lock().unwrap()[0].command.clone();
    let Some(command::Kind::Write(write)) = submitted.kind else { panic!("not a write") };
    assert_eq!(write.values[0].path, "/1/0/1");
    assert_eq!(write.values[0].value.as_ref().unwrap().kind, Some(value::Kind::Integer(600)));
}

#[tokio::test]
async fn what_was_not_sent_in_time_is_taken_back() {
    let (node, mut client) = node().await;
    node.endpoints.behave(Behaviour::Silence);
    let timeout = prost_types::Duration { seconds: 0, nanos: 20_000_000 };
    let delivery = Some(Delivery { timeout: Some(timeout), ..Default::default() });
    let status = client.read(ReadRequest { delivery, ..read("/3/0/9") }).await.unwrap_err();
    assert_eq!(reason(&status), "CANCELLED");
    let list = ListOperationsRequest { parent: "ep".to_owned(), ..Default::default() };
    let operations = client.list_operations(list).await.unwrap().into_inner().operations;
    assert_eq!(operations[0].state(), State::Cancelled);
}

#[tokio::test]
async fn a_caller_whose_device_has_moved_hears_how_its_command_ended_there() {
    let (node, mut client) = node().await;
    node.endpoints.behave(Behaviour::Silence);
    let mut caller = client.clone();
    let calling = tokio::spawn(async move { caller.read(read("/3/0/9")).await });
    let list = ListOperationsRequest { parent: "ep".to_owned(), ..Default::default() };
    let taken = loop {
        let operations = client.list_operations(list.clone()).await.unwrap().into_inner().operations;
        if let Some(taken) = operations.into_iter().next() {
            break taken;
        }
    };
    let ended = Operation { state: State::Succeeded.into(), ..taken };
    node.endpoints.lose(&ended, DeviceId::of("ep")).await;
    let told = calling.await.unwrap().unwrap().into_inner();
    assert_eq!((told.name, told.state), (ended.name, ended.state));
}

#[tokio::test]
async fn the_callers_own_deadline_gives_our_error_not_a_cut() {
    let (node, mut client) = node().await;
    node.endpoints.behave(Behaviour::Silence);
    let mut request = Request::new(read("/3/0/9"));
    request.set_timeout(Duration::from_secs(3));
    assert_eq!(reason(&client.read(request).await.unwrap_err()), "CANCELLED");
}

#[tokio::test]
async fn a_queued_command_returns_at_once_and_can_be_cancelled() {
    let (node, mut client) = node().await;
    node.endpoints.behave(Behaviour::Silence);
    let operation = client.read(queued("/3/0/9")).await.unwrap().into_inner();
    assert_eq!(operation.state(), State::Queued);
    assert_eq!(node.endpoints.submitted.lock().unwrap()[0].ttl, Duration::from_hours(24));
    let cancel = CancelOperationRequest { name: operation.name.clone() };
    let cancelled = client.cancel_operation(cancel.clone()).await.unwrap().into_inner();
    assert_eq!((cancelled.state(), cancelled.name), (State::Cancelled, operation.name));
    let again = client.cancel_operation(cancel).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (Code::FailedPrecondition, "NOT_CANCELLABLE"));
}

#[tokio::test]
async fn a_repeated_command_is_sent_once() {
    let (node, mut client) = node().await;
    node.endpoints.behave(answer(69, "2.05"));
    let request_id = "0199e0c8-0000-7000-8000-000000000001".to_owned();
    let delivery = Some(Delivery { request_id: request_id.clone(), ..Default::default() });
    let request = ReadRequest { delivery, ..read("/3/0/9") };
    let first = client.read(request.clone()).await.unwrap().into_inner();
    let second = client.read(request).await.unwrap().into_inner();
    assert!(first.name.ends_with(&request_id));
    assert_eq!(first, second);
    assert_eq!(node.endpoints.submitted.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_watched_operation_is_told_to_its_end() {
    let (node, mut client) = node().await;
    node.endpoints.behave(Behaviour::Silence);
    let operation = client.read(queued("/3/0/9")).await.unwrap().into_inner();
    let watch = WatchOperationsRequest { name: operation.name.clone(), parent: String::new() };
    let mut changes = client.watch_operations(watch).await.unwrap().into_inner();
    let mut states = Vec::new();
    let mut changed = operation.clone();
    for state in [State::Sent, State::Succeeded] {
        let next = changes.message().await.unwrap().unwrap().event.unwrap();
        let watch_operations_response::Event::Operation(told) = next else { panic!("missed") };
        states.push(told.state());
        changed.state = state.into();
        node.endpoints.tell(changed.clone());
    }
    let next = changes.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(next, watch_operations_response::Event::Operation(o) if o.state() == State::Succeeded));
    assert_eq!(states, [State::Queued, State::Sent]);
    assert_eq!(changes.message().await.unwrap(), None);
}

#[tokio::test]
async fn pages_of_operations_go_from_old_to_new() {
    let (_node, mut client) = node().await;
    for _ in 0..5 {
        client.read(read("/3/0/9")).await.unwrap();
    }
    let mut request = ListOperationsRequest { parent: "ep".to_owned(), page_size: 2, ..Default::default() };
    let mut names = Vec::new();
    loop {
        let page = client.list_operations(request.clone()).await.unwrap().into_inner();
        names.extend(page.operations.into_iter().map(|operation| operation.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len(), 5);
    assert!(names.is_sorted());
    request.pending = true;
    assert!(client.list_operations(request).await.unwrap().into_inner().operations.is_empty());
}

#[tokio::test]
async fn a_stopping_node_ends_streams_and_waiting_calls() {
    let (mut node, mut client) = node().await;
    node.endpoints.behave(Behaviour::Silence);
    let mut changes = client.watch_operations(WatchOperationsRequest::default()).await.unwrap().into_inner();
    let mut second = client.clone();
    let waiting = tokio::spawn(async move { second.read(read("/3/0/9")).await });
    while node.endpoints.submitted.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    node.stop();
    for status in [
        waiting.await.unwrap().unwrap_err(),
        loop {
            match changes.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without a word"),
                Err(status) => break status,
            }
        },
    ] {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "STOPPING"));
    }
    drop((client, changes));
    node.stopped().await;
}
