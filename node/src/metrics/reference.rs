//! The list of metrics in Markdown, generated from their definitions.

use std::fmt::Write;

use super::definition::Kind;
use super::{BUCKETS, names};

/// `docs/metrics.md`, whole.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         Generated from the definitions in `node/src/metrics`; `make docs` writes it anew. `GET /metrics` on \
         `metrics.listen` (127.0.0.1:9464)\ngives them in the Prometheus text format. No label ever holds a device. \
         Metrics with the label `shard` add up over it.\n\n\
         | Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for definition in names::ALL {
        let kind = match definition.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = definition.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ =
            writeln!(out, "| `{}` | {kind} | {} | {} |", definition.name, labels.join(", "), definition.help);
    }
    let buckets: Vec<_> = BUCKETS.iter().map(ToString::to_string).collect();
    let _ = writeln!(out, "\nBuckets of every histogram, in seconds: {}.", buckets.join(", "));
    out
}
