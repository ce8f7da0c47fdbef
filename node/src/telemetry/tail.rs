//! A live view of the records: costs one atomic load per publish while nobody looks.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use godwit_lwm2m::path::Path;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Record, RecordKind};

/// Records that wait for a slow subscriber before it misses some.
const BACKLOG: usize = 4096;

/// Shows records to whoever subscribes. Nothing waits for a subscriber.
#[derive(Debug, Clone)]
pub struct Tail {
    sender: broadcast::Sender<Arc<Record>>,
    subscribers: Arc<AtomicUsize>,
}

impl Default for Tail {
    fn default() -> Tail {
        Tail { sender: broadcast::channel(BACKLOG).0, subscribers: Arc::default() }
    }
}

impl Tail {
    /// Shows records, in order. They are copied if anyone looks.
    pub fn show(&self, records: &[Record]) {
        // The sender's own count takes a lock, which all shards would share.
        if self.subscribers.load(Ordering::Relaxed) == 0 {
            return;
        }
        for record in records {
            // An error says that the last subscriber has just gone.
            _ = self.sender.send(Arc::new(record.clone()));
        }
    }

    /// All records from now on that pass the filter.
    pub fn subscribe(&self, filter: Filter) -> Subscription {
        let receiver = self.sender.subscribe();
        self.subscribers.fetch_add(1, Ordering::Relaxed);
        Subscription { receiver, filter, subscribers: Arc::clone(&self.subscribers) }
    }
}

/// Which records to show: those that pass every list that is not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these endpoint names; one that ends in '*' stands for all that begin so.
    pub endpoints: Vec<String>,
    /// Any of these profiles, with or without "profiles/".
    pub profiles: Vec<String>,
    /// With a value at or below any of these paths.
    pub paths: Vec<Path>,
    /// Of any of these kinds.
    pub kinds: Vec<RecordKind>,
}

impl Filter {
    /// Whether a record passes.
    pub fn passes(&self, record: &Record) -> bool {
        let any = |list: usize, pass: &mut dyn FnMut() -> bool| list == 0 || pass();
        let endpoint = &*record.endpoint;
        any(self.kinds.len(), &mut || self.kinds.contains(&record.kind()))
            && any(self.endpoints.len(), &mut || {
                self.endpoints.iter().any(|name| match name.strip_suffix('*') {
                    Some(start) => endpoint.starts_with(start),
                    None => endpoint == name,
                })
            })
            && any(self.profiles.len(), &mut || {
                let bare = |name: &String| name.strip_prefix("profiles/").unwrap_or(name) == &*record.profile;
                self.profiles.iter().any(bare)
            })
            && any(self.paths.len(), &mut || {
                record.paths().any(|path| self.paths.iter().any(|wanted| path.starts_with(wanted)))
            })
    }
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A record.
    Record(Arc<Record>),
    /// So many records, before any filter, were left out here because the subscriber was too slow.
    Missed(u64),
}

/// One subscriber.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Arc<Record>>,
    filter: Filter,
    subscribers: Arc<AtomicUsize>,
}

impl Subscription {
    /// The next item; `None` when the node stops. Cancel safe.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            match self.receiver.recv().await {
                Ok(record) if self.filter.passes(&record) => return Some(Item::Record(record)),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Some(Item::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::record::tests::record;

    fn filter(endpoint: &str) -> Filter {
        Filter { endpoints: vec![endpoint.into()], ..Filter::default() }
    }

    #[tokio::test]
    async fn a_subscriber_gets_what_passes_from_then_on() {
        let tail = Tail::default();
        tail.show(&[record()]);
        let mut all = tail.subscribe(Filter::default());
        let mut other = tail.subscribe(filter("urn:other"));
        let stale = Record { stale: true, ..record() };
        tail.show(&[stale.clone(), record()]);
        assert_eq!(all.next().await, Some(Item::Record(Arc::new(stale))));
        assert_eq!(all.next().await, Some(Item::Record(Arc::new(record()))));
        drop(tail);
        assert_eq!(all.next().await, None);
        assert_eq!(other.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told_what_it_missed() {
        let tail = Tail::default();
        let mut slow = tail.subscribe(Filter::default());
        let many = vec![record(); BACKLOG + 7];
        tail.show(&many);
        assert_eq!(slow.next().await, Some(Item::Missed(7)));
        for _ in 0..BACKLOG {
            assert!(matches!(slow.next().await, Some(Item::Record(_))));
        }
    }

    #[test]
    fn nobody_listening_costs_no_copy() {
        let tail = Tail::default();
        drop(tail.subscribe(Filter::default()));
        assert_eq!(tail.subscribers.load(Ordering::Relaxed), 0);
        let shown = record();
        let endpoint = Arc::strong_count(&shown.endpoint);
        tail.show(std::slice::from_ref(&shown));
        assert_eq!(Arc::strong_count(&shown.endpoint), endpoint);
        assert_eq!(tail.sender.len(), 0);
    }

    #[test]
    fn a_record_passes_every_list_that_is_set() {
        let record = record();
        for (filter, passes) in [
            (Filter::default(), true),
            (filter("urn:dev:1"), true),
            (filter("urn:dev:*"), true),
            (filter("urn:dev:"), false),
            (filter("*"), true),
            (Filter { profiles: vec!["profiles/demo".into()], ..Filter::default() }, true),
            (Filter { profiles: vec!["other".into(), "demo".into()], ..Filter::default() }, true),
            (Filter { profiles: vec!["other".into()], ..filter("*") }, false),
            (Filter { kinds: vec![RecordKind::Telemetry], ..Filter::default() }, false),
            (Filter { kinds: vec![RecordKind::Telemetry, RecordKind::Events], ..Filter::default() }, true),
            (Filter { paths: vec![Path::object(3)], ..Filter::default() }, false),
        ] {
            assert_eq!(filter.passes(&record), passes, "{filter:?}");
        }
    }
}
