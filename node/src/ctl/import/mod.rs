//! Devices in bulk: from a file, or by a pattern of names.
//!
//! | format | what it is |
//! |---|---|
//! | csv | a heading with any of the columns below, then one device per line (RFC 4180) |
//! | ndjson | one JSON object per line with the same names, as `godwit ctl devices export` writes them |
//! | thingsboard | ThingsBoard's devices with their LwM2M credentials: an array, or one object per line |
//!
//! Columns: `endpoint`, `profile`, `psk_identity`, `psk_hex`, `psk_text`, `psk_sealed`, `rpk`, `x509_certificate`, `x509_common_name`,
//! `x509_issuer` (keys and certificates as digits or as a file), `psk`, `x509` and `no_sec` (true or false), `disabled`,
//! `activation_timeout` (seconds), `label.<name>`. Everything is read and checked before the first device is created.

mod csv;
mod pattern;
pub(super) mod row;
mod thingsboard;

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use godwit_proto::v1::{
    BatchCreateDevicesRequest, CreateDeviceRequest, Device,
    batch_create_devices_response::{Outcome, outcome},
    device_service_client::DeviceServiceClient,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{
    connect::{Connection, Wire, read},
    console::Console,
    fault::CtlError,
};
use crate::{
    clock,
    config::{Secret, keyring},
    entropy,
};
pub(super) use pattern::Pattern;

/// Devices of one call.
const BATCH: usize = 500;

/// How often a batch is sent again, and when.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Failures that are shown one by one.
const SHOWN: usize = 20;

#[derive(Args, Debug)]
pub(super) struct Import {
    /// The file; - for standard input
    file: PathBuf,
    /// What the file is; by default its name tells: .csv, .ndjson, .jsonl, .json (ThingsBoard)
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// Profile of devices that name none
    #[arg(long)]
    profile: Option<String>,
    /// Read and check the file, and create nothing
    #[arg(long)]
    dry_run: bool,
    /// File for the secrets that the node makes, NDJSON, readable by you only; else they are written out
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    /// File with the key that the secrets were sealed to when they were exported
    #[arg(long, value_name = "FILE")]
    seal_key: Option<PathBuf>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum FileFormat {
    Csv,
    Ndjson,
    Thingsboard,
}

/// Devices read from a file, and what people should know.
#[derive(Debug, Default, PartialEq)]
struct Read {
    devices: Vec<Device>,
    notes: Vec<String>,
}

impl Import {
    pub(super) async fn run(
        self,
        connection: &Connection,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        let content = |fault: String| CtlError::Content { path: self.file.clone(), fault };
        let bytes = if self.file.as_os_str() == "-" {
            io::read_to_string(io::stdin())?.into_bytes()
        } else {
            read(&self.file)?
        };
        let text = String::from_utf8(bytes).map_err(|_| content("not UTF-8".into()))?;
        // A byte order mark is what spreadsheets begin with.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut read = match self.format()? {
            FileFormat::Csv => csv::devices(text),
            FileFormat::Ndjson => row::devices(text),
            FileFormat::Thingsboard => thingsboard::devices(text),
        }
        .map_err(content)?;
        for note in &read.notes {
            console.note(&format!("note: {note}"))?;
        }
        for device in read.devices.iter_mut().filter(|device| device.profile.is_empty()) {
            device.profile = self.profile.clone().unwrap_or_default();
        }
        if self.dry_run {
            console.note(&format!("{} devices could be created", read.devices.len()))?;
            return Ok(());
        }
        let key = self.seal_key.as_deref().map(seal_key).transpose()?;
        let key = key.as_ref().map_or(&[][..], |key| key.expose());
        let mut client = DeviceServiceClient::new(connection.open().await?);
        let total = read.devices.len();
        let devices = read.devices.into_iter().map(Ok);
        create_all(&mut client, devices, total, key, self.secrets.as_deref(), console).await
    }

    fn format(&self) -> Result<FileFormat, CtlError> {
        let extension = self.file.extension().and_then(|extension| extension.to_str());
        self.format
            .or(match extension {
                Some("csv") => Some(FileFormat::Csv),
                Some("ndjson" | "jsonl") => Some(FileFormat::Ndjson),
                Some("json") => Some(FileFormat::Thingsboard),
                _ => None,
            })
            .ok_or_else(|| {
                CtlError::Usage("say what the file is: --format csv, ndjson or thingsboard".into())
            })
    }
}

/// Reads the key that secrets are sealed to, as `godwit keys generate store` makes it.
pub(super) fn seal_key(path: &Path) -> Result<Secret<[u8; 32]>, CtlError> {
    let content = |fault: String| CtlError::Content { path: path.to_owned(), fault };
    let text = String::from_utf8(read(path)?).map_err(|_| content("holds no secret".into()))?;
    let keys = keyring::plain(&text, 1).map_err(|error| content(error.to_string()))?;
    keys.into_iter().next().ok_or_else(|| content("holds no secret".into()))
}

/// Creates devices in batches, with a progress bar on a terminal. One that fails stops no other. `seal_key` is empty where no
/// secret is sealed.
pub(super) async fn create_all(
    client: &mut DeviceServiceClient<Wire>,
    devices: impl Iterator<Item = Result<Device, CtlError>>,
    total: usize,
    seal_key: &[u8],
    secrets: Option<&Path>,
    console: &mut Console<'_>,
) -> Result<(), CtlError> {
    let bar = progress(total as u64, console.is_live());
    let mut secrets = secrets.map(Secrets::open).transpose()?;
    let (mut devices, mut failed) = (devices.peekable(), 0);
    while devices.peek().is_some() {
        let batch = devices.by_ref().take(BATCH).collect::<Result<Vec<Device>, _>>()?;
        let names: Vec<String> = batch.iter().map(|device| device.endpoint.clone()).collect();
        // The connection may break after the node has created some: by its id, a repetition finds its own.
        let request_id = || entropy::uuid7(clock::unix_ms()).to_string();
        let requests = batch.into_iter().map(|device| CreateDeviceRequest {
            device: Some(device),
            request_id: request_id(),
            seal_key: seal_key.to_vec(),
        });
        let request = BatchCreateDevicesRequest { requests: requests.collect() };
        for (name, outcome) in names.iter().zip(create_batch(client, request).await?) {
            match outcome.outcome {
                Some(outcome::Outcome::Device(device)) => give_secret(&device, secrets.as_mut(), console)?,
                Some(outcome::Outcome::Failure(failure)) => {
                    failed += 1;
                    if failed <= SHOWN {
                        bar.suspend(|| {
                            console.note(&format!("{name}: {} ({})", failure.message, failure.reason))
                        })?;
                    }
                }
                None => failed += 1,
            }
        }
        bar.inc(names.len() as u64);
    }
    bar.finish_and_clear();
    if failed > SHOWN {
        console.note(&format!("… and {} more", failed - SHOWN))?;
    }
    console.note(&format!("{} devices created", total.saturating_sub(failed)))?;
    if failed > 0 { Err(CtlError::Some { failed, total }) } else { Ok(()) }
}

/// Creates one batch, again for as long as the node is away for a short while.
async fn create_batch(
    client: &mut DeviceServiceClient<Wire>,
    request: BatchCreateDevicesRequest,
) -> Result<Vec<Outcome>, CtlError> {
    let mut tries = 0;
    loop {
        match client.batch_create_devices(request.clone()).await.map_err(CtlError::from) {
            Ok(answer) => return Ok(answer.into_inner().outcomes),
            Err(error) if error.may_pass() && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn progress(total: u64, shown: bool) -> ProgressBar {
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} devices, {per_sec}, {eta} left")
        .expect("invariant: the template is well-formed");
    ProgressBar::with_draw_target(Some(total), target).with_style(style)
}

/// A secret is shown once: to its file, else as a line of its own.
fn give_secret(
    device: &Device,
    secrets: Option<&mut Secrets>,
    console: &mut Console<'_>,
) -> Result<(), CtlError> {
    if device.generated_secret.is_empty() {
        return Ok(());
    }
    let psk = device.credential.as_ref().and_then(|credential| credential.psk.as_ref());
    let line = json!({
        "endpoint": device.endpoint,
        "psk_identity": psk.map(|psk| psk.identity.as_str()),
        "psk_hex": device.generated_secret,
    });
    match secrets {
        Some(secrets) => secrets.write(&line.to_string()),
        None => Ok(console.json(&line)?),
    }
}

/// A file of secrets: a new one, for the user's eyes only.
pub(super) struct Secrets {
    path: PathBuf,
    file: std::fs::File,
}

impl Secrets {
    pub(super) fn open(path: &Path) -> Result<Self, CtlError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| CtlError::File { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn write(&mut self, line: &str) -> Result<(), CtlError> {
        writeln!(self.file, "{line}").map_err(|error| CtlError::File { path: self.path.clone(), error })
    }
}
