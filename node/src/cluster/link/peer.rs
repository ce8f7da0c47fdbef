//! One run of one peer.
//!
//! ```text
//!  send, ask ─► queue ─► connection ─► the peer
//!  answer ◄── questions ◄── answers ◄─┘
//!  refused, or another run answers: every question is answered with Dead until the peer is back
//! ```

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use godwit_proto::{
    cluster::v1::{
        self as wire, cancel_answer, cluster_link_client::ClusterLinkClient, frame::Body, submit_answer,
    },
    v1::Operation,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::{Hub, tls::Tls, wire as convert};
use crate::{
    endpoint::handle::{NewOperation, SubmitError, Submitted},
    identity::{DeviceId, Owner},
    metrics::cluster::{LinkDrop, Links, Outcome},
    ownership::{Answer, Membership},
    shard::outbox::PeerId,
};

/// Frames that wait for a link.
const QUEUE: usize = 8192;
/// Frames on their way into a connection.
const UNDER_WAY: usize = 256;
/// Between two attempts to connect: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long an answer is waited for by whoever does not say how long.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// A link on which nothing comes for so long is tried, and given up if that is not answered as soon.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A peer, as all threads see it.
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) owner: Owner,
    queue: mpsc::Sender<Body>,
    state: Mutex<State>,
    next: AtomicU64,
    /// It was not told of some changes: of registrations, of operations.
    missed: [AtomicBool; 2],
    closed: Notify,
}

struct State {
    address: SocketAddr,
    /// Nobody answers there, or another run does.
    dead: bool,
    /// There will be no further link.
    closed: bool,
    questions: HashMap<u64, oneshot::Sender<Answer>>,
    channel: Option<Channel>,
}

/// How a link ended.
enum End {
    /// The address refuses connections.
    Refused,
    /// Another run of the node answers.
    OtherRun,
    /// Anything else.
    Broken(String),
}

