//! The network between devices and nodes: a UDP load balancer, a NAT and a bad line in one, which records what passes.
//!
//! ```text
//! device ─► front ─ flow ─► back (one for each device, or one for each device and node) ─► node
//!        ◄──────────────────┘ ◄────────────────────────────────────────────────────────────┘
//! ```
//! A *flow* sticks to a node until it is moved. The back's address is the device's, as nodes see it: it stays the same
//! across nodes, as behind a balancer that passes addresses through, unless [`Proxy::source_nat`] is on.

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

use tokio::sync::watch;

use crate::Datagram;

/// How long a late datagram is kept back at most, in milliseconds.
const LATE_MS: u64 = 40;

/// What happens to datagrams: percentages, which may be changed while it runs.
#[derive(Debug, Default)]
pub struct Faults {
    /// Never arrive.
    pub lost: AtomicU64,
    /// Arrive twice.
    pub doubled: AtomicU64,
    /// Arrive after the next one, or a little later.
    pub delayed: AtomicU64,
    /// Go to any of the nodes, whatever their flow says; only from devices.
    pub sprayed: AtomicU64,
    state: AtomicU64,
}

/// Passes datagrams between any number of clients and one server or several, and records them.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// What it does to them.
    pub faults: Arc<Faults>,
    shared: Arc<Shared>,
    end: watch::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    front: UdpSocket,
    servers: Vec<SocketAddr>,
    /// A bit for each server that gets flows.
    up: AtomicU64,
    nat: AtomicBool,
    flows: Mutex<Flows>,
    recorded: Mutex<Vec<Datagram>>,
    faults: Arc<Faults>,
    end: watch::Receiver<()>,
}

/// One file handle, which both sends and is waited for.
type Back = tokio::net::UdpSocket;

#[derive(Debug, Default)]
struct Flows {
    /// The server that each client's flow sticks to.
    servers: HashMap<SocketAddr, usize>,
    /// The socket that stands for a client; with source NAT one for each server.
    backs: HashMap<(SocketAddr, Option<usize>), Arc<Back>>,
}

impl Proxy {
    /// In front of `server`; the seed decides which datagrams suffer.
    pub fn new(server: SocketAddr, seed: u64, lost: u64, doubled: u64, delayed: u64) -> Proxy {
        let proxy = Proxy::balance(&[server], seed);
        for (fault, percent) in
            [(&proxy.faults.lost, lost), (&proxy.faults.doubled, doubled), (&proxy.faults.delayed, delayed)]
        {
            fault.store(percent, Ordering::Relaxed);
        }
        proxy
    }

    /// In front of `server`, without faults.
    pub fn tap(server: SocketAddr) -> Proxy {
        Proxy::balance(&[server], 0)
    }

