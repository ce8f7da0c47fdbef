//! Waiting for a condition.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long tests wait for what must come. Long, since it costs only where something fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until there is an answer; fails with `what` after [`PATIENCE`].
#[track_caller]
pub fn wait<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_for(PATIENCE, what, ask)
}

/// The same with another patience.
#[track_caller]
pub fn wait_for<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
