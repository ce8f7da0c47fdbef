//! What was seen on the way between clients and a server.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
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
