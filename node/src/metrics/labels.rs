//! The values of labels, where they are known beforehand.

use super::definition::{Label, label};

label! {
    /// Why a datagram was dropped.
    DropReason {
        /// No CoAP message, and not worth a reset.
        Malformed = "malformed",
        /// A CoAP message that belongs to nothing open, such as a late acknowledgement.
        Ignored = "ignored",
        /// The receiving actor's mailbox was full.
        MailboxFull = "mailbox_full",
        /// The source spent its budget of packets without a registration.
        Admission = "admission",
        /// The socket did not take the reply, or it could not be sealed.
        SendFailed = "send_failed",
        /// It was for a session's new address, which has not proved itself yet.
        UnprovenAddress = "unproven_address",
        /// The node is draining.
        Draining = "draining",
        /// Its device could be neither claimed nor handed to its owner just now.
        Left = "left",
    }
}

label! {
    /// Where a datagram's session was found.
    Lookup {
        /// On the shard that received it.
        Local = "local",
        /// On another shard of this process.
        Shard = "other_shard",
        /// At another node, which has taken the datagram.
        Node = "other_node",
        /// In the store.
        Store = "store",
        /// Nowhere.
        Miss = "miss",
    }
}

label! {
    /// How an activation ended.
    Activation {
        /// The actor is live.
        Ok = "ok",
        /// The store holds no such device.
        Unknown = "unknown",
        /// The store did not answer in time or failed.
        Failed = "failed",
    }
}

label! {
    /// Why an actor left memory.
    Passivation {
        /// `limits.passivate_after` went by.
        Idle = "idle",
        /// `limits.live_actors` was exceeded.
        Bound = "bound",
        /// The registration ended.
        Ended = "ended",
        /// The node drains.
        Drain = "drain",
        /// The actor panicked.
        Panic = "panic",
    }
}

label! {
    /// Kind of actor.
    Actor {
        /// One per peer.
        Connection = "connection",
        /// One per registered endpoint.
        Endpoint = "endpoint",
    }
}

label! {
    /// A bounded channel between two parts.
    Arrow {
        /// Datagrams to a connection actor.
        IngressConnection = "ingress_connection",
        /// Requests and notifications to an endpoint actor.
        ConnectionEndpoint = "connection_endpoint",
        /// Commands to an endpoint actor.
        AdminEndpoint = "admin_endpoint",
    }
}

label! {
    /// Change of a registration.
    RegistrationChange {
        /// A new registration, also one that took an older one's place.
        Registered = "registered",
        /// An update.
        Updated = "updated",
        /// De-registered by the device.
        Deregistered = "deregistered",
        /// Its lifetime and grace went by.
        Expired = "expired",
    }
}

label! {
    /// How a notification was treated.
    Notification {
        /// Handed to the sink.
        Published = "published",
        /// Older than one before it (RFC 7641 §3.4); handed to the sink as stale.
        Stale = "stale",
        /// Of no known observation; answered with a reset.
        Unknown = "unknown",
        /// Dropped, because the sink's queue was full.
        Dropped = "dropped",
    }
}

label! {
    /// Kind of operation.
    OperationKind {
        /// Read.
        Read = "read",
        /// Read-Composite.
        ReadComposite = "read_composite",
        /// Discover.
        Discover = "discover",
        /// Write, replacing or updating.
        Write = "write",
        /// Write-Composite.
        WriteComposite = "write_composite",
        /// Write-Attributes.
        WriteAttributes = "write_attributes",
        /// Execute.
        Execute = "execute",
        /// Create.
        Create = "create",
        /// Delete.
        Delete = "delete",
        /// Observe.
        Observe = "observe",
        /// Observe-Composite.
        ObserveComposite = "observe_composite",
        /// Cancel Observation, composite ones included.
        Cancel = "cancel",
    }
}

label! {
    /// How an operation ended.
    OperationOutcome {
        /// The device did it.
        Ok = "ok",
        /// The device answered with an error code.
        Refused = "refused",
        /// No answer.
        Timeout = "timeout",
        /// Its TTL went by before the device woke.
        Expired = "expired",
        /// Cancelled by a caller, or the registration ended.
        Cancelled = "cancelled",
        /// The node could not send it or could not read the answer.
        Failed = "failed",
    }
}

label! {
    /// What became of a record at the sink.
    RecordOutcome {
        /// Written as durably as the sink is.
        Written = "written",
        /// In the spool: acknowledged, and still to be written.
        Spooled = "spooled",
        /// Kept in a file, because Kafka will never take it.
        DeadLetter = "dead_letter",
        /// Refused: the queue or the spool was full.
        QueueFull = "queue_full",
        /// The write failed.
        Failed = "failed",
    }
}

label! {
    /// The setting of the Kafka sink to look at, after an error.
    KafkaSetting {
        /// No broker answers at these addresses.
        Brokers = "sink.kafka.brokers",
        /// TLS fails.
        Tls = "sink.kafka.tls",
        /// The brokers don't offer it.
        Mechanism = "sink.kafka.sasl_mechanism",
        /// The brokers refuse user or password.
        Password = "sink.kafka.password",
        /// The user may not do it.
        Username = "sink.kafka.username",
        /// There is no such topic, or it can't be one.
        Topic = "sink.kafka.topic_prefix",
        /// A record is larger than the topic takes.
        MessageSize = "sink.kafka.settings.message.max.bytes",
        /// Another error; the log has it.
        Other = "sink.kafka",
    }
}

label! {
    /// Call of the store.
    StoreCall {
        /// A device's record.
        Load = "load",
        /// Ownership of a device.
        Claim = "claim",
        /// Changes to a device under a fence.
        Commit = "commit",
        /// A pointer to a device.
        Resolve = "resolve",
        /// A pointer to a device, and its record.
        Find = "find",
        /// What expires next.
        Due = "due",
        /// Devices page by page, and their counts.
        List = "list",
        /// Creating, changing or removing a device.
        Device = "device",
        /// Events that were not given out yet.
        Event = "event",
        /// Shares of the nonce space.
        Lane = "lane",
        /// A sign of life, and who else gave one.
        Heartbeat = "heartbeat",
        /// What was changed at other nodes.
        Changes = "changes",
        /// Profiles, models and other documents.
        Document = "document",
    }
}

label! {
    /// How a reload of changed files ended.
    Reload {
        /// The new keys are in use.
        Ok = "ok",
        /// They did not load; the old ones stay in use.
        Failed = "failed",
    }
}
