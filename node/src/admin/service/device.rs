//! `DeviceService`.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use futures_util::{StreamExt as _, stream};
use godwit_proto::v1::{
    BatchCreateDevicesRequest, BatchCreateDevicesResponse, CreateDeviceRequest, DeleteDeviceRequest, Device,
    ExportDevicesRequest, ExportDevicesResponse, GetDeviceRequest, ListDevicesRequest, ListDevicesResponse,
    RotateSecretRequest, UpdateDeviceRequest,
    batch_create_devices_response::{Failure, Outcome, outcome},
    device_service_server::DeviceService,
};
use tonic::{Request, Response, Status};

use super::{answer, request_id};
use crate::{
    admin::{
        audit,
        convert::{credential, device, export},
        error::{AdminError, Kind, invalid},
        name::{self, DeviceName},
        page,
        room::Room,
    },
    clock,
    identity::DeviceId,
    store::{DeviceFilter, Expect, PageRequest, StoreError, value},
};

/// Most devices of a batch.
const MAX_BATCH: usize = 1000;

/// Creates of a batch that are under way at once: enough to fill the store's commits.
const AT_ONCE: usize = 128;

/// How long a repeated create is recognised.
const REPEATED_FOR_MS: u64 = 3_600_000;

/// How often an update without an etag is tried again when others change the device meanwhile.
const TRIES: usize = 5;

/// Pages of the store that one page of a filtered list may cost.
const MAX_SCANS: usize = 20;

/// The service.
pub(in crate::admin) struct Devices(pub(in crate::admin) Arc<Room>);

#[tonic::async_trait]
impl DeviceService for Devices {
    async fn create_device(&self, request: Request<CreateDeviceRequest>) -> Result<Response<Device>, Status> {
        if let Some(device) = &request.get_ref().device {
            audit::about(&request, format!("devices/{}", device.endpoint));
        }
        answer(self.create(request.into_inner()).await)
    }

    async fn batch_create_devices(
        &self,
        request: Request<BatchCreateDevicesRequest>,
    ) -> Result<Response<BatchCreateDevicesResponse>, Status> {
        audit::about(&request, format!("{} devices", request.get_ref().requests.len()));
        answer(self.batch(request.into_inner()).await)
    }

    async fn get_device(&self, request: Request<GetDeviceRequest>) -> Result<Response<Device>, Status> {
        answer(self.get(&request.get_ref().name).await)
    }

    async fn list_devices(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        answer(self.list(request.into_inner()).await)
    }

    async fn export_devices(
        &self,
        request: Request<ExportDevicesRequest>,
    ) -> Result<Response<ExportDevicesResponse>, Status> {
        audit::about(&request, format!("devices/{}*", request.get_ref().endpoint_prefix));
        answer(self.export(request.into_inner()).await)
    }

    async fn update_device(&self, request: Request<UpdateDeviceRequest>) -> Result<Response<Device>, Status> {
        if let Some(device) = &request.get_ref().device {
            audit::about(&request, name_or_endpoint(device));
        }
        answer(self.update(request.into_inner()).await)
    }

    async fn delete_device(&self, request: Request<DeleteDeviceRequest>) -> Result<Response<()>, Status> {
        audit::about(&request, &request.get_ref().name);
        answer(self.delete(request.into_inner()).await)
    }

    async fn rotate_secret(&self, request: Request<RotateSecretRequest>) -> Result<Response<Device>, Status> {
        audit::about(&request, &request.get_ref().name);
        answer(self.rotate(request.into_inner()).await)
    }
}

fn name_or_endpoint(device: &Device) -> &str {
    if device.name.is_empty() { &device.endpoint } else { &device.name }
}

impl Devices {
    async fn create(&self, request: CreateDeviceRequest) -> Result<Device, AdminError> {
        let mut given = request.device.ok_or_else(|| invalid("device", "must be set"))?;
        request_id(&request.request_id)?;
        let key = export::key(&request.seal_key)?;
        let previous = export::open(&mut given, key.as_ref())?;
        let sealer = &self.0.parts.sealer;
        let mut new = device::check(given, sealer, clock::unix_ms())?;
        if let (Some(previous), Some(credential)) = (previous, &mut new.document.credential) {
            credential.previous_secret = sealer.seal(DeviceId::of(&new.document.endpoint), &previous);
        }
        self.profile_exists(&new.document.profile).await?;
        new.document.request_id = request.request_id;
        let (endpoint, id) = (new.document.endpoint.clone(), new.document.request_id.clone());
        match self.0.store().put_device(new.document, Expect::Absent).await {
            Ok(stored) => {
                self.0.endpoints().device_changed(DeviceId::of(&endpoint)).await;
                Ok(with_secret(&stored, new.generated))
            }
            Err(StoreError::Conflict { .. }) => self.repeated(&endpoint, &id, new.generated.is_some()).await,
            Err(error) => Err(of_store(error, &endpoint)),
        }
    }