impl Peer {
    /// A peer without a link, and what its link is to take from.
    pub(super) fn new(id: PeerId, owner: Owner, address: SocketAddr) -> (Arc<Self>, mpsc::Receiver<Body>) {
        let (queue, taken) = mpsc::channel(QUEUE);
        let state = State { address, dead: false, closed: false, questions: HashMap::new(), channel: None };
        let peer = Self {
            id,
            owner,
            queue,
            state: Mutex::new(state),
            next: AtomicU64::new(1),
            missed: [const { AtomicBool::new(false) }; 2],
            closed: Notify::new(),
        };
        (Arc::new(peer), taken)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn move_to(&self, address: SocketAddr) {
        self.state().address = address;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// There is no such run any more.
    pub(super) fn close(&self) {
        {
            let mut state = self.state();
            (state.closed, state.dead) = (true, true);
            state.channel = None;
        }
        self.fail();
        self.closed.notify_one();
    }

    /// Sends something that nobody waits for. `false`: it was dropped, and counted.
    pub(super) fn send(&self, metrics: &Links, body: Body) -> bool {
        if self.state().dead {
            metrics.drops[LinkDrop::NoPeer].increment(1);
            return false;
        }
        let queued = self.queue.try_send(body).is_ok();
        if !queued {
            metrics.drops[LinkDrop::Full].increment(1);
        }
        queued
    }

    /// Tells of changes of registrations. What is dropped is a gap before the next ones, and so is what a peer that is not
    /// `living` is not told.
    pub(super) fn tell(&self, metrics: &Links, mut changes: wire::Changes, living: bool) {
        changes.gap |= self.missed[0].swap(false, Ordering::Relaxed);
        if !living || !self.send(metrics, Body::Changes(changes)) {
            self.missed[0].store(true, Ordering::Relaxed);
        }
    }

    /// The same of operations.
    pub(super) fn tell_operations(&self, metrics: &Links, mut changed: wire::Operations, living: bool) {
        changed.gap |= self.missed[1].swap(false, Ordering::Relaxed);
        if !living || !self.send(metrics, Body::Operations(changed)) {
            self.missed[1].store(true, Ordering::Relaxed);
        }
    }

    /// Asks a question.
    pub(super) fn ask(
        self: &Arc<Self>,
        metrics: &Arc<Links>,
        question: impl FnOnce(u64) -> Body,
    ) -> BoxFuture<'static, Answer> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (give, answer) = oneshot::channel();
        {
            let mut state = self.state();
            if state.dead {
                metrics.answers[Outcome::Dead].increment(1);
                return Box::pin(async { Answer::Dead });
            }
            state.questions.insert(number, give);
        }
        let asked = Asked { peer: self.clone(), number };
        if self.queue.try_send(question(number)).is_err() {
            metrics.drops[LinkDrop::Full].increment(1);
            return Box::pin(async move {
                drop(asked);
                Answer::Busy
            });
        }
        let metrics = metrics.clone();
        Box::pin(async move {
            let answer = match tokio::time::timeout(ANSWER_WITHIN, answer).await {
                Ok(answer) => answer.unwrap_or(Answer::Dead),
                Err(_) => Answer::Busy,
            };
            drop(asked);
            metrics.answers[outcome(answer)].increment(1);
            answer
        })
    }

    fn answer(&self, answer: &wire::Answer) {
        let asked = self.state().questions.remove(&answer.question);
        if let Some(give) = asked {
            // Nobody waits any more when this fails.
            let _ = give.send(convert::answered(answer));
        }
    }

    /// Answers all open questions: nobody else will.
    fn fail(&self) {
        let questions = std::mem::take(&mut self.state().questions);
        for give in questions.into_values() {
            let _ = give.send(Answer::Dead);
        }
    }

    fn client(&self) -> Option<ClusterLinkClient<Channel>> {
        self.state().channel.clone().map(ClusterLinkClient::new)
    }

    /// Hands in a command. It runs on the links' own thread.
    pub(super) async fn submit(
        self: Arc<Self>,
        runtime: Handle,
        device: DeviceId,
        operation: NewOperation,
    ) -> Result<Submitted, SubmitError> {
        let Some(mut client) = self.client() else { return Err(SubmitError::Elsewhere) };
        let request = convert::submit(self.owner.boot, device, operation);
        let node = self.owner.node.clone();
        let asked = async move {
            // Whether it was taken is not known; handing it in again is harmless, here or at the next owner.
            let unknown = |status: tonic::Status| {
                tracing::debug!(%node, error = status.message(), "a peer was lost with a command");
                SubmitError::Elsewhere
            };
            let mut answers = client.submit(request).await.map_err(unknown)?.into_inner();
            let first = answers.message().await.map_err(unknown)?.and_then(|answer| answer.answer);
            let operation = match first {
                Some(submit_answer::Answer::Operation(operation)) => operation,
                Some(submit_answer::Answer::Refusal(refusal)) => return Err(convert::refused(refusal)),
                None => return Err(SubmitError::Elsewhere),
            };
            let (tell, ended) = oneshot::channel();
            tokio::spawn(async move {
                if let Ok(Some(wire::SubmitAnswer { answer: Some(submit_answer::Answer::Operation(end)) })) =
                    answers.message().await
                {
                    // Nobody waits any more when this fails.
                    let _ = tell.send(end);
                }
            });
            Ok(Submitted { operation, ended })
        };
        runtime.spawn(asked).await.unwrap_or(Err(SubmitError::Overloaded))
    }

    /// Takes a command back.
    pub(super) async fn cancel(
        self: Arc<Self>,
        runtime: Handle,
        device: DeviceId,
        operation: String,
    ) -> Result<Operation, SubmitError> {
        let Some(mut client) = self.client() else { return Err(SubmitError::Elsewhere) };
        let (target, node) = (self.owner.boot, self.owner.node.clone());
        let device = device.as_bytes().to_vec();
        let request = wire::CancelRequest { target, device, id: operation };
        let asked = async move {
            let answer = client.cancel(request).await;
            let answer =
                answer.map_err(|status| SubmitError::Store(format!("{node}: {}", status.message())))?;
            match answer.into_inner().answer {
                Some(cancel_answer::Answer::Operation(operation)) => Ok(operation),
                Some(cancel_answer::Answer::Refusal(refusal)) => Err(convert::refused(refusal)),
                None => Err(SubmitError::Overloaded),
            }
        };
        runtime.spawn(asked).await.unwrap_or(Err(SubmitError::Overloaded))
    }
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Handled => Outcome::Handled,
        Answer::Replay => Outcome::Replay,
        Answer::Gone { .. } => Outcome::Gone,
        Answer::Busy => Outcome::Busy,
        Answer::Dead => Outcome::Dead,
    }
}

