//! `GET /metrics`, `/live` and `/ready` on one port.
//!
//! `/live` asks every shard, so that a node whose shard hangs is started anew by whoever watches it. A node that starts has
//! none to ask: it lives for as long as it answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::metrics::Exporter;
use crate::shard::ShardId;

/// How long requests that are under way get when the port is closed.
const CLOSING: Duration = Duration::from_secs(1);

/// Whether this node should get traffic. Clones share one state.
///
/// A part that has to come up first takes a [`Hold`] and drops it when it is up; a part that fails for a while takes
/// one for that while. The node is ready when nobody holds it and it does not drain.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    holds: BTreeMap<&'static str, usize>,
    draining: bool,
}

/// Keeps the node from being ready until it is dropped.
#[derive(Debug)]
#[must_use = "a hold that is dropped at once holds nothing"]
pub struct Hold {
    readiness: Readiness,
    reason: &'static str,
}

/// The answer of `/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `ready`, `waiting` or `draining`.
    pub state: &'static str,
    /// What the node waits for, sorted.
    pub waiting_for: Vec<&'static str>,
}

impl Readiness {
    /// Ready, as nobody holds it yet: take the first [`Hold`] before the port is served.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the node unready for a reason, a noun such as `store`.
    pub fn hold(&self, reason: &'static str) -> Hold {
        *self.state().holds.entry(reason).or_insert(0) += 1;
        Hold { readiness: self.clone(), reason }
    }

    /// The node stops: unready from now on.
    pub fn drain(&self) {
        self.state().draining = true;
    }

    /// The state now.
    #[must_use]
    pub fn report(&self) -> Report {
        let state = self.state();
        let waiting_for: Vec<_> = state.holds.keys().copied().collect();
        let word = match (state.draining, waiting_for.is_empty()) {
            (true, _) => "draining",
            (false, true) => "ready",
            (false, false) => "waiting",
        };
        Report { state: word, waiting_for }
    }

    fn state(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.readiness.state();
        if let Some(count) = state.holds.get_mut(self.reason) {
            *count -= 1;
            if *count == 0 {
                state.holds.remove(self.reason);
            }
        }
    }
}

/// Says which shards do not answer.
pub type Pulse = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Vec<ShardId>> + Send>> + Send + Sync>;

#[derive(Clone)]
struct Parts {
    exporter: Exporter,
    readiness: Readiness,
    pulse: Arc<OnceLock<Pulse>>,
}

/// The port, served by a task of its own until it is closed.
pub struct Port {
    pulse: Arc<OnceLock<Pulse>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<io::Result<()>>,
}

impl Port {
    /// Serves from now on, and keeps the exporter's histograms small meanwhile.
    #[must_use]
    pub fn open(listener: TcpListener, exporter: Exporter, readiness: Readiness) -> Self {
        let pulse = Arc::<OnceLock<Pulse>>::default();
        let (stop, stopped) = watch::channel(false);
        let parts = Parts { exporter, readiness, pulse: pulse.clone() };
        let task = tokio::spawn(serve(listener, parts, stopped));
        Self { pulse, stop, task }
    }

    /// The shards run: `/live` asks them from now on. Only the first call counts.
    pub fn ask(&self, pulse: Pulse) {
        // An error: there is one already.
        let _ = self.pulse.set(pulse);
    }

    /// Waits for it to end by itself, as it does when its listener fails. Not to be asked again after that.
    ///
    /// # Errors
    /// The task has panicked.
    pub async fn ended(&mut self) -> Result<io::Result<()>, JoinError> {
        (&mut self.task).await
    }

    /// Answers what is under way, and ends, after a second at most: a client that reads nothing holds nobody up.
    pub async fn close(self) {
        // Nobody listens any more when these fail.
        let _ = self.stop.send(true);
        if !self.task.is_finished() {
            let _ = self.task.await;
        }
    }
}

async fn serve(listener: TcpListener, parts: Parts, stopped: watch::Receiver<bool>) -> io::Result<()> {
    let upkeep = tokio::spawn(upkeep(parts.exporter.clone()));
    let closing = until(stopped.clone());
    let served = tokio::select! {
        served = axum::serve(listener, router(parts)).with_graceful_shutdown(until(stopped)) => served,
        () = async { closing.await; tokio::time::sleep(CLOSING).await } => Ok(()),
    };
    upkeep.abort();
    served
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error: the port was dropped.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn upkeep(exporter: Exporter) {
    let mut due = tokio::time::interval(Duration::from_secs(5));
    loop {
        due.tick().await;
        exporter.upkeep();
    }
}

fn router(parts: Parts) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .with_state(parts)
}

