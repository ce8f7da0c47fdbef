//! A device's session at its connection: claimed from its endpoint, live, given up.

use std::time::Instant;

use actix::{ActorContext, Context};
use godwit_dtls::{CloseReason, NotStored, Output};

use super::{
    super::{
        actor::ConnectionActor,
        secure::{channel::Channel, fate, stored},
    },
    CLOSING_FOR, Lower,
};
use crate::{
    endpoint::link::{Downlink, Link, Refusal, Security, SessionEnd, Uplink},
    identity::{AssociationId, DeviceId},
    metrics::dtls::{Claim, RecordDrop, SessionEnd as Ended},
    store::{Numbers, Session},
};

impl ConnectionActor {
    pub(in crate::connection) fn handle_session(
        &mut self,
        now: Instant,
        downlink: Downlink,
        ctx: &mut Context<Self>,
    ) {
        match downlink {
            Downlink::SessionStored { association } => {
                if self.answer_store(now, association, Ok(())) {
                    return;
                }
                if self.secured().is_some_and(|secured| secured.association == association) {
                    self.let_go(now);
                }
                let Some(Lower::Open(open)) = self.lower.as_deref_mut() else { return };
                if open.closing.is_some_and(|(closing, _)| closing == association) {
                    open.channel.close(now);
                    while let Some(output) = open.channel.poll() {
                        if let Output::Transmit(bytes) = output {
                            self.shard.send(open.channel.place(), bytes);
                        }
                    }
                    ctx.stop();
                }
            }
            Downlink::SessionRefused { association, reason } => {
                if let Some(Lower::Claiming(claiming)) = self.lower.as_deref_mut() {
                    if reason == Refusal::Elsewhere {
                        // Claimed at another node since it was looked up: now that one is asked.
                        let waiting = std::mem::take(&mut claiming.waiting);
                        self.shard.come_back(waiting);
                    }
                    self.shard.metrics.dtls.claims[Claim::Lost].increment(1);
                    return ctx.stop();
                }
                let own = self.secured().is_some_and(|secured| secured.association == association);
                if own && reason == Refusal::Revoked {
                    return self.handle_revoked(now, None, ctx);
                }
                tracing::debug!(?reason, "a session was not stored");
                if reason == Refusal::Unavailable
                    && let Some(Lower::Open(open)) = self.lower.as_deref_mut()
                {
                    open.lookup_failed = true;
                }
                self.answer_store(now, association, Err(NotStored));
            }
            Downlink::SessionClaimed { session, exact } => self.claimed(now, &session, exact, ctx),
            _ => {}
        }
    }

    /// Goes on with the session that the endpoint has claimed, and with what waited for it.
    pub(super) fn claimed(&mut self, now: Instant, session: &Session, exact: bool, ctx: &mut Context<Self>) {
        let Some(Lower::Claiming(claiming)) = self.lower.as_deref_mut() else { return };
        if claiming.association != session.association {
            return;
        }
        let (device, waiting) = (claiming.device, std::mem::take(&mut claiming.waiting));
        // The address on record is where the device was; a record from elsewhere must move it by the rules.
        let first = waiting.first().map(|(from, _)| *from);
        let place = self.shard.place_of(session).or(first);
        let ground = self.ground();
        let (Some(stored), Some(place)) =
            (stored::open(&ground.settings().sealer, device, session, true), place)
        else {
            return ctx.stop();
        };
        let counted = if exact { Claim::Exact } else { Claim::Jumped };
        self.shard.metrics.dtls.claims[counted].increment(1);
        let key = self.link.connection;
        let channel = Channel::resume(ground, key, place, now, stored, exact);
        self.lower = Some(Box::new(Lower::open(channel, Some(device))));
        self.take_session(device);
        for (from, bytes) in waiting {
            let _ = self.handle_sealed(now, from, bytes);
        }
    }

    /// The live session is this device's: the core begins anew, sized to its records.
    pub(super) fn take_session(&mut self, device: DeviceId) {
        let key = self.link.connection;
        let Some(Lower::Open(open)) = self.lower.as_deref() else { return };
        let channel = &open.channel;
        let (Some(session), Some(secured)) = (channel.session(), channel.secured()) else { return };
        let (place, limit) = (channel.place(), channel.max_plaintext());
        let (named, mode) = (session.cid().is_some(), fate::mode(session.mode()));
        if (self.link.socket, self.link.remote) != (place.socket, place.remote) {
            self.shard.readdress(key, (self.link.socket, self.link.remote), None);
        }
        self.link = Link { security: Security::Dtls(secured), ..Link::plain(key, place) };
        // By its address it is found only where nothing else leads to it: another device may come from there.
        let at = (!named).then_some((place.socket, place.remote));
        self.shard.readdress(key, (place.socket, place.remote), at);
        self.ground().attach(device, key);
        self.core = self.shard.core(limit).proven(device);
        self.shard.metrics.dtls.sessions[mode].increment(1.0);
    }