    /// In front of several servers, without faults: each flow goes to one, which the seed chooses.
    pub fn balance(servers: &[SocketAddr], seed: u64) -> Proxy {
        assert!((1..=64).contains(&servers.len()), "one server to 64");
        let front = bind();
        let address = front.local_addr().unwrap();
        let faults = Arc::new(Faults { state: scramble(seed).into(), ..Faults::default() });
        let (end, ended) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shared = Arc::new(Shared {
            front,
            servers: servers.into(),
            up: AtomicU64::new(u64::MAX),
            nat: AtomicBool::new(false),
            flows: Mutex::default(),
            recorded: Mutex::default(),
            faults: Arc::clone(&faults),
            end: ended,
        });
        let running = Arc::clone(&shared);
        thread::spawn(move || runtime.block_on(running.receive_up()));
        Proxy { address, faults, shared, end }
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that came up to now, from both sides, before any fault.
    pub fn datagrams(&self) -> Vec<Datagram> {
        self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on every client comes from another port, as behind a NAT that forgot.
    pub fn rebind(&self) {
        self.rebind_some(100);
    }

    /// The same for so many percent of the clients.
    pub fn rebind_some(&self, percent: u64) {
        let faults = &self.faults;
        self.shared.flows().backs.retain(|_, _| !faults.strikes(percent));
    }

    /// Moves so many percent of the flows to a server that the seed chooses, perhaps the same.
    pub fn move_flows(&self, percent: u64) {
        let faults = &self.faults;
        self.shared.flows().servers.retain(|_, _| !faults.strikes(percent));
    }

    /// Moves the flows of one client to a server, by its number in the list.
    pub fn lead(&self, client: SocketAddr, server: usize) {
        self.shared.flows().servers.insert(client, server);
    }

    /// Moves all flows to one server, for now.
    pub fn lead_all(&self, server: usize) {
        self.shared.flows().servers.values_mut().for_each(|of| *of = server);
    }

    /// Gives a server no more flows and moves those that it has, or gives it some again: what a health check finds.
    pub fn health(&self, server: usize, up: bool) {
        if up {
            self.shared.up.fetch_or(1 << server, Ordering::Relaxed);
        } else {
            self.shared.up.fetch_and(!(1 << server), Ordering::Relaxed);
            self.shared.flows().servers.retain(|_, of| *of != server);
        }
    }

    /// Whether the address of a client changes with the server, as where Kubernetes forwards between nodes.
    pub fn source_nat(&self, on: bool) {
        self.shared.nat.store(on, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Nobody listens any more if the thread has died.
        let _ = self.end.send(());
    }
}

impl Shared {
    fn flows(&self) -> std::sync::MutexGuard<'_, Flows> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, up: bool, client: SocketAddr, server: SocketAddr, bytes: &[u8]) {
        let datagram = Datagram { at: SystemTime::now(), up, client, server, bytes: bytes.into() };
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).push(datagram);
    }

    async fn receive_up(self: Arc<Self>) {
        let mut end = self.end.clone();
        let front = waiting(&self.front);
        let mut buffer = vec![0; 65_536];
        loop {
            let came = tokio::select! {
                came = front.recv_from(&mut buffer) => came,
                _ = end.changed() => return,
            };
            // What a client that has ended no longer takes comes back as an error.
            let Ok((length, client)) = came else { continue };
            let (back, server) = self.way(client);
            // That a new one can send is known a turn later.
            let _ = back.writable().await;
            self.record(true, client, server, &buffer[..length]);
            self.pass(&buffer[..length], move |bytes| {
                // Nobody listens while a node is down.
                let _ = back.try_send_to(bytes, server);
            });
        }
    }

    /// By which socket a client's datagram goes to which server.
    fn way(self: &Arc<Self>, client: SocketAddr) -> (Arc<Back>, SocketAddr) {
        let mut flows = self.flows();
        let sprayed = self.faults.strikes(self.faults.sprayed.load(Ordering::Relaxed));
        let index = match flows.servers.get(&client) {
            Some(index) if !sprayed => *index,
            known => {
                let (known, index) = (known.is_some(), self.choose());
                if !known {
                    flows.servers.insert(client, index);
                }
                index
            }
        };
        let key = (client, self.nat.load(Ordering::Relaxed).then_some(index));
        let back = flows.backs.entry(key).or_insert_with(|| self.open(client)).clone();
        (back, self.servers[index])
    }

    fn choose(&self) -> usize {
        let up = self.up.load(Ordering::Relaxed);
        let healthy: Vec<_> = (0..self.servers.len()).filter(|server| up & 1 << server != 0).collect();
        let among = if healthy.is_empty() { (0..self.servers.len()).collect() } else { healthy };
        among[(self.faults.next() % among.len() as u64) as usize]
    }

    /// A socket towards the servers for this client. What comes to it goes on to the client even after a rebind.
    fn open(self: &Arc<Self>, client: SocketAddr) -> Arc<Back> {
        let back = Arc::new(Back::from_std(bind()).unwrap());
        tokio::spawn(Arc::clone(self).receive_down(Arc::clone(&back), client));
        back
    }

    async fn receive_down(self: Arc<Self>, back: Arc<Back>, client: SocketAddr) {
        let mut end = self.end.clone();
        loop {
            tokio::select! {
                ready = back.readable() => if ready.is_err() { return },
                _ = end.changed() => return,
            }
            self.take_down(&back, client);
        }
    }

    fn take_down(self: &Arc<Self>, back: &Back, client: SocketAddr) {
        let mut buffer = [0; 16_384];
        let Ok((length, server)) = back.try_recv_from(&mut buffer) else { return };
        self.record(false, client, server, &buffer[..length]);
        let shared = Arc::clone(self);
        self.pass(&buffer[..length], move |bytes| {
            let _ = shared.front.send_to(bytes, client);
        });
    }

    /// Passes a datagram on, with faults.
    fn pass(&self, bytes: &[u8], send: impl Fn(&[u8]) + Send + 'static) {
        let faults = &self.faults;
        let strikes = |fault: &AtomicU64| faults.strikes(fault.load(Ordering::Relaxed));
        if strikes(&faults.lost) {
            return;
        }
        let doubled = strikes(&faults.doubled);
        if doubled || !strikes(&faults.delayed) {
            send(bytes);
            if doubled {
                send(bytes);
            }
            return;
        }
        let (bytes, late) = (bytes.to_vec(), Duration::from_millis(1 + faults.next() % LATE_MS));
        tokio::spawn(async move {
            tokio::time::sleep(late).await;
            send(&bytes);
        });
    }
}

impl Faults {
    fn strikes(&self, percent: u64) -> bool {
        percent != 0 && self.next() % 100 < percent
    }

