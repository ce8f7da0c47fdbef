//! What peers ask of this node.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use godwit_proto::cluster::v1::{
    self as wire, cancel_answer,
    cluster_link_server::{ClusterLink, ClusterLinkServer},
    frame::Body,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::{Hub, wire as convert};
use crate::{
    clock,
    endpoint::{
        Presented, Service, ShardMessage,
        handle::{OperationChange, SubmitError, Told},
    },
    identity::{DeviceId, Owner},
    ownership::Reply,
    shard::outbox::PeerId,
};

/// Answers that wait to leave on one link.
const ANSWERS: usize = 8192;

/// Serves peers until `stop` says so.
pub(super) async fn serve(
    hub: Arc<Hub>,
    service: Service,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let mut server = Server::builder().tcp_nodelay(true);
    if let Some(tls) = hub.tls.server() {
        server = server.tls_config(tls)?;
    }
    let serving = server
        .add_service(ClusterLinkServer::new(Links { hub, service, stop: stop.clone() }))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::select! {
        ended = serving => ended,
        // An error: the sender is gone, and so is the node. Links are cut off: what they carry is repeated.
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    }
}

struct Links {
    hub: Arc<Hub>,
    service: Service,
    stop: watch::Receiver<bool>,
}

type Frames = Pin<Box<dyn Stream<Item = Result<wire::Frame, Status>> + Send>>;
type Submitted = Pin<Box<dyn Stream<Item = Result<wire::SubmitAnswer, Status>> + Send>>;

#[tonic::async_trait]
impl ClusterLink for Links {
    type LinkStream = Frames;

    async fn link(&self, request: Request<Streaming<wire::Frame>>) -> Result<Response<Frames>, Status> {
        let mut frames = request.into_inner();
        let (out, answers) = mpsc::channel(ANSWERS);
        let own = &self.hub.own;
        let hello = wire::Hello {
            node: own.node.to_string(),
            boot: own.boot,
            address: self.hub.advertised.to_string(),
        };
        // There is room: it is the first.
        let _ = out.try_send(Ok(convert::frame(0, Body::Hello(hello))));
        let link = Link { hub: self.hub.clone(), service: self.service.clone(), peer: None, out };
        let mut stop = self.stop.clone();
        tokio::spawn(async move {
            let mut link = link;
            tokio::select! {
                () = async {
                    while let Ok(Some(frame)) = frames.message().await {
                        link.handle(frame);
                    }
                } => {}
                // An error: the sender is gone, and so is the node.
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(answers).boxed()))
    }

    type SubmitStream = Submitted;

    async fn submit(&self, request: Request<wire::SubmitRequest>) -> Result<Response<Submitted>, Status> {
        let request = request.into_inner();
        let here = request.target == self.hub.own.boot;
        let Some((device, new)) = convert::submitted(request) else {
            return Err(Status::invalid_argument("not a command"));
        };
        let taken =
            if here { self.service.submit_here(device, new).await } else { Err(SubmitError::Elsewhere) };
        Ok(Response::new(match taken {
            Ok(crate::endpoint::handle::Submitted { operation, ended }) => {
                let first = Ok(convert::submit_answer(Ok(operation)));
                let end = futures_util::stream::once(ended).filter_map(|ended| async move {
                    // An error: the device is given up, and nobody here will know.
                    Some(Ok(convert::submit_answer(Ok(ended.ok()?))))
                });
                futures_util::stream::iter([first]).chain(end).boxed()
            }
            Err(error) => futures_util::stream::iter([Ok(convert::submit_answer(Err(error)))]).boxed(),
        }))
    }

    async fn cancel(
        &self,
        request: Request<wire::CancelRequest>,
    ) -> Result<Response<wire::CancelAnswer>, Status> {
        let wire::CancelRequest { target, device, id } = request.into_inner();
        let Some(device) = convert::device(&device) else {
            return Err(Status::invalid_argument("not a device"));
        };
        let cancelled = if target == self.hub.own.boot {
            self.service.cancel_here(device, id).await
        } else {
            Err(SubmitError::Elsewhere)
        };
        let answer = match cancelled {
            Ok(operation) => cancel_answer::Answer::Operation(operation),
            Err(error) => cancel_answer::Answer::Refusal(convert::refusal(&error)),
        };
        Ok(Response::new(wire::CancelAnswer { answer: Some(answer) }))
    }
}

/// One peer's link to this node.
struct Link {
    hub: Arc<Hub>,
    service: Service,
    /// Who it is, once it has said so.
    peer: Option<(PeerId, Owner)>,
    out: mpsc::Sender<Result<wire::Frame, Status>>,
}

impl Link {
    fn handle(&mut self, frame: wire::Frame) {
        let here = frame.target == self.hub.own.boot;
        let Some(body) = frame.body else { return };
        let Some((via, owner)) = &self.peer else {
            if let Body::Hello(hello) = body {
                self.greet(hello);
            }
            return;
        };
        match body {
            Body::Present(present) if here => {
                let reply = self.reply(present.question);
                let (relay, held) = (present.relay, present.held);
                let Some((device, session, arrived)) = convert::presented(present, *via) else { return };
                let process = self.service.process();
                let shard = match process.directory.find(device) {
                    Some(shard) => shard,
                    None if relay => process.inboxes.usual(device),
                    None => return reply.gone(),
                };
                let presented = Box::new(Presented { device, session, arrived, relay, held, reply });
                process.inboxes.of(shard).push(ShardMessage::Presented(presented));
            }
            Body::Release(release) if here => {
                let reply = self.reply(release.question);
                let Some(device) = convert::device(&release.device) else { return };
                self.release(device, (release.take, release.held), reply);
            }
            // Another run was meant, which has nothing any more.
            Body::Present(wire::Present { question, .. }) | Body::Release(wire::Release { question, .. }) => {
                self.reply(question).gone();
            }
            Body::Transmit(transmit) if here => self.transmit(transmit),
            Body::View(view) if here => {
                self.hub.viewed(owner, view.sees_store);
                if !view.sees_store {
                    // Its heartbeat may have expired: then this is all that it hears of who sees the store.
                    let sees_store = self.hub.members().sees_store(clock::boot());
                    // What does not fit is said again at its next heartbeat.
                    let _ = self.out.try_send(Ok(convert::frame(0, Body::View(wire::View { sees_store }))));
                }
            }
            Body::Changes(changes) if here => self.changed(changes),
            Body::Operations(operations) if here => self.operations_changed(operations),
            _ => {}
        }
    }

