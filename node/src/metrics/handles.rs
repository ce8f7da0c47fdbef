//! Handles that each part looks up once and keeps, so that counting costs an atomic addition.

use metrics::{Counter, Gauge, Histogram};

use super::cluster;
use super::definition::Family;
use super::dtls::Dtls;
use super::labels::{
    Activation, Actor, Arrow, DropReason, KafkaSetting, Lookup, Notification, OperationKind,
    OperationOutcome, Passivation, RecordOutcome, RegistrationChange, Reload, StoreCall,
};
use super::names;

/// The metrics of one shard. Each shard has counters of its own, so that cores share no cache line.
///
/// Make it after [`super::install`]; before, its handles count nothing.
#[derive(Debug)]
pub struct Shard {
    shard: String,
    /// See [`names::DATAGRAMS_RECEIVED`].
    pub datagrams_received: Counter,
    /// See [`names::DATAGRAMS_SENT`].
    pub datagrams_sent: Counter,
    /// See [`names::DATAGRAMS_DROPPED`].
    pub datagrams_dropped: Family<DropReason, Counter>,
    /// See [`names::SOCKET_OVERFLOWS`].
    pub socket_overflows: Counter,
    /// See [`names::SESSION_LOOKUPS`].
    pub session_lookups: Family<Lookup, Counter>,
    /// See [`names::ACTIVATIONS`].
    pub activations: Family<Activation, Counter>,
    /// See [`names::ACTIVATION_SECONDS`].
    pub activation_seconds: Histogram,
    /// See [`names::PASSIVATIONS`].
    pub passivations: Family<Passivation, Counter>,
    /// See [`names::ACTORS`].
    pub actors: Family<Actor, Gauge>,
    /// See [`names::MAILBOX_DROPS`].
    pub mailbox_drops: Family<Arrow, Counter>,
    /// See [`names::COAP_RETRANSMISSIONS`].
    pub coap_retransmissions: Counter,
    /// See [`names::COAP_DUPLICATES`].
    pub coap_duplicates: Counter,
    /// See [`names::COAP_TIMEOUTS`].
    pub coap_timeouts: Counter,
    /// Everything of DTLS.
    pub dtls: Dtls,
    /// What went to and came from other nodes.
    pub cluster: cluster::Shard,
    /// See [`names::REGISTRATION_CHANGES`].
    pub registration_changes: Family<RegistrationChange, Counter>,
    /// See [`names::OBSERVATIONS`].
    pub observations: Gauge,
    /// See [`names::STARTS_WAITING`].
    pub starts_waiting: Gauge,
    /// See [`names::NOTIFICATIONS`].
    pub notifications: Family<Notification, Counter>,
    /// See [`names::NOTIFICATION_DURABLE_SECONDS`].
    pub notification_durable_seconds: Histogram,
    operations: Family<OperationKind, Family<OperationOutcome, Counter>>,
    operation_seconds: Family<OperationKind, Histogram>,
}

impl Shard {
    /// The handles of shard number `shard`.
    #[must_use]
    pub fn new(shard: usize) -> Self {
        let shard = shard.to_string();
        let s = shard.as_str();
        Self {
            datagrams_received: names::DATAGRAMS_RECEIVED.counter(&[s]),
            datagrams_sent: names::DATAGRAMS_SENT.counter(&[s]),
            datagrams_dropped: Family::new(|reason| names::DATAGRAMS_DROPPED.counter(&[s, reason])),
            socket_overflows: names::SOCKET_OVERFLOWS.counter(&[s]),
            session_lookups: Family::new(|result| names::SESSION_LOOKUPS.counter(&[s, result])),
            activations: Family::new(|outcome| names::ACTIVATIONS.counter(&[s, outcome])),
            activation_seconds: names::ACTIVATION_SECONDS.histogram(&[s]),
            passivations: Family::new(|reason| names::PASSIVATIONS.counter(&[s, reason])),
            actors: Family::new(|actor| names::ACTORS.gauge(&[s, actor])),
            mailbox_drops: Family::new(|arrow| names::MAILBOX_DROPS.counter(&[s, arrow])),
            coap_retransmissions: names::COAP_RETRANSMISSIONS.counter(&[s]),
            coap_duplicates: names::COAP_DUPLICATES.counter(&[s]),
            coap_timeouts: names::COAP_TIMEOUTS.counter(&[s]),
            dtls: Dtls::new(s),
            cluster: cluster::Shard::new(s),
            registration_changes: Family::new(|change| names::REGISTRATION_CHANGES.counter(&[s, change])),
            observations: names::OBSERVATIONS.gauge(&[s]),
            starts_waiting: names::STARTS_WAITING.gauge(&[s]),
            notifications: Family::new(|treatment| names::NOTIFICATIONS.counter(&[s, treatment])),
            notification_durable_seconds: names::NOTIFICATION_DURABLE_SECONDS.histogram(&[s]),
            operations: Family::new(|kind| {
                Family::new(|outcome| names::OPERATIONS.counter(&[s, kind, outcome]))
            }),
            operation_seconds: Family::new(|kind| names::OPERATION_SECONDS.histogram(&[s, kind])),
            shard,
        }
    }

