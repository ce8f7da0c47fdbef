//! What was seen on the way between clients and a server.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A datagram as it came to the [`Proxy`](crate::Proxy), before the proxy lost or doubled it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// When it came.
    pub at: SystemTime,
    /// From the client to the server?
    pub up: bool,
    /// The client's own address, as the proxy knows it.
    pub client: SocketAddr,
    /// The server that it went to or came from.
    pub server: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Writes datagrams as a capture (pcap, raw IPv4) in which the server is 127.0.0.1:5684 and clients keep their ports.
///
/// # Errors
/// Those of the file.
pub fn write_pcap(path: &Path, datagrams: &[Datagram]) -> io::Result<()> {
    const RAW_IP: u32 = 101;
    const SERVER_PORT: u16 = 5684;
    let mut file = BufWriter::new(File::create(path)?);
    for field in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0xffff, RAW_IP] {
        file.write_all(&u32::to_le_bytes(field))?;
    }
    for datagram in datagrams {
        let length = datagram.bytes.len() + 28;
        let at = datagram.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        for field in [at.as_secs() as u32, at.subsec_micros(), length as u32, length as u32] {
            file.write_all(&field.to_le_bytes())?;
        }
        let (client, server) = (datagram.client.port(), SERVER_PORT);
        let (from, to) = if datagram.up { (client, server) } else { (server, client) };
        file.write_all(&ip_header(length as u16))?;
        for field in [from, to, length as u16 - 20, 0] {
            file.write_all(&field.to_be_bytes())?;
        }
        file.write_all(&datagram.bytes)?;
    }
    file.flush()
}

/// Reads a capture that `godwit-load` wrote (pcap, raw IPv4): datagrams between its devices and this server.
///
/// # Errors
/// Those of the file, and `InvalidData` where it is no such capture.
pub fn read_pcap(path: &Path, server: SocketAddr) -> io::Result<Vec<Datagram>> {
    let bytes = fs::read(path)?;
    let packets = bytes.get(24..).and_then(|mut rest| {
        let mut datagrams = Vec::new();
        while !rest.is_empty() {
            let (head, after) = rest.split_at_checked(16)?;
            let field = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (packet, next) = after.split_at_checked(field(8) as usize)?;
            let address = |ip: usize, port: usize| {
                let ip: [u8; 4] = packet.get(ip..ip + 4)?.try_into().ok()?;
                Some(SocketAddr::from((ip, u16::from_be_bytes([packet[port], packet[port + 1]]))))
            };
            let (from, to) = (address(12, 20)?, address(16, 22)?);
            let up = to == server;
            datagrams.push(Datagram {
                at: UNIX_EPOCH + Duration::new(field(0).into(), field(4) * 1000),
                up,
                client: if up { from } else { to },
                server,
                bytes: packet.get(28..)?.to_vec(),
            });
            rest = next;
        }
        Some(datagrams)
    });
    packets.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no capture of godwit-load"))
}

/// An IPv4 header for UDP from loopback to loopback.
fn ip_header(length: u16) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&length.to_be_bytes());
    (header[8], header[9]) = (64, 17);
    for address in [12..16, 16..20] {
        header[address].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
    }
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}
