//! What each record of the peer does to its association.

use super::{Association, Phase};
use crate::{
    alert::{Alert, AlertDescription},
    context::Context,
    fate::{Dropped, Used},
    handshake::Handshake,
    message::{Fragments, HelloPrefix, MessageType},
    output::{CloseReason, HandshakeFailure, Output},
    protection::Opened,
    record::{ContentType, Record},
};

impl Association {
    /// A hello with a good cookie: of the handshake under way, or the beginning of another.
    pub(super) fn admit(&mut self, cx: &Context<'_>, record: &Record<'_>) {
        let Some(Ok(fragment)) = Fragments::parse(record.fragment).next() else { return };
        let Ok(hello) = HelloPrefix::parse(fragment.bytes) else { return };
        let is_known = self.pending.as_ref().is_some_and(|handshake| handshake.is_of(hello.random))
            || self.latest.as_ref().is_some_and(|latest| latest.is_of(cx.now, hello.random));
        if is_known || self.phase != Phase::Open {
            return;
        }
        let handshake = Handshake::new(cx, *hello.random, &fragment);
        if let Some(before) = self.pending.replace(Box::new(handshake)) {
            let unreadable = before.unreadable();
            self.outbox.push(Output::HandshakeFailed(HandshakeFailure::StartedOver { unreadable }));
        }
    }

    pub(super) fn handle_record(
        &mut self,
        cx: &mut Context<'_>,
        record: &Record<'_>,
    ) -> Result<Used, Dropped> {
        match record.epoch {
            _ if self.phase != Phase::Open => Err(Dropped::Unexpected),
            0 => self.handle_plain(cx, record),
            1 => self.handle_protected(cx, record),
            _ => Err(Dropped::NoKeys),
        }
    }

    /// Epoch 0: anybody may have sent it, so only a handshake under way cares.
    fn handle_plain(&mut self, cx: &mut Context<'_>, record: &Record<'_>) -> Result<Used, Dropped> {
        if self.pending.is_none() {
            return Err(Dropped::Unprotected);
        }
        match record.content_type {
            ContentType::Handshake => {}
            ContentType::ChangeCipherSpec => return Ok(Used::Unproven),
            _ => return Err(Dropped::Unprotected),
        }
        let mut last = Err(Dropped::Malformed);
        for fragment in Fragments::parse(record.fragment) {
            let fragment = fragment.map_err(|_| Dropped::Malformed)?;
            last = self
                .with_handshake(cx, |handshake, cx, outbox| {
                    handshake.handle_fragment(cx, outbox, record.number, &fragment)
                })
                .unwrap_or(Err(Dropped::Unprotected));
        }
        last
    }

    /// Epoch 1: tried with the keys under way first, then with the live ones.
    fn handle_protected(&mut self, cx: &mut Context<'_>, record: &Record<'_>) -> Result<Used, Dropped> {
        let mut pending = Err(Dropped::NoKeys);
        if self.pending.as_ref().is_some_and(|handshake| handshake.is_addressed(record)) {
            pending = self
                .with_handshake(cx, |handshake, cx, outbox| handshake.handle_protected(cx, outbox, record))
                .unwrap_or(pending);
        }
        let mut fate = pending;
        if matches!(pending, Err(Dropped::NoKeys | Dropped::NotAuthentic | Dropped::Replayed))
            && let Some(session) = &mut self.live
            && session.secrets.is_addressed(record)
        {
            match session.open(record) {
                Ok((opened, newest)) => {
                    self.note_numbers(cx.now);
                    return self.handle_opened(cx, opened, record.number, newest);
                }
                Err(why) => fate = Err(why),
            }
        }
        // The live keys' view of it doesn't count here: both sessions number their records from 0.
        match (&mut self.pending, pending) {
            (Some(handshake), Err(why @ (Dropped::NoKeys | Dropped::NotAuthentic))) => {
                handshake.handle_unreadable(record, why)
            }
            _ => fate,
        }
    }

    fn handle_opened(
        &mut self,
        cx: &mut Context<'_>,
        opened: Opened,
        number: u64,
        newest: bool,
    ) -> Result<Used, Dropped> {
        match opened.content_type {
            ContentType::ApplicationData => {
                // It has our Finished.
                self.answer = None;
                self.outbox.push(Output::Application { bytes: opened.plaintext, number, newest });
                Ok(Used::Authentic)
            }
            ContentType::Alert => self.handle_alert(&opened.plaintext),
            ContentType::Handshake if is_finished(&opened.plaintext) => {
                self.outbox.push(Output::Repeated { newest });
                if self.send_answer(cx) {
                    self.outbox.note_repeat();
                }
                Ok(Used::Authentic)
            }
            ContentType::Handshake => {
                // RFC 5746 §4.5: no second handshake inside the first; a client that wants new keys begins in epoch 0.
                self.send_alert(cx, Alert::warning(AlertDescription::NO_RENEGOTIATION));
                Ok(Used::Authentic)
            }
            ContentType::ChangeCipherSpec | ContentType::Tls12Cid | ContentType::Unknown(_) => {
                Err(Dropped::Unexpected)
            }
        }
    }

    fn handle_alert(&mut self, plaintext: &[u8]) -> Result<Used, Dropped> {
        let alert = Alert::parse(plaintext).map_err(|_| Dropped::Malformed)?;
        if alert.description == AlertDescription::CLOSE_NOTIFY {
            self.end(CloseReason::PeerClosed);
            self.phase = Phase::PeerClosed;
        } else if alert.is_fatal() {
            self.end(CloseReason::PeerAlert(alert.description.0));
        }
        Ok(Used::Authentic)
    }
}

fn is_finished(plaintext: &[u8]) -> bool {
    matches!(Fragments::parse(plaintext).next(), Some(Ok(fragment)) if fragment.kind == MessageType::FINISHED)
}
