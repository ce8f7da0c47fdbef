//! `godwit ctl devices export`.

use std::path::PathBuf;

use clap::Args;
use godwit_proto::v1::{ExportDevicesRequest, device_service_client::DeviceServiceClient};

use super::{
    connect::Wire,
    console::Console,
    fault::CtlError,
    filter::Which,
    import::{self, Secrets, row},
};

#[derive(Args, Debug)]
pub(super) struct Export {
    /// The file, NDJSON, which must not exist yet (mode 0600); - for standard output
    file: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Seal secrets to the key in this file, as `godwit keys generate store` makes it; without it, they are left out, and an
    /// import has the node make new ones
    #[arg(long, value_name = "FILE")]
    seal_key: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(
        self,
        mut client: DeviceServiceClient<Wire>,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        let key = self.seal_key.as_deref().map(import::seal_key).transpose()?;
        let mut request = ExportDevicesRequest {
            page_size: 1000,
            profile: self.which.profile,
            endpoint_prefix: self.which.prefix,
            seal_key: key.map(|key| key.expose().to_vec()).unwrap_or_default(),
            ..Default::default()
        };
        let to_console = self.file.as_os_str() == "-";
        let mut file = if to_console { None } else { Some(Secrets::open(&self.file)?) };
        let (mut count, mut without) = (0, 0);
        loop {
            let page = client.export_devices(request.clone()).await?.into_inner();
            for device in &page.devices {
                let fault = |fault| CtlError::Content { path: self.file.clone(), fault };
                let line = row::line(device).map_err(fault)?;
                without += usize::from(line.get("psk").is_some() && line.get("psk_sealed").is_none());
                match &mut file {
                    Some(file) => file.write(&line.to_string())?,
                    None => console.json(&line)?,
                }
            }
            count += page.devices.len();
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        console.note(&format!("{count} devices exported, {without} of them without their secrets"))?;
        Ok(())
    }
}
