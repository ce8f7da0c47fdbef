//! The node under test.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use godwit::{
    admin::{Admin, Parts, Place},
    config,
    endpoint::{
        handle::{
            Endpoints, NewOperation, OperationChange, RegistrationChange, RegistrationChangeKind,
            SubmitError, Submitted, Told,
        },
        neighbours::Alone,
    },
    identity::{DeviceId, Owner},
    models::Models,
    seal::Sealer,
    store::{
        Change, Claim, Fence, StateStore,
        embedded::{Embedded, Options},
        value,
    },
    telemetry::Tail,
};
use godwit_proto::v1::{CommandResult, Operation, operation};
use tokio::{
    sync::{broadcast, oneshot},
    task::JoinHandle,
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

/// What the double does with a command.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// The device answers so.
    Answer(CommandResult),
    /// The operation fails without an answer.
    Fail(operation::Reason),
    /// Nothing ever comes.
    Silence,
    /// The endpoint does not take it.
    Refuse(SubmitError),
}

pub(crate) struct Double {
    store: Arc<dyn StateStore>,
    pub(crate) behaviour: Mutex<Behaviour>,
    pub(crate) submitted: Mutex<Vec<NewOperation>>,
    /// What was told of changed devices, profiles and models.
    pub(crate) told: Mutex<Vec<String>>,
    registrations: broadcast::Sender<Told<RegistrationChange>>,
    operations: broadcast::Sender<Told<OperationChange>>,
    pending: Mutex<Vec<oneshot::Sender<Operation>>>,
}

fn owner() -> Owner {
    Owner { node: "test".into(), boot: 1 }
}

fn changed(operation: Operation) -> Told<OperationChange> {
    Told::Change(OperationChange { operation: Arc::new(operation), here: true })
}

impl Double {
    fn new(store: Arc<dyn StateStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            behaviour: Mutex::new(Behaviour::Answer(CommandResult::default())),
            submitted: Mutex::default(),
            told: Mutex::default(),
            registrations: broadcast::channel(64).0,
            operations: broadcast::channel(64).0,
            pending: Mutex::default(),
        })
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Writes changes as an endpoint's owner does.
    async fn commit(store: &dyn StateStore, device: DeviceId, changes: Vec<Change>) {
        let claim = Claim { create: true, seen: None };
        let claimed = store.claim(device, &owner(), claim).await.unwrap();
        let fence = Fence { owner: owner(), term: claimed.term, claims: claimed.claims };
        store.commit(device, fence, changes).await.unwrap();
    }

    /// Ends an operation, as its endpoint does: stored first, then told.
    async fn ended(store: &dyn StateStore, device: DeviceId, operation: &Operation) {
        let stored = value::StoredOperation {
            id: operation.name.rsplit('/').next().unwrap().to_owned(),
            operation: Some(operation.clone()),
            ..Default::default()
        };
        Self::commit(store, device, vec![Change::Operation(Box::new(stored))]).await;
    }

    /// Another node has the device by now, where this operation has ended: nobody here hears of it.
    pub(crate) async fn lose(&self, operation: &Operation, device: DeviceId) {
        Self::ended(&*self.store, device, operation).await;
        self.pending.lock().unwrap().clear();
    }

    pub(crate) fn tell(&self, operation: Operation) {
        // An error says that nobody listens.
        let _ = self.operations.send(changed(operation));
    }
}

impl Endpoints for Double {
    fn submit(
        &self,
        device: DeviceId,
        new: NewOperation,
    ) -> BoxFuture<'static, Result<Submitted, SubmitError>> {
        self.submitted.lock().unwrap().push(new.clone());
        let mut operation = Operation {
            name: format!("devices/{device}/operations/{}", new.id),
            command: Some(new.command),
            state: operation::State::Queued.into(),
            ..Default::default()
        };
        let (sender, ended) = oneshot::channel();
        let submitted = operation.clone();
        match self.behaviour.lock().unwrap().clone() {
            Behaviour::Refuse(error) => return Box::pin(async { Err(error) }),
            Behaviour::Silence => self.pending.lock().unwrap().push(sender),
            Behaviour::Answer(result) => {
                let success = result.code / 32 <= 2;
                operation.state =
                    if success { operation::State::Succeeded } else { operation::State::Failed }.into();
                if !success {
                    operation.reason = operation::Reason::DeviceError.into();
                }
                operation.result = Some(result);
                sender.send(operation.clone()).unwrap();
            }
            Behaviour::Fail(reason) => {
                operation.state = operation::State::Failed.into();
                operation.reason = reason.into();
                sender.send(operation.clone()).unwrap();
            }
        }
        let store = self.store.clone();
        let operations = self.operations.clone();
        Box::pin(async move {
            Self::ended(&*store, device, &operation).await;
            let _ = operations.send(changed(operation));
            Ok(Submitted { operation: submitted, ended })
        })
    }

    fn cancel(&self, device: DeviceId, id: String) -> BoxFuture<'static, Result<Operation, SubmitError>> {
        let store = self.store.clone();
        Box::pin(async move {
            let record = store.load(device).await.unwrap().ok_or(SubmitError::NoSuchOperation)?;
            let stored = record.operations.into_iter().find(|stored| stored.id == id);
            let mut operation = stored.and_then(|s| s.operation).ok_or(SubmitError::NoSuchOperation)?;
            if operation.state() != operation::State::Queued {
                return Err(SubmitError::NotCancellable);
            }
            operation.state = operation::State::Cancelled.into();
            operation.reason = operation::Reason::Cancelled.into();
            Self::ended(&*store, device, &operation).await;
            Ok(operation)
        })
    }

    fn device_changed(&self, device: DeviceId) -> BoxFuture<'static, ()> {
        self.told.lock().unwrap().push(format!("devices/{device}"));
        Box::pin(async {})
    }

    fn deletion(&self, document: &value::Device) -> value::StoredEvent {
        value::StoredEvent { id: "deleted".into(), endpoint: document.endpoint.clone(), ..Default::default() }
    }

    fn reclaim(&self, device: DeviceId) -> BoxFuture<'static, ()> {
        self.told.lock().unwrap().push(format!("reclaim {device}"));
        Box::pin(async {})
    }

    fn profile_changed(&self, profile: &str) -> BoxFuture<'static, ()> {
        self.told.lock().unwrap().push(format!("profiles/{profile}"));
        Box::pin(async {})
    }

    fn models_changed(&self) -> BoxFuture<'static, ()> {
        self.told.lock().unwrap().push("models".to_owned());
        Box::pin(async {})
    }

    fn watch(&self) -> broadcast::Receiver<Told<RegistrationChange>> {
        self.registrations.subscribe()
    }

    fn watch_operations(&self) -> broadcast::Receiver<Told<OperationChange>> {
        self.operations.subscribe()
    }
}

