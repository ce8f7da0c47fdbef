//! Between what rooms say to each other and the messages of `godwit.cluster.v1`.

use std::net::{IpAddr, SocketAddr};

use godwit_proto::{
    cluster::v1::{self as wire, answer, changes::change, frame::Body, refusal, transmit},
    v1::Operation,
};

use crate::{
    endpoint::{
        Arrived,
        handle::{NewOperation, RegistrationChange, RegistrationChangeKind, SubmitError},
        neighbours::Present,
    },
    identity::{AssociationId, DeviceId},
    ownership::Answer,
    shard::outbox::{PeerId, SocketId, Transmit},
    store::pointer::{address_bytes, address_from_bytes},
};

/// A frame for the run `target`.
pub(super) fn frame(target: u64, body: Body) -> wire::Frame {
    wire::Frame { target, body: Some(body) }
}

pub(super) fn device(bytes: &[u8]) -> Option<DeviceId> {
    bytes.try_into().ok().map(DeviceId::from_bytes)
}

fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

pub(super) fn present(question: u64, present: Present, held: bool) -> Body {
    let Present { device, session, socket, peer, local, bytes, relay } = present;
    Body::Present(wire::Present {
        question,
        device: device.as_bytes().to_vec(),
        session: session.map(|session| session.as_bytes().to_vec()).unwrap_or_default(),
        listener: socket.0.into(),
        peer: address_bytes(peer),
        local: local.map(ip_bytes).unwrap_or_default(),
        datagram: bytes.into(),
        relay,
        held,
    })
}

/// A presented datagram that came by `via`: its device, its session, itself. `None`: malformed.
pub(super) fn presented(
    present: wire::Present,
    via: PeerId,
) -> Option<(DeviceId, Option<AssociationId>, Arrived)> {
    let session = match present.session.as_slice() {
        [] => None,
        bytes => Some(AssociationId::from_bytes(bytes.try_into().ok()?)),
    };
    let arrived = Arrived {
        socket: SocketId(u8::try_from(present.listener).ok()?),
        from: address_from_bytes(&present.peer)?,
        to: ip(&present.local),
        via: Some(via),
        bytes: present.datagram.into(),
    };
    Some((device(&present.device)?, session, arrived))
}

pub(super) fn answer(question: u64, answer: Answer) -> Body {
    let kind = match answer {
        Answer::Handled => answer::Kind::Handled,
        Answer::Replay => answer::Kind::Replay,
        Answer::Gone { .. } | Answer::Dead => answer::Kind::Gone,
        Answer::Busy => answer::Kind::Busy,
    };
    Body::Answer(wire::Answer { question, kind: kind.into() })
}

pub(super) fn answered(answer: &wire::Answer) -> Answer {
    match answer.kind() {
        answer::Kind::Handled => Answer::Handled,
        answer::Kind::Replay => Answer::Replay,
        answer::Kind::Gone => Answer::Gone { term: 0 },
        answer::Kind::Busy | answer::Kind::Unspecified => Answer::Busy,
    }
}

pub(super) fn transmit(datagrams: Vec<(SocketId, Transmit)>) -> Body {
    let datagrams =
        datagrams.into_iter().map(|(socket, Transmit { to, from, bytes, .. })| transmit::Datagram {
            listener: socket.0.into(),
            to: address_bytes(to),
            from: from.map(ip_bytes).unwrap_or_default(),
            payload: bytes,
        });
    Body::Transmit(wire::Transmit { datagrams: datagrams.collect() })
}

pub(super) fn transmitted(transmit: wire::Transmit) -> impl Iterator<Item = (SocketId, Transmit)> {
    transmit.datagrams.into_iter().filter_map(|datagram| {
        let socket = SocketId(u8::try_from(datagram.listener).ok()?);
        let to: SocketAddr = address_from_bytes(&datagram.to)?;
        Some((socket, Transmit { to, from: ip(&datagram.from), via: None, bytes: datagram.payload }))
    })
}

