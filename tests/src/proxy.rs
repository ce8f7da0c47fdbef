//! A UDP proxy that records datagrams, loses, doubles and reorders them by a seed, and moves clients to other ports.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use crate::Datagram;

/// What happens to datagrams: percentages, which may be changed while it runs.
#[derive(Debug, Default)]
pub struct Faults {
    /// Never arrive.
    pub lost: AtomicU64,
    /// Arrive twice.
    pub doubled: AtomicU64,
    /// Arrive after the next one, or a little later.
    pub delayed: AtomicU64,
    state: AtomicU64,
}

/// Passes datagrams between any number of clients and one server, and records them.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// What it does to them.
    pub faults: Arc<Faults>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    front: UdpSocket,
    server: SocketAddr,
    end: AtomicBool,
    /// The socket that stands for each client towards the server.
    backs: Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
    recorded: Mutex<Vec<Datagram>>,
}

impl Proxy {
    /// In front of `server`; the seed decides which datagrams suffer.
    pub fn new(server: SocketAddr, seed: u64, lost: u64, doubled: u64, delayed: u64) -> Proxy {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        let faults = Arc::new(Faults {
            lost: lost.into(),
            doubled: doubled.into(),
            delayed: delayed.into(),
            state: (seed | 1).into(),
        });
        let shared = Arc::new(Shared {
            front,
            server,
            end: AtomicBool::new(false),
            backs: Mutex::default(),
            recorded: Mutex::default(),
        });
        let proxy = Proxy { address, faults: Arc::clone(&faults), shared: Arc::clone(&shared) };
        thread::spawn(move || run(&shared, &faults));
        proxy
    }

    /// In front of `server`, without faults.
    pub fn tap(server: SocketAddr) -> Proxy {
        Proxy::new(server, 0, 0, 0, 0)
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that came up to now, from both sides, before any fault.
    pub fn datagrams(&self) -> Vec<Datagram> {
        self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on every client comes to the server from another port, as behind a NAT that forgot.
    pub fn rebind(&self) {
        self.shared.backs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn record(&self, up: bool, client: SocketAddr, bytes: &[u8]) {
        let datagram = Datagram { at: SystemTime::now(), up, client, bytes: bytes.into() };
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).push(datagram);
    }
}

fn run(shared: &Arc<Shared>, faults: &Arc<Faults>) {
    let record = |bytes: &[u8], client| shared.record(true, client, bytes);
    receive(&shared.front, &shared.end, faults, record, |bytes, client| {
        let mut backs = shared.backs.lock().unwrap_or_else(PoisonError::into_inner);
        let back = backs.entry(client).or_insert_with(|| open(shared, faults, client));
        let _ = back.send_to(bytes, shared.server);
    });
}

/// A socket towards the server for this client. What comes to it goes on to the client even after a rebind.
fn open(shared: &Arc<Shared>, faults: &Arc<Faults>, client: SocketAddr) -> Arc<UdpSocket> {
    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let (socket, shared, faults) = (Arc::clone(&back), Arc::clone(shared), Arc::clone(faults));
    thread::spawn(move || {
        let record = |bytes: &[u8], _| shared.record(false, client, bytes);
        receive(&socket, &shared.end, &faults, record, |bytes, _| {
            let _ = shared.front.send_to(bytes, client);
        });
    });
    back
}

/// Passes on what a socket receives, with faults, until the end.
fn receive(
    socket: &UdpSocket,
    end: &AtomicBool,
    faults: &Faults,
    record: impl Fn(&[u8], SocketAddr),
    mut pass: impl FnMut(&[u8], SocketAddr),
) {
    let mut buffer = [0; 16_384];
    let mut late: Vec<(Vec<u8>, SocketAddr)> = Vec::new();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while !end.load(Ordering::Relaxed) {
        let came = socket.recv_from(&mut buffer);
        let before = std::mem::take(&mut late);
        if let Ok((length, from)) = came {
            let bytes = &buffer[..length];
            record(bytes, from);
            if !faults.strikes(&faults.lost) {
                if faults.strikes(&faults.delayed) {
                    late.push((bytes.to_vec(), from));
                } else {
                    pass(bytes, from);
                }
                if faults.strikes(&faults.doubled) {
                    pass(bytes, from);
                }
            }
        }
        for (bytes, from) in before {
            pass(&bytes, from);
        }
    }
}

impl Faults {
    fn strikes(&self, percent: &AtomicU64) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.state.store(state, Ordering::Relaxed);
        state % 100 < percent.load(Ordering::Relaxed)
    }
}
