//! `godwit ctl telemetry`.

use clap::Subcommand;
use godwit_proto::v1::{
    TailRequest, TelemetryRecord, tail_response::Event, telemetry_service_client::TelemetryServiceClient,
};

use super::{
    connect::Connection,
    console::{Console, time},
    fault::CtlError,
};

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Show records as they leave the node
    Tail {
        /// Only these endpoints; * at the end stands for any rest
        #[arg(long = "endpoint")]
        endpoints: Vec<String>,
        /// Only devices of these profiles
        #[arg(long = "profile")]
        profiles: Vec<String>,
        /// Only values at or below these paths
        #[arg(long = "path")]
        paths: Vec<String>,
        /// Only these kinds: telemetry, attributes, events, operations
        #[arg(long = "kind")]
        kinds: Vec<String>,
    },
}

impl Verb {
    pub(super) async fn run(
        self,
        connection: &Connection,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        let Self::Tail { endpoints, profiles, paths, kinds } = self;
        let mut client = TelemetryServiceClient::new(connection.open().await?);
        let mut records = client.tail(TailRequest { endpoints, profiles, paths, kinds }).await?.into_inner();
        while let Some(message) = records.message().await? {
            match message.event {
                Some(Event::Record(record)) if console.is_json() => {
                    console.message("godwit.v1.TelemetryRecord", &record)?;
                }
                Some(Event::Record(record)) => console.line(&line(&record))?,
                Some(Event::Missed(missed)) => {
                    console.note(&format!("{missed} records were left out: this reader is too slow"))?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

fn line(record: &TelemetryRecord) -> String {
    let mut flags = String::new();
    for (set, flag) in [(record.late, " late"), (record.stale, " stale")] {
        flags.push_str(if set { flag } else { "" });
    }
    format!("{}  {}  {}{flags}  {}", time(record.time.as_ref()), record.endpoint, record.kind, record.data)
}
