//! `godwit ctl store`.

use std::time::Duration;

use clap::Subcommand;
use godwit_proto::v1::{ResealRequest, ResealResponse, store_service_client::StoreServiceClient};
use serde_json::json;

use super::{
    connect::{Connection, Wire},
    console::Console,
    fault::CtlError,
};

/// Between two passes: devices are claimed anew meanwhile.
const PAUSE: Duration = Duration::from_secs(1);
/// Passes before what is left is called left.
const PASSES: usize = 5;

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Seal anew what lies under an older store key, until nothing does
    Reseal,
}

impl Verb {
    pub(super) async fn run(
        self,
        connection: &Connection,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        let Self::Reseal = self;
        let mut client = StoreServiceClient::new(connection.open().await?);
        let mut last = pass(&mut client).await?;
        let (mut credentials, mut sessions) = (last.credentials, last.sessions);
        for _ in 1..PASSES {
            if last.credentials + last.sessions == 0 {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            last = pass(&mut client).await?;
            credentials += last.credentials;
            sessions = sessions.max(last.sessions);
        }
        let left = last.sessions + last.failed;
        if console.is_json() {
            let result = json!({
                "devices": last.devices, "credentials": credentials, "sessions": sessions, "left": left,
            });
            console.json(&result)?;
        } else {
            console.line(&format!(
                "{} devices: credentials of {credentials} and sessions of {sessions} sealed anew",
                last.devices
            ))?;
        }
        if left > 0 {
            return Err(CtlError::Some { failed: left as usize, total: last.devices as usize });
        }
        Ok(())
    }
}

/// All pages once.
async fn pass(client: &mut StoreServiceClient<Wire>) -> Result<ResealResponse, CtlError> {
    let mut all = ResealResponse::default();
    let mut request = ResealRequest { page_size: 1000, ..Default::default() };
    loop {
        let page = client.reseal(request.clone()).await?.into_inner();
        all.devices += page.devices;
        all.credentials += page.credentials;
        all.sessions += page.sessions;
        all.failed += page.failed;
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(all);
        }
    }
}
