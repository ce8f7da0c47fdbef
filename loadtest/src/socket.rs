//! The sockets of a fleet, and the seam at which another transport can take their place.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::address::AddressPlan;
use crate::batch::{Datagram, ReceiveBatch, SendBatch};
use crate::capture::Capture;
use crate::clock::{Clock, Micros};

/// What carries the CoAP messages of a fleet: plain UDP here; a session layer would stand in between.
pub(crate) trait Transport {
    /// Sends a message of a device; it may be lost, as any datagram may.
    fn send(&mut self, device: u32, message: &[u8]);
}

/// Receive buffer asked for: at 100 bytes a datagram about 40,000 of them.
const RECEIVE_BUFFER: usize = 32 << 20;

/// Opens a socket that tells of each datagram the local address, the time of arrival and the drops before it.
pub(crate) fn open(local: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&local.into())?;
    // Beyond the system's limit where the process may, up to it where not.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    Ok(socket.into())
}

/// Who sends from where to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) plan: AddressPlan,
    pub(crate) server: SocketAddrV4,
}

/// Plain UDP for a whole fleet.
pub(crate) struct Plain {
    sockets: Vec<UdpSocket>,
    route: Route,
    outbox: SendBatch,
    refused: u64,
    /// Which of its ports a device uses; empty while each has but one.
    ports: Vec<u8>,
    /// Ports of each device.
    variants: u8,
    capture: Option<Tap>,
}

/// A capture, and the port of each socket.
struct Tap {
    capture: Capture,
    ports: Vec<u16>,
}

impl Plain {
    /// Opens the fleet's sockets from `port` upward, or at ports of the kernel's choice for 0.
    pub(crate) fn open(route: Route, port: u16) -> io::Result<Self> {
        Self::open_with_ports(route, port, 1)
    }

    /// The same, with so many ports for each device to change between.
    pub(crate) fn open_with_ports(route: Route, port: u16, variants: u8) -> io::Result<Self> {
        let variants = variants.max(1);
        let sockets = (0..route.plan.sockets() * u32::from(variants))
            .map(|index| match port {
                0 => open(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
                _ => {
                    let port = u16::try_from(u32::from(port) + index);
                    let port =
                        port.map_err(|_| io::Error::other("the ports from --port on reach beyond 65535"))?;
                    open(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
                }
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            sockets,
            route,
            outbox: SendBatch::new(),
            refused: 0,
            ports: Vec::new(),
            variants,
            capture: None,
        })
    }

    /// Records from now on what is sent and received.
    pub(crate) fn capture(&mut self, capture: Capture) -> io::Result<()> {
        let ports = self.sockets.iter().map(|socket| Ok(socket.local_addr()?.port()));
        self.capture = Some(Tap { ports: ports.collect::<io::Result<_>>()?, capture });
        Ok(())
    }

    /// The capture, if there is one.
    pub(crate) fn captured(&mut self) -> Option<&mut Capture> {
        self.capture.as_mut().map(|tap| &mut tap.capture)
    }

    /// Records a datagram to this device at the `socket`th socket.
    pub(crate) fn received(&mut self, socket: u32, device: u32, datagram: &[u8]) {
        let Route { plan, server } = self.route;
        if let Some(tap) = &mut self.capture {
            tap.capture.record(server, tap.address(plan, socket, device), datagram);
        }
    }

    /// How many sockets there are to read.
    pub(crate) fn sockets(&self) -> u32 {
        self.sockets.len() as u32
    }

    /// The device sends from its next port from now on, and hears nothing at the last one: as behind a NAT that has
    /// forgotten it.
    pub(crate) fn rebind(&mut self, device: u32) {
        let at = device as usize;
        if self.ports.len() <= at {
            self.ports.resize(at + 1, 0);
        }
        self.ports[at] = (self.ports[at] + 1) % self.variants;
    }

    /// The socket that a device uses now.
    pub(crate) fn socket(&self, device: u32) -> u32 {
        let port = self.ports.get(device as usize).copied().unwrap_or(0);
        self.route.plan.socket(device) + u32::from(port) * self.route.plan.sockets()
    }

    pub(crate) fn route(&self) -> Route {
        self.route
    }

    /// Hands what is queued to the kernel.
    pub(crate) fn flush(&mut self) {
        self.refused += self.outbox.flush(&self.sockets);
    }

    /// Datagrams that the kernel would not take.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }
}

impl Transport for Plain {
    fn send(&mut self, device: u32, message: &[u8]) {
        if self.outbox.is_full() {
            self.flush();
        }
        let (Route { plan, server }, socket) = (self.route, self.socket(device));
        if let Some(tap) = &mut self.capture {
            tap.capture.record(tap.address(plan, socket, device), server, message);
        }
        self.outbox.push(socket, plan.address(device), server, message);
    }
}

impl Tap {
    fn address(&self, plan: AddressPlan, socket: u32, device: u32) -> SocketAddrV4 {
        // The kernel's choice is the same for all; their ports tell them apart.
        SocketAddrV4::new(plan.address(device).unwrap_or(Ipv4Addr::LOCALHOST), self.ports[socket as usize])
    }
}

/// What has arrived for a fleet, one batch at a time.
pub(crate) struct Inbox {
    batch: ReceiveBatch,
    received: usize,
    socket: u32,
    dropped: u32,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { batch: ReceiveBatch::new(), received: 0, socket: 0, dropped: 0 }
    }

    /// Fills the inbox from the `socket`th socket; answers how many datagrams are in it.
    pub(crate) fn fill(&mut self, transport: &Plain, socket: u32) -> io::Result<usize> {
        self.socket = socket;
        self.received = self.batch.receive(transport.sockets[socket as usize].as_fd())?;
        if let Some(last) = self.received.checked_sub(1)
            && let Some(overflow) = self.batch.datagram(last).overflow
        {
            self.dropped = self.dropped.max(overflow);
        }
        Ok(self.received)
    }

    /// Device, time of arrival and message of each datagram that came from the server to a device, by its plan; the
    /// device may have left this socket since.
    pub(crate) fn messages(
        &self,
        route: Route,
        clock: Clock,
        now: Micros,
    ) -> impl Iterator<Item = (u32, Micros, &[u8])> {
        (0..self.received).filter_map(move |slot| {
            let Datagram { bytes, from, to, arrived, .. } = self.batch.datagram(slot);
            let device =
                route.plan.device(self.socket % route.plan.sockets(), to).filter(|_| from == route.server)?;
            Some((device, clock.arrival(arrived, now), bytes))
        })
    }

    /// Datagrams that the kernel dropped because this process did not read fast enough.
    pub(crate) fn dropped(&self) -> u32 {
        self.dropped
    }
}