    fn greet(&mut self, hello: wire::Hello) {
        let Ok(address) = hello.address.parse() else { return };
        let owner = Owner { node: hello.node.into(), boot: hello.boot };
        // What its devices are sent must find it, also before a heartbeat has told of it.
        let peer = self.hub.link(&owner, address);
        self.peer = Some((peer, owner));
        // What it told while it had no link here.
        let process = self.service.process();
        drop(process.changes.send(Told::Lost));
        drop(process.operations.send(Told::Lost));
    }

    fn reply(&self, question: u64) -> Reply {
        let out = self.out.clone();
        Reply::new(move |answer| {
            // A link that is full of answers, or gone: its peer hears nothing, and asks again.
            let _ = out.try_send(Ok(convert::frame(0, convert::answer(question, answer))));
        })
    }

    fn release(&self, device: DeviceId, (take, held): (bool, bool), reply: Reply) {
        let process = self.service.process();
        let Some(shard) = process.directory.find(device) else { return reply.gone() };
        process.inboxes.of(shard).push(ShardMessage::Asked { device, take, held, reply });
    }

    /// Gives datagrams to the shards' sockets: those of one device always to the same.
    fn transmit(&self, transmit: wire::Transmit) {
        let inboxes = &self.service.process().inboxes;
        let mut of_shards = vec![Vec::new(); inboxes.shards()];
        for (socket, datagram) in convert::transmitted(transmit) {
            let shard = usize::from(datagram.to.port()) % of_shards.len();
            of_shards[shard].push((socket, datagram));
        }
        for (shard, datagrams) in of_shards.into_iter().enumerate().filter(|(_, it)| !it.is_empty()) {
            inboxes.of(shard as u16).push(ShardMessage::Relayed(datagrams));
        }
    }

    fn changed(&self, changes: wire::Changes) {
        let process = self.service.process();
        let lost = changes.gap.then_some(Told::Lost);
        let changes = changes.changes.into_iter().filter_map(convert::changed).map(Told::Change);
        for told in lost.into_iter().chain(changes) {
            // An error says that nobody watches.
            drop(process.changes.send(told));
        }
    }

    fn operations_changed(&self, changed: wire::Operations) {
        let process = self.service.process();
        let lost = changed.gap.then_some(Told::Lost);
        let changes = changed
            .operations
            .into_iter()
            .map(|operation| Told::Change(OperationChange { operation: Arc::new(operation), here: false }));
        for told in lost.into_iter().chain(changes) {
            // An error says that nobody watches.
            drop(process.operations.send(told));
        }
    }
}
