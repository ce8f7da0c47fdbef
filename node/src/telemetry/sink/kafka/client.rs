//! librdkafka's configuration, and its complaints in words of ours.

use std::io;

use rdkafka::{
    ClientConfig,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaConfRes,
};

use crate::{
    config,
    metrics::{Label, labels::KafkaSetting},
};

/// Settings that carry the promise; nobody may change them.
const FIXED: [(&str, &str); 9] = [
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("request.required.acks", "all"),
    // Giving up on one message would leave a gap.
    ("message.timeout.ms", "0"),
    ("delivery.timeout.ms", "0"),
    ("retries", "2147483647"),
    ("partitioner", "murmur2_random"),
    // `sink.queue` bounds what waits.
    ("queue.buffering.max.messages", "0"),
    ("queue.buffering.max.kbytes", "2097151"),
];

/// Settings of librdkafka that have a name here.
const OWN: [(&str, &str); 13] = [
    ("bootstrap.servers", "sink.kafka.brokers"),
    ("metadata.broker.list", "sink.kafka.brokers"),
    ("linger.ms", "sink.kafka.linger"),
    ("queue.buffering.max.ms", "sink.kafka.linger"),
    ("security.protocol", "sink.kafka.tls"),
    ("ssl.ca.location", "sink.kafka.ca_file"),
    ("ssl.certificate.location", "sink.kafka.cert_file"),
    ("ssl.key.location", "sink.kafka.key_file"),
    ("ssl.key.pem", "sink.kafka.key"),
    ("sasl.mechanism", "sink.kafka.sasl_mechanism"),
    ("sasl.mechanisms", "sink.kafka.sasl_mechanism"),
    ("sasl.username", "sink.kafka.username"),
    ("sasl.password", "sink.kafka.password"),
];

/// Defaults that `sink.kafka.settings` may change.
const DEFAULTS: [(&str, &str); 5] = [
    // With several requests in flight three replicas fall into a state of tiny requests (35 in place of 6 µs of CPU per
    // message at 20,000/s).
    ("max.in.flight", "1"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "500"),
    ("socket.keepalive.enable", "true"),
    ("client.id", "godwit"),
];

/// What librdkafka is given.
///
/// # Errors
/// `InvalidInput`, naming the setting.
pub(super) fn configure(settings: &config::Kafka) -> io::Result<ClientConfig> {
    let mut client = ClientConfig::new();
    for (name, value) in DEFAULTS {
        client.set(name, value);
    }
    client.set("bootstrap.servers", settings.brokers.join(","));
    client.set("linger.ms", settings.linger.as_millis().to_string());
    let tls = settings.tls || settings.ca_file.is_some() || settings.cert_file.is_some();
    client.set(
        "security.protocol",
        match (tls, settings.sasl_mechanism) {
            (false, None) => "plaintext",
            (true, None) => "ssl",
            (false, Some(_)) => "sasl_plaintext",
            (true, Some(_)) => "sasl_ssl",
        },
    );
    for (name, file) in
        [("ssl.ca.location", &settings.ca_file), ("ssl.certificate.location", &settings.cert_file)]
    {
        if let Some(file) = file {
            client.set(name, file.to_string_lossy());
        }
    }
    if let Some(file) = &settings.key_file {
        client.set("ssl.key.location", file.to_string_lossy());
    } else if let Some(key) = &settings.key {
        client.set("ssl.key.pem", key.expose());
    }
    if let Some(mechanism) = settings.sasl_mechanism {
        client.set("sasl.mechanism", mechanism.name());
        client.set("sasl.username", &settings.username);
        client.set("sasl.password", password(settings)?);
    }
    for (name, value) in &settings.settings {
        client.set(name, value.expose());
    }
    for (name, value) in FIXED {
        client.set(name, value);
    }
    client.create_native_config().map_err(refused)?;
    Ok(client)
}

/// Why a setting of `sink.kafka.settings` can't be what it is, and what to do.
pub(crate) fn refusal(name: &str, value: &str) -> Option<(String, &'static str)> {
    if FIXED.iter().any(|(fixed, _)| *fixed == name) {
        return Some(("carries the promise that what is acknowledged is kept".to_owned(), "take it out"));
    }
    if let Some((_, own)) = OWN.iter().find(|(theirs, _)| *theirs == name) {
        return Some((format!("has a setting of its own, {own}"), "use that one"));
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        // Some must go together, which only the whole configuration shows.
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => Some((
            "not a setting of librdkafka".to_owned(),
            "see librdkafka's CONFIGURATION.md for the names",
        )),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_INVALID, reason, ..)) => Some((
            format!("refused by librdkafka: {reason}"),
            "see librdkafka's CONFIGURATION.md for its values",
        )),
        _ => None,
    }
}

fn password(settings: &config::Kafka) -> io::Result<String> {
    match (&settings.password, &settings.password_file) {
        (Some(password), _) => Ok(password.expose().clone()),
        (None, Some(file)) => std::fs::read_to_string(file)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|error| {
                io::Error::new(error.kind(), format!("sink.kafka.password_file {}: {error}", file.display()))
            }),
        (None, None) => Ok(String::new()),
    }
}

/// A configuration that librdkafka refuses.
pub(super) fn refused(error: KafkaError) -> io::Error {
    let reason = match &error {
        // Never the value, which may be a password.
        KafkaError::ClientConfig(_, reason, name, _) => {
            format!("sink.kafka: \"{name}\" is refused: {reason}")
        }
        error => format!("sink.kafka: {error}"),
    };
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Passes librdkafka's log on.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::warn!(facility, "kafka: {message}"),
        _ => tracing::debug!(facility, "kafka: {message}"),
    }
}

/// Tells of an error of the whole client, with the setting to look at.
pub(super) fn complain(code: RDKafkaErrorCode, reason: &str) {
    let setting = match setting_of(code) {
        KafkaSetting::Password => "sink.kafka.username, sink.kafka.password",
        KafkaSetting::Tls => "sink.kafka.tls, sink.kafka.ca_file, sink.kafka.cert_file",
        KafkaSetting::Username => "the rights of sink.kafka.username",
        setting => setting.text(),
    };
    tracing::error!(%code, setting, "kafka: {reason}");
}

/// The setting to look at.
pub(super) fn setting_of(code: RDKafkaErrorCode) -> KafkaSetting {
    use RDKafkaErrorCode as Code;
    match code {
        Code::Resolve | Code::BrokerTransportFailure | Code::AllBrokersDown => KafkaSetting::Brokers,
        Code::SSL => KafkaSetting::Tls,
        Code::UnsupportedSASLMechanism => KafkaSetting::Mechanism,
        Code::Authentication | Code::SaslAuthenticationFailed => KafkaSetting::Password,
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => KafkaSetting::Username,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
            KafkaSetting::Topic
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => KafkaSetting::MessageSize,
        _ => KafkaSetting::Other,
    }
}
