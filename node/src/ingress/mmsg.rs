//! `recvmmsg` and `sendmmsg` with the local address of every datagram.
//!
//! This needs `unsafe`: the kernel fills and reads arrays of headers that point into
//! buffers, and no maintained wrapper keeps those arrays from one call to the next without allocating.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::RawFd,
    ptr,
};

use libc::{c_int, cmsghdr, iovec, mmsghdr, sockaddr_storage};

use crate::shard::outbox::Transmit;

/// Datagrams per system call.
pub const BATCH: usize = 64;
/// The largest datagram that is taken; a longer one is dropped and counted.
pub const DATAGRAM_MAX: usize = 2048;

/// Room for IP(V6)_PKTINFO and SO_RXQ_OVFL.
const CONTROL: usize = 96;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Buffers for one `recvmmsg`, kept from call to call.
pub struct RecvBatch {
    buffers: Vec<[u8; DATAGRAM_MAX]>,
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    vectors: Vec<iovec>,
    headers: Vec<mmsghdr>,
}

/// One received datagram.
pub struct Received<'a> {
    /// The sender, IPv4-mapped addresses normalised.
    pub from: SocketAddr,
    /// The local address it was sent to; replies leave from it. `None` if the kernel did not say.
    pub to: Option<IpAddr>,
    /// Datagrams that the kernel has dropped on this socket since it was opened, if any.
    pub overflow: Option<u32>,
    /// The datagram was longer than [`DATAGRAM_MAX`].
    pub truncated: bool,
    /// The payload.
    pub bytes: &'a [u8],
}

// SAFETY: the raw pointers in `vectors` and `headers` point into heap buffers that the same value owns and
// never reallocates, so the value may move between threads.
unsafe impl Send for RecvBatch {}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl RecvBatch {
    /// Allocates the buffers, about 150 KiB.
    pub fn new() -> Self {
        let mut batch = Self {
            buffers: vec![[0; DATAGRAM_MAX]; BATCH],
            // SAFETY: all-zero is a valid sockaddr_storage.
            names: vec![unsafe { mem::zeroed() }; BATCH],
            controls: vec![Control([0; CONTROL]); BATCH],
            vectors: Vec::with_capacity(BATCH),
            headers: Vec::with_capacity(BATCH),
        };
        for index in 0..BATCH {
            batch
                .vectors
                .push(iovec { iov_base: batch.buffers[index].as_mut_ptr().cast(), iov_len: DATAGRAM_MAX });
        }
        for index in 0..BATCH {
            // SAFETY: all-zero is a valid mmsghdr.
            let mut header: mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_name = ptr::from_mut(&mut batch.names[index]).cast();
            header.msg_hdr.msg_iov = &raw mut batch.vectors[index];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = batch.controls[index].0.as_mut_ptr().cast();
            batch.headers.push(header);
        }
        batch
    }

    /// Receives up to [`BATCH`] datagrams without blocking; returns how many.
    ///
    /// # Errors
    /// What `recvmmsg` reports, `WouldBlock` among it.
    pub fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = size_of::<sockaddr_storage>() as u32;
            header.msg_hdr.msg_controllen = CONTROL;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: every header points to live buffers of the lengths it states.
        let received = unsafe {
            libc::recvmmsg(
                socket,
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if received < 0 { Err(io::Error::last_os_error()) } else { Ok(received as usize) }
    }

    /// Datagram `index` of the last [`RecvBatch::receive`]. `None` if its sender's address is of no known
    /// family.
    pub fn datagram(&self, index: usize) -> Option<Received<'_>> {
        let header = &self.headers[index];
        let from = read_name(&self.names[index])?;
        let mut received = Received {
            from,
            to: None,
            overflow: None,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            bytes: &self.buffers[index][..(header.msg_len as usize).min(DATAGRAM_MAX)],
        };
        // SAFETY: the kernel wrote well-formed control messages of msg_controllen bytes into our buffer, and
        // CMSG_* stay within it.
        unsafe {
            let mut control = libc::CMSG_FIRSTHDR(&raw const header.msg_hdr);
            while !control.is_null() {
                read_control(control, &mut received);
                control = libc::CMSG_NXTHDR(&raw const header.msg_hdr, control);
            }
        }
        Some(received)
    }
}

/// # Safety
/// `control` must point to a whole control message.
unsafe fn read_control(control: *const cmsghdr, received: &mut Received<'_>) {
    // SAFETY: the caller vouches for the message; its data is read unaligned, as CMSG_DATA may be.
    unsafe {
        let data = libc::CMSG_DATA(control);
        match ((*control).cmsg_level, (*control).cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                received.to = Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr))));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                received.to = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical());
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                received.overflow = Some(ptr::read_unaligned(data.cast()));
            }
            _ => {}
        }
    }
}

