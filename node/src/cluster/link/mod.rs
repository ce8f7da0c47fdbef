//! Links between nodes: one gRPC stream per ordered pair.
//!
//! ```text
//! hub      all peers, and what this node knows of them: the neighbours of the rooms that serve devices
//! peer     one peer: a queue towards it, questions that wait for their answers, connecting anew
//! server   what peers ask of this node
//! wire     the messages
//! tls      who may be a peer
//! ```
//! All of it runs on a thread of its own, so that no admin call and no shard delays it.

mod hub;
mod peer;
mod server;
pub mod tls;
mod wire;

use std::{io, sync::Arc, thread};

use tokio::{net::TcpListener, sync::watch};

pub use hub::Hub;
pub use tls::{Tls, TlsError};

use crate::endpoint::Service;

/// The thread of all links. It ends when `stop` says so.
///
/// # Errors
/// The thread or its runtime can't be made.
pub fn start(
    hub: Arc<Hub>,
    service: Service,
    listener: std::net::TcpListener,
    stop: watch::Receiver<bool>,
) -> io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    listener.set_nonblocking(true)?;
    hub.attach(runtime.handle().clone());
    thread::Builder::new().name("links".into()).spawn(move || {
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a bound listener can be watched");
            let peers = hub.clone();
            if let Err(error) = server::serve(hub, service, listener, stop).await {
                tracing::error!(%error, "peers are not served any more");
            }
            peers.close();
        });
    })
}
