//! What a process says line by line, to be waited for.

use std::sync::{Condvar, Mutex, PoisonError};

use serde_json::Value;

use crate::PATIENCE;

/// JSON lines in the order they came.
#[derive(Debug, Default)]
pub struct Inbox {
    lines: Mutex<Vec<Value>>,
    more: Condvar,
}

impl Inbox {
    /// Adds a line.
    pub fn push(&self, line: Value) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.more.notify_all();
    }

    /// All lines up to now.
    pub fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first line from `from` on that `matches`, and its place. `None` after [`PATIENCE`].
    pub fn find(&self, from: usize, matches: impl Fn(&Value) -> bool) -> Option<(usize, Value)> {
        let mut seen = from;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(place) = lines[seen.min(lines.len())..].iter().position(&matches) {
                return Some((seen + place, lines[seen + place].clone()));
            }
            seen = lines.len().max(from);
            let (back, timeout) =
                self.more.wait_timeout(lines, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            lines = back;
            if timeout.timed_out() {
                return None;
            }
        }
    }
}
