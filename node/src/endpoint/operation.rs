//! Commands of callers, as durable operation records.
//!
//! ```text
//!  submit ─► QUEUED ──────────► SENT ─► SUCCEEDED | FAILED
//!              │  ▲ unreachable   │
//!              │  └───────────────┤  (only what may be carried out twice)
//!              ├─► EXPIRED        └─► ABORTED: the outcome is not known
//!              └─► CANCELLED
//! ```

use godwit_coap::{FailReason, Response, Token};
use godwit_lwm2m::operation::{Answer, Operation, OperationError, ResponseError};
use godwit_proto::v1::{
    self, CommandResult,
    operation::{Reason, State},
};
use prost_types::Timestamp;

use super::{
    command,
    core::Core,
    downlink::{Flight, Purpose, context},
    handle::{NewOperation, SubmitError},
    message::{Effect, Then},
    observation::Observation,
};
use crate::{
    clock::Reading,
    entropy,
    profile::Target,
    store::{Change, value},
    telemetry::Cause,
};

/// How long after its first transmission a command may be repeated under its message id and token, so that the
/// device's de-duplication protects it. A client forgets a message id after at most EXCHANGE_LIFETIME; the first
/// answer was due within MAX_TRANSMIT_SPAN, 45 s (RFC 7252 §4.8.2).
const REPEAT_WITHIN_MS: u64 = 45_000;

impl Core {
    pub(super) fn handle_submit(&mut self, now: Reading, new: NewOperation) {
        let id = new.id.clone();
        match self.accept(now, new) {
            Ok(()) => {}
            Err(error) => self.effect(Effect::Submitted(id, Err(error))),
        }
    }

    fn accept(&mut self, now: Reading, new: NewOperation) -> Result<(), SubmitError> {
        if let Some(known) = self.downlinks.operations.iter().find(|stored| stored.id == new.id) {
            let operation = known.operation.clone().unwrap_or_default();
            self.effect(Effect::Submitted(new.id, Ok(Box::new(operation))));
            return Ok(());
        }
        if self.downlinks.ended.iter().any(|(ended, _)| *ended == new.id) {
            return Err(SubmitError::Ended);
        }
        let limit = usize::from(self.services.process.config.limits.queued_operations);
        let queued = self.downlinks.operations.len();
        if queued >= limit {
            return Err(SubmitError::QueueFull { queued, limit });
        }
        match self.registered.as_deref() {
            Some(registered) => {
                command::operation(&new.command, &self.observations)
                    .and_then(|operation| {
                        let format = registered.formats.pick(operation.format(), operation.format_use());
                        operation.request(&context(now, registered, format)).map_err(Into::into)
                    })
                    .map_err(|error| SubmitError::InvalidCommand(error.to_string()))?;
            }
            None if !new.queue => return Err(SubmitError::NotRegistered),
            None => {}
        }
        if !new.queue && self.sleeps_at(now) {
            return Err(SubmitError::Asleep);
        }
        let expires = now.unix_ms.saturating_add(u64::try_from(new.ttl.as_millis()).unwrap_or(u64::MAX));
        let operation = v1::Operation {
            name: format!("devices/{}/operations/{}", self.device, new.id),
            endpoint: self.name.to_string(),
            command: Some(new.command),
            state: State::Queued.into(),
            create_time: Some(timestamp(now.unix_ms)),
            expire_time: Some(timestamp(expires)),
            at_least_once: new.at_least_once,
            ..v1::Operation::default()
        };
        let stored = value::StoredOperation {
            id: new.id.clone(),
            operation: Some(operation),
            order: self.next_order(now),
            due_at: expires,
            unqueued: !new.queue,
            ..value::StoredOperation::default()
        };
        if !new.queue {
            // Somebody waits: a device that did not answer the last time is tried once more.
            self.downlinks.unreachable = false;
        }
        let clear = self.is_clear(now);
        self.downlinks.operations.push_back(Box::new(stored));
        if clear && self.start_first(now, Some(new.id.clone())) {
            return Ok(());
        }
        let stored = self.downlinks.operations.back().expect("just added").clone();
        self.persist(vec![Change::Operation(stored)], Then::Submitted(new.id));
        Ok(())
    }

