//! What a device is asked: start actions of its profile, then commands, one at a time (NSTART 1).
//!
//! ```text
//!  tasks ──┐
//!          ├─► next ─► attempt on record? ─► Flight ─► Downlink::Request
//!  queue ──┘                                   │
//!                Response ◄────────────────────┤  4.06, 4.15: the next format
//!                Failed ◄──────────────────────┘  no answer: waits for the next uplink, or ends
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock},
};

use godwit_coap::{Code, FailReason, Request, Response, Token};
use godwit_lwm2m::{
    attributes::AttributeChange,
    format::{ContentFormat, Limits},
    operation::{Answer, Context, Operation, OperationError},
    path::Path,
};

use super::{
    core::Core,
    end::Owed,
    link::Downlink,
    message::{Effect, Then},
    observation::Observation,
    plan::name_and_revision,
    registered::Registered,
    starts::{Start, Starts},
};
use crate::{
    clock::Reading,
    entropy,
    profile::Target,
    store::{Change, value, value::observation::State},
    telemetry::{Cause, Event},
};

/// A start action of the profile, or one that a change of it brought.
#[derive(Debug, Clone)]
pub(super) enum Task {
    /// Write-Attributes.
    WriteAttributes(Path, AttributeChange),
    /// Read or Read-Composite.
    Read(Target),
    /// Make the observation of this token.
    Observe(Token),
    /// End an observation that is no longer wanted.
    Cancel(Box<Observation>),
}

impl Task {
    fn action(&self) -> &'static str {
        match self {
            Task::WriteAttributes(..) => "write_attributes",
            Task::Read(_) => "read",
            Task::Observe(_) => "observe",
            Task::Cancel(_) => "cancel",
        }
    }
}

/// Why something was sent.
#[derive(Debug)]
pub(super) enum Purpose {
    /// For the profile.
    Task(Task),
    /// For a caller: the operation's id.
    Command(String),
}

/// The one request under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) token: Token,
    pub(super) message_id: u16,
    pub(super) operation: Operation,
    pub(super) format: ContentFormat,
    pub(super) purpose: Purpose,
    /// When it left, Unix milliseconds.
    pub(super) sent_at: u64,
    /// Whether the values of its answer come as a notification, which is acknowledged once they are durable.
    pub(super) notified: bool,
}

/// All that waits to be sent to a device.
#[derive(Debug, Default)]
pub(super) struct Downlinks {
    pub(super) tasks: VecDeque<Task>,
    /// Operations that have not ended, in order; the first may be under way.
    pub(super) operations: VecDeque<Box<value::StoredOperation>>,
    /// Operations that have ended, until their records go: id and Unix milliseconds.
    pub(super) ended: Vec<(String, u64)>,
    /// Of these the ends that are told and not on record: there was no store.
    pub(super) owed: Owed,
    pub(super) flight: Option<Box<Flight>>,
    /// An attempt is being written.
    pub(super) preparing: bool,
    /// The last request got no answer, and nothing was heard since.
    pub(super) unreachable: bool,
    pub(super) next_message_id: u16,
    /// The device's place among those that are asked for what their profile wants, while such a request is under way.
    pub(super) start: Option<Start>,
    /// A place was asked for.
    pub(super) start_awaited: bool,
}

/// Message ids of requests that endpoints number; a connection's own are below.
const UPPER_HALF: u16 = 0x8000;

/// Where the message ids of a claim begin: each of 16 claims in a row has a slice of the upper half, in which the 16th
/// claim after it begins further on. A device that moves every other second is asked nothing under an id that it still
/// remembers (EXCHANGE_LIFETIME, 247 s: RFC 7252 §4.8.2).
pub(super) fn first_message_id(claims: u32) -> u16 {
    UPPER_HALF | ((claims & 15) as u16) << 11 | ((claims >> 4 & 15) as u16) << 7
}

impl Downlinks {
    pub(super) fn take_message_id(&mut self) -> u16 {
        let id = self.next_message_id;
        self.next_message_id = id.wrapping_add(1) | UPPER_HALF;
        id
    }

    /// The operation that is under way.
    pub(super) fn flying(&self) -> Option<&str> {
        match self.flight.as_deref() {
            Some(Flight { purpose: Purpose::Command(id), .. }) => Some(id),
            _ => None,
        }
    }

    /// The next task, where the device has a place among those that are asked. `Err`: it should wait for one.
    fn next_task(&mut self, starts: &Arc<Starts>) -> Result<Option<Task>, AwaitStart> {
        if self.tasks.is_empty() {
            return Ok(None);
        }
        if self.start.is_none() {
            self.start = starts.enter();
        }
        if self.start.is_none() {
            return Err(AwaitStart);
        }
        let task = self.tasks.pop_front();
        if self.tasks.is_empty() {
            self.tasks = VecDeque::new();
        }
        Ok(task)
    }