pub(super) fn change(change: &RegistrationChange) -> wire::changes::Change {
    let kind = match change.kind {
        RegistrationChangeKind::Registered => change::Kind::Registered,
        RegistrationChangeKind::Updated => change::Kind::Updated,
        RegistrationChangeKind::Deregistered => change::Kind::Deregistered,
        RegistrationChangeKind::Expired => change::Kind::Expired,
    };
    wire::changes::Change {
        device: change.device.as_bytes().to_vec(),
        endpoint: change.endpoint.to_string(),
        kind: kind.into(),
        at: change.at,
    }
}

pub(super) fn changed(change: wire::changes::Change) -> Option<RegistrationChange> {
    let kind = match change.kind() {
        change::Kind::Registered => RegistrationChangeKind::Registered,
        change::Kind::Updated => RegistrationChangeKind::Updated,
        change::Kind::Deregistered => RegistrationChangeKind::Deregistered,
        change::Kind::Expired => RegistrationChangeKind::Expired,
        change::Kind::Unspecified => return None,
    };
    let endpoint = change.endpoint.into();
    Some(RegistrationChange { device: device(&change.device)?, endpoint, kind, at: change.at, here: false })
}

pub(super) fn submit(target: u64, device: DeviceId, new: NewOperation) -> wire::SubmitRequest {
    wire::SubmitRequest {
        target,
        device: device.as_bytes().to_vec(),
        id: new.id,
        command: Some(new.command),
        ttl: prost_types::Duration::try_from(new.ttl).ok(),
        queue: new.queue,
        at_least_once: new.at_least_once,
    }
}

pub(super) fn submitted(request: wire::SubmitRequest) -> Option<(DeviceId, NewOperation)> {
    let new = NewOperation {
        id: request.id,
        command: request.command?,
        ttl: request.ttl?.try_into().ok()?,
        queue: request.queue,
        at_least_once: request.at_least_once,
    };
    Some((device(&request.device)?, new))
}

pub(super) fn refusal(error: &SubmitError) -> wire::Refusal {
    let mut refusal = wire::Refusal::default();
    let kind = match error {
        SubmitError::NotRegistered => refusal::Kind::NotRegistered,
        SubmitError::Asleep => refusal::Kind::Asleep,
        SubmitError::QueueFull { queued, limit } => {
            (refusal.queued, refusal.limit) = (*queued as u64, *limit as u64);
            refusal::Kind::QueueFull
        }
        SubmitError::InvalidCommand(text) => {
            refusal.detail.clone_from(text);
            refusal::Kind::InvalidCommand
        }
        SubmitError::NoSuchOperation => refusal::Kind::NoSuchOperation,
        SubmitError::NotCancellable => refusal::Kind::NotCancellable,
        SubmitError::Store(text) => {
            refusal.detail.clone_from(text);
            refusal::Kind::Store
        }
        SubmitError::Overloaded => refusal::Kind::Overloaded,
        SubmitError::Elsewhere => refusal::Kind::Elsewhere,
        SubmitError::Ended => refusal::Kind::Ended,
    };
    refusal.set_kind(kind);
    refusal
}

pub(super) fn refused(refusal: wire::Refusal) -> SubmitError {
    let count = |n| usize::try_from(n).unwrap_or(usize::MAX);
    match refusal.kind() {
        refusal::Kind::NotRegistered => SubmitError::NotRegistered,
        refusal::Kind::Asleep => SubmitError::Asleep,
        refusal::Kind::QueueFull => {
            SubmitError::QueueFull { queued: count(refusal.queued), limit: count(refusal.limit) }
        }
        refusal::Kind::InvalidCommand => SubmitError::InvalidCommand(refusal.detail),
        refusal::Kind::NoSuchOperation => SubmitError::NoSuchOperation,
        refusal::Kind::NotCancellable => SubmitError::NotCancellable,
        refusal::Kind::Store => SubmitError::Store(refusal.detail),
        refusal::Kind::Elsewhere => SubmitError::Elsewhere,
        refusal::Kind::Ended => SubmitError::Ended,
        refusal::Kind::Overloaded | refusal::Kind::Unspecified => SubmitError::Overloaded,
    }
}

