//! CID steering: the kernel hands a record to the shard that its Connection ID names.
//!
//! ```text
//! length ≥ 21 and first byte 25 ─ yes ─► socket number (byte 12 mod shards)
//!                                └ no ─► the kernel's hash of the addresses, as without a program
//! ```
//! Byte 12 of a record is the second of its Connection ID (`godwit_dtls::cid`). So a device that comes from a new address
//! still comes to the shard that has its session. It is an optimisation: a shard passes on what is not its own.

use std::{io, os::fd::RawFd};

/// Content type 25: a record with a Connection ID (RFC 9146 §4).
const TLS12_CID: u32 = 25;
/// Header, our Connection ID and the length field of such a record.
const SHORTEST: u32 = 21;
/// Where the steering byte is.
const STEERING: u32 = 12;
/// What a program answers that leaves the choice to the kernel: no socket has this number.
const BY_HASH: u32 = u32::MAX;

/// The program for `shards` sockets. Lengths come first: a load past the end would end it with 0, the first socket.
fn program(shards: u32) -> [libc::sock_filter; 8] {
    let op = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    // Jumps count from the next instruction; the last one is the kernel's choice.
    let unless =
        |code: u32, k: u32, to_last: u8| libc::sock_filter { code: code as u16, jt: 0, jf: to_last, k };
    [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0),
        unless(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, SHORTEST, 5),
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0),
        unless(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, TLS12_CID, 3),
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, STEERING),
        op(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, shards),
        op(libc::BPF_RET | libc::BPF_A, 0),
        op(libc::BPF_RET | libc::BPF_K, BY_HASH),
    ]
}

/// Attaches the program to the SO_REUSEPORT group of `socket`, which has `shards` sockets bound in the order of their
/// shards. Do it before any of them is read.
///
/// # Errors
/// What the kernel says: an old one, or a sandbox that forbids it.
#[allow(unsafe_code)]
pub(super) fn attach(socket: RawFd, shards: usize) -> io::Result<()> {
    let shards = u32::try_from(shards).map_err(io::Error::other)?;
    if shards < 2 {
        return Ok(());
    }
    let mut program = program(shards);
    let fprog = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the option's value and the program that it points to outlive the call; the kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&fprog).cast(),
            size_of::<libc::sock_fprog>() as u32,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::super::socket;
    use crate::shard::listener::Kind;

    const SHARDS: usize = 3;

    /// Sockets of three shards, and how many datagrams each one had of those that `send` has sent.
    fn received(send: impl Fn(&dyn Fn(&[u8]))) -> Vec<usize> {
        let bound = socket::bind("127.0.0.1:0".parse().unwrap(), Kind::Dtls, SHARDS, 1 << 20).unwrap();
        let to = bound[0].local();
        // Each from an address of its own, as the kernel's hash sees it.
        send(&|bytes| {
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(bytes, to).unwrap();
        });
        let count = |socket: &UdpSocket| {
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let mut buffer = [0; 2048];
            std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
        };
        bound.iter().map(|bound| count(bound.socket())).collect()
    }

    fn record(content_type: u8, steering: u8) -> Vec<u8> {
        let mut record = vec![0; 40];
        (record[0], record[12]) = (content_type, steering);
        record
    }

    #[test]
    fn records_with_a_connection_id_go_to_the_shard_that_it_names() {
        for shard in 0..SHARDS {
            let mut expected = vec![0; SHARDS];
            expected[shard] = 40;
            let steering = |n: usize| (shard + n % 80 * SHARDS) as u8;
            let sent = received(|send| (0..40).for_each(|n| send(&record(25, steering(n)))));
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn all_others_are_spread_by_the_kernels_hash_also_the_short_ones() {
        let lengths = |content_type: u8, length: usize| record(content_type, 1)[..length].to_vec();
        for datagram in [lengths(22, 40), lengths(23, 40), lengths(25, 20), lengths(25, 1), Vec::new()] {
            let counts = received(|send| (0..60).for_each(|_| send(&datagram)));
            assert_eq!(counts.iter().sum::<usize>(), 60);
            assert!(counts.iter().all(|count| *count < 60), "{counts:?} of {} bytes", datagram.len());
        }
    }
}