    /// Its turn has come.
    pub(super) fn admit(&mut self, start: Start) {
        self.start_awaited = false;
        self.start = Some(start);
    }

    /// Leaves the place to others while nothing of a task is under way.
    pub(super) fn settle_start(&mut self) {
        if !matches!(self.flight.as_deref(), Some(Flight { purpose: Purpose::Task(_), .. })) {
            self.start = None;
        }
    }

    /// Takes the request under way, if it has this token.
    fn land(&mut self, token: Token) -> Option<Box<Flight>> {
        self.flight.take_if(|flight| flight.token == token)
    }
}

/// The device has no place among those that are asked.
struct AwaitStart;

impl Core {
    /// Starts over after a register: the old registration's tasks and request are gone, queued operations stay.
    pub(super) fn restart_downlinks(&mut self, now: Reading, tasks: Vec<Task>) {
        self.downlinks.tasks = tasks.into();
        self.downlinks.unreachable = false;
        if let Some(flight) = self.downlinks.flight.take() {
            if let Some(link) = self.link {
                self.downlink(link, Downlink::Cancel { token: flight.token });
            }
            if let Purpose::Command(id) = flight.purpose {
                self.outcome_unknown(now, &id);
            }
        }
        self.forget_sent(now);
    }

    /// What was sent over a link that was left gets no answer, and waits for the next one.
    pub(super) fn abandon_flight(&mut self, now: Reading) {
        let Some(flight) = self.downlinks.flight.take() else { return };
        match flight.purpose {
            Purpose::Command(id) => self.outcome_unknown(now, &id),
            Purpose::Task(task) => self.downlinks.tasks.push_front(task),
        }
    }

    /// Sends the next task or command, if the device can be reached and nothing else is under way.
    pub(super) fn drive(&mut self, now: Reading) {
        while self.may_send(now) {
            match self.downlinks.next_task(&self.services.starts) {
                Ok(Some(task)) => self.start_task(now, task),
                // Somebody may wait for a command.
                Err(AwaitStart) if self.start_operation(now) => {}
                Err(AwaitStart) => {
                    if !std::mem::replace(&mut self.downlinks.start_awaited, true) {
                        self.effect(Effect::AwaitStart);
                    }
                    return;
                }
                Ok(None) if self.start_operation(now) => {}
                Ok(None) => {
                    self.finish_start();
                    self.return_link();
                    return;
                }
            }
        }
        let waits = !(self.downlinks.tasks.is_empty() && self.downlinks.operations.is_empty());
        if waits && self.link.is_none() && self.is_ready(now) {
            self.reach(now);
        }
    }

    fn may_send(&self, now: Reading) -> bool {
        self.link.is_some() && self.is_ready(now)
    }

    /// Whether a request could be sent, were the device linked.
    fn is_ready(&self, now: Reading) -> bool {
        let downlinks = &self.downlinks;
        !self.leaving()
            && downlinks.flight.is_none()
            && !downlinks.preparing
            && !downlinks.unreachable
            && self.registered.is_some()
            && !self.sleeps_at(now)
            && !self.holds_back()
            && self.link.is_none_or(|link| self.access.refuses(&link.security).is_none())
            && !self.access.is_closed()
    }

    /// Whether a command handed in now could leave at once.
    pub(super) fn is_clear(&self, now: Reading) -> bool {
        self.may_send(now) && self.downlinks.tasks.is_empty() && self.downlinks.operations.is_empty()
    }

    fn start_task(&mut self, now: Reading, task: Task) {
        let (operation, token) = match &task {
            Task::WriteAttributes(path, attributes) => (
                Operation::WriteAttributes { path: *path, attributes: attributes.clone() },
                entropy::u64().into(),
            ),
            Task::Read(target) => (read(target), entropy::u64().into()),
            Task::Observe(token) => match self.observations.by_token(*token) {
                Some(observation) => (observe(&observation.target, None), *token),
                // Ended meanwhile.
                None => return,
            },
            Task::Cancel(observation) => (cancel(&observation.target, observation.format), observation.token),
        };
        let Some(registered) = self.registered.as_deref() else { return };
        let format = registered.formats.pick(operation.format(), operation.format_use());
        let message_id = self.downlinks.take_message_id();
        let purpose = Purpose::Task(task);
        let flight =
            Flight { token, message_id, operation, format, purpose, sent_at: now.unix_ms, notified: false };
        self.send(now, Box::new(flight));
    }

