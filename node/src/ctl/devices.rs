//! `godwit ctl devices`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use godwit_proto::v1::{
    CreateDeviceRequest, Credential, DeleteDeviceRequest, Device, GetDeviceRequest, ListDevicesRequest,
    RotateSecretRequest, UpdateDeviceRequest,
    credential::{self, Psk, psk},
    device_service_client::DeviceServiceClient,
    rotate_secret_request,
};
use prost_types::FieldMask;

use super::{
    connect::{Connection, Wire},
    console::{Console, Table, dash, time},
    fault::CtlError,
    import::{self, Pattern},
};

const DEVICE: &str = "godwit.v1.Device";

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Create a device, or many by a pattern
    Create(Create),
    /// Show a device
    Get {
        /// Endpoint name or device id
        device: String,
    },
    /// List devices
    List {
        /// Only devices of this profile
        #[arg(long)]
        profile: Option<String>,
        /// Only devices whose endpoint name begins so
        #[arg(long)]
        prefix: Option<String>,
        /// Most devices to list
        #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
        limit: usize,
    },
    /// Change a device
    Update(Update),
    /// Delete devices, with their registrations
    Delete {
        /// Endpoint names or device ids
        #[arg(required = true)]
        devices: Vec<String>,
    },
    /// Give a device a new secret; the old one stays valid until the new one was used
    Rotate {
        /// Endpoint name or device id
        device: String,
        /// The new secret in hex digits
        #[arg(long, conflicts_with = "text")]
        hex: Option<String>,
        /// The new secret as text
        #[arg(long)]
        text: Option<String>,
    },
    /// Create the devices of a file
    Import(import::Import),
}

#[derive(Args, Debug)]
pub(super) struct Create {
    /// Endpoint name
    #[arg(required_unless_present = "pattern", conflicts_with = "pattern")]
    endpoint: Option<String>,
    /// Endpoint names by a pattern: LwPSK{:08} gives LwPSK00000000, LwPSK00000001, …
    #[arg(long, requires = "count")]
    pattern: Option<Pattern>,
    /// How many devices the pattern makes
    #[arg(long, requires = "pattern")]
    count: Option<u64>,
    /// The pattern's first number
    #[arg(long, default_value_t = 0, requires = "pattern")]
    start: u64,
    #[command(flatten)]
    settings: Settings,
    /// File for the secrets that the node makes, NDJSON, readable by you only; else they are written out
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Update {
    /// Endpoint name or device id
    device: String,
    #[command(flatten)]
    settings: Settings,
    /// Refuse the device, and keep its record
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Let the device in again
    #[arg(long)]
    enable: bool,
}

/// What a device is created with, or changed to.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Settings {
    /// Profile
    #[arg(long)]
    pub(super) profile: Option<String>,
    /// Log in over DTLS with a pre-shared key; without --psk-hex or --psk-text the node makes it
    #[arg(long)]
    pub(super) psk: bool,
    /// PSK identity, by default the endpoint name; {} stands for the endpoint name
    #[arg(long, value_name = "IDENTITY")]
    pub(super) psk_identity: Option<String>,
    /// Pre-shared key in hex digits
    #[arg(long, value_name = "HEX", conflicts_with = "psk_text")]
    pub(super) psk_hex: Option<String>,
    /// Pre-shared key as text
    #[arg(long, value_name = "TEXT")]
    pub(super) psk_text: Option<String>,
    /// Log in without security; with a key: also without
    #[arg(long)]
    pub(super) no_sec: bool,
    /// Label; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub(super) labels: Vec<(String, String)>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a label is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Settings {
    /// The device of this endpoint name.
    pub(super) fn device(&self, endpoint: &str) -> Device {
        Device {
            endpoint: endpoint.to_owned(),
            profile: self.profile.clone().unwrap_or_default(),
            credential: self.credential(endpoint),
            labels: self.labels.iter().cloned().collect(),
            ..Default::default()
        }
    }

    fn credential(&self, endpoint: &str) -> Option<Credential> {
        let secret = match (&self.psk_hex, &self.psk_text) {
            (Some(hex), _) => Some(psk::Secret::Hex(hex.clone())),
            (None, Some(text)) => Some(psk::Secret::Text(text.clone())),
            (None, None) => None,
        };
        let with_psk = self.psk || self.psk_identity.is_some() || secret.is_some();
        let mut modes = Vec::new();
        if with_psk {
            modes.push(credential::Mode::Psk.into());
        }
        if self.no_sec {
            modes.push(credential::Mode::NoSec.into());
        }
        let identity = self.psk_identity.as_deref().unwrap_or_default().replace("{}", endpoint);
        let psk = with_psk.then_some(Psk { identity, secret });
        (!modes.is_empty()).then_some(Credential { modes, psk })
    }
}

