//! `NodeService`.

use std::sync::Arc;

use godwit_proto::v1::{
    GetNodeRequest, Node,
    node::{Sink, Spool},
    node_service_server::NodeService,
};
use tonic::{Request, Response, Status};

use crate::admin::room::Room;

/// The service.
pub(in crate::admin) struct Nodes(pub(in crate::admin) Arc<Room>);

#[tonic::async_trait]
impl NodeService for Nodes {
    async fn get_node(&self, _: Request<GetNodeRequest>) -> Result<Response<Node>, Status> {
        let parts = &self.0.parts;
        let sink = &parts.sink;
        let spool = sink.spool().map(|status| Spool {
            records: status.records,
            bytes: status.bytes,
            limit_bytes: status.limit,
        });
        Ok(Response::new(Node {
            id: parts.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sink: Some(Sink { durable: sink.is_durable(), spool }),
        }))
    }
}
