//! What an endpoint publishes: values, events, and what becomes of a Send.

use godwit_coap::{Code, Request, Response};
use godwit_lwm2m::{
    entry::Entry,
    format::Limits,
    operation::{Answer, Operation, read_send},
    path::Path,
};
use godwit_proto::v1::{
    self,
    command::Kind,
    operation::{Reason, State},
};

use super::{
    core::Core,
    downlink::Flight,
    link::{Call, Link},
    message::{Effect, Then},
};
use crate::{
    clock::Reading,
    config::SinkKind,
    identity::RegistrationId,
    metrics::labels::{OperationKind, OperationOutcome},
    telemetry::{self, Cause, Event, Identity, Orders, Origin, Raw, Record},
};

impl Core {
    pub(super) fn handle_send(&mut self, now: Reading, link: Link, call: Call, request: &Request) {
        let Some(registered) = self.registered.as_deref() else {
            let unknown = Response::diagnostic(Code::NOT_FOUND, "the device is not registered");
            return self.reply(link, call, unknown);
        };
        let objects = &registered.client.objects;
        let seconds = now.unix_ms as f64 / 1000.0;
        let limits = Limits::default();
        let content = match read_send(request, objects, &registered.models, seconds, &limits) {
            Ok(content) => content,
            Err(refusal) => return self.reply(link, call, refusal.into()),
        };
        let message = telemetry::Uplink {
            cause: Cause::Send,
            token: call.token.as_bytes(),
            message_id: call.message_id,
            observe: None,
            payload: &request.payload,
            stale: false,
        };
        let mut records = self.records(now, &message, content.entries);
        records.extend(self.raw_record(now, &message, Path::ROOT, request.content_format, &request.payload));
        if records.is_empty() {
            return self.reply(link, call, Response::new(Code::CHANGED));
        }
        self.publish(records, Then::SendDone { link, call, since: now.now });
    }

