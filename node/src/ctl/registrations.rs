//! `godwit ctl registrations`.

use std::time::Duration;

use clap::Subcommand;
use godwit_proto::v1::{
    GetRegistrationRequest, ListRegistrationsRequest, Registration, WatchRegistrationsRequest,
    WatchRegistrationsResponse,
    registration_service_client::RegistrationServiceClient,
    watch_registrations_response::{Event, change::Kind},
};
use tonic::Streaming;

use super::{
    connect::Connection,
    console::{Console, Table, dash, time},
    fault::CtlError,
    filter::{Filter, Which},
    live::Live,
};

const REGISTRATION: &str = "godwit.v1.Registration";
const WATCHED: &str = "godwit.v1.WatchRegistrationsResponse";
const HEADING: &[&str] =
    &["ENDPOINT", "PROFILE", "LWM2M", "BINDING", "LIFETIME", "OBJECTS", "OBSERVED", "UPDATED"];

/// Between two tries to reach a node that went away.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Show a device's registration
    Get {
        /// Endpoint name or device id
        device: String,
    },
    /// List registrations
    List(Filter),
    /// Show registrations as they come and go; a live table on a terminal, else one line for each change
    Watch(Which),
}

impl Verb {
    pub(super) async fn run(
        self,
        connection: &Connection,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        match self {
            Self::Get { device } => {
                let mut client = RegistrationServiceClient::new(connection.open().await?);
                let request = GetRegistrationRequest { name: device };
                show(&client.get_registration(request).await?.into_inner(), console)
            }
            Self::List(filter) => {
                let mut client = RegistrationServiceClient::new(connection.open().await?);
                let mut request = ListRegistrationsRequest {
                    page_size: filter.page_size(),
                    page_token: String::new(),
                    profile: filter.which.profile,
                    endpoint_prefix: filter.which.prefix,
                };
                let mut all = Vec::new();
                loop {
                    let page = client.list_registrations(request.clone()).await?.into_inner();
                    all.extend(page.registrations);
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() || all.len() >= filter.limit {
                        break;
                    }
                }
                all.truncate(filter.limit);
                all.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
                list(&all, console)
            }
            Self::Watch(which) => {
                let request = WatchRegistrationsRequest {
                    resume_token: String::new(),
                    profile: which.profile,
                    endpoint_prefix: which.prefix,
                };
                watch(connection, request, console).await
            }
        }
    }
}

/// Watches until interrupted. A node that goes away is waited for, and the watch goes on where it was.
async fn watch(
    connection: &Connection,
    mut request: WatchRegistrationsRequest,
    console: &mut Console<'_>,
) -> Result<(), CtlError> {
    let mut live = Live::new(HEADING);
    // The first connection must come about: a wrong address is an error, not something to wait for.
    let mut events = Some(begin(connection, &request).await?);
    loop {
        let result = match &mut events {
            Some(events) => follow(events, &mut request, &mut live, console).await,
            None => match begin(connection, &request).await {
                Ok(begun) => {
                    events = Some(begun);
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        if let Err(error) = result {
            if !error.may_pass() {
                return Err(error);
            }
            if events.take().is_some() {
                console.note(&format!("{error}; waiting for the node"))?;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

async fn begin(
    connection: &Connection,
    request: &WatchRegistrationsRequest,
) -> Result<Streaming<WatchRegistrationsResponse>, CtlError> {
    let mut client = RegistrationServiceClient::new(connection.open().await?);
    Ok(client.watch_registrations(request.clone()).await?.into_inner())
}

/// Takes one event, or draws what has changed.
async fn follow(
    events: &mut Streaming<WatchRegistrationsResponse>,
    request: &mut WatchRegistrationsRequest,
    live: &mut Live,
    console: &mut Console<'_>,
) -> Result<(), CtlError> {
    let due = live.due().filter(|_| console.is_live());
    let drawing = async {
        match due {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    };
    let message = tokio::select! {
        message = events.message() => message?,
        () = drawing => return live.draw("registrations, as they come and go (Ctrl-C ends)", console),
    };
    let message =
        message.ok_or_else(|| CtlError::Status(Box::new(tonic::Status::unavailable("the stream ended"))))?;
    if console.is_json() {
        console.message(WATCHED, &message)?;
    }
    if !message.resume_token.is_empty() {
        request.resume_token = message.resume_token;
    }
    let plain = !console.is_live() && !console.is_json();
    match message.event {
        Some(Event::Reset(_)) => {
            if plain {
                console.line("reset")?;
            }
            live.clear();
        }
        Some(Event::Present(registration)) => {
            if plain {
                console.line(&format!("present       {}", registration.endpoint))?;
            }
            live.set(&registration.endpoint, Some(row(&registration)));
        }
        Some(Event::Synced(_)) if plain => console.line("synced")?,
        Some(Event::Synced(_)) | None => {}
        Some(Event::Change(change)) => {
            let gone = matches!(change.kind(), Kind::Deregistered | Kind::Expired);
            if plain {
                let kind = match change.kind() {
                    Kind::Registered => "registered",
                    Kind::Updated => "updated",
                    Kind::Deregistered => "deregistered",
                    Kind::Expired => "expired",
                    Kind::Unspecified => "changed",
                };
                console.line(&format!("{kind:<13} {}  {}", change.endpoint, time(change.time.as_ref())))?;
            }
            let shown = change.registration.as_ref().filter(|_| !gone);
            live.set(&change.endpoint, shown.map(row));
        }
    }
    Ok(())
}

fn list(registrations: &[Registration], console: &mut Console<'_>) -> Result<(), CtlError> {
    if console.is_json() {
        for registration in registrations {
            console.message(REGISTRATION, registration)?;
        }
        return Ok(());
    }
    let mut table = Table::new(HEADING);
    for registration in registrations {
        table.row(row(registration));
    }
    Ok(console.table(&table)?)
}

fn row(registration: &Registration) -> Vec<String> {
    let queue = if registration.queue_mode { " (queue)" } else { "" };
    vec![
        registration.endpoint.clone(),
        registration.profile.trim_start_matches("profiles/").to_owned(),
        registration.lwm2m_version.clone(),
        format!("{}{queue}", registration.binding),
        lifetime(registration),
        registration.objects.len().to_string(),
        registration.observations.len().to_string(),
        time(registration.update_time.as_ref()),
    ]
}

fn lifetime(registration: &Registration) -> String {
    registration.lifetime.as_ref().map_or_else(|| "infinite".to_owned(), |span| format!("{}s", span.seconds))
}

fn show(registration: &Registration, console: &mut Console<'_>) -> Result<(), CtlError> {
    if console.is_json() {
        return Ok(console.message(REGISTRATION, registration)?);
    }
    list(std::slice::from_ref(registration), console)?;
    console.line(&format!(
        "\nregistered {}, ends {} without an update, rd/{}, from {}",
        time(registration.register_time.as_ref()),
        time(registration.expire_time.as_ref()),
        registration.registration_id,
        dash(&registration.remote_address),
    ))?;
    let mut table = Table::new(&["OBJECT", "VERSION", "INSTANCES"]);
    for object in &registration.objects {
        let instances: Vec<_> = object.instances.iter().map(ToString::to_string).collect();
        table.row([object.object.to_string(), object.version.clone(), dash(&instances.join(" "))]);
    }
    console.table(&table)?;
    for observation in &registration.observations {
        console.line(&format!("observed: {}", observation.paths.join(" ")))?;
    }
    Ok(())
}
