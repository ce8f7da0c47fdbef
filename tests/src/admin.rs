//! The admin API, in blocking calls.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{LazyLock, mpsc},
    time::Duration,
};

use data_encoding::HEXLOWER;
use godwit_proto::v1::{
    self, Attributes, Delivery, Device, Operation, PathValue, Profile, Registration, Value,
    command::{self, write},
    device_service_client::DeviceServiceClient,
    model_service_client::ModelServiceClient,
    operation_service_client::OperationServiceClient,
    profile_service_client::ProfileServiceClient,
    registration_service_client::RegistrationServiceClient,
    watch_operations_response::Event,
};
use tokio::runtime::{Builder, Runtime};
use tonic::{Response, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::{PATIENCE, Scale, wait};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// A client of one node's admin API. Operations wait for the device's answer unless they are queued.
#[derive(Debug)]
pub struct Admin {
    channel: Channel,
    delivery: Option<Delivery>,
}

/// `ErrorInfo.reason` of an error.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The value of an operation at a path.
#[track_caller]
pub fn value(operation: &Operation, path: &str) -> v1::value::Kind {
    let result = operation.result.as_ref().expect("a result");
    let value = result.values.iter().find(|value| value.path == path);
    let kind = value.and_then(|value| value.value.as_ref()?.kind.clone());
    kind.unwrap_or_else(|| panic!("no value at {path}: {result:?}"))
}

fn run<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    // The node may be one that stands still for the time of an outage.
    let patience = 2 * PATIENCE + Scale::from_environment().cluster.outage;
    let call = async { tokio::time::timeout(patience, call).await.expect("the call ends") };
    RUNTIME.block_on(call).map(Response::into_inner)
}

impl Admin {
    pub(crate) fn connect(address: SocketAddr) -> Admin {
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = RUNTIME.block_on(endpoint.connect()).expect("the admin API answers");
        Admin { channel, delivery: None }
    }

    /// The same with operations that are queued, for as long as `ttl`.
    pub fn queued(&self, ttl: Duration) -> Admin {
        let ttl = prost_types::Duration { seconds: ttl.as_secs() as i64, nanos: ttl.subsec_nanos() as i32 };
        let delivery = Delivery { queue: true, ttl: Some(ttl), ..Delivery::default() };
        Admin { channel: self.channel.clone(), delivery: Some(delivery) }
    }

    /// The same with operations that carry this.
    pub fn delivering(&self, delivery: Delivery) -> Admin {
        Admin { channel: self.channel.clone(), delivery: Some(delivery) }
    }

    /// Declares a device of a profile.
    pub fn device(&self, endpoint: &str, profile: &str) -> Device {
        let device = Device { endpoint: endpoint.into(), profile: profile.into(), ..Device::default() };
        self.create_device(device).unwrap()
    }

    /// Declares a device with a pre-shared key.
    pub fn psk_device(&self, endpoint: &str, profile: &str, identity: &str, key: &[u8]) -> Device {
        let credential = Some(Self::psk(identity, key));
        let device =
            Device { endpoint: endpoint.into(), profile: profile.into(), credential, ..Device::default() };
        self.create_device(device).unwrap()
    }

    /// Gives a device a pre-shared key under its own name, unless it has one; makes it where there is none.
    pub fn ensure_psk(&self, endpoint: &str, key: &[u8]) {
        let request = v1::GetDeviceRequest { name: endpoint.into() };
        match run(DeviceServiceClient::new(self.channel.clone()).get_device(request)) {
            Err(_) => drop(self.psk_device(endpoint, "default", endpoint, key)),
            Ok(device) if device.credential.as_ref().is_none_or(|credential| credential.psk.is_none()) => {
                let credential = Some(Self::psk(endpoint, key));
                self.update_device(Device { credential, ..device }, &["credential"]).unwrap();
            }
            Ok(_) => {}
        }
    }

    /// The credential of a pre-shared key.
    pub fn psk(identity: &str, key: &[u8]) -> v1::Credential {
        let secret = v1::credential::psk::Secret::Hex(HEXLOWER.encode(key));
        let psk = v1::credential::Psk { identity: identity.into(), secret: Some(secret) };
        v1::Credential { psk: Some(psk), ..Default::default() }
    }

