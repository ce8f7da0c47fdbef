//! Sessions on their way to and from the store: sealed keys, open numbers.

use std::net::SocketAddr;

use godwit_dtls::{self as dtls, Stage, StoredSession, window::ReplayWindow};

use super::{path::Place, subject::Subject};
use crate::{
    identity::{AssociationId, DeviceId, SessionId},
    seal::Sealer,
    store::{Numbers, Session, value::credential::Mode},
};

/// The session of a handshake as its device's record keeps it. `bound`: the address of the socket.
pub(in crate::connection) fn seal(
    sealer: &Sealer,
    subject: &Subject,
    session: &StoredSession,
    provisional: bool,
    place: Place,
    bound: SocketAddr,
    unix_ms: u64,
) -> Session {
    let association = AssociationId::from_bytes(session.name().0);
    Session {
        association,
        id: SessionId::from_bytes(session.id().0),
        provisional,
        resumed: provisional,
        closed: false,
        numbers: numbers(&session.numbers),
        established_at: unix_ms,
        heard_at: unix_ms,
        expires_at: 0,
        cid: session.cid().map(|cid| cid.0.to_vec()).unwrap_or_default(),
        peer_cid: u8::try_from(session.peer_cid().len()).ok().filter(|length| *length > 0),
        peer: Some(place.remote),
        local: Some(SocketAddr::new(place.local.unwrap_or(bound.ip()), bound.port())),
        mode: subject.mode,
        suite: session.suite().id(),
        credential_version: subject.credential,
        sealed: sealer.seal_session(subject.device, association, &session.encode_secrets()),
        answer: session.numbers.encode(),
    }
}

/// The session of a record, to go on with or to resume. `None`, with a line in the log: it is sealed under a key that is
/// gone, or damaged.
pub(in crate::connection) fn open(
    sealer: &Sealer,
    device: DeviceId,
    session: &Session,
    exact: bool,
) -> Option<StoredSession> {
    let secrets = match sealer.open_session(device, session.association, &session.sealed) {
        Ok(secrets) => secrets,
        Err(error) => {
            tracing::error!(%device, %error, "a session can't be unsealed; its device must handshake again");
            return None;
        }
    };
    let stage = match dtls::Numbers::decode(&session.answer) {
        Ok(at_handshake) => at_handshake.stage,
        // It was not kept: whatever could have asked for it has come.
        Err(_) => Stage::Settled,
    };
    let Numbers { write_mark, read_floor, read_window } = session.numbers;
    let numbers = dtls::Numbers {
        // Exact numbers have no headroom: the mark is the next number.
        write_next: if exact { write_mark } else { 0 },
        write_mark,
        window: ReplayWindow::from_parts(read_floor, read_window),
        stage,
    };
    match StoredSession::decode(&secrets, &numbers.encode()) {
        Ok(stored) => Some(stored),
        Err(error) => {
            tracing::error!(%device, %error, "a session can't be read; its device must handshake again");
            None
        }
    }
}

/// Numbers with their headroom, as a record keeps them.
pub(in crate::connection) fn numbers(numbers: &dtls::Numbers) -> Numbers {
    Numbers {
        write_mark: numbers.write_mark,
        read_floor: numbers.window.floor(),
        read_window: numbers.window.bits(),
    }
}

/// A mode, as credentials name it.
pub(in crate::connection) fn mode(mode: dtls::Mode) -> Mode {
    match mode {
        dtls::Mode::Psk => Mode::Psk,
        dtls::Mode::RawPublicKey => Mode::Rpk,
        dtls::Mode::X509 => Mode::X509,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PSK session of the first version, with its keys, in the engine's layout.
    fn secrets() -> Vec<u8> {
        let key = |key: u8| [&[0x15, 1][..], &[key; 16], &[key; 4]].concat();
        let head = [&[1, 0xc0, 0xa8, 5, 2][..], &[0xc1; 8], &[0x1d; 32], &[0, 0, 0, 0, 0x67, 0x45, 0x23, 1]];
        let tail = [&[0x3a; 48][..], &key(0x10), &key(0x20), &[8], &[0xcc; 8], &[19], &[0x5b; 19]];
        [head.concat(), tail.concat()].concat()
    }

    #[test]
    fn the_read_floor_of_a_record_is_one_above_the_highest_number_that_was_accepted() {
        let (sealer, device) = (Sealer::new(&[1; 32]), DeviceId::of("a"));
        let mut window = ReplayWindow::new();
        for number in [4, 7] {
            window.accept(number);
        }
        let kept = numbers(&dtls::Numbers { write_next: 3, write_mark: 9, window, stage: Stage::Settled });
        assert_eq!(kept, Numbers { write_mark: 9, read_floor: 8, read_window: 0b1001 });
        let association = AssociationId::from_bytes([0xc1; 8]);
        let session = Session {
            association,
            id: SessionId::from_bytes([0x1d; 32]),
            provisional: false,
            resumed: false,
            closed: false,
            numbers: kept,
            established_at: 1,
            heard_at: 1,
            expires_at: 0,
            cid: vec![0xc1; 8],
            peer_cid: Some(8),
            peer: None,
            local: None,
            mode: Mode::Psk,
            suite: 0xc0a8,
            credential_version: 1,
            sealed: sealer.seal_session(device, association, &secrets()),
            answer: Vec::new(),
        };
        let read = open(&sealer, device, &session, true).unwrap().numbers.window;
        let replayed: Vec<_> = (0..12).filter(|number| !read.fresh(*number)).collect();
        assert_eq!(replayed, [4, 7], "8 is the first that is new, and what was skipped may still come");
    }
}
