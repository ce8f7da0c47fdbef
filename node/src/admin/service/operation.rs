//! `OperationService`.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use godwit_proto::v1::{
    CancelObservationRequest, CancelOperationRequest, Command, CreateRequest, DeleteRequest, Delivery,
    DiscoverRequest, ExecuteRequest, GetOperationRequest, ListOperationsRequest, ListOperationsResponse,
    ObserveCompositeRequest, ObserveRequest, Operation, ReadCompositeRequest, ReadRequest,
    WatchOperationsRequest, WatchOperationsResponse, WriteAttributesRequest, WriteCompositeRequest,
    WriteRequest, command::Kind as Command_, operation_service_server::OperationService,
    watch_operations_response::Event,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{
    Answers, answer, values,
    wait::{self, Follower},
};
use crate::{
    admin::{
        audit,
        convert::{operation, registration},
        error::{AdminError, Kind, invalid},
        name::{self, DeviceName},
        page,
        room::{Room, endpoint_of, profile_of},
    },
    clock,
    endpoint::handle::{NewOperation, OperationChange, SubmitError, Submitted, Told},
    entropy,
    identity::DeviceId,
    store::DeviceRecord,
};

/// The service.
pub(in crate::admin) struct Operations(pub(in crate::admin) Arc<Room>);

/// The handlers of commands differ in their messages only.
macro_rules! commands {
    ($($method:ident($request:ident) $kind:ident;)*) => {
        #[tonic::async_trait]
        impl OperationService for Operations {
            $(
                async fn $method(&self, request: Request<$request>) -> Result<Response<Operation>, Status> {
                    audit::about(&request, &request.get_ref().device);
                    let (metadata, _, request) = request.into_parts();
                    let command = request.command.unwrap_or_default();
                    let call = Call {
                        device: request.device,
                        command: Command { kind: Some(Command_::$kind(command)) },
                        delivery: request.delivery.unwrap_or_default(),
                    };
                    answer(self.command(call, &metadata).await)
                }
            )*

            async fn get_operation(
                &self,
                request: Request<GetOperationRequest>,
            ) -> Result<Response<Operation>, Status> {
                answer(self.operation(&request.get_ref().name).await.map(|(_, operation)| operation))
            }

            async fn list_operations(
                &self,
                request: Request<ListOperationsRequest>,
            ) -> Result<Response<ListOperationsResponse>, Status> {
                answer(self.list(request.into_inner()).await)
            }

            type WatchOperationsStream = Answers<WatchOperationsResponse>;

            async fn watch_operations(
                &self,
                request: Request<WatchOperationsRequest>,
            ) -> Result<Response<Self::WatchOperationsStream>, Status> {
                answer(self.watch(request.into_inner()).await)
            }

            async fn cancel_operation(
                &self,
                request: Request<CancelOperationRequest>,
            ) -> Result<Response<Operation>, Status> {
                audit::about(&request, &request.get_ref().name);
                answer(self.cancel(&request.get_ref().name).await)
            }
        }
    };
}

commands! {
    read(ReadRequest) Read;
    read_composite(ReadCompositeRequest) ReadComposite;
    discover(DiscoverRequest) Discover;
    write(WriteRequest) Write;
    write_composite(WriteCompositeRequest) WriteComposite;
    write_attributes(WriteAttributesRequest) WriteAttributes;
    execute(ExecuteRequest) Execute;
    create(CreateRequest) Create;
    delete(DeleteRequest) Delete;
    observe(ObserveRequest) Observe;
    observe_composite(ObserveCompositeRequest) ObserveComposite;
    cancel_observation(CancelObservationRequest) CancelObservation;
}

/// A command's call, whichever it is.
struct Call {
    device: String,
    command: Command,
    delivery: Delivery,
}