    /// What names the records of this device.
    pub(super) fn with_origin<R>(&mut self, make: impl FnOnce(&Origin<'_>, &mut Orders) -> R) -> R {
        let origin = Origin {
            site: &self.services.process.site,
            device: self.device,
            endpoint: &self.name,
            profile: self.profile.name(),
            registration: self.registered.as_ref().map(|registered| registered.id),
        };
        make(&origin, &mut self.orders)
    }

    pub(super) fn records(
        &mut self,
        now: Reading,
        message: &telemetry::Uplink<'_>,
        entries: Vec<Entry>,
    ) -> Vec<Record> {
        let Some(models) = self.registered.as_ref().map(|registered| registered.models.clone()) else {
            return Vec::new();
        };
        let profile = self.profile.clone();
        self.with_origin(|origin, orders| {
            telemetry::records(origin, &profile, &models, message, entries, orders, now.unix_ms)
        })
    }

    /// The payload itself as a record, where such are wanted.
    pub(super) fn raw_record(
        &mut self,
        now: Reading,
        message: &telemetry::Uplink<'_>,
        path: Path,
        format: Option<u16>,
        body: &[u8],
    ) -> Option<Record> {
        let sink = &self.services.process.config.sink;
        if sink.kind != SinkKind::Kafka || !sink.kafka.raw {
            return None;
        }
        let raw = Raw { format, payload: body.into() };
        self.with_origin(|origin, orders| telemetry::raw(origin, message, path, raw, orders, now.unix_ms))
    }

    /// Publishes what an answer brought, unless that is a notification's; nobody waits for it.
    pub(super) fn publish_answer(
        &mut self,
        now: Reading,
        flight: &Flight,
        cause: Cause,
        observe: Option<u32>,
        response: &Response,
        entries: Vec<Entry>,
    ) {
        if flight.notified {
            return;
        }
        let message = telemetry::Uplink {
            cause,
            token: flight.token.as_bytes(),
            message_id: flight.message_id,
            observe,
            payload: &response.payload,
            stale: false,
        };
        let records = self.records(now, &message, entries);
        if !records.is_empty() {
            self.effect(Effect::Announce(records));
        }
    }

    /// Publishes the payload of an answer itself, where such are wanted, whether it could be read or not; nobody waits for it.
    pub(super) fn publish_raw_answer(
        &mut self,
        now: Reading,
        flight: &Flight,
        response: &Response,
        answer: Option<&Answer>,
    ) {
        let follows = flight.notified && matches!(answer, Some(Answer::Observing { .. }));
        if !response.code.is_success() || response.payload.is_empty() || follows {
            return;
        }
        // As the values of the same answer have it.
        let observe = match (&flight.operation, answer) {
            (
                Operation::Observe { .. } | Operation::ObserveComposite { .. },
                Some(Answer::Observing { sequence, .. }),
            ) => Some(*sequence),
            _ => None,
        };
        let message = telemetry::Uplink {
            cause: Cause::Read,
            token: flight.token.as_bytes(),
            message_id: flight.message_id,
            observe,
            payload: &response.payload,
            stale: false,
        };
        let path = flight.operation.path();
        let raw = self.raw_record(now, &message, path, response.content_format, &response.payload);
        if let Some(record) = raw {
            self.effect(Effect::Announce(vec![record]));
        }
    }

    pub(super) fn event_record(&mut self, now: Reading, event: Event, cause: Identity) -> Record {
        self.with_origin(|origin, orders| telemetry::event(origin, event, cause, 0, orders, now.unix_ms))
    }

    /// As `event_record`, for a registration that is not this endpoint's any more.
    pub(super) fn event_record_of(
        &mut self,
        now: Reading,
        event: Event,
        cause: Identity,
        registration: Option<RegistrationId>,
    ) -> Record {
        self.with_origin(|origin, orders| {
            let origin = Origin { registration, ..*origin };
            telemetry::event(&origin, event, cause, 0, orders, now.unix_ms)
        })
    }

    /// Publishes an event; nothing waits for it.
    pub(super) fn announce(&mut self, now: Reading, event: Event, cause: Identity) {
        self.announce_nth(now, event, cause, 0);
    }

    pub(super) fn announce_nth(&mut self, now: Reading, event: Event, cause: Identity, ordinal: u32) {
        let record = self.with_origin(|origin, orders| {
            telemetry::event(origin, event, cause, ordinal, orders, now.unix_ms)
        });
        self.effect(Effect::Announce(vec![record]));
    }

    /// Counts an operation that has ended.
    pub(super) fn count_operation(&self, operation: &v1::Operation) {
        let kind = match operation.command.as_ref().and_then(|command| command.kind.as_ref()) {
            Some(Kind::Read(_)) => OperationKind::Read,
            Some(Kind::Discover(_)) => OperationKind::Discover,
            Some(Kind::Write(_)) => OperationKind::Write,
            Some(Kind::WriteAttributes(_)) => OperationKind::WriteAttributes,
            Some(Kind::Execute(_)) => OperationKind::Execute,
            Some(Kind::Create(_)) => OperationKind::Create,
            Some(Kind::Delete(_)) => OperationKind::Delete,
            Some(Kind::ReadComposite(_)) => OperationKind::ReadComposite,
            Some(Kind::WriteComposite(_)) => OperationKind::WriteComposite,
            Some(Kind::Observe(_)) => OperationKind::Observe,
            Some(Kind::ObserveComposite(_)) => OperationKind::ObserveComposite,
            Some(Kind::CancelObservation(_)) => OperationKind::Cancel,
            None => return,
        };
        let outcome = match (operation.state(), operation.reason()) {
            (State::Succeeded, _) => OperationOutcome::Ok,
            (State::Expired, _) => OperationOutcome::Expired,
            (State::Cancelled, _) => OperationOutcome::Cancelled,
            (_, Reason::DeviceError) => OperationOutcome::Refused,
            (State::Aborted, _) | (_, Reason::Timeout) => OperationOutcome::Timeout,
            _ => OperationOutcome::Failed,
        };
        let unix = |at: &Option<prost_types::Timestamp>| {
            at.as_ref().map_or(0.0, |at| at.seconds as f64 + f64::from(at.nanos) / 1e9)
        };
        let seconds = unix(&operation.end_time) - unix(&operation.send_time);
        self.services.metrics.operation_ended(kind, outcome, seconds.max(0.0));
    }
}