    /// The answer to a create of a device that exists: the first answer again, if this is its repetition.
    async fn repeated(&self, endpoint: &str, id: &str, generated: bool) -> Result<Device, AdminError> {
        let record = self.0.store().load(DeviceId::of(endpoint)).await?;
        let stored = record.and_then(|record| record.document);
        let same = |stored: &value::Device| {
            !id.is_empty()
                && stored.request_id == id
                && clock::unix_ms().saturating_sub(stored.created_at) < REPEATED_FOR_MS
        };
        match stored.filter(same) {
            Some(stored) => {
                let credential = stored.credential.as_ref().filter(|c| generated && c.version == 1);
                let secret = credential.map(|credential| {
                    let sealed = self.0.parts.sealer.open(DeviceId::of(endpoint), &credential.secret);
                    sealed.map(|secret| HEXLOWER.encode(&secret))
                });
                let secret = secret.transpose().map_err(|error| AdminError::Damaged(error.to_string()))?;
                Ok(with_secret(&stored, secret))
            }
            None => Err(AdminError::Exists { what: Kind::Device, name: endpoint.to_owned() }),
        }
    }

    async fn batch(
        &self,
        request: BatchCreateDevicesRequest,
    ) -> Result<BatchCreateDevicesResponse, AdminError> {
        let count = request.requests.len();
        if !(1..=MAX_BATCH).contains(&count) {
            return Err(invalid("requests", format!("has {count} devices, must have 1 to {MAX_BATCH}")));
        }
        let creates = stream::iter(request.requests).map(|request| self.create(request));
        let outcomes = creates.buffered(AT_ONCE).map(|result| Outcome { outcome: Some(outcome(result)) });
        Ok(BatchCreateDevicesResponse { outcomes: outcomes.collect().await })
    }

    async fn list(&self, request: ListDevicesRequest) -> Result<ListDevicesResponse, AdminError> {
        let page = page::request(request.page_size, &request.page_token)?;
        let (found, next_page_token) = self.scan(&request.profile, &request.endpoint_prefix, page).await?;
        let devices = found.iter().map(|(document, _)| device::show(document)).collect();
        Ok(ListDevicesResponse { devices, next_page_token })
    }

    async fn export(&self, request: ExportDevicesRequest) -> Result<ExportDevicesResponse, AdminError> {
        let key = export::key(&request.seal_key)?;
        let page = page::request(request.page_size, &request.page_token)?;
        let (found, next_page_token) = self.scan(&request.profile, &request.endpoint_prefix, page).await?;
        let (own, now) = (&self.0.parts.sealer, clock::unix_ms());
        let devices = found
            .iter()
            .map(|(document, activated)| export::export(document, *activated, own, key.as_ref(), now))
            .collect::<Result<_, _>>()?;
        Ok(ExportDevicesResponse { devices, next_page_token })
    }

    /// One page of provisioned devices, each with whether it has ever been active, and the token of the next.
    async fn scan(
        &self,
        profile: &str,
        endpoint_prefix: &str,
        page: PageRequest,
    ) -> Result<(Vec<(value::Device, bool)>, String), AdminError> {
        let filter = DeviceFilter {
            provisioned: Some(true),
            registered: None,
            profile: match profile {
                "" => None,
                given => Some(name::profile("profile", given)?.to_owned()),
            },
        };
        let PageRequest { mut token, limit } = page;
        let mut found = Vec::new();
        for _ in 0..MAX_SCANS {
            let page = PageRequest { token, limit: limit - found.len() };
            let page = self.0.store().list(filter.clone(), page).await?;
            let documents = page
                .items
                .into_iter()
                .filter_map(|(_, record)| Some((record.document?, record.header.activated)));
            found.extend(documents.filter(|(document, _)| document.endpoint.starts_with(endpoint_prefix)));
            token = page.next;
            if token.is_none() || found.len() == limit {
                break;
            }
        }
        Ok((found, token.unwrap_or_default()))
    }

    async fn update(&self, request: UpdateDeviceRequest) -> Result<Device, AdminError> {
        let given = request.device.ok_or_else(|| invalid("device", "must be set"))?;
        let name = DeviceName::parse("device.name", name_or_endpoint(&given))?;
        let paths = request.update_mask.unwrap_or_default().paths;
        let fields = fields(&paths, &given)?;
        self.change(&name, &given.etag, |document| {
            device::update(document, &given, &fields, &self.0.parts.sealer, clock::unix_ms())
        })
        .await
    }

