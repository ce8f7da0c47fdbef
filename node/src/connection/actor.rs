//! The actor of one connection: a mailbox, a deadline and the core.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use godwit_coap::{Code, FailReason, Fate, Response};

use super::{
    Connections,
    core::{Connection, Output},
};
use crate::{
    clock,
    endpoint::{
        Delivery, foreign,
        link::{Call, Downlink, Link, Security, Uplink},
    },
    identity::{DeviceId, RegistrationId},
    metrics::labels,
    shard::{
        ActorKey, Target,
        outbox::{SocketId, Transmit},
        timers::TimerKey,
    },
};

/// How long a connection without an endpoint stays: as long as its answers may be asked for again.
const UNLINKED_FOR: Duration = Duration::from_secs(247);

/// What a connection's mailbox takes.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum Input {
    /// From the peer.
    Datagram {
        /// The local address that it was sent to.
        to: Option<IpAddr>,
        /// The payload.
        bytes: Box<[u8]>,
    },
    /// From the endpoint of a device.
    Downlink(DeviceId, Downlink),
    /// The answer to a request for a registration that is not this connection's.
    Answer(Downlink),
    /// The armed deadline has passed.
    Deadline,
}

/// One peer's actor.
pub(super) struct ConnectionActor {
    shard: Rc<Connections>,
    core: Connection,
    link: Link,
    timer: TimerKey,
    armed: Option<Instant>,
    /// An endpoint has taken the connection for its own.
    linked: bool,
    /// Without an endpoint: when the connection goes.
    unlinked_until: Option<Instant>,
}

impl ConnectionActor {
    pub(super) fn new(
        shard: Rc<Connections>,
        key: ActorKey,
        socket: SocketId,
        remote: SocketAddr,
        local: Option<IpAddr>,
        core: Connection,
    ) -> Self {
        let timer = shard.timers.insert(Target::Connection(key));
        let link = Link { connection: key, socket, remote, local, security: Security::NoSec };
        Self { shard, core, link, timer, armed: None, linked: false, unlinked_until: None }
    }

    fn count(&self, fate: Fate) {
        let metrics = &self.shard.metrics;
        match fate {
            Fate::Duplicate => metrics.coap_duplicates.increment(1),
            Fate::Malformed(_) => metrics.datagrams_dropped[labels::DropReason::Malformed].increment(1),
            Fate::Ignored(_) => metrics.datagrams_dropped[labels::DropReason::Ignored].increment(1),
            _ => {}
        }
    }

    /// Does all that the core has to say, then arms the deadline.
    fn drive(&mut self, now: Instant, ctx: &mut Context<Self>) {
        while let Some(output) = self.core.poll(now, self.shard.endpoints.policy()) {
            match output {
                Output::Transmit(bytes) => {
                    let datagram = Transmit { to: self.link.remote, from: self.link.local, bytes };
                    self.shard.outbox.push(self.link.socket, datagram);
                }
                Output::Uplink(device, uplink) => self.hand_up(now, device, uplink),
                Output::Foreign(call, registration) => self.answer_foreign(call, registration, ctx),
                Output::Refused(code) => self.shard.metrics.registration_refused(&code.to_string()),
            }
        }
        self.rearm(now, ctx);
    }

    fn hand_up(&mut self, now: Instant, device: DeviceId, uplink: Uplink) {
        if matches!(uplink, Uplink::Failed { reason: FailReason::Timeout, .. }) {
            self.shard.metrics.coap_timeouts.increment(1);
        }
        match self.shard.endpoints.deliver(device, self.link, uplink) {
            Delivery::Delivered => {}
            Delivery::Dropped(uplink) => {
                self.shard.metrics.mailbox_drops[labels::Arrow::ConnectionEndpoint].increment(1);
                self.core.undelivered(&uplink);
            }
            Delivery::Overloaded(uplink) => match *uplink {
                Uplink::Register { call, .. } => {
                    let busy = Response::diagnostic(Code::SERVICE_UNAVAILABLE, "overloaded").max_age(30);
                    self.core.respond(now, call, busy);
                }
                uplink => self.core.undelivered(&uplink),
            },
        }
    }

    /// An update or de-register from an address from which nobody registered.
    fn answer_foreign(&mut self, call: Call, registration: RegistrationId, ctx: &mut Context<Self>) {
        let endpoints = self.shard.endpoints.clone();
        let address = ctx.address();
        actix::spawn(async move {
            let downlink = match foreign(endpoints.store(), registration).await {
                Ok(response) => Downlink::Reply { id: call.id, response },
                Err(_) => Downlink::Forget { id: call.id },
            };
            address.do_send(Input::Answer(downlink));
        });
    }

    fn rearm(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.linked {
            self.unlinked_until = None;
        } else if self.unlinked_until.is_none() {
            self.unlinked_until = Some(now + UNLINKED_FOR);
        }
        if self.unlinked_until.is_some_and(|until| until <= now) {
            ctx.stop();
            return;
        }
        let due = [self.core.poll_timeout(), self.unlinked_until].into_iter().flatten().min();
        if due != self.armed {
            self.armed = due;
            self.shard.timers.arm(self.timer, due);
        }
    }
}

impl Actor for ConnectionActor {
    type Context = Context<Self>;
}

impl Handler<Input> for ConnectionActor {
    type Result = ();

    fn handle(&mut self, input: Input, ctx: &mut Context<Self>) {
        let now = clock::now();
        match input {
            Input::Datagram { to, bytes } => {
                if to.is_some() {
                    self.link.local = to;
                }
                let fate = self.core.handle_datagram(now, &bytes);
                self.count(fate);
            }
            // The address is another device's by now.
            Input::Downlink(device, downlink)
                if downlink.is_personal() && self.core.device() != Some(device) =>
            {
                self.shard.endpoints.unlinked(device, self.link.connection);
            }
            Input::Downlink(_, Downlink::Close) => {
                // What the peer may still repeat is answered from the store.
                self.core.link(None);
                ctx.stop();
                return;
            }
            Input::Downlink(device, downlink) => {
                match downlink {
                    Downlink::Link { .. } => {
                        self.linked = true;
                        if let Some(earlier) = self.core.device().filter(|earlier| *earlier != device) {
                            self.shard.endpoints.unlinked(earlier, self.link.connection);
                        }
                    }
                    Downlink::Unlink => self.linked = false,
                    _ => {}
                }
                if let Err((token, _)) = self.core.handle_downlink(now, downlink) {
                    self.hand_up(now, device, Uplink::Failed { token, reason: FailReason::BadOption });
                }
            }
            Input::Answer(downlink) => {
                // A reply can't fail to be sent.
                let _ = self.core.handle_downlink(now, downlink);
            }
            Input::Deadline => {
                self.armed = None;
                let repeated = self.core.handle_timeout(now);
                self.shard.metrics.coap_retransmissions.increment(repeated.into());
            }
        }
        self.drive(now, ctx);
    }
}

impl Drop for ConnectionActor {
    /// However the actor ends, a panic included, it leaves every index.
    fn drop(&mut self) {
        self.shard.timers.remove(self.timer);
        self.shard.closed(self.link.connection, (self.link.socket, self.link.remote));
        if let Some(device) = self.core.device() {
            self.shard.endpoints.unlinked(device, self.link.connection);
        }
    }
}