    /// CreateDevice.
    pub fn create_device(&self, device: Device) -> Result<Device, Status> {
        let request = v1::CreateDeviceRequest { device: Some(device), ..Default::default() };
        run(DeviceServiceClient::new(self.channel.clone()).create_device(request))
    }

    /// BatchCreateDevices, as many times as these need; each must be made.
    pub fn create_devices(&self, devices: Vec<Device>) {
        for chunk in devices.chunks(500) {
            let requests = chunk
                .iter()
                .map(|device| v1::CreateDeviceRequest { device: Some(device.clone()), ..Default::default() })
                .collect();
            let request = v1::BatchCreateDevicesRequest { requests };
            let made =
                run(DeviceServiceClient::new(self.channel.clone()).batch_create_devices(request)).unwrap();
            for outcome in made.outcomes {
                let made = matches!(
                    outcome.outcome,
                    Some(v1::batch_create_devices_response::outcome::Outcome::Device(_))
                );
                assert!(made, "{outcome:?}");
            }
        }
    }

    /// UpdateDevice.
    pub fn update_device(&self, device: Device, fields: &[&str]) -> Result<Device, Status> {
        let paths = fields.iter().map(|&field| field.into()).collect();
        let mask = prost_types::FieldMask { paths };
        let request = v1::UpdateDeviceRequest { device: Some(device), update_mask: Some(mask) };
        run(DeviceServiceClient::new(self.channel.clone()).update_device(request))
    }

    /// RotateSecret: the old one stays valid until the new one is used.
    pub fn rotate(&self, endpoint: &str, key: &[u8]) -> Device {
        let secret = Some(v1::rotate_secret_request::Secret::Hex(HEXLOWER.encode(key)));
        let request = v1::RotateSecretRequest { name: endpoint.into(), secret, ..Default::default() };
        run(DeviceServiceClient::new(self.channel.clone()).rotate_secret(request)).unwrap()
    }

    /// DeleteDevice.
    pub fn delete_device(&self, endpoint: &str) -> Result<(), Status> {
        let request = v1::DeleteDeviceRequest { name: endpoint.into(), ..Default::default() };
        run(DeviceServiceClient::new(self.channel.clone()).delete_device(request))
    }

    /// Creates or replaces a profile.
    pub fn profile(&self, profile: Profile) -> Profile {
        let request =
            v1::UpdateProfileRequest { profile: Some(profile), allow_missing: true, ..Default::default() };
        run(ProfileServiceClient::new(self.channel.clone()).update_profile(request)).unwrap()
    }

    /// UploadModels, for all devices.
    pub fn upload_models(&self, xml: &str) -> Result<v1::UploadModelsResponse, Status> {
        let request = v1::UploadModelsRequest { xml: xml.into(), ..Default::default() };
        run(ModelServiceClient::new(self.channel.clone()).upload_models(request))
    }

    /// GetRegistration.
    pub fn registration(&self, endpoint: &str) -> Result<Registration, Status> {
        let request = v1::GetRegistrationRequest { name: endpoint.into() };
        run(RegistrationServiceClient::new(self.channel.clone()).get_registration(request))
    }

    /// Waits until the device is registered and `matches`.
    #[track_caller]
    pub fn wait_registration(&self, endpoint: &str, matches: impl Fn(&Registration) -> bool) -> Registration {
        wait(&format!("a registration of {endpoint} that matches"), || {
            self.registration(endpoint).ok().filter(&matches)
        })
    }

    /// The paths of a device's observations, sorted, each joined by a space.
    pub fn observations(&self, endpoint: &str) -> Vec<String> {
        let registration = self.registration(endpoint).unwrap();
        let mut paths: Vec<_> =
            registration.observations.into_iter().map(|observation| observation.paths.join(" ")).collect();
        paths.sort();
        paths
    }