    /// Sends a request whose attempt is on record, or that needs none.
    pub(super) fn send(&mut self, now: Reading, flight: Box<Flight>) {
        self.downlinks.preparing = false;
        let (Some(link), Some(registered)) = (self.link, self.registered.as_deref()) else {
            return self.land_failed(now, *flight, FailReason::Timeout);
        };
        match flight.operation.request(&context(now, registered, flight.format)) {
            Ok(request) => {
                if let Purpose::Task(Task::Observe(token)) = &flight.purpose
                    && let Some(observation) = self.observations.by_token_mut(*token)
                {
                    observation.format = Some(flight.format);
                }
                let (token, message_id) = (flight.token, flight.message_id);
                self.downlinks.flight = Some(flight);
                self.downlink(link, Downlink::Request { token, message_id, request: Box::new(request) });
            }
            Err(error) => self.land_unsendable(now, *flight, &error),
        }
    }

    /// The request that fetches what is observed once more.
    pub(super) fn read_request(
        &self,
        now: Reading,
        target: &Target,
        format: Option<ContentFormat>,
    ) -> Result<Request, OperationError> {
        let operation = observe(target, None);
        let registered = self.registered.as_deref().ok_or(OperationError::Empty("Observe"))?;
        let format = format.unwrap_or_else(|| registered.formats.pick(None, operation.format_use()));
        operation.request(&context(now, registered, format))
    }

    pub(super) fn handle_response(&mut self, now: Reading, token: Token, response: Response, notified: bool) {
        let Some(mut flight) = self.downlinks.land(token) else {
            self.handle_rest(now, token, Some(response));
            return;
        };
        flight.notified = notified;
        let Some(registered) = self.registered.as_deref_mut() else { return };
        if matches!(response.code, Code::NOT_ACCEPTABLE | Code::UNSUPPORTED_CONTENT_FORMAT) {
            let chosen = flight.operation.format();
            if let Some(next) = registered.formats.next(flight.format, chosen, flight.operation.format_use())
            {
                flight.format = next;
                flight.message_id = self.downlinks.take_message_id();
                return match flight.purpose {
                    Purpose::Task(_) => self.send(now, flight),
                    Purpose::Command(_) => self.attempt(now, flight, None),
                };
            }
        }
        let answer = flight.operation.response(&response, &context(now, registered, flight.format));
        self.publish_raw_answer(now, &flight, &response, answer.as_ref().ok());
        match &flight.purpose {
            Purpose::Command(id) => {
                let id = id.clone();
                self.command_answered(now, *flight, &id, &response, answer);
            }
            Purpose::Task(_) => match answer {
                Ok(answer) => self.task_answered(now, *flight, &response, answer),
                Err(error) => {
                    let detail = error.to_string();
                    self.task_failed(now, *flight, Some(detail));
                }
            },
        }
    }

    pub(super) fn handle_failed(&mut self, now: Reading, token: Token, reason: FailReason) {
        match self.downlinks.land(token) {
            Some(flight) => self.land_failed(now, *flight, reason),
            None => {
                self.handle_rest(now, token, None);
            }
        }
    }

    pub(super) fn land_failed(&mut self, now: Reading, flight: Flight, reason: FailReason) {
        if reason == FailReason::Timeout {
            self.downlinks.unreachable = true;
        }
        match flight.purpose {
            Purpose::Command(ref id) => {
                let id = id.clone();
                self.command_failed(now, &id, reason);
            }
            Purpose::Task(Task::Observe(token)) if self.split_composite(token) => {}
            Purpose::Task(task) if reason == FailReason::Timeout => self.downlinks.tasks.push_front(task),
            Purpose::Task(_) => self.task_failed(now, flight, None),
        }
    }

    fn land_unsendable(&mut self, now: Reading, flight: Flight, error: &OperationError) {
        match flight.purpose {
            Purpose::Command(ref id) => {
                let id = id.clone();
                self.command_unsendable(now, &id, error);
            }
            Purpose::Task(_) => self.task_failed(now, flight, Some(error.to_string())),
        }
    }

