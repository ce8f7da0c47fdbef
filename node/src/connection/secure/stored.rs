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
