//! What a device is observed for, and what its notifications become.

use std::time::Instant;

use godwit_coap::{Code, Freshness, ObserveOrder, Response, Token};
use godwit_lwm2m::{
    format::ContentFormat,
    operation::{Answer, FormatUse, read_notification},
    path::Path,
};

use super::{
    core::Core,
    downlink::{Task, context},
    link::{Downlink, Link, Notification},
    message::Then,
};
use crate::{
    clock::Reading,
    entropy,
    metrics::labels,
    profile::Target,
    shard::ActorKey,
    store::{Change, value, value::observation::State},
    telemetry::{Cause, Event, Uplink as Message},
};

/// One observation.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    pub(super) token: Token,
    pub(super) target: Target,
    /// The format that was asked for.
    pub(super) format: Option<ContentFormat>,
    pub(super) state: State,
    /// The operation that made it; `None`: the profile did.
    pub(super) operation: Option<Box<str>>,
    pub(super) order: ObserveOrder,
    /// The Observe value of the newest notification.
    newest: Option<u32>,
    /// Since when notifications have gone without acknowledgement.
    pub(super) unanswered: Option<Instant>,
}

impl Observation {
    /// One that the profile asks for, still to be requested.
    pub(super) fn of_profile(target: Target) -> Self {
        Self::new(target, None)
    }

    /// One that is still to be requested.
    pub(super) fn new(target: Target, operation: Option<Box<str>>) -> Self {
        Self {
            token: Token::from(entropy::u64()),
            target,
            format: None,
            state: State::Pending,
            operation,
            order: ObserveOrder::default(),
            newest: None,
            unanswered: None,
        }
    }

    pub(super) fn from_stored(stored: &value::Observation) -> Option<Self> {
        let paths: Option<Vec<Path>> = stored.paths.iter().map(|path| path.parse().ok()).collect();
        let paths = paths?;
        let target = match (stored.composite, paths.as_slice()) {
            (false, [path]) => Target::Single(*path),
            (true, [_, ..]) => Target::Composite(paths.into()),
            _ => return None,
        };
        Some(Self {
            token: Token::new(&stored.token)?,
            target,
            format: stored.format.and_then(|n| ContentFormat::from_number(u16::try_from(n).ok()?)),
            state: stored.state(),
            operation: (!stored.operation.is_empty()).then(|| stored.operation.as_str().into()),
            order: ObserveOrder::default(),
            newest: None,
            unanswered: None,
        })
    }

    pub(super) fn to_stored(&self) -> value::Observation {
        value::Observation {
            token: self.token.as_bytes().to_vec(),
            paths: self.target.paths().iter().map(Path::to_string).collect(),
            format: self.format.map(|format| format.number().into()),
            composite: matches!(self.target, Target::Composite(_)),
            state: self.state.into(),
            operation: self.operation.as_deref().unwrap_or_default().to_owned(),
            ..value::Observation::default()
        }
    }

    /// The path that payloads are relative to.
    pub(super) fn base(&self) -> Path {
        match &self.target {
            Target::Single(path) => *path,
            Target::Composite(_) => Path::ROOT,
        }
    }
}

/// A block-wise notification whose rest is being fetched.
#[derive(Debug)]
struct Partial {
    /// Of the fetch.
    token: Token,
    notification: Box<Notification>,
    link: Link,
    since: Instant,
}

/// All observations of a device.
#[derive(Debug, Default)]
pub(super) struct Observations {
    list: Vec<Observation>,
    partial: Vec<Partial>,
}

