//! `ClusterService`.

use std::sync::Arc;

use godwit_proto::v1::{
    self as v1, DrainNodeRequest, DrainNodeResponse, GetOwnerRequest, ListNodesRequest, ListNodesResponse,
    Owner, cluster_service_server::ClusterService, member::State,
};
use tonic::{Request, Response, Status};

use super::answer;
use crate::{
    admin::{
        audit,
        error::{AdminError, invalid},
        name::DeviceName,
        room::Room,
    },
    clock,
    ownership::Standing,
    store::Member,
};

/// The service.
pub(in crate::admin) struct Cluster(pub(in crate::admin) Arc<Room>);

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        Ok(Response::new(ListNodesResponse { nodes: self.nodes() }))
    }

    async fn get_owner(&self, request: Request<GetOwnerRequest>) -> Result<Response<Owner>, Status> {
        answer(self.owner(&request.get_ref().name).await)
    }

    async fn drain_node(
        &self,
        request: Request<DrainNodeRequest>,
    ) -> Result<Response<DrainNodeResponse>, Status> {
        audit::about(&request, &request.get_ref().name);
        answer(self.drain(&request.get_ref().name))
    }
}

impl Cluster {
    fn nodes(&self) -> Vec<v1::Member> {
        let place = &self.0.parts.place;
        let now = clock::boot();
        let Some(membership) = place.neighbours.membership() else {
            let boot = boot(place.owner.boot);
            let name = place.owner.node.to_string();
            return vec![v1::Member {
                name,
                boot,
                state: State::Ready.into(),
                called: true,
                ..v1::Member::default()
            }];
        };
        let shown = |member: &Member, called: bool| v1::Member {
            name: member.owner.node.to_string(),
            boot: boot(member.owner.boot),
            address: member.address.to_string(),
            state: match membership.standing(now, &member.owner) {
                Standing::Suspect => State::Suspect,
                _ if member.draining => State::Draining,
                _ if member.ready => State::Ready,
                _ => State::Waiting,
            }
            .into(),
            clock_ahead_ms: member.clock_ahead_ms,
            called,
        };
        let mut nodes: Vec<_> = membership.others(now).iter().map(|member| shown(member, false)).collect();
        nodes.extend(membership.own_member().map(|member| shown(&member, true)));
        nodes.sort_by(|a, b| (&a.name, &a.boot).cmp(&(&b.name, &b.boot)));
        nodes
    }

    async fn owner(&self, name: &str) -> Result<Owner, AdminError> {
        let (device, record) = self.0.device(&DeviceName::parse("name", name)?).await?;
        let place = &self.0.parts.place;
        let header = record.header;
        let owner = header.owner.as_ref();
        let dead = match (owner, place.neighbours.membership()) {
            (None, _) => false,
            (Some(owner), None) => *owner != place.owner,
            (Some(owner), Some(membership)) => membership.standing(clock::boot(), owner) == Standing::Dead,
        };
        Ok(Owner {
            name: format!("devices/{device}"),
            node: owner.map(|owner| owner.node.to_string()).unwrap_or_default(),
            boot: owner.map(|owner| boot(owner.boot)).unwrap_or_default(),
            term: header.term,
            passive: header.passive,
            dead,
            path: header.path_node.map(|node| node.to_string()).unwrap_or_default(),
        })
    }

    fn drain(&self, name: &str) -> Result<DrainNodeResponse, AdminError> {
        let place = &self.0.parts.place;
        if *name != *place.owner.node {
            return Err(invalid(
                "name",
                format!("this is {}: call the node that is to stop", place.owner.node),
            ));
        }
        place.stop.notify_one();
        Ok(DrainNodeResponse {})
    }
}

fn boot(boot: u64) -> String {
    format!("{boot:016x}")
}
