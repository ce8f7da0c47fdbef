//! The actor of one connection: a mailbox, a deadline and the core, with DTLS beneath it or not.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use godwit_coap::{Code, FailReason, Fate, Response};
use godwit_dtls as dtls;

use super::{
    Connections, Progress,
    core::{Connection, Output},
    secure::path::Place,
    secured::{Lower, Secured},
};
use crate::{
    admission::Handshake,
    clock,
    endpoint::{
        Delivery, foreign,
        link::{Call, Downlink, Link, Uplink},
    },
    identity::{DeviceId, RegistrationId},
    metrics::labels,
    ownership::{Answer, Reply, Residence, Verdict},
    shard::{ActorKey, Target, outbox::PeerId, timers::TimerKey},
};

/// How long a connection without an endpoint stays: as long as its answers may be asked for again.
const UNLINKED_FOR: Duration = Duration::from_secs(247);

/// What a connection's mailbox takes.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum Input {
    /// From the peer.
    Datagram {
        /// Where it came from.
        from: Place,
        /// The payload.
        bytes: Box<[u8]>,
        /// Another node has received it, and waits for this.
        reply: Option<Reply>,
    },
    /// A ClientHello with a good cookie.
    Hello {
        /// Where it came from.
        from: Place,
        /// The handshake's place in the budget.
        permit: Handshake,
        /// The datagram.
        bytes: Box<[u8]>,
    },
    /// The answer to a question of the handshake; `failed`: the store did not give one.
    Resolved {
        /// The question.
        ticket: dtls::Ticket,
        /// The answer.
        answer: dtls::Answer,
        /// Whether the store has failed.
        failed: bool,
    },
    /// From the endpoint of a device.
    Downlink(DeviceId, Downlink),
    /// The answer to a request for a registration that is not this connection's.
    Answer(Downlink),
    /// The credential was changed or removed; sessions of this version of it go on.
    Revoked(Option<u64>),
    /// The armed deadline has passed.
    Deadline,
    /// Behind all that a connection which was retired has still to do.
    Retire,
}

/// One peer's actor.
pub(super) struct ConnectionActor {
    pub(super) shard: Rc<Connections>,
    pub(super) core: Connection,
    pub(super) link: Link,
    /// DTLS beneath the core.
    pub(super) lower: Option<Box<Lower>>,
    /// Shared with the table of connections, where others look at it.
    pub(super) progress: Rc<Progress>,
    timer: TimerKey,
    armed: Option<Instant>,
    /// An endpoint has taken the connection for its own.
    linked: bool,
    /// Without an endpoint: when the connection goes.
    unlinked_until: Option<Instant>,
    /// Where the device's datagrams come in, as long as that is another node.
    residence: Option<Box<Residence>>,
    /// It is to be given up to that node, behind what it has just said.
    moving: bool,
}

impl ConnectionActor {
    pub(super) fn new(
        shard: Rc<Connections>,
        key: ActorKey,
        place: Place,
        core: Connection,
        lower: Option<Lower>,
        progress: Rc<Progress>,
    ) -> Self {
        let timer = shard.timers.insert(Target::Connection(key));
        let link = Link::plain(key, place);
        Self {
            shard,
            core,
            link,
            lower: lower.map(Box::new),
            progress,
            timer,
            armed: None,
            linked: false,
            unlinked_until: None,
            residence: None,
            moving: false,
        }
    }

    pub(super) fn count(&self, fate: Fate) {
        let metrics = &self.shard.metrics;
        match fate {
            Fate::Duplicate => metrics.coap_duplicates.increment(1),
            Fate::Malformed(_) => metrics.datagrams_dropped[labels::DropReason::Malformed].increment(1),
            Fate::Ignored(_) => metrics.datagrams_dropped[labels::DropReason::Ignored].increment(1),
            _ => {}
        }
    }

    /// Does all that DTLS and the core have to say, then arms the deadline.
    fn drive(&mut self, now: Instant, ctx: &mut Context<Self>) {
        loop {
            // One at a time: what a record leads to must be done before the next one.
            let heard = self.drive_lower(now, ctx);
            let said = self.drive_core(now, ctx);
            if !heard && !said {
                break;
            }
        }
        self.move_on();
        self.note_progress();
        self.count_sent();
        self.rearm(now, ctx);
    }

    /// Does what the core has to say; `false` if that is nothing.
    fn drive_core(&mut self, now: Instant, ctx: &mut Context<Self>) -> bool {
        let mut said = false;
        while let Some(output) = self.core.poll(now, self.shard.endpoints.policy()) {
            match output {
                Output::Transmit(message) => self.transmit(now, message),
                Output::Uplink(device, uplink) => self.hand_up(now, device, uplink),
                Output::Foreign(call, registration) => self.answer_foreign(call, registration, ctx),
                Output::Refused(code) => self.shard.metrics.registration_refused(&code.to_string()),
            }
            said = true;
        }
        said
    }

    fn transmit(&mut self, now: Instant, message: Vec<u8>) {
        if self.lower.is_some() {
            return self.seal(now, &message);
        }
        self.shard.send(self.link.place(), message);
    }