    fn next(&self) -> u64 {
        let step = |state: u64| Some(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let before = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        scramble(before.unwrap_or_else(|state| state))
    }
}

fn bind() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// The same socket, to wait for what it receives.
fn waiting(socket: &UdpSocket) -> tokio::net::UdpSocket {
    tokio::net::UdpSocket::from_std(socket.try_clone().unwrap()).unwrap()
}

/// One step of SplitMix64: neighbours become strangers.
fn scramble(state: u64) -> u64 {
    let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers that say who they are, and see who asks.
    fn servers(count: u8) -> Vec<SocketAddr> {
        let serve = |own: u8| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    socket.send_to(format!("{own} {from}").as_bytes(), from).unwrap();
                }
            });
            address
        };
        (0..count).map(serve).collect()
    }

    fn client() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(crate::PATIENCE)).unwrap();
        socket
    }

    /// Which server answers, and the address that it sees.
    fn ask(proxy: &Proxy, client: &UdpSocket) -> (String, String) {
        client.send_to(b"who?", proxy.address()).unwrap();
        let mut buffer = [0; 64];
        let length = client.recv(&mut buffer).unwrap();
        let answer = String::from_utf8(buffer[..length].into()).unwrap();
        let (server, seen) = answer.split_once(' ').unwrap();
        (server.into(), seen.into())
    }

    #[test]
    fn a_flow_sticks_to_its_server_until_it_is_moved_and_keeps_its_address() {
        let proxy = Proxy::balance(&servers(3), 1);
        let client = client();
        let first = ask(&proxy, &client);
        assert!((0..10).all(|_| ask(&proxy, &client) == first));
        for server in 0..3 {
            proxy.lead_all(server);
            assert_eq!(ask(&proxy, &client), (server.to_string(), first.1.clone()));
        }
        proxy.health(2, false);
        assert_ne!(ask(&proxy, &client).0, "2");
        proxy.rebind();
        assert_ne!(ask(&proxy, &client).1, first.1);
    }

    #[test]
    fn flows_are_spread_and_sprayed_over_all_servers() {
        let proxy = Proxy::balance(&servers(3), 2);
        let spread: std::collections::BTreeSet<_> = (0..40).map(|_| ask(&proxy, &client()).0).collect();
        assert_eq!(spread.len(), 3);
        proxy.faults.sprayed.store(100, Ordering::Relaxed);
        let client = client();
        let sprayed: std::collections::BTreeSet<_> = (0..40).map(|_| ask(&proxy, &client).0).collect();
        assert_eq!(sprayed.len(), 3);
    }

    #[test]
    fn source_nat_shows_each_server_another_address() {
        let proxy = Proxy::balance(&servers(2), 3);
        proxy.source_nat(true);
        let client = client();
        ask(&proxy, &client);
        let of = |server| {
            proxy.lead_all(server);
            ask(&proxy, &client).1
        };
        let (first, second) = (of(0), of(1));
        assert_ne!(first, second);
        assert_eq!(of(0), first, "the translation is remembered");
    }
}
