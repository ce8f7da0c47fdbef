//! A TCP proxy that can be slow, or pass nothing at all, as a network that is cut, or lead elsewhere.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Between looks at whether the network is whole again.
const PAUSE: Duration = Duration::from_millis(5);

/// Passes connections to one server.
#[derive(Debug)]
pub struct TcpProxy(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    server: Mutex<SocketAddr>,
    /// Both ends of what passes.
    passing: Mutex<Vec<TcpStream>>,
    end: AtomicBool,
    cut: AtomicBool,
    /// Milliseconds that answers take longer.
    delay: AtomicU64,
}

impl TcpProxy {
    /// Listens at `address` for `server`.
    pub fn new(address: SocketAddr, server: SocketAddr) -> TcpProxy {
        let listener = TcpListener::bind(address).expect("a free port");
        let shared = Arc::new(Shared {
            address: listener.local_addr().expect("an address"),
            server: Mutex::new(server),
            passing: Mutex::default(),
            end: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            delay: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.end.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || pass(&shared, client));
            }
        });
        TcpProxy(shared)
    }

    /// Listens on a free port of loopback.
    pub fn before(server: SocketAddr) -> TcpProxy {
        TcpProxy::new("127.0.0.1:0".parse().unwrap(), server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// From now on connections go to another server. Those that there are end.
    pub fn lead(&self, server: SocketAddr) {
        *self.0.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
        for stream in self.0.passing().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on no byte passes, or again. Connections stay, as far as their ends know.
    pub fn cut(&self, cut: bool) {
        self.0.cut.store(cut, Ordering::Relaxed);
    }

    /// From now on the server's answers take so much longer.
    pub fn delay(&self, delay: Duration) {
        self.0.delay.store(delay.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.0.end.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn passing(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.passing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the network is cut.
    fn wait(&self) {
        while self.cut.load(Ordering::Relaxed) && !self.end.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
        }
    }
}

fn pass(shared: &Arc<Shared>, client: TcpStream) {
    shared.wait();
    let to = *shared.server.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(server) = TcpStream::connect(to) else { return };
    let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    shared.passing().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
    let answers = Arc::clone(shared);
    thread::spawn(move || pump(&answers, server_too, client_too, true));
    pump(shared, client, server, false);
}

/// Passes bytes one way until an end closes.
fn pump(shared: &Arc<Shared>, mut from: TcpStream, mut to: TcpStream, delayed: bool) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now(), buffer[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    for (came, bytes) in receiver {
        if delayed {
            let due = came + Duration::from_millis(shared.delay.load(Ordering::Relaxed));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        shared.wait();
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