    /// The order of a new operation: after all before, also those of earlier owners.
    fn next_order(&self, now: Reading) -> u64 {
        let last = self.downlinks.operations.back().map_or(0, |stored| stored.order);
        (last + 1).max(now.unix_ms << 10)
    }

    /// Sends the first operation of the queue. `false`: there is none.
    pub(super) fn start_operation(&mut self, now: Reading) -> bool {
        while let Some(first) = self.downlinks.operations.front() {
            if first.due_at <= now.unix_ms {
                let id = first.id.clone();
                self.expire_operation(now, &id);
                continue;
            }
            return self.start_first(now, None);
        }
        false
    }

    fn start_first(&mut self, now: Reading, accepted: Option<String>) -> bool {
        let Some(first) = self.downlinks.operations.front() else { return false };
        let Some(registered) = self.registered.as_deref() else { return false };
        let id = first.id.clone();
        let command =
            first.operation.as_ref().and_then(|operation| operation.command.clone()).unwrap_or_default();
        if let Some(paths) = command::passive_cancel(&command) {
            self.cancel_passively(now, &id, &paths, accepted);
            return true;
        }
        let operation = match command::operation(&command, &self.observations) {
            Ok(operation) => operation,
            Err(error) => {
                let detail = error.to_string();
                self.end_operation(now, &id, State::Failed, Reason::InvalidCommand, None, &detail);
                return true;
            }
        };
        let was_sent = first.operation.as_ref().is_some_and(|operation| operation.state() == State::Sent);
        let young = now.unix_ms.saturating_sub(first.first_sent) < REPEAT_WITHIN_MS;
        if was_sent && !(young && first.association == self.link_association()) {
            // An earlier owner has sent it, and the device has come too late, or in a session of its own, for a repetition
            // to be recognised.
            self.outcome_unknown(now, &id);
            return true;
        }
        let format = first
            .format
            .and_then(|number| godwit_lwm2m::format::ContentFormat::from_number(u16::try_from(number).ok()?))
            .filter(|_| was_sent)
            .unwrap_or_else(|| registered.formats.pick(operation.format(), operation.format_use()));
        let purpose = Purpose::Command(id);
        if was_sent {
            // Byte for byte what an earlier owner has sent.
            if let (Some(token), Ok(message_id)) = (Token::new(&first.token), u16::try_from(first.message_id))
            {
                let sent_at = first.first_sent;
                let flight =
                    Flight { token, message_id, operation, format, purpose, sent_at, notified: false };
                self.send(now, Box::new(flight));
                return true;
            }
        }
        let token = self.token_for(&operation);
        let message_id = self.downlinks.take_message_id();
        let flight =
            Flight { token, message_id, operation, format, purpose, sent_at: now.unix_ms, notified: false };
        self.attempt(now, Box::new(flight), accepted);
        true
    }

    /// The session of the link, as attempts name it.
    fn link_association(&self) -> Vec<u8> {
        let secured = self.link.as_ref().and_then(|link| link.security.secured());
        secured.map_or_else(Vec::new, |secured| secured.association.as_bytes().to_vec())
    }

    /// An observation that there is already keeps its token, a cancellation needs it.
    fn token_for(&self, operation: &Operation) -> Token {
        command::target(operation)
            .and_then(|target| self.observations.by_target(&target))
            .map_or_else(|| entropy::u64().into(), |observation| observation.token)
    }