impl Operations {
    async fn command(&self, mut call: Call, metadata: &MetadataMap) -> Result<Operation, AdminError> {
        let delivery = &call.delivery;
        let timeout = wait::timeout(delivery, metadata)?;
        let ttl = if delivery.queue { wait::ttl(delivery, self.0.parts.operation_ttl)? } else { timeout };
        let id = operation_id(delivery)?;
        // Before the record is read, so that no end falls between the two.
        let changes = self.0.endpoints().watch_operations();
        let (device, record) = self.0.device(&DeviceName::parse("device", &call.device)?).await?;
        let follower = Follower { device, id: id.clone(), changes };
        if !delivery.request_id.is_empty()
            && let Some(first) = operation::find(device, &record, &id)
        {
            return self.repeated(first, delivery.queue, follower, timeout).await;
        }
        self.check(&mut call.command, &record)?;
        let new = NewOperation {
            id: id.clone(),
            command: call.command,
            ttl,
            queue: delivery.queue,
            at_least_once: delivery.at_least_once,
        };
        let submitted = match self.0.endpoints().submit(device, new).await {
            Ok(submitted) => submitted,
            // A node had taken it that did not live to say so, and its device was quick.
            Err(SubmitError::Ended) => {
                let (_, first) = self.operation(&operation::name(device, &id)).await?;
                return self.repeated(first, delivery.queue, follower, timeout).await;
            }
            Err(error) => return Err(AdminError::from_submit(error, endpoint_of(&record))),
        };
        if delivery.queue {
            return Ok(named(submitted.operation, device, &id, &record));
        }
        let ended = self.end(submitted, follower, timeout).await?;
        wait::outcome(named(ended, device, &id, &record))
    }

    /// Waits for the end. What was not sent in time is taken back.
    async fn end(
        &self,
        submitted: Submitted,
        mut follower: Follower,
        timeout: std::time::Duration,
    ) -> Result<Operation, AdminError> {
        let (device, id) = (follower.device, follower.id.clone());
        let ended = async {
            match submitted.ended.await {
                Ok(operation) => operation,
                // Another node goes on with it.
                Err(_) => follower.end(&self.0).await,
            }
        };
        tokio::select! {
            ended = ended => Ok(ended),
            () = tokio::time::sleep(timeout) => {
                match self.0.endpoints().cancel(device, id.clone()).await {
                    Ok(operation) => Ok(operation),
                    Err(_) => Err(AdminError::Pending { operation: operation::name(device, &id) }),
                }
            }
            () = self.0.stopping() => Err(AdminError::Stopping),
        }
    }

    /// The answer to a command that was given before.
    async fn repeated(
        &self,
        first: Operation,
        queue: bool,
        mut follower: Follower,
        timeout: std::time::Duration,
    ) -> Result<Operation, AdminError> {
        if queue {
            return Ok(first);
        }
        if operation::has_ended(&first) {
            return wait::outcome(first);
        }
        let ended = tokio::select! {
            ended = follower.end(&self.0) => ended,
            () = tokio::time::sleep(timeout) => return Err(AdminError::Pending { operation: first.name }),
            () = self.0.stopping() => return Err(AdminError::Stopping),
        };
        wait::outcome(Operation { name: first.name, endpoint: first.endpoint, ..ended })
    }

    fn check(&self, command: &mut Command, record: &DeviceRecord) -> Result<(), AdminError> {
        let registry = self.0.parts.models.registry(profile_of(record));
        let objects = record.registration.as_ref().and_then(registration::objects);
        values::check(command, &values::DeviceModels { registry: &registry, objects: objects.as_deref() })
    }

    async fn operation(&self, text: &str) -> Result<(DeviceId, Operation), AdminError> {
        let not_found = || AdminError::NotFound { what: Kind::Operation, name: text.to_owned() };
        let (device, id) = name::operation("name", text)?;
        let (device, record) = self.0.device(&device).await?;
        let found = operation::find(device, &record, &id).ok_or_else(not_found)?;
        Ok((device, found))
    }

    async fn list(&self, request: ListOperationsRequest) -> Result<ListOperationsResponse, AdminError> {
        let name = DeviceName::parse("parent", &request.parent)?;
        let (device, record) = self.0.device(&name).await?;
        let mut operations: Vec<_> = record
            .operations
            .iter()
            .map(|stored| operation::show(device, &record, stored))
            .filter(|operation| !(request.pending && operation::has_ended(operation)))
            .collect();
        // A UUIDv7 sorts by the time at which it was made.
        operations.sort_by(|a, b| a.name.cmp(&b.name));
        let key = |operation: &Operation| operation.name.clone();
        let (operations, next_page_token) =
            page::cut(operations, key, request.page_size, &request.page_token)?;
        Ok(ListOperationsResponse { operations, next_page_token })
    }