    pub(super) fn closed_by(&mut self, now: Instant, reason: CloseReason, ctx: &mut Context<Self>) {
        if let CloseReason::Handshake(failure) = reason {
            self.handshake_failed(failure);
            return ctx.stop();
        }
        let metrics = &self.shard.metrics.dtls;
        metrics.sessions_ended[fate::end(reason)].increment(1);
        if matches!(reason, CloseReason::PeerClosed | CloseReason::PeerAlert(_)) {
            metrics.alerts_received.increment(1);
        }
        let (device, exact) = (self.core.device(), self.exact());
        if let (Some(device), Some((association, numbers))) = (device, exact) {
            let end = if reason.allows_resumption() { SessionEnd::Closed } else { SessionEnd::Forbidden };
            self.inform(device, Uplink::SessionClosed { association, numbers, end });
            self.progress.clear();
            if reason == CloseReason::PeerClosed
                && let Some(Lower::Open(open)) = self.lower.as_deref_mut()
            {
                open.closing = Some((association, now + CLOSING_FOR));
                return;
            }
        }
        ctx.stop();
    }

    /// Hands the session's numbers up.
    pub(super) fn report(&mut self) {
        let numbers = self.channel().and_then(Channel::report);
        let (Some(numbers), Some(device), Some(secured)) = (numbers, self.core.device(), self.secured())
        else {
            return;
        };
        let numbers = stored::numbers(&numbers);
        self.inform(device, Uplink::SessionNumbers { association: secured.association, numbers });
    }

    /// Leaves the session to whoever goes on with it.
    pub(in crate::connection) fn leave(&mut self) {
        let exact = self.exact();
        if let (Some(device), Some((association, numbers))) = (self.core.device(), exact) {
            self.progress.clear();
            let end = SessionEnd::Idle;
            self.inform(device, Uplink::SessionClosed { association, numbers, end });
        }
    }

    pub(in crate::connection) fn handle_revoked(
        &mut self,
        now: Instant,
        version: Option<u64>,
        ctx: &mut Context<Self>,
    ) {
        let used = match (self.secured(), self.lower.as_deref()) {
            (Some(secured), _) => Some(secured.credential),
            // The endpoint compares what it is asked to claim.
            (None, Some(Lower::Claiming(_))) => return,
            // News of a credential may come while its first handshake waits for the store.
            (None, Some(Lower::Open(open))) => open.presented,
            (None, None) => None,
        };
        if used.is_some() && used == version {
            return;
        }
        // Who was revoked is told, but nobody waits for an answer; what is on record, the endpoint has seen to.
        self.progress.clear();
        if let Some(channel) = self.channel() {
            channel.close(now);
        }
        while let Some(output) = self.channel().and_then(Channel::poll) {
            if let Output::Transmit(datagram) = output {
                self.send_datagram(datagram);
            }
        }
        self.shard.metrics.dtls.sessions_ended[Ended::Revoked].increment(1);
        ctx.stop();
    }

    /// The exact numbers of the live session, as they are at this moment.
    pub(super) fn exact(&mut self) -> Option<(AssociationId, Numbers)> {
        self.note_progress();
        self.progress.exact()
    }

    /// Lets others see how far the session's numbers went.
    pub(in crate::connection) fn note_progress(&mut self) {
        if let Some(Lower::Open(open)) = self.lower.as_deref()
            && open.closing.is_none()
        {
            open.channel.note(&self.progress, self.link.security.secured());
        }
    }

    pub(super) fn forget_gauge(&self) {
        if let Some(secured) = self.secured() {
            self.shard.metrics.dtls.sessions[fate::stored_mode(secured.mode)].decrement(1.0);
        }
    }

    /// The connection ends: nothing leads to it any more. Answers whose session it has asked for.
    pub(in crate::connection) fn forget_session(&mut self) -> Option<DeviceId> {
        self.forget_gauge();
        self.count_sent();
        let asked = match self.lower.as_deref() {
            Some(Lower::Claiming(claiming)) => {
                let dropped = claiming.waiting.len() as u64;
                self.shard.metrics.dtls.records_dropped[RecordDrop::NoSession].increment(dropped);
                if let (Some(ground), Some(cid)) = (&self.shard.ground, claiming.cid) {
                    ground.forget(cid, self.link.connection);
                }
                Some(claiming.device)
            }
            Some(Lower::Open(open)) => open.claims,
            None => None,
        };
        if let Some(ground) = &self.shard.ground
            && self.lower.is_some()
        {
            for device in [asked, self.core.device()].into_iter().flatten() {
                ground.detach(device, self.link.connection);
            }
        }
        self.lower = None;
        asked.filter(|device| self.core.device() != Some(*device))
    }
}
