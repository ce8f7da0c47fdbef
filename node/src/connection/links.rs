//! The connections of a shard, as its endpoints see them.

use std::{net::SocketAddr, rc::Rc};

use super::{
    Connections, Resident,
    actor::Input,
    secure::{channel::Channel, path::Place, stored},
    secured::Lower,
};
use crate::{
    clock,
    endpoint::link::{Downlink, Link, Links, Reach, Security},
    identity::{AssociationId, DeviceId},
    shard::{
        ActorKey,
        listener::{Kind, Listener},
        outbox::{PeerId, SocketId},
    },
    store::{Numbers, Session},
};

impl Links for Connections {
    fn deliver(&self, connection: ActorKey, device: DeviceId, downlink: Downlink) -> bool {
        let input = Input::Downlink(device, downlink);
        let tell = |resident: &mut Resident| {
            resident.progress.promise();
            resident.address.do_send(input);
        };
        self.table.with(connection, tell).is_some()
    }

    fn reach(
        self: Rc<Self>,
        device: DeviceId,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        how: Reach,
    ) -> Option<Link> {
        match how {
            Reach::Plain => {
                let place = self.place(peer, local, false)?;
                let open = self.by_peer.borrow().get(&(place.socket, peer)).copied();
                let connection = open.unwrap_or_else(|| self.open(place, Some(device)));
                Some(Link::plain(connection, place))
            }
            Reach::Session { session, exact } => self.reach_session(device, &session, exact),
        }
    }

    fn local(&self, link: &Link) -> Option<SocketAddr> {
        self.local_of(link)
    }

    fn via(&self, connection: ActorKey) -> Option<PeerId> {
        self.table.with(connection, |resident| resident.progress.via())?
    }

    fn numbers(&self, connection: ActorKey) -> Option<(AssociationId, Numbers)> {
        self.table.with(connection, |resident| resident.progress.numbers())?
    }

    fn retire(&self, device: DeviceId) -> Vec<(AssociationId, Numbers)> {
        let own = self.ground.iter().flat_map(|ground| ground.of_device(device));
        own.filter_map(|key| {
            let resident = self.table.remove(key)?;
            let exact = resident.progress.retire();
            resident.address.do_send(Input::Retire);
            exact
        })
        .collect()
    }
}

impl Connections {
    /// Goes on with a session that its endpoint has claimed, to say something to the device.
    fn reach_session(self: Rc<Self>, device: DeviceId, session: &Session, exact: bool) -> Option<Link> {
        let ground = self.ground.clone()?;
        let place = self.place_of(session)?;
        let stored = stored::open(&ground.settings().sealer, device, session, true)?;
        let named = stored.cid().is_some();
        let now = clock::now();
        let connection = self.start(place, self.core(usize::MAX), !named, |key| {
            let channel = Channel::resume(ground.clone(), key, place, now, stored, exact);
            Some(Lower::open(channel, Some(device)))
        });
        // At once: its endpoint may give the device up before the actor has begun.
        ground.attach(device, connection);
        Some(Link::plain(connection, place))
    }

    /// Where the device of a stored session was.
    pub(super) fn place_of(&self, session: &Session) -> Option<Place> {
        self.place(session.peer?, session.local, true)
    }

    /// The node's address that the device of a link sends to.
    pub(super) fn local_of(&self, link: &Link) -> Option<SocketAddr> {
        let bound = self.bound_of(link.socket)?;
        Some(SocketAddr::new(link.local.unwrap_or(bound.ip()), bound.port()))
    }

    fn place(&self, peer: SocketAddr, local: Option<SocketAddr>, secured: bool) -> Option<Place> {
        let kind = if secured { Kind::Dtls } else { Kind::Plain };
        let socket = socket_for(&self.bound, kind, peer, local)?;
        let local = local.map(|local| local.ip()).filter(|ip| !ip.is_unspecified());
        Some(Place { socket, remote: peer, local, via: None })
    }
}

impl Link {
    /// Of a connection without DTLS.
    pub(super) fn plain(connection: ActorKey, place: Place) -> Self {
        let Place { socket, remote, local, via } = place;
        Self { connection, socket, remote, local, via, security: Security::NoSec }
    }

    /// The same where the device is now.
    pub(super) fn at(self, place: Place) -> Self {
        Self { security: self.security, ..Self::plain(self.connection, place) }
    }

    /// Where the device is.
    pub(super) fn place(&self) -> Place {
        Place { socket: self.socket, remote: self.remote, local: self.local, via: self.via }
    }
}

/// The socket by which a peer is reached: the one that it sends to, or else the first of its family.
fn socket_for(
    bound: &[Listener],
    kind: Kind,
    peer: SocketAddr,
    local: Option<SocketAddr>,
) -> Option<SocketId> {
    let any = |bound: &Listener| bound.address.ip().is_unspecified();
    let reaches = |bound: &Listener| {
        let family = bound.address.is_ipv4() == peer.is_ipv4() || (bound.address.is_ipv6() && any(bound));
        bound.kind == kind && family
    };
    let same = |bound: &Listener| {
        local.is_some_and(|local| {
            local.port() == bound.address.port() && (any(bound) || local.ip() == bound.address.ip())
        })
    };
    let at = bound.iter().position(|bound| reaches(bound) && same(bound));
    let at = at.or_else(|| bound.iter().position(reaches))?;
    u8::try_from(at).ok().map(SocketId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_reached_by_the_socket_that_it_sends_to() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let plain = |text: &str| Listener { address: address(text), kind: Kind::Plain };
        let secured = Listener { address: address("0.0.0.0:5684"), kind: Kind::Dtls };
        let bound = [plain("127.0.0.1:5683"), plain("[::]:5685"), plain("0.0.0.0:5687"), secured];
        let socket = |peer, local: Option<&str>| {
            socket_for(&bound, Kind::Plain, address(peer), local.map(address)).map(|socket| socket.0)
        };
        assert_eq!(socket("127.0.0.2:9", Some("127.0.0.1:5683")), Some(0));
        assert_eq!(socket("127.0.0.2:9", Some("10.0.0.1:5687")), Some(2));
        assert_eq!(socket("[::1]:9", Some("[::1]:5685")), Some(1));
        assert_eq!(socket("127.0.0.2:9", Some("10.0.0.1:1")), Some(0), "a setting has changed");
        assert_eq!(socket("[::1]:9", None), Some(1));
        assert_eq!(socket_for(&bound[..1], Kind::Plain, address("[::1]:9"), None), None);
        let secured = |peer| socket_for(&bound, Kind::Dtls, address(peer), None).map(|socket| socket.0);
        assert_eq!((secured("127.0.0.2:9"), secured("[::1]:9")), (Some(3), None), "never in the clear");
    }
}
