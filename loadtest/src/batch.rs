//! Many datagrams per system call, with the local address of each: `recvmmsg` and `sendmmsg`.
//!
//! The only module with `unsafe`: no safe wrapper offers batches whose control messages carry another
//! source address per datagram. Pointers are set up afresh for every call and none outlives it.
#![allow(unsafe_code, reason = "recvmmsg and sendmmsg take arrays of raw pointers")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Datagrams per system call.
pub(crate) const BATCH: usize = 256;

/// Bytes kept of one datagram; CoAP over UDP stays below the MTU of 1500.
const DATAGRAM: usize = 2048;

/// Room for the control messages of one datagram: packet info, arrival time, drop counter.
const CONTROL: usize = 128;

#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// One datagram as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) from: SocketAddrV4,
    /// The local address to which it was sent.
    pub(crate) to: Ipv4Addr,
    /// When the kernel received it, in ns since the epoch, if the socket asks for timestamps.
    pub(crate) arrived: Option<u64>,
    /// What the socket has dropped so far for lack of room, if the socket asks for it.
    pub(crate) overflow: Option<u32>,
}

/// Buffers for one receiving call.
pub(crate) struct ReceiveBatch {
    bytes: Vec<u8>,
    controls: Vec<Control>,
    names: Vec<libc::sockaddr_in>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

// SAFETY: the pointers within `headers` and `iovecs` lead to this struct's own buffers and are written
// anew before each system call reads them.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        // SAFETY: all three are plain C structures for which zeroes are a valid value.
        let (name, header, iovec) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            bytes: vec![0; BATCH * DATAGRAM],
            controls: vec![Control([0; CONTROL]); BATCH],
            names: vec![name; BATCH],
            headers: vec![header; BATCH],
            iovecs: vec![iovec; BATCH],
        }
    }

    /// Takes what has arrived, up to [`BATCH`] datagrams; 0 when nothing has.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for (slot, bytes) in self.bytes.chunks_exact_mut(DATAGRAM).enumerate() {
            self.iovecs[slot] = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: DATAGRAM };
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_name = (&raw mut self.names[slot]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header.msg_iov = &raw mut self.iovecs[slot];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[slot].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL;
            header.msg_flags = 0;
        }
        // SAFETY: every header points to buffers of the stated lengths, which live until the call returns;
        // the timeout may be null.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if received >= 0 {
            return Ok(received as usize);
        }
        match io::Error::last_os_error() {
            error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            error => Err(error),
        }
    }

    /// A datagram of the latest call; `slot` is below what it returned.
    pub(crate) fn datagram(&self, slot: usize) -> Datagram<'_> {
        let name = &self.names[slot];
        let length = (self.headers[slot].msg_len as usize).min(DATAGRAM);
        let mut datagram = Datagram {
            bytes: &self.bytes[slot * DATAGRAM..][..length],
            from: SocketAddrV4::new(
                Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)),
                u16::from_be(name.sin_port),
            ),
            to: Ipv4Addr::UNSPECIFIED,
            arrived: None,
            overflow: None,
        };
        let header = &self.headers[slot].msg_hdr;
        // SAFETY: the kernel wrote `msg_controllen` bytes of well-formed control messages into `controls`,
        // to which the header still points: a batch isn't moved between `receive` and here, since both
        // borrow it and its buffers are on the heap.
        unsafe {
            let mut control = libc::CMSG_FIRSTHDR(header);
            while let Some(head) = control.as_ref() {
                let data = libc::CMSG_DATA(control);
                match (head.cmsg_level, head.cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                        datagram.to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    }
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                        let time: libc::timespec = ptr::read_unaligned(data.cast());
                        datagram.arrived = Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
                    }
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                        datagram.overflow = Some(ptr::read_unaligned(data.cast()));
                    }
                    _ => {}
                }
                control = libc::CMSG_NXTHDR(header, control);
            }
        }
        datagram
    }
}

/// One datagram to send: a range of the batch's bytes, and where from and to.
#[derive(Clone, Copy)]
struct Outgoing {
    socket: u32,
    start: usize,
    length: usize,
    from: Option<Ipv4Addr>,
    to: SocketAddrV4,
}

