//! UDP sockets of the shards: one SO_REUSEPORT group per listening address.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd, RawFd},
};

use socket2::{Domain, Protocol, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    mmsg::{BATCH, RecvBatch, SendBatch},
    steer,
};
use crate::shard::{listener::Kind, outbox::Transmit};

/// One shard's socket on one listening address, bound but not yet read by a runtime.
#[derive(Debug)]
pub struct BoundSocket {
    socket: UdpSocket,
    local: SocketAddr,
    /// What is spoken on it.
    pub kind: Kind,
    /// Records with a Connection ID come to the shard that it names. Otherwise shards pass them on.
    pub steered: bool,
    /// What the kernel granted of the wanted receive buffer, in bytes.
    pub receive_buffer: usize,
}

/// Binds one socket per shard to `address`.
///
/// The address is first bound exclusively, so that a port which another process (or a forgotten node) holds is
/// an error instead of a share of its datagrams. Port 0 takes the same free port for all shards.
///
/// # Errors
/// What the kernel says, `AddrInUse` above all.
pub fn bind(
    address: SocketAddr,
    kind: Kind,
    shards: usize,
    receive_buffer: usize,
) -> io::Result<Vec<BoundSocket>> {
    let exclusive = open(address, kind, false, receive_buffer)?;
    let address = exclusive.local;
    drop(exclusive);
    let mut bound = (0..shards)
        .map(|_| open(address, kind, true, receive_buffer))
        .collect::<io::Result<Vec<BoundSocket>>>()?;
    if let (Kind::Dtls, Some(first)) = (kind, bound.first()) {
        let attached = steer::attach(first.socket.as_raw_fd(), shards);
        if let Err(error) = &attached {
            tracing::warn!(%error, "no CID steering by the kernel: shards pass records on");
        }
        for socket in &mut bound {
            socket.steered = attached.is_ok();
        }
    }
    Ok(bound)
}

fn open(address: SocketAddr, kind: Kind, share: bool, receive_buffer: usize) -> io::Result<BoundSocket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // One IPv6 socket serves both families where the host allows it.
        socket.set_only_v6(address.ip() != IpAddr::from([0u16; 8]))?;
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
        set_mtu_discovery(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)?;
    } else {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
        set_mtu_discovery(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)?;
    }
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL)?;
    socket.set_recv_buffer_size(receive_buffer)?;
    socket.bind(&address.into())?;
    let receive_buffer = socket.recv_buffer_size()? / 2;
    let socket = UdpSocket::from(socket);
    let local = socket.local_addr()?;
    Ok(BoundSocket { socket, local, kind, steered: false, receive_buffer })
}

#[allow(unsafe_code)]
fn set_integer(socket: &socket2::Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option's value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of::<i32>() as u32,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_option(socket: &socket2::Socket, level: i32, name: i32) -> io::Result<()> {
    set_integer(socket, level, name, 1)
}

/// Don't-fragment off: a path with a smaller MTU delays a datagram's fragments instead of losing it.
fn set_mtu_discovery(socket: &socket2::Socket, level: i32, name: i32) -> io::Result<()> {
    set_integer(socket, level, name, libc::IP_PMTUDISC_DONT)
}

impl BoundSocket {
    /// The address it is bound to, with its real port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    #[cfg(test)]
    pub(super) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Registers the socket with the runtime of the calling thread.
    ///
    /// # Errors
    /// When the runtime can't watch the socket.
    pub fn attach(self) -> io::Result<Socket> {
        // Not for writing, which nobody waits for: each datagram that leaves would wake the shard once more.
        // Deprecated for descriptors that change while they are watched; that of a UdpSocket can't.
        #[allow(deprecated)]
        let socket = AsyncFd::with_interest(self.socket, Interest::READABLE)?;
        Ok(Socket { ipv6: self.local.is_ipv6(), local: self.local, socket })
    }
}

/// A socket that its shard's runtime watches.
#[derive(Debug)]
pub struct Socket {
    socket: AsyncFd<UdpSocket>,
    local: SocketAddr,
    ipv6: bool,
}