    /// Writes an attempt, and with it a new observation, before the request leaves.
    pub(super) fn attempt(&mut self, now: Reading, mut flight: Box<Flight>, accepted: Option<String>) {
        let Purpose::Command(id) = &flight.purpose else { return };
        let id = id.clone();
        flight.sent_at = now.unix_ms;
        let mut changes = Vec::new();
        if let Operation::Observe { .. } | Operation::ObserveComposite { .. } = flight.operation
            && let Some(target) = command::target(&flight.operation)
            && self.observations.by_target(&target).is_none()
        {
            let limit = usize::from(self.services.process.config.limits.observations);
            if self.observations.len() >= limit {
                let detail = format!("{limit} observations are there already, as many as may be");
                self.end_operation(now, &id, State::Failed, Reason::InvalidCommand, None, &detail);
                return;
            }
            let mut observation = Observation::new(target, Some(id.as_str().into()));
            observation.token = flight.token;
            changes.push(Change::Observation(observation.to_stored()));
            self.observations.push(observation);
        }
        let association = self.link_association();
        let Some(stored) = self.downlinks.operations.iter_mut().find(|stored| stored.id == id) else {
            return;
        };
        stored.association = association;
        stored.token = flight.token.as_bytes().to_vec();
        stored.message_id = flight.message_id.into();
        stored.first_sent = now.unix_ms;
        stored.format = Some(flight.format.number().into());
        if let Some(operation) = stored.operation.as_mut() {
            operation.set_state(State::Sent);
            operation.send_time.get_or_insert(timestamp(now.unix_ms));
            operation.attempts += 1;
        }
        changes.push(Change::Operation(stored.clone()));
        self.downlinks.preparing = true;
        self.persist(changes, Then::Send { flight, accepted });
    }

