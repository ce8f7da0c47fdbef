//! What an endpoint waits for, and what follows: a write or a publication goes out with a [`Then`].
//!
//! ```text
//!  persist ─► Persisted ─┬─ ok ──────► proceed: install, answer, send, publish
//!                        ├─ failed ──► persist_failed: nothing is answered, memory stays as it was
//!                        └─ refused ─► the device is another owner's: stop
//!  publish ─► Published ─┬─ ok ──────► proceed: acknowledge
//!                        ├─ failed ──► publish_failed: no acknowledgement, and the device repeats
//!                        └─ too late ► give_up_unacknowledged: the device no longer goes on with it
//! ```

use std::time::{Duration, Instant};

use godwit_coap::{Code, Response};

use super::{
    core::Core,
    downlink::Purpose,
    handle::SubmitError,
    link::{Downlink, Refusal},
    message::{Effect, Then},
};
use crate::{
    clock::Reading,
    metrics::labels,
    store::{Change, StoreError},
    telemetry::{Record, SinkError},
};

impl Core {
    /// Writes, and then goes on.
    pub(super) fn persist(&mut self, mut changes: Vec<Change>, then: Then) {
        self.ride_along(&mut changes);
        let id = self.wait_for(then);
        self.effect(Effect::Persist(id, changes));
    }

    /// Publishes, and then goes on.
    pub(super) fn publish(&mut self, records: Vec<Record>, then: Then) {
        let id = self.wait_for(then);
        self.effect(Effect::Publish(id, records));
    }

    fn wait_for(&mut self, then: Then) -> u32 {
        let id = self.next_effect;
        self.next_effect = id.wrapping_add(1);
        self.waiting.push((id, then));
        id
    }