    /// Counts a refused registration request by its CoAP code in dotted form, such as `4.00`.
    pub fn registration_refused(&self, code: &str) {
        names::REGISTRATION_REFUSALS.counter(&[&self.shard, code]).increment(1);
    }

    /// Counts an operation that ended, and its seconds where the device answered.
    pub fn operation_ended(&self, kind: OperationKind, outcome: OperationOutcome, seconds: f64) {
        self.operations[kind][outcome].increment(1);
        if matches!(outcome, OperationOutcome::Ok | OperationOutcome::Refused) {
            self.operation_seconds[kind].record(seconds);
        }
    }
}

/// The metrics of the telemetry sink.
#[derive(Debug)]
pub struct Sink {
    /// See [`names::SINK_RECORDS`].
    pub records: Family<RecordOutcome, Counter>,
    /// See [`names::SINK_QUEUE_BYTES`].
    pub queue_bytes: Gauge,
    /// See [`names::SINK_WRITE_SECONDS`].
    pub write_seconds: Histogram,
    /// See [`names::SPOOL_RECORDS`].
    pub spool_records: Gauge,
    /// See [`names::SPOOL_BYTES`].
    pub spool_bytes: Gauge,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            records: Family::new(|outcome| names::SINK_RECORDS.counter(&[outcome])),
            queue_bytes: names::SINK_QUEUE_BYTES.gauge(&[]),
            write_seconds: names::SINK_WRITE_SECONDS.histogram(&[]),
            spool_records: names::SPOOL_RECORDS.gauge(&[]),
            spool_bytes: names::SPOOL_BYTES.gauge(&[]),
        }
    }
}

/// The metrics of the Kafka sink besides those of every sink.
#[derive(Debug)]
pub struct Kafka {
    /// See [`names::KAFKA_ERRORS`].
    pub errors: Family<KafkaSetting, Counter>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self { errors: Family::new(|setting| names::KAFKA_ERRORS.counter(&[setting])) }
    }
}

/// The metrics of a store.
#[derive(Debug)]
pub struct Store {
    /// See [`names::STORE_CALL_SECONDS`].
    pub seconds: Family<StoreCall, Histogram>,
    /// See [`names::STORE_ERRORS`].
    pub errors: Family<StoreCall, Counter>,
    /// See [`names::DEVICES`].
    pub devices: Gauge,
    /// See [`names::REGISTRATIONS`].
    pub registrations: Gauge,
    /// See [`names::STORE_MEMORY`].
    pub memory: Gauge,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            seconds: Family::new(|call| names::STORE_CALL_SECONDS.histogram(&[call])),
            errors: Family::new(|call| names::STORE_ERRORS.counter(&[call])),
            devices: names::DEVICES.gauge(&[]),
            registrations: names::REGISTRATIONS.gauge(&[]),
            memory: names::STORE_MEMORY.gauge(&[]),
        }
    }
}

/// The metrics of the server's own keys.
#[derive(Debug)]
pub struct Keys {
    /// See [`names::CERTIFICATE_EXPIRY`].
    pub certificate_expiry: Gauge,
    /// See [`names::KEY_RELOADS`].
    pub reloads: Family<Reload, Counter>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            certificate_expiry: names::CERTIFICATE_EXPIRY.gauge(&[]),
            reloads: Family::new(|outcome| names::KEY_RELOADS.counter(&[outcome])),
        }
    }
}

/// Counts a call of the gRPC API: the method as `Service/Method`, the code as gRPC names it.
pub fn admin_call(method: &str, code: &str) {
    names::ADMIN_CALLS.counter(&[method, code]).increment(1);
}
