//! What passes between a fleet and its server, as a capture (pcap, raw IPv4) that tshark and checkers read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// LINKTYPE_RAW: packets begin with their IP header.
const RAW_IP: u32 = 101;

/// Bytes of the IP and UDP headers.
const HEADERS: usize = 28;

/// Appends datagrams; the first fault ends the run, as a capture with gaps proves nothing.
#[derive(Debug)]
pub(crate) struct Capture {
    file: BufWriter<File>,
    fault: Option<io::Error>,
}

impl Capture {
    /// Begins a new file; an old one of that name is replaced.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        for field in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0xffff, RAW_IP] {
            file.write_all(&u32::to_le_bytes(field))?;
        }
        Ok(Self { file, fault: None })
    }

    pub(crate) fn record(&mut self, from: SocketAddrV4, to: SocketAddrV4, datagram: &[u8]) {
        if let Err(fault) = self.write(from, to, datagram) {
            self.fault.get_or_insert(fault);
        }
    }

    fn write(&mut self, from: SocketAddrV4, to: SocketAddrV4, datagram: &[u8]) -> io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = datagram.len() + HEADERS;
        for field in [at.as_secs() as u32, at.subsec_micros(), length as u32, length as u32] {
            self.file.write_all(&field.to_le_bytes())?;
        }
        let mut ip = [0; 20];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        (ip[8], ip[9]) = (64, 17);
        ip[12..16].copy_from_slice(&from.ip().octets());
        ip[16..].copy_from_slice(&to.ip().octets());
        let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        ip[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
        self.file.write_all(&ip)?;
        for field in [from.port(), to.port(), length as u16 - 20, 0] {
            self.file.write_all(&field.to_be_bytes())?;
        }
        self.file.write_all(datagram)
    }

    /// Hands everything to the system and tells of the first fault so far.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => self.file.flush(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_datagram_stands_behind_its_headers() {
        let path = std::env::temp_dir().join(format!("godwit-load-capture-{}", std::process::id()));
        let mut capture = Capture::create(&path).unwrap();
        let device = SocketAddrV4::new(Ipv4Addr::new(127, 16, 0, 1), 50_000);
        capture.record(device, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5684), b"hello");
        capture.flush().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(bytes.len(), 24 + 16 + 28 + 5);
        let packet = &bytes[40..];
        assert_eq!(packet[2..4], [0, 33]);
        assert_eq!((&packet[12..16], &packet[16..20]), (&[127, 16, 0, 1][..], &[127, 0, 0, 1][..]));
        assert_eq!(packet[20..28], [0xc3, 0x50, 0x16, 0x34, 0, 13, 0, 0]);
        let sum: u32 =
            packet[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the header's checksum");
        assert_eq!(&packet[28..], b"hello");
    }
}
