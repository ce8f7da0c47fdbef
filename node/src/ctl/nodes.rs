//! `godwit ctl nodes`.

use clap::Subcommand;
use godwit_proto::v1::{GetNodeRequest, node_service_client::NodeServiceClient};

use super::{
    connect::Connection,
    console::{Console, Table},
    fault::CtlError,
};

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Show how the node that is asked fares: its sink, and what waits in the spool
    Status,
}

impl Verb {
    pub(super) async fn run(
        self,
        connection: &Connection,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        let Self::Status = self;
        let mut client = NodeServiceClient::new(connection.open().await?);
        let node = client.get_node(GetNodeRequest {}).await?.into_inner();
        if console.is_json() {
            console.message("godwit.v1.Node", &node)?;
            return Ok(());
        }
        let sink = node.sink.unwrap_or_default();
        let mut table =
            Table::new(&["NODE", "VERSION", "DURABLE", "SPOOL RECORDS", "SPOOL BYTES", "SPOOL LIMIT"]);
        let of_spool = |number: fn(&godwit_proto::v1::node::Spool) -> u64| {
            sink.spool.as_ref().map_or_else(|| "-".to_owned(), |spool| number(spool).to_string())
        };
        table.row([
            node.id,
            node.version,
            if sink.durable { "yes" } else { "no" }.to_owned(),
            of_spool(|spool| spool.records),
            of_spool(|spool| spool.bytes),
            of_spool(|spool| spool.limit_bytes),
        ]);
        console.table(&table)?;
        Ok(())
    }
}
