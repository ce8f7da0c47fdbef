//! Every metric of the node.

use super::definition::{Definition, Kind, definitions};

definitions! {
    /// Version of the running program; the value is always 1.
    BUILD_INFO = Gauge "godwit_build_info" ["version"];

    /// Datagrams that arrived on device-facing sockets.
    DATAGRAMS_RECEIVED = Counter "godwit_datagrams_received_total" ["shard"];
    /// Datagrams sent to devices.
    DATAGRAMS_SENT = Counter "godwit_datagrams_sent_total" ["shard"];
    /// Datagrams that were dropped, by the reason.
    DATAGRAMS_DROPPED = Counter "godwit_datagrams_dropped_total" ["shard", "reason"];
    /// Datagrams that the kernel dropped because a socket's receive buffer was full (SO_RXQ_OVFL).
    SOCKET_OVERFLOWS = Counter "godwit_socket_overflows_total" ["shard"];

    /// Look-ups of the session that a datagram belongs to, by where it was found.
    SESSION_LOOKUPS = Counter "godwit_session_lookups_total" ["shard", "result"];
    /// Actors activated from the store, by outcome.
    ACTIVATIONS = Counter "godwit_activations_total" ["shard", "outcome"];
    /// Time from the input that needed an actor to the actor's readiness, in seconds.
    ACTIVATION_SECONDS = Histogram "godwit_activation_seconds" ["shard"];
    /// Actors that left memory, by the reason.
    PASSIVATIONS = Counter "godwit_passivations_total" ["shard", "reason"];
    /// Actors in memory.
    ACTORS = Gauge "godwit_actors" ["shard", "actor"];
    /// Messages dropped because the receiver's mailbox was full, by the arrow between sender and receiver.
    MAILBOX_DROPS = Counter "godwit_mailbox_drops_total" ["shard", "arrow"];

    /// Confirmable messages sent again for want of an acknowledgement.
    COAP_RETRANSMISSIONS = Counter "godwit_coap_retransmissions_total" ["shard"];
    /// Messages that devices sent again; each gets the answer of the first, never a second effect.
    COAP_DUPLICATES = Counter "godwit_coap_duplicates_total" ["shard"];
    /// Requests to devices given up, for want of an acknowledgement or of the response after it.
    COAP_TIMEOUTS = Counter "godwit_coap_timeouts_total" ["shard"];

    /// DTLS handshakes that ended, by the device's mode and how.
    DTLS_HANDSHAKES = Counter "godwit_dtls_handshakes_total" ["shard", "mode", "outcome"];
    /// Time from an admitted ClientHello to an established session, in seconds.
    DTLS_HANDSHAKE_SECONDS = Histogram "godwit_dtls_handshake_seconds" ["shard", "mode"];
    /// Handshakes under way.
    DTLS_HANDSHAKES_IN_FLIGHT = Gauge "godwit_dtls_handshakes_in_flight" ["shard"];
    /// Handshakes that the node refused, before they began or later, by the reason.
    DTLS_REFUSALS = Counter "godwit_dtls_refusals_total" ["shard", "reason"];
    /// ClientHellos that were asked for a cookie or brought one, by result.
    DTLS_COOKIES = Counter "godwit_dtls_cookies_total" ["shard", "result"];
    /// Authenticated alerts from devices that ended their session, close_notify included.
    DTLS_ALERTS_RECEIVED = Counter "godwit_dtls_alerts_received_total" ["shard"];
    /// Alerts sent: fatal ones, close_notify, and refused renegotiations.
    DTLS_ALERTS_SENT = Counter "godwit_dtls_alerts_sent_total" ["shard"];
    /// Flights of handshakes sent again, by timer or because the device repeated its own.
    DTLS_RETRANSMISSIONS = Counter "godwit_dtls_retransmissions_total" ["shard"];
    /// Records accepted on sessions.
    DTLS_RECORDS_RECEIVED = Counter "godwit_dtls_records_received_total" ["shard"];
    /// Records sent on sessions.
    DTLS_RECORDS_SENT = Counter "godwit_dtls_records_sent_total" ["shard"];
    /// Records dropped, by the reason; none gets an answer.
    DTLS_RECORDS_DROPPED = Counter "godwit_dtls_records_dropped_total" ["shard", "reason"];
    /// Sessions in memory, by the device's mode.
    DTLS_SESSIONS = Gauge "godwit_dtls_sessions" ["shard", "mode"];
    /// Returns of a device to a session that another of its own had taken the place of: two holders of one credential,
    /// most likely.
    DTLS_SESSION_RETURNS = Counter "godwit_dtls_session_returns_total" ["shard"];
    /// Sessions that ended for good, by the reason.
    DTLS_SESSIONS_ENDED = Counter "godwit_dtls_sessions_ended_total" ["shard", "reason"];
    /// ClientHellos that named a session to resume, by result.
    DTLS_RESUMPTIONS = Counter "godwit_dtls_resumptions_total" ["shard", "result"];
    /// Sessions that went on from the store, by what was known of their record numbers.
    DTLS_CLAIMS = Counter "godwit_dtls_claims_total" ["shard", "numbers"];
    /// Authenticated records from another address than the session's, by what became of the address.
    DTLS_ADDRESS_MOVES = Counter "godwit_dtls_address_moves_total" ["shard", "result"];
    /// Datagrams that came to another shard than their session's and were passed on.
    DTLS_STEERED = Counter "godwit_dtls_steered_total" ["shard"];
    /// Records not sent because no unused nonce could be proved.
    DTLS_NONCES_REFUSED = Counter "godwit_dtls_nonces_refused_total" ["shard"];

    /// Unix time at which the server's own certificate expires, in seconds.
    CERTIFICATE_EXPIRY = Gauge "godwit_certificate_expiry_timestamp_seconds" [];
    /// Reloads of changed key and certificate files, by outcome.
    KEY_RELOADS = Counter "godwit_key_reloads_total" ["outcome"];

    /// Devices that were provisioned. On a shared store what other nodes did in the last ten seconds may be missing.
    DEVICES = Gauge "godwit_devices" [];
    /// Registered endpoints, whether in memory or not. On a shared store what other nodes did in the last ten seconds may be missing.
    REGISTRATIONS = Gauge "godwit_registrations" [];
    /// Changes of registrations, by kind.
    REGISTRATION_CHANGES = Counter "godwit_registration_changes_total" ["shard", "change"];
    /// Requests on the registration interface that were refused, by CoAP code.
    REGISTRATION_REFUSALS = Counter "godwit_registration_refusals_total" ["shard", "code"];
    /// Observations of live endpoint actors.
    OBSERVATIONS = Gauge "godwit_observations" ["shard"];
    /// Devices that wait to be asked for what their profile wants, because `limits.starts` others are being asked.
    STARTS_WAITING = Gauge "godwit_starts_waiting" ["shard"];
    /// Notifications received, by how they were treated.
    NOTIFICATIONS = Counter "godwit_notifications_total" ["shard", "treatment"];
    /// Time from a notification's or Send's arrival to its durability in the sink, in seconds.
    NOTIFICATION_DURABLE_SECONDS = Histogram "godwit_notification_durable_seconds" ["shard"];

    /// Operations on devices that ended, by kind and outcome.
    OPERATIONS = Counter "godwit_operations_total" ["shard", "kind", "outcome"];
    /// Time from an operation's request to the device's answer, in seconds.
    OPERATION_SECONDS = Histogram "godwit_operation_seconds" ["shard", "kind"];

    /// Records handed to the sink, by outcome.
    SINK_RECORDS = Counter "godwit_sink_records_total" ["outcome"];
    /// Errors of brokers and clients that the Kafka sink has met, by the setting to look at. The log says more.
    KAFKA_ERRORS = Counter "godwit_kafka_errors_total" ["setting"];
    /// Bytes of records that wait for the sink.
    SINK_QUEUE_BYTES = Gauge "godwit_sink_queue_bytes" [];
    /// Time of one write of the sink, in seconds.
    SINK_WRITE_SECONDS = Histogram "godwit_sink_write_seconds" [];
    /// Records in the spool: acknowledged to their devices, and not in Kafka yet.
    SPOOL_RECORDS = Gauge "godwit_spool_records" [];
    /// Bytes of records in the spool.
    SPOOL_BYTES = Gauge "godwit_spool_bytes" [];

    /// Time of a call of the store from its request to its answer, in seconds.
    STORE_CALL_SECONDS = Histogram "godwit_store_call_seconds" ["call"];
    /// Calls of the store that failed.
    STORE_ERRORS = Counter "godwit_store_errors_total" ["call"];
    /// Memory of the embedded store, by its own account: what it wrote lately, at most 61 MiB and as much again that it has just written out, and blocks that it read, at most 32 MiB.
    STORE_MEMORY = Gauge "godwit_store_memory_bytes" [];

    /// Datagrams that went from node to node, by the way that they took.
    CLUSTER_DATAGRAMS = Counter "godwit_cluster_datagrams_total" ["shard", "path"];
    /// What this node sees of the store that the nodes share, 1 for the state that holds: `seen`, `lost` a moment ago, `outage` (no node sees it), `cut_off` (a peer does), `isolated` (from peers too).
    CLUSTER_STORE = Gauge "godwit_cluster_store" ["state"];
    /// Nodes of the cluster that live, this one included.
    CLUSTER_MEMBERS = Gauge "godwit_cluster_members" [];
    /// Links to peers that stand.
    CLUSTER_LINKS = Gauge "godwit_cluster_links" [];
    /// What was for a peer and was dropped, by the reason.
    CLUSTER_LINK_DROPS = Counter "godwit_cluster_link_drops_total" ["reason"];
    /// Answers of peers to questions about devices.
    CLUSTER_ANSWERS = Counter "godwit_cluster_answers_total" ["answer"];
    /// Times that a peer left a question unanswered for so long that its devices were claimed without asking.
    CLUSTER_SUSPICIONS = Counter "godwit_cluster_suspicions_total" [];

    /// Calls of the gRPC API, by method and status code.
    ADMIN_CALLS = Counter "godwit_admin_calls_total" ["method", "code"];

    /// CPU time of the process, user and system, in seconds.
    PROCESS_CPU_SECONDS = Counter "godwit_process_cpu_seconds_total" [];
    /// Resident memory of the process, in bytes.
    PROCESS_RESIDENT_BYTES = Gauge "godwit_process_resident_bytes" [];
    /// Heap in use, in bytes, the store's included: what was allocated and not freed, without what the allocator sets aside.
    PROCESS_HEAP_BYTES = Gauge "godwit_process_heap_bytes" [];
    /// Open file descriptors of the process.
    PROCESS_OPEN_FDS = Gauge "godwit_process_open_fds" [];
}
