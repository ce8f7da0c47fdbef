//! `godwit ctl devices`.

use std::{fs, io, path::PathBuf};

use clap::{Args, Subcommand};
use godwit_proto::v1::{
    CreateDeviceRequest, Credential, DeleteDeviceRequest, Device, GetDeviceRequest, ListDevicesRequest,
    RotateSecretRequest, UpdateDeviceRequest,
    credential::{self, Psk, RawPublicKey, X509, psk},
    device::session::State,
    device_service_client::DeviceServiceClient,
    rotate_secret_request,
};
use prost_types::{Duration, FieldMask};

use super::{
    connect::{Connection, Wire},
    console::{Console, Table, dash, time},
    export::Export,
    fault::CtlError,
    filter::Filter,
    import::{self, Pattern},
};
use crate::clock;

const DEVICE: &str = "godwit.v1.Device";

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Create a device, or many by a pattern
    Create(Box<Create>),
    /// Show a device with its DTLS sessions
    #[command(visible_alias = "show")]
    Get {
        /// Endpoint name or device id
        device: String,
    },
    /// List devices
    List(Filter),
    /// Change a device
    Update(Box<Update>),
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
    /// Write devices to a file that import reads
    Export(Export),
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
    /// Log in over DTLS with this raw public key on P-256: a file with PEM or DER, or its DER in hex or base64 digits; {}
    /// stands for the endpoint name
    #[arg(long, value_name = "FILE|DIGITS")]
    pub(super) rpk: Option<String>,
    /// Log in over DTLS with a certificate of a trusted authority, by the endpoint name
    #[arg(long)]
    pub(super) x509: bool,
    /// The same, by this common name; {} stands for the endpoint name
    #[arg(long, value_name = "NAME", conflicts_with = "x509_certificate")]
    pub(super) x509_common_name: Option<String>,
    /// The same, only of this authority: its certificate, given as for --rpk
    #[arg(long, value_name = "FILE|DIGITS", conflicts_with = "x509_certificate")]
    pub(super) x509_issuer: Option<String>,
    /// Log in over DTLS with exactly this certificate, given as for --rpk
    #[arg(long, value_name = "FILE|DIGITS")]
    pub(super) x509_certificate: Option<String>,
    /// Log in without security; with a key: also without
    #[arg(long)]
    pub(super) no_sec: bool,
    /// The device is deleted unless it registers within so many seconds; 0: never
    #[arg(long, value_name = "SECONDS")]
    pub(super) activation_timeout: Option<i64>,
    /// Label; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub(super) labels: Vec<(String, String)>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a label is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Settings {
    /// The device of this endpoint name. Errors name a file that can't be read.
    pub(super) fn device(&self, endpoint: &str) -> Result<Device, String> {
        Ok(Device {
            endpoint: endpoint.to_owned(),
            profile: self.profile.clone().unwrap_or_default(),
            credential: self.credential(endpoint)?,
            labels: self.labels.iter().cloned().collect(),
            activation_timeout: self.activation_timeout.map(|seconds| Duration { seconds, nanos: 0 }),
            ..Default::default()
        })
    }

    fn credential(&self, endpoint: &str) -> Result<Option<Credential>, String> {
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
        let named = |given: &Option<String>| given.as_deref().unwrap_or_default().replace("{}", endpoint);
        let content = |given: &Option<String>| match given {
            Some(_) => material(&named(given)).map(Some),
            None => Ok(None),
        };
        let rpk = content(&self.rpk)?.map(|key| RawPublicKey { key });
        if rpk.is_some() {
            modes.push(credential::Mode::Rpk.into());
        }
        let certificate = content(&self.x509_certificate)?;
        let issuer = content(&self.x509_issuer)?;
        let with_x509 =
            self.x509 || certificate.is_some() || issuer.is_some() || self.x509_common_name.is_some();
        let x509 = with_x509.then(|| X509 {
            certificate: certificate.unwrap_or_default(),
            common_name: named(&self.x509_common_name),
            issuer: issuer.unwrap_or_default(),
        });
        if x509.is_some() {
            modes.push(credential::Mode::X509.into());
        }
        if self.no_sec {
            modes.push(credential::Mode::NoSec.into());
        }
        let psk = with_psk.then(|| Psk { identity: named(&self.psk_identity), secret });
        Ok((!modes.is_empty()).then_some(Credential { modes, psk, rpk, x509 }))
    }

    /// Whether something is to hold the endpoint name of a device that is yet to be named.
    fn has_blank(&self) -> bool {
        [&self.psk_identity, &self.rpk, &self.x509_common_name, &self.x509_issuer, &self.x509_certificate]
            .into_iter()
            .flatten()
            .any(|given| given.contains("{}"))
    }
}

