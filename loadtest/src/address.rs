//! Which source address and port each simulated device has.

use std::net::Ipv4Addr;

/// The first address that devices take unless told otherwise; below are the host's own 127.0.0.1 and kin.
pub(crate) const FIRST: Ipv4Addr = Ipv4Addr::new(127, 16, 0, 0);

/// Device index ↔ (address, socket), without a table.
///
/// Devices fill the addresses of one socket before they begin the next: on loopback 127.16.0.0 upward leaves
/// room for 15.7 million devices behind one port. Towards a server elsewhere one address is all there is, so
/// each device takes a socket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressPlan {
    first: u32,
    per_socket: u32,
    devices: u32,
}

/// Why a fleet finds no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error(
        "--source {first} with {addresses} addresses reaches beyond {last}: choose a lower --source or fewer"
    )]
    BeyondRange { first: Ipv4Addr, addresses: u32, last: Ipv4Addr },
    #[error(
        "--source {0}: a server outside 127.0.0.0/8 can't answer a loopback address; use this host's own"
    )]
    LoopbackSource(Ipv4Addr),
    #[error(
        "{sockets} sockets would be needed, of which one process gets about 1000: \
         use fewer --devices, or --addresses and --source for more addresses per socket"
    )]
    TooManySockets { sockets: u32 },
}

/// Where the sockets of a fleet are bounded: file descriptors, and the cost of one poll.
const MAX_SOCKETS: u32 = 1000;

impl AddressPlan {
    /// Plans `devices` sources towards `server`; `source` and `addresses` are the user's wishes.
    pub(crate) fn new(
        server: Ipv4Addr,
        devices: u32,
        source: Option<Ipv4Addr>,
        addresses: Option<u32>,
    ) -> Result<Self, AddressError> {
        let first = match source {
            Some(source) if source.is_loopback() && !server.is_loopback() => {
                return Err(AddressError::LoopbackSource(source));
            }
            Some(source) => source,
            None if server.is_loopback() => FIRST,
            None => Ipv4Addr::UNSPECIFIED,
        };
        let last = if first.is_loopback() { Ipv4Addr::new(127, 255, 255, 254) } else { Ipv4Addr::BROADCAST };
        let room = (u32::from(last) - u32::from(first)).saturating_add(1);
        let per_socket = match addresses {
            Some(addresses) => addresses.max(1),
            None if first.is_loopback() => devices.clamp(1, room),
            None => 1,
        };
        if per_socket > room {
            return Err(AddressError::BeyondRange { first, addresses: per_socket, last });
        }
        let plan = Self { first: first.into(), per_socket, devices };
        match plan.sockets() {
            sockets if sockets > MAX_SOCKETS => Err(AddressError::TooManySockets { sockets }),
            _ => Ok(plan),
        }
    }

    pub(crate) fn sockets(&self) -> u32 {
        self.devices.div_ceil(self.per_socket).max(1)
    }

    pub(crate) fn socket(&self, device: u32) -> u32 {
        device / self.per_socket
    }

    /// The source address, or `None` where the kernel chooses it by route.
    pub(crate) fn address(&self, device: u32) -> Option<Ipv4Addr> {
        (self.first != 0).then(|| Ipv4Addr::from(self.first + device % self.per_socket))
    }

    /// The device to which a datagram for `address` at `socket` goes.
    pub(crate) fn device(&self, socket: u32, address: Ipv4Addr) -> Option<u32> {
        let offset = match self.first {
            0 => 0,
            first => u32::from(address).checked_sub(first).filter(|&offset| offset < self.per_socket)?,
        };
        socket.checked_mul(self.per_socket)?.checked_add(offset).filter(|&device| device < self.devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

    #[test]
    fn a_million_devices_share_one_port_and_map_back() {
        let plan = AddressPlan::new(LOCAL, 1_000_000, None, None).unwrap();
        assert_eq!(plan.sockets(), 1);
        for device in (0..1_000_000).step_by(997).chain([0, 65_535, 65_536, 999_999]) {
            let address = plan.address(device).unwrap();
            assert!(address.is_loopback() && address >= FIRST);
            assert_eq!(plan.device(plan.socket(device), address), Some(device));
        }
    }

    #[test]
    fn no_two_devices_have_the_same_address_and_port() {
        let plan = AddressPlan::new(LOCAL, 1000, None, Some(300)).unwrap();
        assert_eq!(plan.sockets(), 4);
        let mut seen: Vec<_> = (0..1000).map(|d| (plan.socket(d), plan.address(d))).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
        assert!((0..1000).all(|d| plan.device(plan.socket(d), plan.address(d).unwrap()) == Some(d)));
    }

    #[test]
    fn an_address_of_no_device_is_nobodys() {
        let plan = AddressPlan::new(LOCAL, 10, None, None).unwrap();
        assert_eq!(plan.device(0, Ipv4Addr::new(127, 16, 0, 10)), None);
        assert_eq!(plan.device(0, Ipv4Addr::new(127, 0, 0, 1)), None);
        assert_eq!(plan.device(1, FIRST), None);
    }

    #[test]
    fn more_devices_than_loopback_addresses_take_a_second_port() {
        let plan = AddressPlan::new(LOCAL, 16_000_000, None, None).unwrap();
        assert_eq!(plan.sockets(), 2);
        let last = 15_999_999;
        assert_eq!(plan.device(plan.socket(last), plan.address(last).unwrap()), Some(last));
    }

    #[test]
    fn towards_another_host_each_device_has_a_port() {
        let server = Ipv4Addr::new(192, 0, 2, 1);
        let plan = AddressPlan::new(server, 5, None, None).unwrap();
        assert_eq!((plan.sockets(), plan.address(3)), (5, None));
        assert_eq!(plan.device(3, Ipv4Addr::new(10, 0, 0, 7)), Some(3));
        assert_eq!(AddressPlan::new(server, 5, Some(FIRST), None), Err(AddressError::LoopbackSource(FIRST)));
        assert_eq!(
            AddressPlan::new(server, 5000, None, None),
            Err(AddressError::TooManySockets { sockets: 5000 })
        );
    }
}