impl Socket {
    /// The address it is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Waits until datagrams are there and receives a batch. Cancel-safe.
    ///
    /// # Errors
    /// What the kernel reports; a pending ICMP error among it, after which the socket goes on.
    pub async fn receive(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        loop {
            let mut ready = self.socket.readable().await?;
            match batch.receive(self.fd()) {
                Ok(received) => {
                    // A batch that is not full has emptied the socket: the runtime shall wait for the next datagram
                    // without being told so by one more system call.
                    if received < BATCH {
                        ready.clear_ready();
                    }
                    return Ok(received);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends all datagrams as far as the kernel takes them, going on past one that fails. Returns how many
    /// were refused: by a full send buffer, or because their receiver can't be reached. CoAP repeats what
    /// matters.
    pub fn send(&self, batch: &mut SendBatch, datagrams: &[Transmit]) -> usize {
        let mut rest = datagrams;
        let mut failed = 0;
        while !rest.is_empty() {
            match batch.send(self.fd(), self.ipv6, rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return failed + rest.len(),
                Err(_) => {
                    failed += 1;
                    rest = &rest[1..];
                }
            }
        }
        failed
    }

    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_port_that_another_socket_holds_is_an_error() {
        let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = bind(holder.local_addr().unwrap(), Kind::Plain, 2, 65536).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_reply_leaves_from_the_address_the_request_came_to() {
        runtime().block_on(async {
            let bound = bind("0.0.0.0:0".parse().unwrap(), Kind::Plain, 1, 65536).unwrap().remove(0);
            let port = bound.local().port();
            let socket = bound.attach().unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"ping", ("127.7.7.7", port)).unwrap();
            let mut received = RecvBatch::new();
            assert_eq!(socket.receive(&mut received).await.unwrap(), 1);
            let datagram = received.datagram(0).unwrap();
            assert_eq!(datagram.bytes, b"ping");
            assert_eq!(datagram.to, Some("127.7.7.7".parse().unwrap()));
            let answer =
                Transmit { to: datagram.from, from: datagram.to, via: None, bytes: b"pong".to_vec() };
            assert_eq!(socket.send(&mut SendBatch::new(), &[answer]), 0);
            let mut buffer = [0; 16];
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&b"pong"[..], SocketAddr::from(([127, 7, 7, 7], port))));
        });
    }

    #[test]
    fn a_dual_stack_socket_shows_and_reaches_ipv4_peers_as_ipv4() {
        runtime().block_on(async {
            let Ok(mut bound) = bind("[::]:0".parse().unwrap(), Kind::Plain, 1, 65536) else { return };
            let socket = bound.remove(0).attach().unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"x", ("127.0.0.1", socket.local().port())).unwrap();
            let mut received = RecvBatch::new();
            assert_eq!(socket.receive(&mut received).await.unwrap(), 1);
            let datagram = received.datagram(0).unwrap();
            assert_eq!(datagram.from, client.local_addr().unwrap());
            let answer = Transmit { to: datagram.from, from: datagram.to, via: None, bytes: b"y".to_vec() };
            assert_eq!(socket.send(&mut SendBatch::new(), &[answer]), 0);
            let mut buffer = [0; 16];
            assert_eq!(client.recv_from(&mut buffer).unwrap().0, 1);
        });
    }

    #[test]
    fn sending_goes_on_past_a_datagram_that_fails() {
        runtime().block_on(async {
            let socket = bind("127.0.0.1:0".parse().unwrap(), Kind::Plain, 1, 65536)
                .unwrap()
                .remove(0)
                .attach()
                .unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = client.local_addr().unwrap();
            let good = |byte| Transmit { to, from: None, via: None, bytes: vec![byte] };
            let unreachable =
                Transmit { to: "255.255.255.255:9".parse().unwrap(), from: None, via: None, bytes: vec![0] };
            assert_eq!(socket.send(&mut SendBatch::new(), &[good(1), unreachable, good(2)]), 1);
            let mut buffer = [0; 16];
            for expected in [1, 2] {
                client.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[0], expected);
            }
        });
    }
}
