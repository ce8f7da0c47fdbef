//! Messages from other threads to one shard: completions of the store and the sink, commands, hand-overs.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A queue that many threads fill and one shard empties.
///
/// Waking a shard costs the waker 10 to 38 µs, so only the first message since the shard last looked wakes it.
#[derive(Debug)]
pub struct Inbox<M> {
    queue: Mutex<Vec<M>>,
    filled: Notify,
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        Self { queue: Mutex::new(Vec::new()), filled: Notify::new() }
    }
}

impl<M> Inbox<M> {
    /// Adds a message. Never blocks for longer than it takes others to add theirs.
    pub fn push(&self, message: M) {
        self.extend([message]);
    }

    /// Adds several messages with at most one wake-up.
    pub fn extend(&self, messages: impl IntoIterator<Item = M>) {
        let first = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let empty = queue.is_empty();
            queue.extend(messages);
            empty && !queue.is_empty()
        };
        if first {
            self.filled.notify_one();
        }
    }

    /// Waits for messages and takes all that are there. Cancel-safe: nothing is taken before it is returned.
    pub async fn take(&self) -> Vec<M> {
        loop {
            let messages = std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
            if !messages.is_empty() {
                return messages;
            }
            self.filled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_pushed_by_any_thread_arrives_in_each_threads_order() {
        let inbox = std::sync::Arc::new(Inbox::default());
        let threads: Vec<_> = (0..4u32)
            .map(|thread| {
                let inbox = inbox.clone();
                std::thread::spawn(move || (0..1000u32).for_each(|n| inbox.push((thread, n))))
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut seen = Vec::new();
        runtime.block_on(async {
            while seen.len() < 4000 {
                seen.extend(inbox.take().await);
            }
        });
        for thread in 0..4 {
            let numbers: Vec<_> = seen.iter().filter(|(t, _)| *t == thread).map(|(_, n)| *n).collect();
            assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