    fn done(&mut self, id: u32) -> Option<Then> {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == id)?;
        let then = self.waiting.remove(at).1;
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        Some(then)
    }

    /// Publications that have not ended, or writes.
    pub(super) fn outstanding(&self, published: bool) -> usize {
        self.waiting.iter().filter(|(_, then)| then.is_of_sink() == published).count()
    }

    /// Whether the device waits for an answer that waits for a write.
    pub(super) fn answers_wait(&self) -> bool {
        self.waiting.iter().any(|(_, then)| then.answers())
    }

    /// Whether something is being written that must be on record before anything is sent.
    pub(super) fn holds_back(&self) -> bool {
        self.waiting.iter().any(|(_, then)| then.answers() || matches!(then, Then::Planned))
    }

    pub(super) fn handle_persisted(&mut self, now: Reading, id: u32, result: Result<(), StoreError>) {
        let Some(then) = self.done(id) else { return };
        match result {
            Ok(()) => self.proceed(now, then),
            Err(StoreError::Refused(_)) => self.superseded(),
            Err(error) => self.persist_failed(now, then, &error),
        }
    }

    /// A write did not happen, or nobody knows: nothing is answered, and memory stays as it was.
    fn persist_failed(&mut self, now: Reading, then: Then, error: &StoreError) {
        // The store itself says once that it can't write.
        tracing::debug!(device = %self.device, %error, "a change was not stored");
        if let Some((link, call)) = then.call() {
            self.downlink(link, Downlink::Forget { id: call.id });
        }
        match then {
            Then::Submitted(id) => {
                self.downlinks.operations.retain(|stored| stored.id != id);
                self.effect(Effect::Submitted(id, Err(SubmitError::Store(error.to_string()))));
            }
            Then::Send { flight, accepted } => {
                self.downlinks.preparing = false;
                // What the attempt was to observe is not on record either.
                self.observations.remove_pending(flight.token);
                if let Some(id) = accepted {
                    self.downlinks.operations.retain(|stored| stored.id != id);
                    self.effect(Effect::Submitted(id, Err(SubmitError::Store(error.to_string()))));
                } else if let Purpose::Command(id) = &flight.purpose {
                    let id = id.clone();
                    self.queue_again(&id);
                }
                // Else the next attempt would fail at once, and so on without end.
                self.downlinks.unreachable = true;
            }
            Then::Ended(end) => self.end_not_stored(now, end, error),
            Then::EndsWritten(ends) => self.ends_not_stored(now, ends),
            Then::Session(new) => self.session_not_stored(&new, error),
            Then::Claimed { link, session } => self.session_not_given(link, session),
            Then::Promoted { link, association, .. } => {
                self.refuse_session(link, association, Refusal::Unavailable);
            }
            Then::Expire(..) => self.retry_expiry(now),
            Then::Paid(deadline) => self.paid(now, deadline, false),
            Then::Stop(reason) => self.stop(reason),
            _ => {}
        }
    }

    pub(super) fn handle_published(&mut self, now: Reading, id: u32, result: Result<(), SinkError>) {
        let Some(then) = self.done(id) else { return };
        match result {
            Ok(()) => self.proceed(now, then),
            Err(error) => self.publish_failed(now, then, &error),
        }
    }

    /// The sink took nothing: the device gets no acknowledgement and repeats, or is told to come again.
    fn publish_failed(&mut self, now: Reading, then: Then, error: &SinkError) {
        match then {
            Then::Acknowledge { link, token, message_id, ends, .. } => {
                self.services.metrics.notifications[labels::Notification::Dropped].increment(1);
                self.downlink(link, Downlink::ForgetNotification { message_id });
                // An observation that the device has ended stays until its last value is taken.
                if ends.is_none() {
                    self.suspect(token, now.now);
                }
            }
            Then::SendDone { link, call, .. } => {
                self.services.metrics.notifications[labels::Notification::Dropped].increment(1);
                let busy = Response::diagnostic(Code::SERVICE_UNAVAILABLE, error.to_string());
                self.reply(link, call, busy.max_age(30));
            }
            // Stays in the outbox for a later owner.
            Then::Expired(_) => self.release_unregistered(now),
            _ => {}
        }
    }

    fn proceed(&mut self, now: Reading, then: Then) {
        match then {
            Then::Register(new) => self.registration_stored(now, *new),
            Then::Update { link, call, registered, applied, event, objects } => {
                if applied.is_some() {
                    self.applied = applied;
                }
                self.update_stored(now, link, call, registered, event, objects);
            }
            Then::Session(new) => self.session_stored(now, *new),
            Then::Claimed { link, session } => self.session_given(link, session),
            Then::SessionWritten { link, association } => {
                self.downlink(link, Downlink::SessionStored { association });
            }
            Then::Promoted { link, association, removed } => {
                self.promotion_stored(now, link, association, removed);
            }
            Then::Deregister { link, call, record, event } => {
                self.deregistered(link, call, *record, event);
            }
            Then::Expire(record, event) => self.expiry_stored(*record, event),
            Then::Expired(event) => {
                self.effect(Effect::RemoveEvent(event));
                self.release_unregistered(now);
            }
            Then::Submitted(id) => self.accepted(id),
            // Its time was over while the attempt was being written.
            Then::Send { flight, .. } if !self.has_operation(&flight.purpose) => {
                self.downlinks.preparing = false;
            }
            Then::Send { flight, accepted } => {
                match (accepted, &flight.purpose) {
                    (Some(id), _) => self.accepted(id),
                    (None, Purpose::Command(id)) => {
                        let stored = self.downlinks.operations.iter().find(|stored| stored.id == *id);
                        if let Some(operation) = stored.and_then(|stored| stored.operation.clone()) {
                            self.effect(Effect::OperationChanged(Box::new(operation)));
                        }
                    }
                    (None, Purpose::Task(_)) => {}
                }
                self.send(now, flight);
            }
            Then::Ended(end) => self.operation_ended(now, end.stored.operation.unwrap_or_default()),
            Then::Stop(reason) => self.stop(reason),
            Then::Acknowledge { link, token, message_id, since, ends } => {
                match ends {
                    Some(code) => self.end_observation(now, token, code),
                    // Durable too late: the device has given up, and with it the observation.
                    None if now.now.saturating_duration_since(since) >= self.patience() => {
                        self.suspect(token, since);
                    }
                    None => self.trust(token),
                }
                self.services.metrics.notification_durable_seconds.record(now.now - since);
                self.downlink(link, Downlink::Acknowledge { message_id });
            }
            Then::SendDone { link, call, since } => {
                self.services.metrics.notification_durable_seconds.record(now.now - since);
                self.reply(link, call, Response::new(Code::CHANGED));
            }
            Then::Paid(deadline) => self.paid(now, deadline, true),
            Then::EndsWritten(_) | Then::Planned | Then::Nothing => {}
        }
    }

    fn has_operation(&self, purpose: &Purpose) -> bool {
        match purpose {
            Purpose::Command(id) => self.downlinks.operations.iter().any(|stored| stored.id == *id),
            Purpose::Task(_) => true,
        }
    }

    fn accepted(&mut self, id: String) {
        let stored = self.downlinks.operations.iter().find(|stored| stored.id == id);
        let operation = stored.and_then(|stored| stored.operation.clone()).unwrap_or_default();
        self.effect(Effect::OperationChanged(Box::new(operation.clone())));
        self.effect(Effect::Submitted(id, Ok(Box::new(operation))));
    }

    /// Devices do not go on with these, so nobody waits for them any more. The sink may take them yet.
    pub(super) fn give_up_unacknowledged(&mut self, now: Reading) {
        let patience = self.patience();
        let over = |since: Instant| now.now.saturating_duration_since(since) >= patience;
        while let Some(at) = self.waiting.iter().position(|(_, then)| then.published_at().is_some_and(over)) {
            let Then::Acknowledge { link, token, message_id, since, ends } = self.waiting.remove(at).1 else {
                // Nothing is said of a Send that may still come out.
                continue;
            };
            self.downlink(link, Downlink::ForgetNotification { message_id });
            match ends {
                Some(code) => self.end_observation(now, token, code),
                None => self.suspect(token, since),
            }
        }
    }

    /// How long a device goes on with what nobody acknowledges.
    pub(super) fn patience(&self) -> Duration {
        self.services.process.config.coap.max_transmit_wait()
    }
}