impl Verb {
    pub(super) async fn run(
        self,
        connection: &Connection,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        if let Self::Import(import) = self {
            return import.run(connection, console).await;
        }
        let mut client = DeviceServiceClient::new(connection.open().await?);
        match self {
            Self::Create(create) => create.run(client, console).await,
            Self::Get { device } => {
                let device = client.get_device(GetDeviceRequest { name: device }).await?.into_inner();
                show(&[device], console)
            }
            Self::List { profile, prefix, limit } => list(client, profile, prefix, limit, console).await,
            Self::Update(update) => {
                let device = client.update_device(update.request()?).await?.into_inner();
                show(&[device], console)
            }
            Self::Delete { devices } => {
                for name in devices {
                    client.delete_device(DeleteDeviceRequest { name, etag: String::new() }).await?;
                }
                Ok(())
            }
            Self::Rotate { device, hex, text } => {
                let secret = match (hex, text) {
                    (Some(hex), _) => Some(rotate_secret_request::Secret::Hex(hex)),
                    (None, text) => text.map(rotate_secret_request::Secret::Text),
                };
                let request = RotateSecretRequest { name: device, secret, etag: String::new() };
                let device = client.rotate_secret(request).await?.into_inner();
                show(&[device], console)
            }
            // Taken above: it connects only once its file was read.
            Self::Import(_) => Ok(()),
        }
    }
}

impl Create {
    async fn run(
        self,
        mut client: DeviceServiceClient<Wire>,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        match (self.endpoint, self.pattern, self.count) {
            (Some(endpoint), ..) => {
                let request = CreateDeviceRequest {
                    device: Some(self.settings.device(&endpoint)),
                    ..Default::default()
                };
                let device = client.create_device(request).await?.into_inner();
                show(&[device], console)
            }
            (None, Some(pattern), Some(count)) => {
                let end = self.start.checked_add(count);
                let end = end.ok_or_else(|| CtlError::Usage("--start and --count go beyond 2^64".into()))?;
                let settings = self.settings;
                let devices = (self.start..end).map(move |number| settings.device(&pattern.name(number)));
                let total = usize::try_from(count).unwrap_or(usize::MAX);
                import::create_all(&mut client, devices, total, self.secrets.as_deref(), console).await
            }
            _ => Err(CtlError::Usage("an endpoint name, or --pattern and --count".into())),
        }
    }
}

impl Update {
    fn request(self) -> Result<UpdateDeviceRequest, CtlError> {
        if self.settings.psk_identity.as_ref().is_some_and(|identity| identity.contains("{}")) {
            return Err(CtlError::Usage("--psk-identity: {} is for devices that are created".into()));
        }
        let mut device = self.settings.device("");
        device.name = self.device;
        device.disabled = self.disable;
        let fields = [
            ("profile", self.settings.profile.is_some()),
            ("credential", device.credential.is_some()),
            ("labels", !device.labels.is_empty()),
            ("disabled", self.disable || self.enable),
        ];
        let paths: Vec<_> =
            fields.into_iter().filter(|(_, given)| *given).map(|(field, _)| field.to_owned()).collect();
        if paths.is_empty() {
            return Err(CtlError::Usage("nothing to change: see godwit ctl devices update --help".into()));
        }
        Ok(UpdateDeviceRequest { device: Some(device), update_mask: Some(FieldMask { paths }) })
    }
}

async fn list(
    mut client: DeviceServiceClient<Wire>,
    profile: Option<String>,
    prefix: Option<String>,
    limit: usize,
    console: &mut Console<'_>,
) -> Result<(), CtlError> {
    let mut request = ListDevicesRequest {
        page_size: 1000.min(i32::try_from(limit).unwrap_or(i32::MAX)),
        profile: profile.unwrap_or_default(),
        endpoint_prefix: prefix.unwrap_or_default(),
        ..Default::default()
    };
    let mut devices = Vec::new();
    loop {
        let page = client.list_devices(request.clone()).await?.into_inner();
        devices.extend(page.devices);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || devices.len() >= limit {
            break;
        }
    }
    devices.truncate(limit);
    // Their ids' order says nothing to people.
    devices.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
    show(&devices, console)
}

fn show(devices: &[Device], console: &mut Console<'_>) -> Result<(), CtlError> {
    if console.is_json() {
        for device in devices {
            console.message(DEVICE, device)?;
        }
        return Ok(());
    }
    let mut table = Table::new(&["ENDPOINT", "DEVICE", "PROFILE", "MODES", "STATE", "CREATED"]);
    for device in devices {
        table.row([
            device.endpoint.clone(),
            device.name.trim_start_matches("devices/").to_owned(),
            device.profile.trim_start_matches("profiles/").to_owned(),
            dash(&modes(device)),
            if device.disabled { "disabled" } else { "enabled" }.to_owned(),
            time(device.create_time.as_ref()),
        ]);
    }
    console.table(&table)?;
    for device in devices.iter().filter(|device| !device.generated_secret.is_empty()) {
        console
            .line(&format!("secret of {}, shown this once: {}", device.endpoint, device.generated_secret))?;
    }
    Ok(())
}

fn modes(device: &Device) -> String {
    let modes = device.credential.iter().flat_map(|credential| credential.modes());
    let names = modes.map(|mode| match mode {
        credential::Mode::NoSec => "NO_SEC",
        credential::Mode::Psk => "PSK",
        credential::Mode::Unspecified => "?",
    });
    names.collect::<Vec<_>>().join("+")
}
