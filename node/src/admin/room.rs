//! What the services share.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};

use super::{
    error::{AdminError, Kind},
    journal::Journal,
    name::DeviceName,
};
use crate::{
    endpoint::handle::Endpoints,
    endpoint::neighbours::Neighbours,
    identity::{DeviceId, Owner},
    models::Models,
    profile,
    seal::Sealer,
    store::{DeviceRecord, DocumentKey, StateStore},
    telemetry::{Sink, Tail},
};

/// Which node the API belongs to.
#[derive(Clone)]
pub struct Place {
    /// The process.
    pub owner: Owner,
    /// The other nodes.
    pub neighbours: Arc<dyn Neighbours>,
    /// Notified: the node is to stop.
    pub stop: Arc<Notify>,
}

/// What the admin API works on.
#[derive(Clone)]
pub struct Parts {
    /// The node.
    pub place: Place,
    /// Where everything is kept.
    pub store: Arc<dyn StateStore>,
    /// Where commands go, and where changes come from.
    pub endpoints: Arc<dyn Endpoints>,
    /// The object models; read again after each change.
    pub models: Arc<Models>,
    /// What leaves through the sink.
    pub tail: Tail,
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// This node's id.
    pub node: Arc<str>,
    /// Seals what devices' credentials keep secret.
    pub sealer: Arc<Sealer>,
    /// `limits.operation_ttl`.
    pub operation_ttl: Duration,
}

/// The parts, and when to stop.
pub(super) struct Room {
    pub(super) parts: Parts,
    pub(super) journal: Arc<Journal>,
    stop: watch::Receiver<bool>,
}

impl Room {
    pub(super) fn new(parts: Parts, journal: Arc<Journal>, stop: watch::Receiver<bool>) -> Self {
        Self { parts, journal, stop }
    }

    /// Ends when the node begins to stop.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.clone();
        async move {
            // An error: the sender is gone, and so is the server.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    pub(super) fn store(&self) -> &dyn StateStore {
        &*self.parts.store
    }

    pub(super) fn endpoints(&self) -> &dyn Endpoints {
        &*self.parts.endpoints
    }

    /// The device that a caller named, with its record. Reads one record, two if the name looks like an id and is
    /// none.
    pub(super) async fn device(&self, name: &DeviceName) -> Result<(DeviceId, DeviceRecord), AdminError> {
        for id in name.candidates() {
            let record = self.store().load(id).await?;
            if let Some(record) = record.filter(|r| r.document.is_some() || r.registration.is_some()) {
                return Ok((id, record));
            }
        }
        Err(AdminError::NotFound { what: Kind::Device, name: name.to_string() })
    }

    /// Whether a profile can be given to a device.
    pub(super) async fn has_profile(&self, profile: &str) -> Result<bool, AdminError> {
        if profile::builtin(profile).is_some() {
            return Ok(true);
        }
        Ok(self.store().document(DocumentKey::Profile(profile.to_owned())).await?.is_some())
    }
}

/// The endpoint name in a record: as it was provisioned, else as it registered.
pub(super) fn endpoint_of(record: &DeviceRecord) -> &str {
    match (&record.document, &record.registration) {
        (Some(document), _) => &document.endpoint,
        (None, Some(registration)) => &registration.endpoint,
        (None, None) => "",
    }
}

/// The profile in a record, without "profiles/": as it was provisioned, else as it registered, else the default.
pub(super) fn profile_of(record: &DeviceRecord) -> &str {
    let provisioned = record.document.as_ref().map(|document| document.profile.as_str());
    let registered = record.registration.as_ref().map(|registration| registration.profile.as_str());
    provisioned.or(registered).filter(|profile| !profile.is_empty()).unwrap_or(profile::DEFAULT)
}