impl Observations {
    pub(super) fn from_stored(stored: &[value::Observation]) -> Self {
        Self { list: stored.iter().filter_map(Observation::from_stored).collect(), partial: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Observation> {
        self.list.iter()
    }

    pub(super) fn by_token(&self, token: Token) -> Option<&Observation> {
        self.list.iter().find(|observation| observation.token == token)
    }

    pub(super) fn by_token_mut(&mut self, token: Token) -> Option<&mut Observation> {
        self.list.iter_mut().find(|observation| observation.token == token)
    }

    pub(super) fn by_target(&self, target: &Target) -> Option<&Observation> {
        self.list.iter().find(|observation| observation.target == *target)
    }

    /// Tasks for those that the device has not confirmed, in the order of these targets: a store gives them out in any.
    pub(super) fn unconfirmed(&self, order: &[Target]) -> Vec<Task> {
        let mut open: Vec<_> =
            self.list.iter().filter(|observation| observation.state != State::Active).collect();
        open.sort_by_cached_key(|observation| {
            order.iter().position(|target| *target == observation.target).unwrap_or(usize::MAX)
        });
        open.into_iter().map(|observation| Task::Observe(observation.token)).collect()
    }

    pub(super) fn push(&mut self, observation: Observation) {
        self.list.push(observation);
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Observation> {
        let at = self.list.iter().position(|observation| observation.token == token)?;
        Some(self.list.remove(at))
    }

    /// Takes out an observation that the device has not confirmed.
    pub(super) fn remove_pending(&mut self, token: Token) -> Option<Observation> {
        let pending = self.by_token(token).is_some_and(|observation| observation.state == State::Pending);
        if pending { self.remove(token) } else { None }
    }

    /// The unconfirmed observation that an operation was to make.
    pub(super) fn pending_of(&self, operation: &str) -> Option<Token> {
        let found = self.list.iter().find(|observation| {
            observation.operation.as_deref() == Some(operation) && observation.state == State::Pending
        });
        found.map(|observation| observation.token)
    }

    /// Gives up fetches over a connection that is gone; the device repeats those notifications.
    /// Whether the rest of a block-wise notification is being fetched.
    pub(super) fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    pub(super) fn drop_partial(&mut self, connection: ActorKey) {
        self.partial.retain(|partial| partial.link.connection != connection);
    }

    pub(super) fn replace(&mut self, list: Vec<Observation>) {
        self.list = list;
        self.list.shrink_to_fit();
        self.partial = Vec::new();
    }

    pub(super) fn clear(&mut self) {
        self.replace(Vec::new());
    }
}

impl Core {
    pub(super) fn handle_notification(&mut self, now: Reading, link: Link, notification: Box<Notification>) {
        let Notification { token, message_id, .. } = *notification;
        let first_block = self.profile.ack_first_block();
        let Some(observation) = self.observations.by_token_mut(token) else {
            self.services.metrics.notifications[labels::Notification::Unknown].increment(1);
            return self.downlink(link, Downlink::Reset { message_id });
        };
        if notification.more {
            let fetch = Token::from(entropy::u64());
            let target = observation.target.clone();
            let format = observation.format;
            if first_block {
                self.downlink(link, Downlink::Acknowledge { message_id });
            }
            let first = Box::new(notification.response.clone());
            match self.read_request(now, &target, format) {
                Ok(request) => {
                    self.downlink(
                        link,
                        Downlink::Continue { token: fetch, request: Box::new(request), first },
                    );
                    self.observations.partial.push(Partial {
                        token: fetch,
                        notification,
                        link,
                        since: now.now,
                    });
                }
                Err(_) => self.downlink(link, Downlink::Acknowledge { message_id }),
            }
            return;
        }
        self.take_notification(now, link, *notification, None);
    }

    /// The rest of a block-wise notification. `None`: the token names no such fetch.
    pub(super) fn handle_rest(&mut self, now: Reading, token: Token, rest: Option<Response>) -> Option<()> {
        let at = self.observations.partial.iter().position(|partial| partial.token == token)?;
        let partial = self.observations.partial.swap_remove(at);
        match rest.filter(|rest| rest.code.is_success()) {
            Some(rest) => {
                let now = Reading { now: now.now.max(partial.since), ..now };
                self.take_notification(now, partial.link, *partial.notification, Some(rest));
            }
            // Without the rest nothing is acknowledged: what the device repeats is fetched anew.
            None => {
                let message_id = partial.notification.message_id;
                self.downlink(partial.link, Downlink::ForgetNotification { message_id });
            }
        }
        Some(())
    }

    fn take_notification(
        &mut self,
        now: Reading,
        link: Link,
        notification: Notification,
        whole: Option<Response>,
    ) {
        let Notification { token, message_id, observe, response: first, .. } = notification;
        let Some(observation) = self.observations.by_token_mut(token) else {
            // It ended while its last body was fetched.
            return self.downlink(link, Downlink::Reset { message_id });
        };
        // The newest one again: the sink has refused it before.
        let again = observe.is_some() && observation.unanswered.is_some() && observe == observation.newest;
        let stale =
            observe.is_some_and(|n| observation.order.accept(now.now, n) == Freshness::Stale) && !again;
        if !stale {
            observation.newest = observe;
        }
        let kind = if stale { labels::Notification::Stale } else { labels::Notification::Published };
        let (base, format) = (observation.base(), observation.format);
        // RFC 7641 §3.2: without Observe, or with an error, the device has ended the observation.
        let ends = (observe.is_none() || !first.code.is_success()).then_some(first.code);
        let response = whole.as_ref().unwrap_or(&first);
        let Some(registered) = self.registered.as_deref() else { return };
        let format = format.unwrap_or_else(|| registered.formats.pick(None, FormatUse::Values));
        let answer = read_notification(base, response, &context(now, registered, format));
        let message = Message {
            cause: Cause::Notification,
            token: token.as_bytes(),
            message_id,
            observe,
            payload: &first.payload,
            stale,
        };
        let mut records = match answer {
            Ok(Answer::Values(content) | Answer::Observing { content, .. }) => {
                self.records(now, &message, content.entries)
            }
            Ok(_) => Vec::new(),
            Err(error) => {
                let cause = self.cause(&[b"unreadable", token.as_bytes(), &message_id.to_be_bytes()]);
                let event = Event::Unreadable { path: base, reason: error.to_string().into() };
                vec![self.event_record(now, event, cause)]
            }
        };
        if response.code.is_success() {
            records.extend(self.raw_record(now, &message, base, response.content_format, &response.payload));
        }
        self.services.metrics.notifications[kind].increment(1);
        if records.is_empty() {
            if let Some(code) = ends {
                self.end_observation(now, token, code);
            }
            return self.downlink(link, Downlink::Acknowledge { message_id });
        }
        self.publish(records, Then::Acknowledge { link, token, message_id, since: now.now, ends });
    }

    /// A notification that came at `since` could not be made durable in time. A device that gets no acknowledgement drops
    /// the observation.
    pub(super) fn suspect(&mut self, token: Token, since: Instant) {
        let Some(observation) = self.observations.by_token_mut(token) else { return };
        observation.unanswered.get_or_insert(since);
        if observation.state == State::Active {
            // A later owner asks for it again.
            observation.state = State::Suspect;
            let stored = observation.to_stored();
            self.persist(vec![Change::Observation(stored)], Then::Nothing);
        }
    }

    /// A notification was acknowledged: the device still holds the observation.
    pub(super) fn trust(&mut self, token: Token) {
        let Some(observation) = self.observations.by_token_mut(token) else { return };
        if observation.unanswered.take().is_some() && observation.state == State::Suspect {
            observation.state = State::Active;
            let stored = observation.to_stored();
            self.persist(vec![Change::Observation(stored)], Then::Nothing);
        }
    }

    /// The device is heard: what it may have dropped meanwhile is observed again, once there is hope that its notifications
    /// will be acknowledged.
    pub(super) fn observe_suspects(&mut self, now: Reading) {
        if self.observations.list.iter().all(|observation| observation.unanswered.is_none())
            || self.services.process.outlet.sink().is_stalled()
        {
            return;
        }
        let patience = self.patience();
        let dropped = |since: Instant| now.now.saturating_duration_since(since) >= patience;
        while let Some(observation) =
            self.observations.list.iter_mut().find(|observation| observation.unanswered.is_some_and(dropped))
        {
            observation.unanswered = None;
            let (token, paths) = (observation.token, observation.target.paths().into());
            let cause = self.cause(&[b"suspect", token.as_bytes(), &now.unix_ms.to_be_bytes()]);
            self.announce(now, Event::ObservationSuspect { paths }, cause);
            self.downlinks.tasks.push_back(Task::Observe(token));
        }
    }

    /// Takes an observation that the device has ended out of the record.
    pub(super) fn end_observation(&mut self, now: Reading, token: Token, code: Code) {
        if let Some(observation) = self.observations.remove(token) {
            self.persist(vec![Change::RemoveObservation(token.as_bytes().to_vec())], Then::Nothing);
            if !code.is_success() {
                let event = Event::ActionFailed {
                    action: "observe",
                    paths: observation.target.paths().into(),
                    code: Some(code.to_string().into()),
                };
                let cause = self.cause(&[b"observation ended", token.as_bytes()]);
                self.announce(now, event, cause);
            }
        }
    }
}
