//! A UDP proxy that loses, doubles and reorders datagrams by a seed.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

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

/// Passes datagrams between any number of clients and one server.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// What it does to them.
    pub faults: Arc<Faults>,
    end: Arc<AtomicBool>,
}

impl Proxy {
    /// In front of `server`; the seed decides which datagrams suffer.
    pub fn new(server: SocketAddr, seed: u64, lost: u64, doubled: u64, delayed: u64) -> Proxy {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let faults = Arc::new(Faults {
            lost: lost.into(),
            doubled: doubled.into(),
            delayed: delayed.into(),
            state: (seed | 1).into(),
        });
        let end = Arc::<AtomicBool>::default();
        let proxy = Proxy { address, faults: Arc::clone(&faults), end: Arc::clone(&end) };
        thread::spawn(move || run(&Arc::new(socket), server, &faults, &end));
        proxy
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

fn run(front: &Arc<UdpSocket>, server: SocketAddr, faults: &Arc<Faults>, end: &Arc<AtomicBool>) {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let (front_out, faults_out) = (Arc::clone(front), Arc::clone(faults));
    receive(front, end, faults, |bytes, client| {
        let back = backs.entry(client).or_insert_with(|| {
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
            let (socket, front, faults, end) =
                (Arc::clone(&back), Arc::clone(&front_out), Arc::clone(&faults_out), Arc::clone(end));
            thread::spawn(move || {
                receive(&socket, &end, &faults, |bytes, _| {
                    let _ = front.send_to(bytes, client);
                });
            });
            back
        });
        let _ = back.send_to(bytes, server);
    });
}

/// Passes on what a socket receives, with faults, until the end.
fn receive(socket: &UdpSocket, end: &AtomicBool, faults: &Faults, mut pass: impl FnMut(&[u8], SocketAddr)) {
    let mut buffer = [0; 2048];
    let mut late: Vec<(Vec<u8>, SocketAddr)> = Vec::new();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while !end.load(Ordering::Relaxed) {
        let came = socket.recv_from(&mut buffer);
        let before = std::mem::take(&mut late);
        if let Ok((length, from)) = came {
            let bytes = &buffer[..length];
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
