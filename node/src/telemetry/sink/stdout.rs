//! The `stdout` sink: newline-delimited JSON for people and pipes. Not durable.
//!
//! A record counts as taken once it is queued. A reader that is too slow, or gone, stops neither a shard nor a device:
//! what the queue can't hold is dropped and counted, and its message is acknowledged all the same, because devices
//! that are not acknowledged drop their observations. Who needs every record takes another sink.

use std::{
    io::{self, ErrorKind, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{
    Publish, Sink, SinkError, Ticket,
    file::with_lines,
    outcome::Outcomes,
    queue::{Batch, Queue},
};
use crate::telemetry::Record;

/// See the module.
#[derive(Debug)]
pub struct StdoutSink {
    queue: Arc<Queue>,
    outcomes: Arc<Outcomes>,
}

impl StdoutSink {
    /// Writes to standard output. `queue` bounds what waits for its reader, in bytes.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn open(queue: u64) -> io::Result<StdoutSink> {
        StdoutSink::to(io::stdout(), queue)
    }

    /// Writes to `out` instead, from a thread that ends when `out` fails or the sink is dropped; nobody waits for it.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn to(out: impl Write + Send + 'static, queue: u64) -> io::Result<StdoutSink> {
        let queue = Arc::new(Queue::new(queue));
        let outcomes = Arc::new(Outcomes::default());
        let sink = StdoutSink { queue: Arc::clone(&queue), outcomes: Arc::clone(&outcomes) };
        thread::Builder::new().name("sink".into()).spawn(move || write(out, &queue, &outcomes))?;
        Ok(sink)
    }
}

impl Sink for StdoutSink {
    fn publish(&self, records: &[Record], ticket: Ticket) -> Publish {
        let result = with_lines(records, |lines| self.queue.push(lines, records.len(), ticket));
        self.outcomes.queued(self.queue.queued());
        if result.is_err() {
            self.outcomes.count(records.len(), &result);
        }
        Publish::Durable
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn flush(&self, within: Duration) -> bool {
        self.queue.flush(within)
    }
}

impl Drop for StdoutSink {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn write(mut out: impl Write, queue: &Queue, outcomes: &Outcomes) {
    let mut batch = Batch::default();
    while let Some(next) = queue.take(batch) {
        batch = next;
        let result = outcomes.time(|| write_all(&mut out, &batch.bytes));
        let result = result.map_err(|error| SinkError::from(&error));
        outcomes.count(batch.publishes.iter().map(|(_, records, _)| records).sum(), &result);
        outcomes.queued(queue.queued());
        if result.is_err() {
            queue.close();
        }
    }
}

/// As [`Write::write_all`], but an output that another process made non-blocking is waited for.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::telemetry::record::tests::record;

    const TICKET: Ticket = Ticket { shard: 0, key: 0, activation: 0, effect: 0 };

    /// Takes a write only when the test lets it, and hands over what was written.
    struct Gate {
        open: mpsc::Receiver<io::Result<()>>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().unwrap_or_else(|_| Err(ErrorKind::BrokenPipe.into()))?;
            self.written.send(bytes.to_vec()).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_reader_costs_records_but_stops_nobody() {
        let (open, gate) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        let sink = StdoutSink::to(Gate { open: gate, written: sender }, 4096).unwrap();
        for _ in 0..100 {
            assert_eq!(sink.publish(&[record()], TICKET), Publish::Durable);
        }
        assert!(sink.queue.queued() <= 4096);
        assert!(!sink.flush(Duration::ZERO));
        for _ in 0..100 {
            open.send(Ok(())).unwrap();
        }
        assert!(sink.flush(Duration::from_secs(10)));
        let lines = written.try_iter().collect::<Vec<_>>().concat();
        assert!(lines.len() <= 4096 && lines.ends_with(b"\n") && lines.len() > 1000);
    }

    #[test]
    fn a_closed_output_costs_all_records_but_stops_nobody() {
        let (open, gate) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        let sink = StdoutSink::to(Gate { open: gate, written: sender }, 4096).unwrap();
        open.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        open.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
        assert_eq!(sink.publish(&[record()], TICKET), Publish::Durable);
        assert!(sink.flush(Duration::from_secs(10)));
        for _ in 0..100 {
            assert_eq!(sink.publish(&[record()], TICKET), Publish::Durable);
        }
        assert_eq!(sink.queue.queued(), 0);
        assert_eq!(written.try_iter().count(), 0);
    }
}