    pub(super) fn hand_up(&mut self, now: Instant, device: DeviceId, uplink: Uplink) {
        if self.progress.is_retired() {
            // It would have the endpoint come back that has just left.
            return self.core.undelivered(&uplink);
        }
        if matches!(uplink, Uplink::Failed { reason: FailReason::Timeout, .. }) {
            self.shard.metrics.coap_timeouts.increment(1);
        }
        match self.shard.endpoints.deliver(device, self.link, uplink) {
            Delivery::Delivered => {}
            Delivery::Dropped(uplink) => {
                self.shard.metrics.mailbox_drops[labels::Arrow::ConnectionEndpoint].increment(1);
                self.undelivered(now, &uplink);
            }
            Delivery::Overloaded(uplink) => match *uplink {
                Uplink::Register { call, .. } => {
                    let busy = Response::diagnostic(Code::SERVICE_UNAVAILABLE, "overloaded").max_age(30);
                    self.core.respond(now, call, busy);
                }
                uplink => self.undelivered(now, &uplink),
            },
        }
    }

    fn undelivered(&mut self, now: Instant, uplink: &Uplink) {
        self.core.undelivered(uplink);
        self.session_undelivered(now, uplink);
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

    /// Takes note of where the newest datagram came in. A device that stays at another node is given up to it.
    pub(super) fn reside(&mut self, via: Option<PeerId>) {
        self.progress.heard_via(via);
        let Some(peer) = via else {
            self.residence = None;
            return;
        };
        let neighbours = self.shard.endpoints.neighbours();
        let (Some(by), Some(membership)) = (neighbours.owner(peer), neighbours.membership()) else { return };
        let validity = membership.validity(clock::boot());
        let verdict = self.residence.get_or_insert_default().presented(&by, true, &validity);
        self.moving = verdict == Verdict::GiveUp;
    }

    /// Gives the device up behind what it said: the endpoint, which leaves as soon as it is quiet, would answer nothing more.
    fn move_on(&mut self) {
        if let Some(device) = self.core.device().filter(|_| std::mem::take(&mut self.moving)) {
            self.shard.endpoints.hand_over(device);
        }
    }

    fn rearm(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let unlinked = match &self.lower {
            // Its endpoint ends it, or its handshake does.
            Some(lower) => lower.until(),
            None if self.linked => None,
            None => self.unlinked_until.or(Some(now + UNLINKED_FOR)),
        };
        self.unlinked_until = unlinked;
        if unlinked.is_some_and(|until| until <= now) {
            ctx.stop();
            return;
        }
        let lower = self.lower.as_ref().and_then(|lower| lower.poll_timeout());
        let due = [self.core.poll_timeout(), lower, unlinked].into_iter().flatten().min();
        if due != self.armed {
            self.armed = due;
            self.shard.timers.arm(self.timer, due);
        }
    }

    fn handle_downlink(&mut self, now: Instant, device: DeviceId, downlink: Downlink) {
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
}

impl Actor for ConnectionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // What a handshake has to say to its first message, or a claim to its endpoint.
        self.begin();
        self.drive(clock::now(), ctx);
    }
}

impl Handler<Input> for ConnectionActor {
    type Result = ();

    fn handle(&mut self, input: Input, ctx: &mut Context<Self>) {
        if matches!(input, Input::Downlink(..)) {
            self.progress.keep();
        }
        if self.progress.is_retired() && !matches!(input, Input::Downlink(..)) {
            if matches!(input, Input::Retire) {
                ctx.stop();
            }
            return;
        }
        let now = clock::now();
        match input {
            Input::Datagram { from, bytes, reply } if self.lower.is_some() => {
                let taken = self.handle_sealed(now, from, bytes);
                if let Some(reply) = reply {
                    reply.answer(if taken { Answer::Handled } else { Answer::Replay });
                }
            }
            Input::Datagram { from, bytes, reply } => {
                (self.link.local, self.link.via) = (from.local.or(self.link.local), from.via);
                let fate = self.core.handle_datagram(now, &bytes);
                self.count(fate);
                self.reside(from.via);
                if let Some(reply) = reply {
                    reply.answer(Answer::Handled);
                }
            }
            Input::Hello { from, permit, bytes } => self.handle_hello(now, from, permit, &bytes),
            Input::Resolved { ticket, answer, failed } => self.handle_resolved(now, ticket, answer, failed),
            // The address is another device's by now.
            Input::Downlink(device, downlink)
                if downlink.is_personal() && self.core.device() != Some(device) =>
            {
                self.shard.endpoints.unlinked(device, self.link.connection);
            }
            Input::Downlink(_, Downlink::Close) => {
                self.leave();
                // What the peer may still repeat is answered from the store.
                self.core.unlink();
                ctx.stop();
                return;
            }
            Input::Downlink(
                _,
                downlink @ (Downlink::SessionStored { .. }
                | Downlink::SessionRefused { .. }
                | Downlink::SessionClaimed { .. }),
            ) => self.handle_session(now, downlink, ctx),
            Input::Downlink(device, downlink) => self.handle_downlink(now, device, downlink),
            Input::Answer(downlink) => {
                // A reply can't fail to be sent.
                let _ = self.core.handle_downlink(now, downlink);
            }
            Input::Revoked(version) => self.handle_revoked(now, version, ctx),
            Input::Retire => {}
            Input::Deadline => {
                self.armed = None;
                if let Some(lower) = &mut self.lower {
                    lower.handle_timeout(now);
                }
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
        let asked = self.forget_session();
        self.shard.closed(self.link.connection, (self.link.socket, self.link.remote));
        // An endpoint that was asked for a session may have given it, unheard.
        for device in self.core.device().into_iter().chain(asked) {
            self.shard.endpoints.unlinked(device, self.link.connection);
        }
    }
}

impl ConnectionActor {
    /// What DTLS has proved, if it has.
    pub(super) fn secured(&self) -> Option<Secured> {
        self.link.security.secured().copied()
    }
}