fn read_name(name: &sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a sockaddr_in.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds a sockaddr_in6.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, port)),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id)),
            })
        }
        _ => None,
    }
}

/// Header arrays for one `sendmmsg`, kept from call to call.
pub struct SendBatch {
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    vectors: Vec<iovec>,
    headers: Vec<mmsghdr>,
}

// SAFETY: as for `RecvBatch`; the pointers into a caller's datagrams are set anew at each `send`.
unsafe impl Send for SendBatch {}

impl Default for SendBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl SendBatch {
    /// Allocates the header arrays.
    pub fn new() -> Self {
        // SAFETY: all-zero is a valid value of each of these C structs.
        unsafe {
            Self {
                names: vec![mem::zeroed(); BATCH],
                controls: vec![Control([0; CONTROL]); BATCH],
                vectors: vec![mem::zeroed(); BATCH],
                headers: vec![mem::zeroed(); BATCH],
            }
        }
    }

    /// Sends the first datagrams of `datagrams`, at most [`BATCH`], over a socket of family `ipv6` or IPv4.
    /// Returns how many the kernel took; the error concerns the first one that it did not take.
    ///
    /// # Errors
    /// What `sendmmsg` reports of the first datagram, `WouldBlock` among it.
    pub fn send(&mut self, socket: RawFd, ipv6: bool, datagrams: &[Transmit]) -> io::Result<usize> {
        let count = datagrams.len().min(BATCH);
        for (index, datagram) in datagrams[..count].iter().enumerate() {
            let name_length = write_name(&mut self.names[index], datagram.to, ipv6);
            self.vectors[index] =
                iovec { iov_base: datagram.bytes.as_ptr().cast_mut().cast(), iov_len: datagram.bytes.len() };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[index]).cast();
            header.msg_namelen = name_length;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL;
            // SAFETY: the control buffer is zeroed, aligned and large enough for one PKTINFO.
            let used = unsafe { write_control(header, datagram.from, ipv6) };
            header.msg_controllen = used;
            if used == 0 {
                header.msg_control = ptr::null_mut();
            }
        }
        // SAFETY: every header points to live memory of the lengths it states; the kernel only reads it.
        let sent =
            unsafe { libc::sendmmsg(socket, self.headers.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }
}

/// # Safety
/// `header.msg_control` must point to `CONTROL` writable, aligned bytes.
unsafe fn write_control(header: &mut libc::msghdr, from: Option<IpAddr>, ipv6: bool) -> usize {
    let Some(from) = from else { return 0 };
    // SAFETY: the caller vouches for the buffer, and one PKTINFO fits in it.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        if ipv6 {
            let mut info: libc::in6_pktinfo = mem::zeroed();
            info.ipi6_addr.s6_addr = mapped(from).octets();
            (*control).cmsg_level = libc::IPPROTO_IPV6;
            (*control).cmsg_type = libc::IPV6_PKTINFO;
            (*control).cmsg_len = libc::CMSG_LEN(size_of_val(&info) as u32) as usize;
            ptr::write_unaligned(libc::CMSG_DATA(control).cast(), info);
            libc::CMSG_SPACE(size_of_val(&info) as u32) as usize
        } else {
            let IpAddr::V4(v4) = from else { return 0 };
            let mut info: libc::in_pktinfo = mem::zeroed();
            info.ipi_spec_dst.s_addr = u32::from(v4).to_be();
            (*control).cmsg_level = libc::IPPROTO_IP;
            (*control).cmsg_type = libc::IP_PKTINFO;
            (*control).cmsg_len = libc::CMSG_LEN(size_of_val(&info) as u32) as usize;
            ptr::write_unaligned(libc::CMSG_DATA(control).cast(), info);
            libc::CMSG_SPACE(size_of_val(&info) as u32) as usize
        }
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn write_name(name: &mut sockaddr_storage, to: SocketAddr, ipv6: bool) -> u32 {
    match (to, ipv6) {
        (SocketAddr::V4(to), false) => {
            // SAFETY: a sockaddr_in fits in, and is aligned like, a sockaddr_storage.
            let v4 = unsafe { &mut *ptr::from_mut(name).cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as u16;
            v4.sin_port = to.port().to_be();
            v4.sin_addr.s_addr = u32::from(*to.ip()).to_be();
            size_of::<libc::sockaddr_in>() as u32
        }
        (to, _) => {
            // SAFETY: a sockaddr_in6 fits in, and is aligned like, a sockaddr_storage.
            let v6 = unsafe { &mut *ptr::from_mut(name).cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as u16;
            v6.sin6_port = to.port().to_be();
            v6.sin6_flowinfo = 0;
            v6.sin6_addr.s6_addr = mapped(to.ip()).octets();
            v6.sin6_scope_id = if let SocketAddr::V6(to) = to { to.scope_id() } else { 0 };
            size_of::<libc::sockaddr_in6>() as u32
        }
    }
}
