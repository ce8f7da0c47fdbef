//! `StoreService`.

use std::sync::Arc;

use godwit_proto::v1::{ResealRequest, ResealResponse, store_service_server::StoreService};
use tonic::{Request, Response, Status};

use super::answer;
use crate::{
    admin::{convert::credential, error::AdminError, page, room::Room},
    identity::DeviceId,
    store::{DeviceFilter, DeviceRecord, Expect, StoreError},
};

/// The service.
pub(in crate::admin) struct Store(pub(in crate::admin) Arc<Room>);

#[tonic::async_trait]
impl StoreService for Store {
    async fn reseal(&self, request: Request<ResealRequest>) -> Result<Response<ResealResponse>, Status> {
        answer(self.reseal_page(request.into_inner()).await)
    }
}

impl Store {
    async fn reseal_page(&self, request: ResealRequest) -> Result<ResealResponse, AdminError> {
        let page = page::request(request.page_size, &request.page_token)?;
        let page = self.0.store().list(DeviceFilter::default(), page).await?;
        let mut answer = ResealResponse {
            devices: page.items.len() as u32,
            next_page_token: page.next.unwrap_or_default(),
            ..Default::default()
        };
        for (device, record) in page.items {
            let stale = record.sessions.iter().any(|session| self.0.parts.sealer.is_stale(&session.sealed));
            match self.reseal_credential(device, record).await? {
                Some(true) => answer.credentials += 1,
                Some(false) => {}
                None => answer.failed += 1,
            }
            if stale {
                // Only who owns the device may write its sessions.
                self.0.endpoints().reclaim(device).await;
                answer.sessions += 1;
            }
        }
        Ok(answer)
    }

    /// Whether there was something to seal anew; `None`: it was not possible.
    async fn reseal_credential(
        &self,
        device: DeviceId,
        record: DeviceRecord,
    ) -> Result<Option<bool>, AdminError> {
        let Some(mut document) = record.document else { return Ok(Some(false)) };
        let Some(stored) = document.credential.as_mut() else { return Ok(Some(false)) };
        match credential::reseal(stored, device, &self.0.parts.sealer) {
            Ok(false) => return Ok(Some(false)),
            Ok(true) => {}
            Err(error) => {
                tracing::warn!(%device, %error, "a credential can't be sealed anew");
                return Ok(None);
            }
        }
        let expect = Expect::Revision(document.revision);
        match self.0.store().put_device(document, expect).await {
            Ok(_) => Ok(Some(true)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