/// The answer to a command, as one message of its stream.
pub(super) fn submit_answer(result: Result<Operation, SubmitError>) -> wire::SubmitAnswer {
    use wire::submit_answer::Answer;
    let answer = match result {
        Ok(operation) => Answer::Operation(operation),
        Err(error) => Answer::Refusal(refusal(&error)),
    };
    wire::SubmitAnswer { answer: Some(answer) }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use super::*;

    const VIA: PeerId = PeerId(NonZeroU32::MIN);

    #[test]
    fn a_presented_datagram_arrives_as_it_came_and_by_whom() {
        for (session, local) in [(Some(AssociationId::from_bytes([7; 8])), Some("10.0.0.1")), (None, None)] {
            let sent = Present {
                device: DeviceId::of("a"),
                session,
                socket: SocketId(1),
                peer: "[2001:db8::1]:5684".parse().unwrap(),
                local: local.map(|ip| ip.parse().unwrap()),
                bytes: b"record".to_vec().into(),
                relay: false,
            };
            let Body::Present(wire) = present(9, sent.clone(), false) else { panic!() };
            let (device, association, arrived) = presented(wire, VIA).unwrap();
            assert_eq!((device, association), (sent.device, session));
            assert_eq!((arrived.socket, arrived.from, arrived.to), (sent.socket, sent.peer, sent.local));
            assert_eq!((arrived.via, arrived.bytes), (Some(VIA), sent.bytes));
        }
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        let good =
            wire::Present { device: vec![1; 10], peer: vec![127, 0, 0, 1, 1, 1], ..wire::Present::default() };
        assert!(presented(good.clone(), VIA).is_some());
        for bad in [
            wire::Present { device: vec![1; 9], ..good.clone() },
            wire::Present { session: vec![1; 7], ..good.clone() },
            wire::Present { listener: 256, ..good.clone() },
            wire::Present { peer: vec![], ..good },
        ] {
            assert!(presented(bad, VIA).is_none());
        }
    }

    #[test]
    fn answers_and_refusals_keep_their_meaning() {
        for given in [Answer::Handled, Answer::Replay, Answer::Gone { term: 0 }, Answer::Busy] {
            let Body::Answer(wire) = answer(1, given) else { panic!() };
            assert_eq!((wire.question, answered(&wire)), (1, given));
        }
        for error in [
            SubmitError::NotRegistered,
            SubmitError::Asleep,
            SubmitError::QueueFull { queued: 64, limit: 64 },
            SubmitError::InvalidCommand("path".into()),
            SubmitError::NoSuchOperation,
            SubmitError::NotCancellable,
            SubmitError::Store("gone".into()),
            SubmitError::Overloaded,
            SubmitError::Elsewhere,
            SubmitError::Ended,
        ] {
            assert_eq!(refused(refusal(&error)), error);
        }
    }

    #[test]
    fn a_command_arrives_whole() {
        let new = NewOperation {
            id: "01".into(),
            command: godwit_proto::v1::Command::default(),
            ttl: Duration::from_millis(1_500),
            queue: true,
            at_least_once: true,
        };
        let (device, arrived) = submitted(submit(5, DeviceId::of("a"), new)).unwrap();
        assert_eq!(
            (device, arrived.id.as_str(), arrived.ttl),
            (DeviceId::of("a"), "01", Duration::from_millis(1_500))
        );
        assert!(arrived.queue && arrived.at_least_once);
    }

    #[test]
    fn what_leaves_by_a_peer_arrives_there_as_its_own() {
        let to = "10.0.0.9:1234".parse().unwrap();
        let sent = Transmit { to, from: Some([10, 0, 0, 1].into()), via: Some(VIA), bytes: vec![1, 2] };
        let Body::Transmit(wire) = transmit(vec![(SocketId(2), sent.clone())]) else { panic!() };
        let arrived: Vec<_> = transmitted(wire).collect();
        assert_eq!(arrived, [(SocketId(2), Transmit { via: None, ..sent })]);
    }
}
