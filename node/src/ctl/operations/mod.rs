//! `godwit ctl operations`.

mod show;
mod values;

use std::time::Duration;

use clap::{Args, Subcommand};
use godwit_proto::v1::{
    CancelObservationRequest, CancelOperationRequest, CreateRequest, DeleteRequest, Delivery,
    DiscoverRequest, ExecuteRequest, GetOperationRequest, ListOperationsRequest, ObserveCompositeRequest,
    ObserveRequest, ReadCompositeRequest, ReadRequest, WatchOperationsRequest, WriteAttributesRequest,
    WriteCompositeRequest, WriteRequest,
    command::{self, cancel_observation},
    operation_service_client::OperationServiceClient,
    watch_operations_response::Event,
};

use super::{
    connect::{Connection, Wire},
    console::Console,
    fault::CtlError,
};
use crate::config;
use values::Assignment;

/// How much longer than the node the client waits, so that the node's answer arrives.
const MARGIN: Duration = Duration::from_secs(5);

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Read one path, or several at once by Read-Composite
    Read {
        #[command(flatten)]
        target: Paths,
        #[command(flatten)]
        how: How,
    },
    /// Write one value, several of one object instance, or several by Write-Composite
    Write {
        /// Endpoint name or device id
        device: String,
        /// What to write: /3/0/14=+02, with a type where no model knows it: /26241/0/1:float=2.5
        #[arg(required_unless_present = "remove", value_name = "PATH=VALUE")]
        values: Vec<Assignment>,
        /// Replace the whole instance or resource, not only what is given
        #[arg(long, conflicts_with_all = ["composite", "remove"])]
        replace: bool,
        /// Use Write-Composite, even where one Write would do
        #[arg(long)]
        composite: bool,
        /// Remove a resource instance, by Write-Composite
        #[arg(long, value_name = "PATH")]
        remove: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Execute a resource
    Exec {
        /// Endpoint name or device id
        device: String,
        /// The resource: /3/0/4
        path: String,
        /// Arguments as LwM2M writes them: 5 or 2='10.3',7
        #[arg(long, default_value = "", hide_default_value = true)]
        args: String,
        #[command(flatten)]
        how: How,
    },
    /// Ask what is there, and which attributes are set
    Discover {
        /// Endpoint name or device id
        device: String,
        /// Object, instance or resource
        path: String,
        /// How many levels below (LwM2M 1.2)
        #[arg(long, value_parser = clap::value_parser!(u32).range(0..=3))]
        depth: Option<u32>,
        #[command(flatten)]
        how: How,
    },
    /// Set notification attributes
    WriteAttributes {
        /// Endpoint name or device id
        device: String,
        /// Object, instance or resource
        path: String,
        /// pmin=10 pmax=60 gt=25 lt=5 st=0.5 epmin=1 epmax=5 edge=1 con=1 hqmax=3
        #[arg(required = true, value_name = "NAME=VALUE")]
        attributes: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Create an object instance
    Create {
        /// Endpoint name or device id
        device: String,
        /// /OBJECT, and the device chooses the instance, or /OBJECT/INSTANCE
        path: String,
        /// Resources of the new instance: 5700=21.5, or with the whole path
        #[arg(value_name = "RESOURCE=VALUE")]
        values: Vec<Assignment>,
        #[command(flatten)]
        how: How,
    },
    /// Delete an object instance, or (LwM2M 1.2) a resource instance
    Delete {
        /// Endpoint name or device id
        device: String,
        /// What to delete
        path: String,
        #[command(flatten)]
        how: How,
    },
    /// Observe a path, or several at once by Observe-Composite; values go to telemetry
    Observe {
        #[command(flatten)]
        target: Paths,
        #[command(flatten)]
        how: How,
    },
    /// End an observation, named by its paths
    CancelObservation {
        #[command(flatten)]
        target: Paths,
        /// Answer the next notification with RST, in place of a request
        #[arg(long)]
        passive: bool,
        #[command(flatten)]
        how: How,
    },
    /// Show an operation
    Get {
        /// devices/DEVICE/operations/ID
        operation: String,
    },
    /// List a device's operations
    List {
        /// Endpoint name or device id
        device: String,
        /// Only those that have not ended
        #[arg(long)]
        pending: bool,
    },
    /// Show operations as they change; one operation to its end
    Watch {
        /// devices/DEVICE/operations/ID, or a device; all without
        of: Option<String>,
    },
    /// Cancel an operation that waits
    Cancel {
        /// devices/DEVICE/operations/ID
        operation: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct Paths {
    /// Endpoint name or device id
    device: String,
    /// Paths: /3/0/9
    #[arg(required = true)]
    paths: Vec<String>,
    /// Use the composite operation for one path, too
    #[arg(long)]
    composite: bool,
}

/// How a command goes to the device.
#[derive(Args, Debug)]
pub(super) struct How {
    /// Store the operation and return; a sleeping device gets it when it wakes
    #[arg(long)]
    queue: bool,
    /// With --queue: how long it may wait, as in 30m or 24h
    #[arg(long, requires = "queue", value_parser = span)]
    ttl: Option<Duration>,
    /// Without --queue: how long to wait for the answer
    #[arg(long, default_value = "93s", conflicts_with = "queue", value_parser = span)]
    timeout: Duration,
    /// Repeat after a node's death even what may then be executed twice
    #[arg(long)]
    at_least_once: bool,
    /// Content-Format by its CoAP number: 110 SenML JSON, 112 SenML CBOR, 11542 TLV, …
    #[arg(long, value_name = "NUMBER")]
    format: Option<u32>,
}

/// Reads "30s", "1h30m".
pub(super) fn span(text: &str) -> Result<Duration, String> {
    config::span::parse(text).ok_or_else(|| "a span of time is 500ms, 30s, 5m, 24h or 7d".to_owned())
}

impl How {
    fn delivery(&self) -> Option<Delivery> {
        let proto = |span: Duration| prost_types::Duration::try_from(span).ok();
        Some(Delivery {
            queue: self.queue,
            timeout: proto(self.timeout).filter(|_| !self.queue),
            ttl: self.ttl.and_then(proto),
            at_least_once: self.at_least_once,
            request_id: String::new(),
        })
    }
}

/// Calls a command's method with its three fields and a deadline behind the node's own.
macro_rules! call {
    ($client:ident.$method:ident($request:ident), $device:expr, $how:expr, $command:expr) => {{
        let mut request = tonic::Request::new($request {
            device: $device,
            command: Some($command),
            delivery: $how.delivery(),
        });
        request.set_timeout($how.timeout.saturating_add(MARGIN));
        $client.$method(request).await?.into_inner()
    }};
}

impl Verb {
    pub(super) async fn run(
        self,
        connection: &Connection,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        let mut client = OperationServiceClient::new(connection.open().await?);
        let operation = match self {
            Self::Read { target: Paths { device, mut paths, composite }, how } => {
                let format = how.format;
                if composite || paths.len() > 1 {
                    let command = command::ReadComposite { paths, format };
                    call!(client.read_composite(ReadCompositeRequest), device, how, command)
                } else {
                    let command = command::Read { path: paths.remove(0), format };
                    call!(client.read(ReadRequest), device, how, command)
                }
            }
            Self::Observe { target: Paths { device, mut paths, composite }, how } => {
                let format = how.format;
                if composite || paths.len() > 1 {
                    let command = command::ObserveComposite { paths, format };
                    call!(client.observe_composite(ObserveCompositeRequest), device, how, command)
                } else {
                    let command = command::Observe { path: paths.remove(0), format };
                    call!(client.observe(ObserveRequest), device, how, command)
                }
            }
            Self::CancelObservation { target: Paths { device, paths, .. }, passive, how } => {
                let mode = if passive {
                    cancel_observation::Mode::Passive
                } else {
                    cancel_observation::Mode::Active
                };
                let command = command::CancelObservation { paths, mode: mode.into() };
                call!(client.cancel_observation(CancelObservationRequest), device, how, command)
            }
            Self::Write { device, values, replace, composite, remove, how } => {
                match values::write(values, remove, replace, composite, how.format)? {
                    values::Write::One(command) => call!(client.write(WriteRequest), device, how, command),
                    values::Write::Composite(command) => {
                        call!(client.write_composite(WriteCompositeRequest), device, how, command)
                    }
                }
            }
            Self::Exec { device, path, args, how } => {
                let command = command::Execute { path, arguments: args };
                call!(client.execute(ExecuteRequest), device, how, command)
            }
            Self::Discover { device, path, depth, how } => {
                let command = command::Discover { path, depth };
                call!(client.discover(DiscoverRequest), device, how, command)
            }
            Self::WriteAttributes { device, path, attributes, how } => {
                let attributes = Some(values::attributes(&attributes)?);
                let command = command::WriteAttributes { path, attributes };
                call!(client.write_attributes(WriteAttributesRequest), device, how, command)
            }
            Self::Create { device, path, values, how } => {
                let command = values::create(&path, values, how.format)?;
                call!(client.create(CreateRequest), device, how, command)
            }
            Self::Delete { device, path, how } => {
                call!(client.delete(DeleteRequest), device, how, command::Delete { path })
            }
            Self::Get { operation } => {
                client.get_operation(GetOperationRequest { name: operation }).await?.into_inner()
            }
            Self::Cancel { operation } => {
                client.cancel_operation(CancelOperationRequest { name: operation }).await?.into_inner()
            }
            Self::List { device, pending } => return list(client, device, pending, console).await,
            Self::Watch { of } => return watch(client, of, console).await,
        };
        show::operation(&operation, console)
    }
}

async fn list(
    mut client: OperationServiceClient<Wire>,
    device: String,
    pending: bool,
    console: &mut Console<'_>,
) -> Result<(), CtlError> {
    let mut request =
        ListOperationsRequest { parent: device, page_size: 1000, page_token: String::new(), pending };
    let mut operations = Vec::new();
    loop {
        let page = client.list_operations(request.clone()).await?.into_inner();
        operations.extend(page.operations);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return show::list(&operations, console);
        }
    }
}

async fn watch(
    mut client: OperationServiceClient<Wire>,
    of: Option<String>,
    console: &mut Console<'_>,
) -> Result<(), CtlError> {
    let of = of.unwrap_or_default();
    let request = if of.contains("/operations/") {
        WatchOperationsRequest { name: of, parent: String::new() }
    } else {
        WatchOperationsRequest { name: String::new(), parent: of }
    };
    let mut changes = client.watch_operations(request).await?.into_inner();
    while let Some(message) = changes.message().await? {
        match message.event {
            Some(Event::Operation(operation)) => show::change(&operation, console)?,
            Some(Event::Missed(0)) => console.note("changes were left out: a node could not be reached")?,
            Some(Event::Missed(missed)) => {
                console.note(&format!("{missed} changes were left out: this reader is too slow"))?;
            }
            None => {}
        }
    }
    Ok(())
}