    /// Waits until the device has these observations and no other.
    #[track_caller]
    pub fn wait_observations(&self, endpoint: &str, paths: &[&str]) {
        let mut seen = Vec::new();
        let mut rounds = 0;
        while {
            seen = self.registration(endpoint).map_or(seen, |_| self.observations(endpoint));
            seen != paths && rounds < 3000
        } {
            rounds += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(seen, paths, "observations of {endpoint}");
    }

    /// GetOperation.
    pub fn operation(&self, name: &str) -> Result<Operation, Status> {
        let request = v1::GetOperationRequest { name: name.into() };
        run(self.operations().get_operation(request))
    }

    /// Waits until an operation has ended.
    #[track_caller]
    pub fn wait_operation(&self, name: &str) -> Operation {
        use v1::operation::State;
        wait(&format!("the end of {name}"), || {
            let operation = self.operation(name).unwrap();
            (!matches!(operation.state(), State::Queued | State::Sent)).then_some(operation)
        })
    }

    /// ListOperations.
    pub fn list_operations(&self, endpoint: &str, pending: bool) -> Vec<Operation> {
        let parent = format!("devices/{endpoint}");
        let request = v1::ListOperationsRequest { parent, pending, ..Default::default() };
        run(self.operations().list_operations(request)).unwrap().operations
    }

    /// WatchOperations: one, by its name, or those of an endpoint. What the stream brings, until it ends.
    pub fn watch_operations(&self, name: &str, endpoint: &str) -> mpsc::Receiver<Event> {
        let parent = if endpoint.is_empty() { String::new() } else { format!("devices/{endpoint}") };
        let request = v1::WatchOperationsRequest { name: name.into(), parent };
        let mut changes = run(self.operations().watch_operations(request)).unwrap();
        let (tell, told) = mpsc::channel();
        RUNTIME.spawn(async move {
            while let Ok(Some(v1::WatchOperationsResponse { event: Some(event) })) = changes.message().await {
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        told
    }

    /// CancelOperation.
    pub fn cancel_operation(&self, name: &str) -> Result<Operation, Status> {
        run(self.operations().cancel_operation(v1::CancelOperationRequest { name: name.into() }))
    }

    /// Read, in the format that the node chooses.
    pub fn read(&self, endpoint: &str, path: &str) -> Result<Operation, Status> {
        self.command(endpoint, command::Kind::Read(command::Read { path: path.into(), format: None }))
    }

    /// Read in a format.
    pub fn read_as(&self, endpoint: &str, path: &str, format: u32) -> Result<Operation, Status> {
        self.command(endpoint, command::Kind::Read(command::Read { path: path.into(), format: Some(format) }))
    }

    /// Discover.
    pub fn discover(&self, endpoint: &str, path: &str) -> Result<Operation, Status> {
        self.command(endpoint, command::Kind::Discover(command::Discover { path: path.into(), depth: None }))
    }

    /// Write of one value, given as text, in place of what is there.
    pub fn write(&self, endpoint: &str, path: &str, text: &str) -> Result<Operation, Status> {
        self.write_all(endpoint, path, &[(path, text)], write::Mode::Unspecified, None)
    }

    /// Write of values given as text.
    pub fn write_all(
        &self,
        endpoint: &str,
        path: &str,
        values: &[(&str, &str)],
        mode: write::Mode,
        format: Option<u32>,
    ) -> Result<Operation, Status> {
        let (path, values) = (path.into(), texts(values));
        self.command(
            endpoint,
            command::Kind::Write(command::Write { path, values, mode: mode.into(), format }),
        )
    }

    /// Write of a typed value.
    pub fn write_value(
        &self,
        endpoint: &str,
        path: &str,
        kind: v1::value::Kind,
        format: Option<u32>,
    ) -> Result<Operation, Status> {
        let value = Some(Value { kind: Some(kind) });
        let values = vec![PathValue { path: path.into(), value, ..Default::default() }];
        self.command(
            endpoint,
            command::Kind::Write(command::Write { path: path.into(), values, mode: 0, format }),
        )
    }

    /// Write-Attributes.
    pub fn write_attributes(
        &self,
        endpoint: &str,
        path: &str,
        attributes: Attributes,
    ) -> Result<Operation, Status> {
        let command = command::WriteAttributes { path: path.into(), attributes: Some(attributes) };
        self.command(endpoint, command::Kind::WriteAttributes(command))
    }

    /// Execute.
    pub fn execute(&self, endpoint: &str, path: &str, arguments: &str) -> Result<Operation, Status> {
        let command = command::Execute { path: path.into(), arguments: arguments.into() };
        self.command(endpoint, command::Kind::Execute(command))
    }

    /// Create with values given as text.
    pub fn create(
        &self,
        endpoint: &str,
        object: u32,
        instance: Option<u32>,
        values: &[(&str, &str)],
    ) -> Result<Operation, Status> {
        let command = command::Create { object, instance, values: texts(values), format: None };
        self.command(endpoint, command::Kind::Create(command))
    }

    /// Delete.
    pub fn delete(&self, endpoint: &str, path: &str) -> Result<Operation, Status> {
        self.command(endpoint, command::Kind::Delete(command::Delete { path: path.into() }))
    }

    /// Read-Composite.
    pub fn read_composite(&self, endpoint: &str, paths: &[&str], format: u32) -> Result<Operation, Status> {
        let command = command::ReadComposite { paths: owned(paths), format: Some(format) };
        self.command(endpoint, command::Kind::ReadComposite(command))
    }

    /// Write-Composite of values given as text.
    pub fn write_composite(
        &self,
        endpoint: &str,
        values: &[(&str, &str)],
        format: u32,
    ) -> Result<Operation, Status> {
        let command = command::WriteComposite { values: texts(values), format: Some(format) };
        self.command(endpoint, command::Kind::WriteComposite(command))
    }

    /// Observe.
    pub fn observe(&self, endpoint: &str, path: &str) -> Result<Operation, Status> {
        self.command(endpoint, command::Kind::Observe(command::Observe { path: path.into(), format: None }))
    }

    /// Observe-Composite.
    pub fn observe_composite(&self, endpoint: &str, paths: &[&str]) -> Result<Operation, Status> {
        let command = command::ObserveComposite { paths: owned(paths), format: None };
        self.command(endpoint, command::Kind::ObserveComposite(command))
    }

    /// Ends an observation: by a request, or by RST to the next notification.
    pub fn cancel_observation(
        &self,
        endpoint: &str,
        paths: &[&str],
        passive: bool,
    ) -> Result<Operation, Status> {
        use command::cancel_observation::Mode;
        let mode = if passive { Mode::Passive } else { Mode::Active };
        let command = command::CancelObservation { paths: owned(paths), mode: mode.into() };
        self.command(endpoint, command::Kind::CancelObservation(command))
    }

    /// Any command.
    pub fn command(&self, endpoint: &str, kind: command::Kind) -> Result<Operation, Status> {
        let (device, delivery) = (endpoint.to_owned(), self.delivery.clone());
        let mut client = self.operations();
        match kind {
            command::Kind::Read(command) => {
                run(client.read(v1::ReadRequest { device, command: Some(command), delivery }))
            }
            command::Kind::Discover(command) => {
                run(client.discover(v1::DiscoverRequest { device, command: Some(command), delivery }))
            }
            command::Kind::Write(command) => {
                run(client.write(v1::WriteRequest { device, command: Some(command), delivery }))
            }
            command::Kind::WriteAttributes(command) => run(client
                .write_attributes(v1::WriteAttributesRequest { device, command: Some(command), delivery })),
            command::Kind::Execute(command) => {
                run(client.execute(v1::ExecuteRequest { device, command: Some(command), delivery }))
            }
            command::Kind::Create(command) => {
                run(client.create(v1::CreateRequest { device, command: Some(command), delivery }))
            }
            command::Kind::Delete(command) => {
                run(client.delete(v1::DeleteRequest { device, command: Some(command), delivery }))
            }
            command::Kind::ReadComposite(command) => run(client.read_composite(v1::ReadCompositeRequest {
                device,
                command: Some(command),
                delivery,
            })),
            command::Kind::WriteComposite(command) => run(client
                .write_composite(v1::WriteCompositeRequest { device, command: Some(command), delivery })),
            command::Kind::Observe(command) => {
                run(client.observe(v1::ObserveRequest { device, command: Some(command), delivery }))
            }
            command::Kind::ObserveComposite(command) => run(client
                .observe_composite(v1::ObserveCompositeRequest { device, command: Some(command), delivery })),
            command::Kind::CancelObservation(command) => {
                run(client.cancel_observation(v1::CancelObservationRequest {
                    device,
                    command: Some(command),
                    delivery,
                }))
            }
        }
    }

    fn operations(&self) -> OperationServiceClient<Channel> {
        OperationServiceClient::new(self.channel.clone())
    }
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|&path| path.into()).collect()
}

fn texts(values: &[(&str, &str)]) -> Vec<PathValue> {
    let value = |&(path, text): &(&str, &str)| PathValue {
        path: path.into(),
        text: Some(text.into()),
        ..Default::default()
    };
    values.iter().map(value).collect()
}