    fn task_answered(&mut self, now: Reading, flight: Flight, response: &Response, answer: Answer) {
        let Purpose::Task(task) = &flight.purpose else { return };
        match (task, answer) {
            (_, Answer::Refused { code, .. }) => {
                if let Task::Observe(token) = task
                    && matches!(code, Code::METHOD_NOT_ALLOWED | Code::BAD_OPTION | Code::NOT_IMPLEMENTED)
                    && self.split_composite(*token)
                {
                    return;
                }
                self.task_failed(now, flight, Some(code.to_string()));
            }
            (Task::Observe(_), Answer::Observing { content, sequence }) => {
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
            (Task::Observe(_), Answer::Values(content)) => {
                self.publish_answer(now, &flight, Cause::Read, None, response, content.entries);
                self.task_failed(now, flight, Some("answered without observing".to_owned()));
            }
            (Task::Read(_) | Task::Cancel(_), Answer::Values(content)) => {
                self.publish_answer(now, &flight, Cause::Read, None, response, content.entries);
            }
            _ => {}
        }
    }

    /// Tells of a task that came to nothing. The others go on.
    fn task_failed(&mut self, now: Reading, flight: Flight, code: Option<String>) {
        let Purpose::Task(task) = flight.purpose else { return };
        let paths: Box<[Path]> = match &task {
            Task::WriteAttributes(path, _) => [*path].into(),
            Task::Read(target) => target.paths().into(),
            Task::Cancel(observation) => observation.target.paths().into(),
            Task::Observe(token) => {
                let Some(observation) = self.observations.remove(*token) else { return };
                let gone = Change::RemoveObservation(token.as_bytes().to_vec());
                self.persist(vec![gone], Then::Nothing);
                observation.target.paths().into()
            }
        };
        let event = Event::ActionFailed { action: task.action(), paths, code: code.map(Into::into) };
        let cause = self.cause(&[b"task", flight.token.as_bytes(), &flight.message_id.to_be_bytes()]);
        self.announce(now, event, cause);
    }

    /// Some clients refuse composite observations or never answer them: asks for each path alone. `false`: the
    /// observation is no composite one.
    fn split_composite(&mut self, token: Token) -> bool {
        let composite = self
            .observations
            .by_token(token)
            .is_some_and(|observation| matches!(observation.target, Target::Composite(_)));
        let Some(old) = composite.then(|| self.observations.remove(token)).flatten() else { return false };
        let mut changes = vec![Change::RemoveObservation(token.as_bytes().to_vec())];
        for path in old.target.paths().iter().rev() {
            let single = Observation::new(Target::Single(*path), old.operation.clone());
            changes.push(Change::Observation(single.to_stored()));
            self.downlinks.tasks.push_front(Task::Observe(single.token));
            self.observations.push(single);
        }
        self.persist(changes, Then::Planned);
        true
    }

    /// The device has confirmed the observation that was asked for.
    pub(super) fn observation_made(&mut self, now: Reading, flight: &Flight, sequence: u32) {
        let Some(observation) = self.observations.by_token_mut(flight.token) else { return };
        observation.state = State::Active;
        observation.format = Some(flight.format);
        if !flight.notified {
            observation.order.accept(now.now, sequence);
        }
        let stored = observation.to_stored();
        self.persist(vec![Change::Observation(stored)], Then::Nothing);
    }

    /// When nothing is left to do at the start, remembers that, so that a later owner does not begin again.
    fn finish_start(&mut self) {
        let done = Some(name_and_revision(&self.profile));
        let Some(registered) = self.registered.as_deref_mut().filter(|registered| registered.started != done)
        else {
            return;
        };
        registered.started = done;
        let stored = registered.to_stored(&self.name);
        self.persist(vec![Change::Registration(Box::new(stored))], Then::Nothing);
    }
}

/// What a request or an answer needs to know of the device.
pub(super) fn context(now: Reading, registered: &Registered, format: ContentFormat) -> Context<'_> {
    static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);
    Context {
        root: &registered.client.root,
        models: &registered.models,
        format,
        now: now.unix_ms as f64 / 1000.0,
        limits: &LIMITS,
    }
}

fn read(target: &Target) -> Operation {
    match target {
        Target::Single(path) => Operation::Read { path: *path, format: None },
        Target::Composite(paths) => Operation::ReadComposite { paths: paths.to_vec(), format: None },
    }
}

pub(super) fn observe(target: &Target, format: Option<ContentFormat>) -> Operation {
    let attributes = godwit_lwm2m::attributes::Attributes::default();
    match target {
        Target::Single(path) => Operation::Observe { path: *path, attributes, format },
        Target::Composite(paths) => Operation::ObserveComposite { paths: paths.to_vec(), attributes, format },
    }
}

pub(super) fn cancel(target: &Target, format: Option<ContentFormat>) -> Operation {
    match target {
        Target::Single(path) => Operation::CancelObservation { path: *path, format },
        Target::Composite(paths) => Operation::CancelObservationComposite { paths: paths.to_vec(), format },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_in_a_row_use_message_ids_of_their_own() {
        let mut used = vec![false; 1 << 16];
        for claims in 1000..1256 {
            let first = first_message_id(claims);
            let mut downlinks = Downlinks { next_message_id: first, ..Downlinks::default() };
            for _ in 0..128 {
                let id = downlinks.take_message_id();
                assert!(id >= UPPER_HALF && !std::mem::replace(&mut used[usize::from(id)], true), "{id:x}");
            }
        }
    }
}
