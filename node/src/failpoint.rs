//! Fault points: where a test may end the process as a crash would.
//!
//! With the feature `failpoints`, `GODWIT_FAILPOINT=<point>:<label>[:<n>]` aborts at the n-th (by default the first)
//! passage of the point with that label. Without the feature, nothing of this is compiled in.
//!
//! | point | labels |
//! |---|---|
//! | `kafka.delivered` | the topic: Kafka has a record, and nobody was told |
//! | `store.before_commit`, `store.after_commit` | `register`, `update`, `deregister`: what the batch holds |

/// Passes a fault point with what is about to happen there.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_point: &str, _labels: &[&str]) {}

/// Passes a fault point with what is about to happen there.
#[cfg(feature = "failpoints")]
pub fn hit(point: &str, labels: &[&str]) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    static WANTED: OnceLock<Option<(String, String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);

    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("GODWIT_FAILPOINT").ok()?;
        let mut parts = text.split(':').map(str::to_owned);
        Some((parts.next()?, parts.next()?, parts.next().map_or(Some(1), |count| count.parse().ok())?))
    });
    let Some((at, label, count)) = wanted else { return };
    if at == point && labels.contains(&label.as_str()) && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        std::process::abort();
    }
}
