//! Metrics: every name in [`names`], every label value in [`labels`], and handles to keep in [`Shard`], [`Sink`], [`Kafka`] and
//! [`Store`]. The reference in `docs/metrics.md` is generated from these.

pub mod cluster;
mod definition;
pub mod dtls;
mod handles;
pub mod labels;
pub mod names;
mod process;
mod reference;

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use definition::{Definition, Family, Kind, Label};
pub use handles::{Kafka, Keys, Shard, Sink, Store, admin_call};
pub use reference::reference;

/// Upper bounds of every histogram's buckets, in seconds: half a millisecond to MAX_TRANSMIT_WAIT.
pub const BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 93.0];

/// Installs the process's recorder, once; later calls give the same exporter. Call it before handles are made.
pub fn install() -> Exporter {
    static EXPORTER: OnceLock<Exporter> = OnceLock::new();
    EXPORTER
        .get_or_init(|| {
            let recorder = builder().build_recorder();
            let exporter = Exporter { handle: recorder.handle() };
            metrics::set_global_recorder(recorder).expect("invariant: no other part installs a recorder");
            for definition in names::ALL {
                definition.describe();
            }
            names::BUILD_INFO.gauge(&[env!("CARGO_PKG_VERSION")]).set(1.0);
            exporter
        })
        .clone()
}

fn builder() -> PrometheusBuilder {
    names::ALL.iter().filter(|definition| definition.kind == Kind::Histogram).fold(
        PrometheusBuilder::new(),
        |builder, definition| {
            builder
                .set_buckets_for_metric(Matcher::Full(definition.name.to_owned()), &BUCKETS)
                .expect("invariant: the list of buckets is not empty")
        },
    )
}

/// Renders what was counted.
#[derive(Clone, Debug)]
pub struct Exporter {
    handle: PrometheusHandle,
}

impl Exporter {
    /// Everything in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = self.handle.render();
        process::render(&mut out);
        out
    }

    /// Folds histogram samples into their buckets. Due every few seconds: until then each sample takes memory.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// What `work` counts, rendered.
#[cfg(test)]
pub(crate) fn rendered(work: impl FnOnce()) -> String {
    let recorder = builder().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, work);
    handle.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use labels::{DropReason, OperationKind, OperationOutcome};

    #[test]
    fn names_follow_the_conventions() {
        for (at, definition) in names::ALL.iter().enumerate() {
            let name = definition.name;
            assert!(name.starts_with("godwit_"), "{name}");
            assert!(
                definition.kind != Kind::Counter || name.ends_with("_total"),
                "counter {name} without _total"
            );
            assert!(
                definition.kind != Kind::Histogram || name.ends_with("_seconds"),
                "{name} without its unit"
            );
            assert!(names::ALL[..at].iter().all(|other| other.name != name), "{name} twice");
        }
    }

    #[test]
    fn a_shard_exports_what_it_counted() {
        let text = rendered(|| {
            let shard = Shard::new(3);
            shard.datagrams_received.increment(5);
            shard.datagrams_dropped[DropReason::MailboxFull].increment(2);
            shard.operation_ended(OperationKind::Read, OperationOutcome::Ok, 0.02);
            shard.operation_ended(OperationKind::Write, OperationOutcome::Timeout, 93.0);
            shard.registration_refused("4.00");
        });
        for line in [
            r#"godwit_datagrams_received_total{shard="3"} 5"#,
            r#"godwit_datagrams_dropped_total{shard="3",reason="mailbox_full"} 2"#,
            r#"godwit_operations_total{shard="3",kind="read",outcome="ok"} 1"#,
            r#"godwit_operation_seconds_bucket{shard="3",kind="read",le="0.025"} 1"#,
            r#"godwit_registration_refusals_total{shard="3",code="4.00"} 1"#,
        ] {
            assert!(text.contains(line), "no {line} in\n{text}");
        }
        let answered = r#"godwit_operation_seconds_count{shard="3",kind="write"} 1"#;
        assert!(!text.contains(answered), "an operation without an answer was timed");
    }
}
