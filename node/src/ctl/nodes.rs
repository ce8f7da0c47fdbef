//! `godwit ctl nodes`.

use clap::Subcommand;
use godwit_proto::v1::{
    DrainNodeRequest, GetNodeRequest, GetOwnerRequest, ListNodesRequest,
    cluster_service_client::ClusterServiceClient, member::State, node_service_client::NodeServiceClient,
};
use serde_json::json;

use super::{
    connect::{Connection, Wire},
    console::{Console, Table},
    fault::CtlError,
};

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Show how the node that is asked fares: its sink, and what waits in the spool
    Status,
    /// The nodes that live, as the called one sees them
    List,
    /// Which node has a device
    Owner {
        /// Its endpoint name or id
        device: String,
    },
    /// Have the called node give its devices up and stop
    Drain {
        /// Its name, so that no other one is meant
        node: String,
    },
}

impl Verb {
    pub(super) async fn run(
        self,
        connection: &Connection,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        let wire = connection.open().await?;
        let mut client = ClusterServiceClient::new(wire.clone());
        match self {
            Self::Status => status(wire, console).await?,
            Self::List => {
                let nodes = client.list_nodes(ListNodesRequest {}).await?.into_inner().nodes;
                for node in nodes {
                    let state = state(node.state());
                    if console.is_json() {
                        console.json(&json!({
                            "name": node.name, "boot": node.boot, "address": node.address, "state": state,
                            "clock_ahead_ms": node.clock_ahead_ms, "called": node.called,
                        }))?;
                    } else {
                        let mark = if node.called { "*" } else { " " };
                        console.line(&format!(
                            "{mark} {}  {state}  {}  clock {:+} ms  run {}",
                            node.name, node.address, node.clock_ahead_ms, node.boot
                        ))?;
                    }
                }
            }
            Self::Owner { device } => {
                let request = GetOwnerRequest { name: format!("devices/{device}") };
                let owner = client.get_owner(request).await?.into_inner();
                if console.is_json() {
                    console.json(&json!({
                        "name": owner.name, "node": owner.node, "boot": owner.boot, "term": owner.term,
                        "passive": owner.passive, "dead": owner.dead, "path": owner.path,
                    }))?;
                    return Ok(());
                }
                let what = match (owner.node.as_str(), owner.passive, owner.dead) {
                    ("", ..) => "nobody has claimed it yet".to_owned(),
                    (node, true, _) => format!("given up by {node}, term {}", owner.term),
                    (node, _, true) => format!("was at {node}, whose run is over, term {}", owner.term),
                    (node, ..) => format!("at {node}, term {}", owner.term),
                };
                let heard = match owner.path.as_str() {
                    "" => "not heard yet".to_owned(),
                    path => format!("last heard at {path}"),
                };
                console.line(&format!("{}: {what}; {heard}", owner.name))?;
            }
            Self::Drain { node } => {
                client.drain_node(DrainNodeRequest { name: node.clone() }).await?;
                console.line(&format!("{node} gives its devices up and stops"))?;
            }
        }
        Ok(())
    }
}

/// How one node fares.
async fn status(wire: Wire, console: &mut Console<'_>) -> Result<(), CtlError> {
    let mut client = NodeServiceClient::new(wire);
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

fn state(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Ready => "ready",
        State::Waiting => "waiting",
        State::Draining => "draining",
        State::Suspect => "suspect",
    }
}