pub(crate) struct Node {
    pub(crate) url: String,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) endpoints: Arc<Double>,
    pub(crate) tail: Tail,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// Has the process take interest in every event. Otherwise a test whose thread nobody listens to may be the first to
/// come by an event, and tracing then skips that event for the one test that reads the log.
pub(crate) fn listen_to_every_event() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let nowhere = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
        tracing::subscriber::set_global_default(nowhere).expect("only tests' own threads have others");
    });
}

impl Node {
    /// A node on loopback whose every caller is admin.
    pub(crate) async fn open() -> Self {
        Self::start(config::Admin::default()).await
    }

    /// A node with these settings, on a port of the system's choice.
    pub(crate) async fn start(config: config::Admin) -> Self {
        listen_to_every_event();
        let store: Arc<dyn StateStore> = Arc::new(Embedded::in_memory(Options::default()).unwrap());
        let endpoints = Double::new(store.clone());
        let tail = Tail::default();
        let parts = Parts {
            place: place(),
            store: store.clone(),
            endpoints: endpoints.clone(),
            models: Arc::new(Models::new()),
            tail: tail.clone(),
            sink: Arc::new(godwit::telemetry::sink::StdoutSink::to(std::io::sink(), 1 << 10).unwrap()),
            node: "node-1".into(),
            sealer: Arc::new(Sealer::new(&[1; 32])),
            operation_ttl: Duration::from_hours(24),
        };
        let config = config::Admin { listen: "127.0.0.1:0".parse().unwrap(), ..config };
        let scheme = if config.tls.cert_file.is_some() { "https" } else { "http" };
        let admin = Admin::bind(&config, parts).unwrap();
        let url = format!("{scheme}://{}", admin.local_addr());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let admin = admin.listen().unwrap();
        let running = tokio::spawn(async move { admin.run(shutdown).await.unwrap() });
        Self { url, store, endpoints, tail, stop: Some(stop), running }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(self.url.clone()).unwrap().connect().await.unwrap()
    }

    /// Begins to stop.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Ends when the server has ended.
    pub(crate) async fn stopped(self) {
        tokio::time::timeout(Duration::from_secs(20), self.running).await.unwrap().unwrap();
    }

    /// Lets a device register, or register anew.
    pub(crate) async fn register(&self, endpoint: &str, links: &str) {
        let registration = value::Registration {
            endpoint: endpoint.to_owned(),
            id: "abcdefghijkl".to_owned(),
            version: "1.1".to_owned(),
            lifetime: 300,
            binding: "U".to_owned(),
            links: links.as_bytes().to_vec(),
            registered_at: 1_000,
            updated_at: 2_000,
            ..Default::default()
        };
        // Registration ids are unique, and a device of another name must not take this one's.
        let id = DeviceId::of(endpoint).to_string()[..12].to_owned();
        let change = Change::Registration(Box::new(value::Registration { id, ..registration }));
        Double::commit(&*self.store, DeviceId::of(endpoint), vec![change]).await;
    }

    pub(crate) async fn deregister(&self, endpoint: &str) {
        Double::commit(&*self.store, DeviceId::of(endpoint), vec![Change::RemoveRegistration]).await;
        self.tell(endpoint, RegistrationChangeKind::Deregistered);
    }

    /// Tells of a change, as endpoints do once it is stored.
    pub(crate) fn tell(&self, endpoint: &str, kind: RegistrationChangeKind) {
        let device = DeviceId::of(endpoint);
        let change = RegistrationChange { device, endpoint: endpoint.into(), kind, at: 3_000, here: true };
        self.endpoints.registrations.send(Told::Change(change)).unwrap();
    }
}

/// A node that stands alone.
pub(crate) fn place() -> Place {
    let owner = Owner { node: "node-1".into(), boot: 1 };
    Place { owner, neighbours: Arc::new(Alone), stop: Arc::default() }
}

/// The reason of an error, which every error of ours has.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no reason: {status:?}"));
    assert_eq!(info.domain, "godwit");
    info.reason
}

/// The field of an error that one is at fault for.
pub(crate) fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

/// A file of this test run with these contents.
pub(crate) fn file(contents: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("godwit-admin-{}-{number}", std::process::id()));
    std::fs::write(&path, contents).unwrap();
    path
}