/// A key or certificate: what a file of this name holds, or else the digits themselves.
fn material(given: &str) -> Result<Vec<u8>, String> {
    let names_a_file = given.contains('.');
    match fs::read(given) {
        Ok(content) => Ok(content),
        // Digits, unless it has what neither hex nor base64 has.
        Err(error) if !names_a_file && error.kind() != io::ErrorKind::PermissionDenied => {
            Ok(given.as_bytes().to_vec())
        }
        Err(error) => Err(format!("{given}: {error}")),
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
                show(std::slice::from_ref(&device), console)?;
                show_sessions(&device, console)
            }
            Self::List(filter) => list(client, filter, console).await,
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
            Self::Export(export) => export.run(client, console).await,
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
                    device: Some(self.settings.device(&endpoint).map_err(CtlError::Usage)?),
                    ..Default::default()
                };
                let device = client.create_device(request).await?.into_inner();
                show(&[device], console)
            }
            (None, Some(pattern), Some(count)) => {
                let end = self.start.checked_add(count);
                let end = end.ok_or_else(|| CtlError::Usage("--start and --count go beyond 2^64".into()))?;
                let settings = self.settings;
                let devices = (self.start..end)
                    .map(move |number| settings.device(&pattern.name(number)).map_err(CtlError::Usage));
                let total = usize::try_from(count).unwrap_or(usize::MAX);
                import::create_all(&mut client, devices, total, &[], self.secrets.as_deref(), console).await
            }
            _ => Err(CtlError::Usage("an endpoint name, or --pattern and --count".into())),
        }
    }
}

impl Update {
    fn request(self) -> Result<UpdateDeviceRequest, CtlError> {
        if self.settings.has_blank() {
            return Err(CtlError::Usage("{} is for devices that are created".into()));
        }
        let mut device = self.settings.device("").map_err(CtlError::Usage)?;
        device.name = self.device;
        device.disabled = self.disable;
        let fields = [
            ("profile", self.settings.profile.is_some()),
            ("credential", device.credential.is_some()),
            ("labels", !device.labels.is_empty()),
            ("disabled", self.disable || self.enable),
            ("activation_timeout", device.activation_timeout.is_some()),
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
    filter: Filter,
    console: &mut Console<'_>,
) -> Result<(), CtlError> {
    let mut request = ListDevicesRequest {
        page_size: filter.page_size(),
        profile: filter.which.profile,
        endpoint_prefix: filter.which.prefix,
        ..Default::default()
    };
    let mut devices = Vec::new();
    loop {
        let page = client.list_devices(request.clone()).await?.into_inner();
        devices.extend(page.devices);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || devices.len() >= filter.limit {
            break;
        }
    }
    devices.truncate(filter.limit);
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
    let mut table =
        Table::new(&["ENDPOINT", "DEVICE", "PROFILE", "MODES", "PSK IDENTITY", "STATE", "CREATED"]);
    for device in devices {
        table.row([
            device.endpoint.clone(),
            device.name.trim_start_matches("devices/").to_owned(),
            device.profile.trim_start_matches("profiles/").to_owned(),
            dash(&modes(device)),
            dash(psk_identity(device)),
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

/// The sessions of a device, below the device.
fn show_sessions(device: &Device, console: &mut Console<'_>) -> Result<(), CtlError> {
    if console.is_json() || device.sessions.is_empty() {
        return Ok(());
    }
    console.line("")?;
    let mut table = Table::new(&["SESSION", "MODE", "SUITE", "CID", "AGE", "RESUMED", "LAST HEARD"]);
    for session in &device.sessions {
        let state = match session.state() {
            State::Provisional => "provisional",
            State::Live => "live",
            State::Closed => "closed",
            State::Unspecified => "?",
        };
        table.row([
            state.to_owned(),
            mode_name(session.mode()).to_owned(),
            dash(&session.cipher_suite),
            match session.connection_id_length {
                0 => "none".to_owned(),
                bytes => format!("{bytes} bytes"),
            },
            session.create_time.as_ref().map_or_else(|| dash(""), |made| age(made.seconds)),
            if session.resumed { "yes" } else { "no" }.to_owned(),
            time(session.last_heard_time.as_ref()),
        ]);
    }
    Ok(console.table(&table)?)
}

/// How long ago a moment was, by this machine's clock: "3 d", "5 h", "12 min", "40 s".
fn age(unix_seconds: i64) -> String {
    let now = i64::try_from(clock::unix_ms() / 1000).unwrap_or(i64::MAX);
    match now.saturating_sub(unix_seconds).max(0) {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn psk_identity(device: &Device) -> &str {
    let psk = device.credential.as_ref().and_then(|credential| credential.psk.as_ref());
    psk.map_or("", |psk| &psk.identity)
}

fn modes(device: &Device) -> String {
    let modes = device.credential.iter().flat_map(|credential| credential.modes());
    modes.map(mode_name).collect::<Vec<_>>().join("+")
}

const fn mode_name(mode: credential::Mode) -> &'static str {
    match mode {
        credential::Mode::NoSec => "NO_SEC",
        credential::Mode::Psk => "PSK",
        credential::Mode::Rpk => "RPK",
        credential::Mode::X509 => "X509",
        credential::Mode::Unspecified => "?",
    }
}