async fn live(State(parts): State<Parts>) -> (StatusCode, String) {
    let stalled = match parts.pulse.get() {
        Some(pulse) => pulse().await,
        None => Vec::new(),
    };
    if stalled.is_empty() {
        return (StatusCode::OK, "live\n".into());
    }
    tracing::error!(?stalled, "shards do not answer");
    (StatusCode::SERVICE_UNAVAILABLE, format!("shards that do not answer: {stalled:?}\n"))
}

async fn metrics(State(parts): State<Parts>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], parts.exporter.render())
}

async fn ready(State(parts): State<Parts>) -> impl IntoResponse {
    let report = parts.readiness.report();
    let status = if report.state == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&report).expect("invariant: a report has only texts");
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn a_node_is_ready_when_the_last_hold_falls() {
        let readiness = Readiness::new();
        let (store, shard, other) =
            (readiness.hold("store"), readiness.hold("shards"), readiness.hold("shards"));
        assert_eq!(readiness.report(), Report { state: "waiting", waiting_for: vec!["shards", "store"] });
        drop((store, shard));
        assert_eq!(readiness.report(), Report { state: "waiting", waiting_for: vec!["shards"] });
        drop(other);
        assert_eq!(readiness.report(), Report { state: "ready", waiting_for: vec![] });
    }

    #[test]
    fn a_draining_node_never_becomes_ready_again() {
        let readiness = Readiness::new();
        let hold = readiness.hold("store");
        readiness.drain();
        drop(hold);
        assert_eq!(readiness.report().state, "draining");
    }

    async fn request(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: godwit\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_port_answers_metrics_live_and_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::new();
        let stalled = Arc::<Mutex<Vec<ShardId>>>::default();
        let told = stalled.clone();
        let pulse: Pulse = Arc::new(move || {
            let stalled = told.lock().unwrap().clone();
            Box::pin(async move { stalled })
        });
        let port = Port::open(listener, crate::metrics::install(), readiness.clone());

        let starting = request(address, "/live").await;
        assert!(starting.starts_with("HTTP/1.1 200"), "{starting}");
        port.ask(pulse);
        assert!(request(address, "/live").await.starts_with("HTTP/1.1 200"));
        stalled.lock().unwrap().push(1);
        let dead = request(address, "/live").await;
        assert!(dead.starts_with("HTTP/1.1 503") && dead.contains("[1]"), "{dead}");
        let hold = readiness.hold("store");
        let waiting = request(address, "/ready").await;
        assert!(
            waiting.starts_with("HTTP/1.1 503") && waiting.contains("\"waiting_for\":[\"store\"]"),
            "{waiting}"
        );
        drop(hold);
        assert!(request(address, "/ready").await.starts_with("HTTP/1.1 200"));
        let metrics = request(address, "/metrics").await;
        for line in ["# TYPE godwit_build_info gauge", "# TYPE godwit_process_cpu_seconds_total counter"] {
            assert!(metrics.contains(line), "no {line} in\n{metrics}");
        }
        assert!(request(address, "/other").await.starts_with("HTTP/1.1 404"));

        // One that is kept alive ends with the port.
        let mut kept = TcpStream::connect(address).await.unwrap();
        kept.write_all(b"GET /ready HTTP/1.1\r\nHost: godwit\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            assert_ne!(kept.read_buf(&mut answer).await.unwrap(), 0, "kept alive");
        }
        port.close().await;
        assert_eq!(kept.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_request_that_is_never_answered_does_not_keep_the_port_from_closing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let port = Port::open(listener, crate::metrics::install(), Readiness::new());
        let asked = Arc::new(tokio::sync::Notify::new());
        let asks = asked.clone();
        port.ask(Arc::new(move || {
            asks.notify_one();
            Box::pin(std::future::pending())
        }));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /live HTTP/1.1\r\nHost: godwit\r\n\r\n").await.unwrap();
        asked.notified().await;
        tokio::time::timeout(Duration::from_secs(60), port.close()).await.unwrap();
    }
}