    pub(super) fn command_answered(
        &mut self,
        now: Reading,
        flight: Flight,
        id: &str,
        response: &Response,
        answer: Result<Answer, ResponseError>,
    ) {
        let mut result = CommandResult {
            code: response.code.0.into(),
            code_text: response.code.to_string(),
            ..CommandResult::default()
        };
        let target = command::target(&flight.operation);
        let observes =
            matches!(flight.operation, Operation::Observe { .. } | Operation::ObserveComposite { .. });
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let detail = error.to_string();
                self.forget_target(target.as_ref());
                return self.end_operation(
                    now,
                    id,
                    State::Failed,
                    Reason::UnreadableResponse,
                    Some(result),
                    &detail,
                );
            }
        };
        command::fill(&mut result, &answer);
        let refused = matches!(answer, Answer::Refused { .. });
        match answer {
            Answer::Observing { content, sequence } if observes => {
                self.observation_made(now, &flight, sequence);
                self.publish_answer(
                    now,
                    &flight,
                    Cause::Notification,
                    Some(sequence),
                    response,
                    content.entries,
                );
            }
            Answer::Values(content) | Answer::Observing { content, .. } => {
                self.publish_answer(now, &flight, Cause::Read, None, response, content.entries);
                // Not observing, or not any more.
                self.forget_target(target.as_ref());
            }
            Answer::Refused { .. } if observes => self.forget_target(target.as_ref()),
            _ => {}
        }
        if refused {
            let detail = format!("the device answered {}", result.code_text);
            self.end_operation(now, id, State::Failed, Reason::DeviceError, Some(result), &detail);
        } else {
            self.end_operation(now, id, State::Succeeded, Reason::Unspecified, Some(result), "");
        }
    }

    /// Takes an observation out of memory and record.
    fn forget_target(&mut self, target: Option<&Target>) {
        let token = target.and_then(|target| self.observations.by_target(target)).map(|found| found.token);
        if let Some(token) = token {
            self.observations.remove(token);
            self.persist(vec![Change::RemoveObservation(token.as_bytes().to_vec())], Then::Nothing);
        }
    }

    pub(super) fn command_failed(&mut self, now: Reading, id: &str, reason: FailReason) {
        let Some(stored) = self.downlinks.operations.iter().find(|stored| stored.id == id) else { return };
        let (ends, detail) = match reason {
            FailReason::Reset => (Some(Reason::Reset), "the device answered with a reset"),
            FailReason::Timeout if stored.unqueued => {
                (Some(Reason::Timeout), "the device did not answer in time")
            }
            FailReason::Timeout => (None, ""),
            FailReason::BodyChanged => {
                (Some(Reason::UnreadableResponse), "the answer changed between its blocks")
            }
            FailReason::BodyTooLarge => {
                (Some(Reason::UnreadableResponse), "the answer is larger than the limit")
            }
            FailReason::BadBlock | FailReason::Body => {
                (Some(Reason::UnreadableResponse), "the answer's blocks do not fit together")
            }
            FailReason::BadOption => {
                (Some(Reason::UnreadableResponse), "the answer has a critical option that is not understood")
            }
        };
        match ends {
            Some(reason) => self.end_operation(now, id, State::Failed, reason, None, detail),
            None => self.outcome_unknown(now, id),
        }
    }

    pub(super) fn command_unsendable(&mut self, now: Reading, id: &str, error: &OperationError) {
        self.end_operation(now, id, State::Failed, Reason::InvalidCommand, None, &error.to_string());
    }

    /// A command was sent in circumstances that are gone: it waits again if it may be carried out twice.
    pub(super) fn outcome_unknown(&mut self, now: Reading, id: &str) {
        let Some(stored) = self.downlinks.operations.iter().find(|stored| stored.id == id) else { return };
        let command =
            stored.operation.as_ref().and_then(|operation| operation.command.clone()).unwrap_or_default();
        if command::may_repeat(&command) || at_least_once(stored) {
            self.queue_again(id);
        } else {
            self.abort(now, id);
        }
    }

    /// The device has registered anew: nothing tells it any more that it had what was sent before.
    pub(super) fn forget_sent(&mut self, now: Reading) {
        if self.downlinks.preparing {
            return;
        }
        let is_sent = |stored: &value::StoredOperation| {
            stored.operation.as_ref().is_some_and(|operation| operation.state() == State::Sent)
        };
        let operations = self.downlinks.operations.iter();
        let sent: Vec<_> =
            operations.filter(|stored| is_sent(stored)).map(|stored| stored.id.clone()).collect();
        for id in sent {
            self.outcome_unknown(now, &id);
        }
    }

    /// Nobody has the device's address: what was not to be queued ends, the rest waits for the next uplink.
    pub(super) fn out_of_reach(&mut self, now: Reading) {
        self.downlinks.unreachable = true;
        let waits = |stored: &value::StoredOperation| {
            let operation = stored.operation.as_ref();
            stored.unqueued && operation.is_some_and(|operation| operation.state() == State::Queued)
        };
        let ids: Vec<_> = self
            .downlinks
            .operations
            .iter()
            .filter(|stored| waits(stored))
            .map(|stored| stored.id.clone())
            .collect();
        let detail = "the device has no address of its own; it can be reached after its next message";
        for id in ids {
            self.end_operation(now, &id, State::Failed, Reason::NotRegistered, None, detail);
        }
    }

    fn abort(&mut self, now: Reading, id: &str) {
        let detail = "sent, but not answered; the device may or may not have carried it out";
        self.end_operation(now, id, State::Aborted, Reason::OutcomeUnknown, None, detail);
    }

    pub(super) fn queue_again(&mut self, id: &str) {
        let Some(stored) = self.downlinks.operations.iter_mut().find(|stored| stored.id == id) else {
            return;
        };
        if let Some(operation) = stored.operation.as_mut() {
            operation.set_state(State::Queued);
        }
        let stored = stored.clone();
        self.persist(vec![Change::Operation(stored)], Then::Nothing);
    }

    fn cancel_passively(&mut self, now: Reading, id: &str, paths: &Target, accepted: Option<String>) {
        if let Some(accepted) = accepted {
            let operation = self.downlinks.operations.back().and_then(|stored| stored.operation.clone());
            self.effect(Effect::Submitted(accepted, Ok(Box::new(operation.unwrap_or_default()))));
        }
        let known = self.observations.by_target(paths).is_some();
        self.forget_target(Some(paths));
        if known {
            let detail = "the next notification is answered with a reset";
            self.end_operation(now, id, State::Succeeded, Reason::Unspecified, None, detail);
        } else {
            let detail = "there is no such observation";
            self.end_operation(now, id, State::Failed, Reason::InvalidCommand, None, detail);
        }
    }

    pub(super) fn handle_cancel(&mut self, now: Reading, id: String) {
        let found = self.downlinks.operations.iter().find(|stored| stored.id == id);
        let queued = |stored: &value::StoredOperation| {
            stored.operation.as_ref().is_some_and(|operation| operation.state() == State::Queued)
        };
        match found {
            Some(stored) if queued(stored) => {
                self.end_operation(now, &id, State::Cancelled, Reason::Cancelled, None, "cancelled");
            }
            Some(_) => self.effect(Effect::NotCancelled(id, SubmitError::NotCancellable)),
            None if self.downlinks.ended.iter().any(|(ended, _)| *ended == id) => {
                self.effect(Effect::NotCancelled(id, SubmitError::NotCancellable));
            }
            None => self.effect(Effect::NotCancelled(id, SubmitError::NoSuchOperation)),
        }
    }

    /// Ends an operation whose TTL is over. What an earlier owner has sent may have been carried out.
    fn expire_operation(&mut self, now: Reading, id: &str) {
        let stored = self.downlinks.operations.iter().find(|stored| stored.id == id);
        let operation = stored.and_then(|stored| stored.operation.as_ref());
        // It leaves once that is on record.
        let leaves = self.downlinks.preparing;
        if !leaves && operation.is_some_and(|operation| operation.state() == State::Sent) {
            self.abort(now, id);
        } else {
            self.end_operation(now, id, State::Expired, Reason::Ttl, None, "its TTL has passed");
        }
    }

    /// Ends what has waited too long and drops records that were kept long enough.
    pub(super) fn expire_operations(&mut self, now: Reading) {
        let flying = self.downlinks.flying().map(str::to_owned);
        let late: Vec<String> = self
            .downlinks
            .operations
            .iter()
            .filter(|stored| stored.due_at <= now.unix_ms && Some(&stored.id) != flying.as_ref())
            .map(|stored| stored.id.clone())
            .collect();
        for id in late {
            self.expire_operation(now, &id);
        }
        let gone: Vec<Change> = self
            .downlinks
            .ended
            .extract_if(.., |(_, due)| *due <= now.unix_ms)
            .map(|(id, _)| Change::RemoveOperation(id))
            .collect();
        if !gone.is_empty() {
            self.persist(gone, Then::Nothing);
        }
    }

    /// Takes operations over from an earlier owner.
    pub(super) fn adopt_operations(&mut self, now: Reading, stored: Vec<value::StoredOperation>) {
        let mut unknown = Vec::new();
        for stored in stored {
            let state = stored.operation.as_ref().map_or(State::Unspecified, v1::Operation::state);
            match state {
                State::Queued => self.downlinks.operations.push_back(Box::new(stored)),
                State::Sent => {
                    if now.unix_ms.saturating_sub(stored.first_sent) >= REPEAT_WITHIN_MS {
                        unknown.push(stored.id.clone());
                    }
                    self.downlinks.operations.push_back(Box::new(stored));
                }
                _ => self.downlinks.ended.push((stored.id, stored.due_at)),
            }
        }
        for id in unknown {
            self.outcome_unknown(now, &id);
        }
    }
}

fn at_least_once(stored: &value::StoredOperation) -> bool {
    stored.operation.as_ref().is_some_and(|operation| operation.at_least_once)
}

/// Unix milliseconds as a protobuf timestamp.
pub(crate) fn timestamp(unix_ms: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX),
        nanos: (unix_ms % 1000) as i32 * 1_000_000,
    }
}