    async fn watch(
        &self,
        request: WatchOperationsRequest,
    ) -> Result<Answers<WatchOperationsResponse>, AdminError> {
        let changes = self.0.endpoints().watch_operations();
        let prefix = match (request.name.as_str(), request.parent.as_str()) {
            ("", "") => String::new(),
            ("", parent) => {
                let (device, _) = self.0.device(&DeviceName::parse("parent", parent)?).await?;
                format!("devices/{device}/")
            }
            (name, "") => {
                let (device, first) = self.operation(name).await?;
                let (_, id) = name::operation("name", &first.name)?;
                let follower = Follower { device, id, changes };
                let state = OneWatcher { room: self.0.clone(), told: None, next: Some(first), follower };
                return Ok(stream::unfold(Some(state), OneWatcher::step).boxed());
            }
            _ => return Err(invalid("parent", "must be empty where `name` is set")),
        };
        let state = Watcher { room: self.0.clone(), changes, prefix };
        Ok(stream::unfold(Some(state), Watcher::step).boxed())
    }

    async fn cancel(&self, text: &str) -> Result<Operation, AdminError> {
        let (device, found) = self.operation(text).await?;
        let id = found.name.rsplit('/').next().unwrap_or_default().to_owned();
        let cancelled = self.0.endpoints().cancel(device, id).await;
        let cancelled = cancelled.map_err(|error| AdminError::from_submit(error, text))?;
        Ok(Operation { name: found.name, endpoint: found.endpoint, ..cancelled })
    }
}

/// What a watcher's stream yields.
type Item = Result<WatchOperationsResponse, Status>;

fn told(event: Event) -> Item {
    Ok(WatchOperationsResponse { event: Some(event) })
}

/// A watcher of many operations.
struct Watcher {
    room: Arc<Room>,
    changes: Receiver<Told<OperationChange>>,
    /// Names of wanted operations begin so.
    prefix: String,
}

impl Watcher {
    async fn step(state: Option<Self>) -> Option<(Item, Option<Self>)> {
        let mut watcher = state?;
        let stopping = watcher.room.stopping();
        let event = tokio::select! {
            event = watcher.next() => event,
            () = stopping => None,
        };
        Some(match event {
            Some(event) => (told(event), Some(watcher)),
            None => (Err(AdminError::Stopping.into()), None),
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            match self.changes.recv().await {
                Ok(Told::Change(change)) if change.operation.name.starts_with(&self.prefix) => {
                    return Some(Event::Operation(Operation::clone(&change.operation)));
                }
                Ok(Told::Change(_)) => {}
                Ok(Told::Lost) => return Some(Event::Missed(0)),
                Err(RecvError::Lagged(missed)) => return Some(Event::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// A watcher of one operation, to its end. It misses none but what came between two readings of the record.
struct OneWatcher {
    room: Arc<Room>,
    /// What was told last.
    told: Option<Operation>,
    /// To be told first: as it stood at the beginning.
    next: Option<Operation>,
    follower: Follower,
}

impl OneWatcher {
    async fn step(state: Option<Self>) -> Option<(Item, Option<Self>)> {
        let mut watcher = state?;
        let stopping = watcher.room.stopping();
        let changed = tokio::select! {
            changed = watcher.changed() => changed,
            () = stopping => return Some((Err(AdminError::Stopping.into()), None)),
        };
        let ended = operation::has_ended(&changed);
        watcher.told = Some(changed.clone());
        Some((told(Event::Operation(changed)), (!ended).then_some(watcher)))
    }

    async fn changed(&mut self) -> Operation {
        loop {
            let next = match self.next.take() {
                Some(first) => first,
                None => self.follower.next(&self.room).await,
            };
            if self.told.as_ref() != Some(&next) {
                return next;
            }
        }
    }
}

/// The id of an operation: the caller's, else a new one.
fn operation_id(delivery: &Delivery) -> Result<String, AdminError> {
    if delivery.request_id.is_empty() {
        return Ok(entropy::uuid7(clock::unix_ms()).to_string());
    }
    match uuid::Uuid::parse_str(&delivery.request_id) {
        Ok(id) if id.get_version_num() == 7 => Ok(id.to_string()),
        _ => Err(invalid("delivery.request_id", "must be a UUID of version 7")),
    }
}

fn named(operation: Operation, device: DeviceId, id: &str, record: &DeviceRecord) -> Operation {
    let endpoint = endpoint_of(record).to_owned();
    Operation { name: operation::name(device, id), endpoint, ..operation }
}