/// A question for as long as somebody waits for its answer.
struct Asked {
    peer: Arc<Peer>,
    number: u64,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.peer.state().questions.remove(&self.number);
    }
}

/// Keeps a link to a peer until the peer is gone for good.
pub(super) async fn run(hub: Arc<Hub>, peer: Arc<Peer>, mut queue: mpsc::Receiver<Body>) {
    let (first, longest) = PAUSE;
    let mut pause = first;
    let mut said = false;
    loop {
        if peer.state().closed || hub.is_closed() {
            return;
        }
        let mut stood = false;
        let end = tokio::select! {
            end = stand(&hub, &peer, &mut queue, &mut stood) => end,
            () = peer.closed.notified() => return,
        };
        if stood {
            hub.metrics.up.decrement(1.0);
            (pause, said) = (first, false);
        }
        peer.state().channel = None;
        match end {
            End::Refused | End::OtherRun => {
                peer.state().dead = true;
                hub.refused(&peer.owner);
                peer.fail();
                while queue.try_recv().is_ok() {}
                if !said {
                    tracing::info!(peer = %peer.owner, "a peer does not run any more");
                }
                said = true;
                if matches!(end, End::OtherRun) {
                    return peer.close();
                }
            }
            End::Broken(reason) if !said => {
                if is_expected(&hub.members(), &peer.owner) {
                    tracing::info!(peer = %peer.owner, "a peer that drains has ended its link");
                } else {
                    tracing::warn!(peer = %peer.owner, reason, "the link to a peer is broken");
                }
                said = true;
            }
            End::Broken(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(longest),
            () = peer.closed.notified() => return,
        }
    }
}

/// Whether a peer has said that it is about to end: its heartbeats say so for as long as it drains.
fn is_expected(members: &Membership, owner: &Owner) -> bool {
    members.known(owner).is_some_and(|member| member.draining)
}

/// Connects, and then says what is to be said and hears what is answered, until the link breaks.
async fn stand(hub: &Arc<Hub>, peer: &Arc<Peer>, queue: &mut mpsc::Receiver<Body>, stood: &mut bool) -> End {
    let address = peer.state().address;
    let channel = match connect(&hub.tls, address).await {
        Ok(channel) => channel,
        Err(error) if is_refusal(&error) => return End::Refused,
        Err(error) => return End::Broken(describe(&error)),
    };
    let target = peer.owner.boot;
    let (out, frames) = mpsc::channel(UNDER_WAY);
    let hello = wire::Hello {
        node: hub.own.node.to_string(),
        boot: hub.own.boot,
        address: hub.advertised.to_string(),
    };
    // There is room: it is the first.
    let _ = out.try_send(convert::frame(target, Body::Hello(hello)));
    let mut client = ClusterLinkClient::new(channel.clone());
    let opened = tokio::time::timeout(CONNECT_WITHIN, client.link(ReceiverStream::new(frames))).await;
    let mut answers = match opened {
        Ok(Ok(answers)) => answers.into_inner(),
        Ok(Err(status)) => return End::Broken(status.message().to_owned()),
        Err(_) => return End::Broken("no answer".into()),
    };
    match tokio::time::timeout(CONNECT_WITHIN, answers.message()).await {
        Ok(Ok(Some(wire::Frame { body: Some(Body::Hello(hello)), .. }))) => {
            if hello.boot != peer.owner.boot || hello.node != *peer.owner.node {
                return End::OtherRun;
            }
        }
        Ok(Ok(_)) => return End::Broken("it does not say who it is".into()),
        Ok(Err(status)) => return End::Broken(status.message().to_owned()),
        Err(_) => return End::Broken("no answer".into()),
    }
    {
        let mut state = peer.state();
        if state.closed {
            return End::Broken("closed".into());
        }
        (state.dead, state.channel) = (false, Some(channel));
    }
    *stood = true;
    hub.metrics.up.increment(1.0);
    hub.reached(&peer.owner);
    let write = async {
        while let Some(body) = queue.recv().await {
            if out.send(convert::frame(target, body)).await.is_err() {
                break;
            }
        }
    };
    let read = async {
        loop {
            match answers.message().await {
                Ok(Some(wire::Frame { body: Some(Body::Answer(answer)), .. })) => peer.answer(&answer),
                Ok(Some(wire::Frame { body: Some(Body::View(view)), .. })) => {
                    hub.viewed(&peer.owner, view.sees_store);
                }
                Ok(Some(_)) => {}
                Ok(None) => return "it has closed the link".to_owned(),
                Err(status) => return status.message().to_owned(),
            }
        }
    };
    tokio::select! {
        () = write => End::Broken("it takes nothing".into()),
        reason = read => End::Broken(reason),
    }
}

async fn connect(tls: &Tls, address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    let scheme = if tls.is_on() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
        .connect_timeout(CONNECT_WITHIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    if let Some(tls) = tls.client() {
        endpoint = endpoint.tls_config(tls)?;
    }
    endpoint.connect().await
}

/// Whether a connection was refused by the machine that was asked: nobody listens there.
fn is_refusal(error: &tonic::transport::Error) -> bool {
    let mut at: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = at {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        at = error.source();
    }
    false
}

/// With its innermost cause, which alone says something.
fn describe(error: &tonic::transport::Error) -> String {
    let mut text = error.to_string();
    let mut at = std::error::Error::source(error);
    while let Some(error) = at {
        text = format!("{text}: {error}");
        at = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        ownership::Timings,
        store::{Beat, Member},
    };

    #[test]
    fn what_a_peer_was_not_told_for_want_of_its_heartbeats_is_a_gap_before_the_next_changes() {
        let (id, owner) = (PeerId(std::num::NonZeroU32::MIN), Owner { node: "cut off".into(), boot: 1 });
        let (peer, mut queue) = Peer::new(id, owner, "127.0.0.1:5691".parse().unwrap());
        let metrics = Links::default();
        let changes = || wire::Changes { changes: vec![Default::default()], gap: false };
        let operations = || wire::Operations { operations: vec![Operation::default()], gap: false };
        for (living, gap) in [(true, false), (false, false), (false, false), (true, true), (true, false)] {
            peer.tell(&metrics, changes(), living);
            peer.tell_operations(&metrics, operations(), living);
            if !living {
                assert!(queue.try_recv().is_err());
                continue;
            }
            assert_eq!(queue.try_recv().unwrap(), Body::Changes(wire::Changes { gap, ..changes() }));
            assert_eq!(queue.try_recv().unwrap(), Body::Operations(wire::Operations { gap, ..operations() }));
        }
    }

    #[test]
    fn the_end_of_a_link_is_expected_of_a_peer_that_drains_and_of_no_other() {
        let owner = |node: &str| Owner { node: node.into(), boot: 1 };
        let member =
            |node: &str, draining: bool| Member { ready: !draining, draining, ..Member::of(owner(node)) };
        let mut members = Membership::new(owner("own"), Timings::default());
        let listed = vec![member("drains", true), member("stays", false)];
        let beat = Beat { time_ms: 1, incarnation: Some(1), back_ms: 0, expires_from_ms: 0, members: listed };
        members.handle_beat(clock::boot(), clock::boot(), beat);
        assert!(is_expected(&members, &owner("drains")));
        assert!(!is_expected(&members, &owner("stays")));
        assert!(!is_expected(&members, &owner("unknown")));
    }
}
