//! The end of a command: on record, then told. Where there is no store it is told at once and owed to it.
//!
//! ```text
//!  end ─► write ─► told
//!           └ failed ─► told ─► owed ─► written once there is a store again, or when the device is given up
//!                └ only cancelled: not told, waits again
//! ```

use std::time::Instant;

use godwit_coap::Token;
use godwit_proto::v1::{
    self, CommandResult,
    operation::{Reason, State},
};

use super::{
    core::Core,
    handle::SubmitError,
    message::{Effect, StopReason, Then},
    operation::timestamp,
    registration::OWED_RETRY,
};
use crate::{
    clock::Reading,
    store::{Change, StoreError, value},
    telemetry,
};

/// An operation that has ended, and is to be written.
#[derive(Debug)]
pub(super) struct EndedOperation {
    /// Its record, with the end.
    pub(super) stored: Box<value::StoredOperation>,
    /// What it was to observe, and never did.
    observation: Option<Token>,
}

impl EndedOperation {
    fn state(&self) -> State {
        self.stored.operation.as_ref().map_or(State::Unspecified, v1::Operation::state)
    }

    fn changes(&self) -> Vec<Change> {
        let observation = self.observation.map(|token| Change::RemoveObservation(token.as_bytes().to_vec()));
        [Change::Operation(self.stored.clone())].into_iter().chain(observation).collect()
    }
}

/// Ends that are told and not on record.
#[derive(Debug, Default)]
pub(super) struct Owed {
    ends: Vec<EndedOperation>,
    /// When to try to write them.
    pub(super) due: Option<Instant>,
}

impl Core {
    /// Ends an operation: its record says so before its caller is told.
    pub(super) fn end_operation(
        &mut self,
        now: Reading,
        id: &str,
        state: State,
        reason: Reason,
        result: Option<CommandResult>,
        detail: &str,
    ) {
        let Some(at) = self.downlinks.operations.iter().position(|stored| stored.id == id) else { return };
        let Some(mut stored) = self.downlinks.operations.remove(at) else { return };
        let mut operation = stored.operation.take().unwrap_or_default();
        operation.set_state(state);
        operation.set_reason(reason);
        operation.detail = detail.to_owned();
        operation.result = result;
        operation.end_time = Some(timestamp(now.unix_ms));
        stored.operation = Some(operation);
        stored.due_at = stored.due_at.max(now.unix_ms);
        self.downlinks.ended.push((stored.id.clone(), stored.due_at));
        let mut end = EndedOperation { stored, observation: None };
        if state != State::Succeeded
            && let Some(token) = self.observations.pending_of(id)
        {
            // What it was to observe would otherwise be asked for by a later owner.
            self.observations.remove(token);
            end.observation = Some(token);
        }
        let mut changes = end.changes();
        let limit = usize::from(self.services.process.config.limits.queued_operations);
        if self.downlinks.ended.len() > limit {
            let (oldest, _) = self.downlinks.ended.remove(0);
            changes.push(Change::RemoveOperation(oldest));
        }
        self.persist(changes, Then::Ended(end));
    }

    /// Announces the result, once it is on record or owed to the store.
    pub(super) fn operation_ended(&mut self, now: Reading, operation: v1::Operation) {
        self.count_operation(&operation);
        let record = self.with_origin(|origin, orders| {
            telemetry::operation(origin, operation.clone().into(), orders, now.unix_ms)
        });
        self.effect(Effect::Announce(vec![record]));
        self.effect(Effect::Ended(Box::new(operation)));
        if self.registered.is_none() && self.downlinks.operations.is_empty() {
            self.release(now, StopReason::Ended);
        }
    }

    /// An end was not written, or nobody knows.
    pub(super) fn end_not_stored(&mut self, now: Reading, end: EndedOperation, error: &StoreError) {
        if end.state() == State::Cancelled {
            return self.wait_again(end, error);
        }
        let operation = end.stored.operation.clone().unwrap_or_default();
        self.ends_not_stored(now, vec![end]);
        self.operation_ended(now, operation);
    }

    /// A command that was to be cancelled goes back to its place.
    fn wait_again(&mut self, EndedOperation { mut stored, .. }: EndedOperation, error: &StoreError) {
        if let Some(operation) = stored.operation.as_mut() {
            operation.set_state(State::Queued);
            operation.set_reason(Reason::Unspecified);
            (operation.detail, operation.end_time) = (String::new(), None);
        }
        self.downlinks.ended.retain(|(ended, _)| *ended != stored.id);
        let id = stored.id.clone();
        let after = self.downlinks.operations.iter().position(|other| other.order > stored.order);
        self.downlinks.operations.insert(after.unwrap_or(self.downlinks.operations.len()), stored);
        self.effect(Effect::NotCancelled(id, SubmitError::Store(error.to_string())));
    }

    /// Owes these ends to the store.
    pub(super) fn ends_not_stored(&mut self, now: Reading, ends: Vec<EndedOperation>) {
        self.downlinks.owed.ends.extend(ends);
        self.downlinks.owed.due = Some(now.now + OWED_RETRY);
    }

    /// Writes the ends that are owed, if it is time and there is a store.
    pub(super) fn pay_ends(&mut self, now: Reading) {
        let owed = &mut self.downlinks.owed;
        if owed.due.is_none_or(|due| due > now.now) {
            return;
        }
        if !self.services.standing.is_valid() {
            owed.due = Some(now.now + OWED_RETRY);
            return;
        }
        let (ends, changes) = self.take_owed_ends();
        self.persist(changes, Then::EndsWritten(ends));
    }

    /// The ends that are owed, and how to write them.
    pub(super) fn take_owed_ends(&mut self) -> (Vec<EndedOperation>, Vec<Change>) {
        let Owed { ends, .. } = std::mem::take(&mut self.downlinks.owed);
        let mut changes: Vec<_> = ends.iter().flat_map(EndedOperation::changes).collect();
        for change in &mut changes {
            if let Change::Operation(stored) = change
                && self.downlinks.ended.iter().all(|(ended, _)| *ended != stored.id)
            {
                // It would not be kept any more.
                *change = Change::RemoveOperation(std::mem::take(&mut stored.id));
            }
        }
        (ends, changes)
    }
}