/// Datagrams that wait for one sending call.
pub(crate) struct SendBatch {
    bytes: Vec<u8>,
    outgoing: Vec<Outgoing>,
    controls: Vec<Control>,
    names: Vec<libc::sockaddr_in>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

// SAFETY: as for `ReceiveBatch`.
unsafe impl Send for SendBatch {}

impl SendBatch {
    pub(crate) fn new() -> Self {
        // SAFETY: all three are plain C structures for which zeroes are a valid value.
        let (name, header, iovec) = unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            bytes: Vec::with_capacity(BATCH * 128),
            outgoing: Vec::with_capacity(BATCH),
            controls: vec![Control([0; CONTROL]); BATCH],
            names: vec![name; BATCH],
            headers: vec![header; BATCH],
            iovecs: vec![iovec; BATCH],
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.outgoing.len() == BATCH
    }

    /// Queues a datagram that leaves the `socket`th socket from address `from`; the batch isn't full.
    pub(crate) fn push(&mut self, socket: u32, from: Option<Ipv4Addr>, to: SocketAddrV4, bytes: &[u8]) {
        debug_assert!(!self.is_full(), "flush before the batch overflows");
        self.outgoing.push(Outgoing { socket, start: self.bytes.len(), length: bytes.len(), from, to });
        self.bytes.extend_from_slice(bytes);
    }

    /// Sends all that is queued and empties the batch; the answer is how many the kernel refused.
    ///
    /// A refused datagram is passed over, as a lost one would be: the rest still goes.
    pub(crate) fn flush(&mut self, sockets: &[impl AsRawFd]) -> u64 {
        let mut refused = 0;
        let mut next = 0;
        while next < self.outgoing.len() {
            let socket = self.outgoing[next].socket;
            let run = self.outgoing[next..].iter().take_while(|o| o.socket == socket).count();
            let end = next + run;
            self.prepare(next, end);
            while next < end {
                // SAFETY: `prepare` has pointed the headers of `next..end` at buffers that live on.
                let sent = unsafe {
                    libc::sendmmsg(
                        sockets[socket as usize].as_raw_fd(),
                        self.headers[next..].as_mut_ptr(),
                        (end - next) as u32,
                        0,
                    )
                };
                if sent > 0 {
                    next += sent as usize;
                } else if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                    refused += 1;
                    next += 1;
                }
            }
        }
        self.outgoing.clear();
        self.bytes.clear();
        refused
    }

    fn prepare(&mut self, begin: usize, end: usize) {
        for slot in begin..end {
            let Outgoing { start, length, from, to, .. } = self.outgoing[slot];
            let name = &mut self.names[slot];
            name.sin_family = libc::AF_INET as u16;
            name.sin_port = to.port().to_be();
            name.sin_addr.s_addr = u32::from(*to.ip()).to_be();
            let base = self.bytes[start..start + length].as_mut_ptr();
            self.iovecs[slot] = libc::iovec { iov_base: base.cast(), iov_len: length };
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header.msg_iov = &raw mut self.iovecs[slot];
            header.msg_iovlen = 1;
            header.msg_control = ptr::null_mut();
            header.msg_controllen = 0;
            if let Some(from) = from {
                header.msg_control = self.controls[slot].0.as_mut_ptr().cast();
                // SAFETY: `CONTROL` bytes hold one aligned packet-info message, and the header points there.
                unsafe {
                    header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as usize;
                    let control = libc::CMSG_FIRSTHDR(header);
                    (*control).cmsg_level = libc::IPPROTO_IP;
                    (*control).cmsg_type = libc::IP_PKTINFO;
                    (*control).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as usize;
                    let info = libc::in_pktinfo {
                        ipi_ifindex: 0,
                        ipi_spec_dst: libc::in_addr { s_addr: u32::from(from).to_be() },
                        ipi_addr: libc::in_addr { s_addr: 0 },
                    };
                    ptr::write_unaligned(libc::CMSG_DATA(control).cast(), info);
                }
            }
        }
    }
}