    async fn rotate(&self, request: RotateSecretRequest) -> Result<Device, AdminError> {
        let name = DeviceName::parse("name", &request.name)?;
        let etag = request.etag.clone();
        self.change(&name, &etag, |document| {
            let credential = document.credential.get_or_insert_default();
            credential::rotate(request.clone(), &document.endpoint, credential, &self.0.parts.sealer)
        })
        .await
    }

    /// Changes a device's document, again if it was changed meanwhile and no etag was given.
    async fn change(
        &self,
        name: &DeviceName,
        etag: &str,
        change: impl Fn(&mut value::Device) -> Result<Option<String>, AdminError>,
    ) -> Result<Device, AdminError> {
        for _ in 0..TRIES {
            let mut document = self.provisioned(name).await?;
            etag_matches(etag, &document)?;
            let generated = change(&mut document)?;
            self.profile_exists(&document.profile).await?;
            let (expect, endpoint) = (Expect::Revision(document.revision), document.endpoint.clone());
            match self.0.store().put_device(document, expect).await {
                Ok(stored) => {
                    self.0.endpoints().device_changed(DeviceId::of(&endpoint)).await;
                    return Ok(with_secret(&stored, generated));
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(of_store(error, &endpoint)),
            }
        }
        Err(AdminError::Overloaded)
    }

    async fn delete(&self, request: DeleteDeviceRequest) -> Result<(), AdminError> {
        let name = DeviceName::parse("name", &request.name)?;
        let document = self.provisioned(&name).await?;
        etag_matches(&request.etag, &document)?;
        let expect = if request.etag.is_empty() { Expect::Any } else { Expect::Revision(document.revision) };
        let id = DeviceId::of(&document.endpoint);
        let event = self.0.endpoints().deletion(&document);
        self.0.store().remove_device(id, expect, Some(event)).await.map_err(|error| match error {
            StoreError::NoSuchDevice => not_found(&name),
            other => of_store(other, &document.endpoint),
        })?;
        self.0.endpoints().device_changed(id).await;
        self.0.endpoints().reclaim(id).await;
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Device, AdminError> {
        let name = DeviceName::parse("name", name)?;
        let (_, mut record) = self.0.device(&name).await?;
        let document = record.document.take().ok_or_else(|| not_found(&name))?;
        Ok(device::show_record(&document, &record))
    }

    async fn provisioned(&self, name: &DeviceName) -> Result<value::Device, AdminError> {
        let (_, record) = self.0.device(name).await?;
        record.document.ok_or_else(|| not_found(name))
    }

    async fn profile_exists(&self, profile: &str) -> Result<(), AdminError> {
        if self.0.has_profile(profile).await? {
            return Ok(());
        }
        Err(invalid("device.profile", format!("there is no profile {profile:?}: create it first")))
    }
}

fn not_found(name: &DeviceName) -> AdminError {
    AdminError::NotFound { what: Kind::Device, name: name.to_string() }
}

fn with_secret(stored: &value::Device, generated: Option<String>) -> Device {
    Device { generated_secret: generated.unwrap_or_default(), ..device::show(stored) }
}

fn of_store(error: StoreError, endpoint: &str) -> AdminError {
    match error {
        StoreError::Conflict { found } => AdminError::EtagMismatch { name: endpoint.to_owned(), found },
        other => other.into(),
    }
}

fn etag_matches(etag: &str, document: &value::Device) -> Result<(), AdminError> {
    if etag.is_empty() || etag == document.revision.to_string() {
        return Ok(());
    }
    Err(AdminError::EtagMismatch { name: document.endpoint.clone(), found: document.revision })
}

/// The fields of an update: those of the mask, else those that are set.
fn fields<'a>(mask: &'a [String], given: &Device) -> Result<Vec<&'a str>, AdminError> {
    if mask.is_empty() {
        let set = [
            !given.profile.is_empty(),
            given.credential.is_some(),
            given.disabled,
            !given.labels.is_empty(),
            given.activation_timeout.is_some(),
        ];
        return Ok(device::UPDATABLE
            .into_iter()
            .zip(set)
            .filter_map(|(field, set)| set.then_some(field))
            .collect());
    }
    match mask.iter().find(|field| !device::UPDATABLE.contains(&field.as_str())) {
        Some(unknown) => {
            let fix = format!("{unknown:?} can't be updated, only {}", device::UPDATABLE.join(", "));
            Err(invalid("update_mask", fix))
        }
        None => Ok(mask.iter().map(String::as_str).collect()),
    }
}

fn outcome(result: Result<Device, AdminError>) -> outcome::Outcome {
    match result {
        Ok(device) => outcome::Outcome::Device(device),
        Err(error) => {
            let (code, reason, message, field) = error.parts();
            outcome::Outcome::Failure(Failure {
                code: code.into(),
                reason: reason.to_owned(),
                message,
                field: field.unwrap_or_default(),
            })
        }
    }
}
