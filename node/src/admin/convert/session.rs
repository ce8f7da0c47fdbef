//! DTLS sessions as the API shows them.

use godwit_dtls::suite::CipherSuite;
use godwit_proto::v1::device::{Session, session::State};

use super::{credential, timestamp};
use crate::store;

/// The sessions of a record, newest first.
pub(super) fn show_all(sessions: &[store::Session]) -> Vec<Session> {
    let mut sessions: Vec<_> = sessions.iter().collect();
    sessions.sort_by_key(|session| std::cmp::Reverse(session.established_at));
    sessions.into_iter().map(show).collect()
}

fn show(session: &store::Session) -> Session {
    let state = match (session.provisional, session.closed) {
        (true, _) => State::Provisional,
        (false, true) => State::Closed,
        (false, false) => State::Live,
    };
    Session {
        mode: credential::show_mode(session.mode).into(),
        cipher_suite: CipherSuite::from_id(session.suite).map_or("", CipherSuite::name).to_owned(),
        connection_id_length: session.cid.len() as u32,
        peer_connection_id_length: session.peer_cid.unwrap_or(0).into(),
        create_time: timestamp(session.established_at),
        resumed: session.resumed,
        last_heard_time: timestamp(session.heard_at),
        state: state.into(),
        remote_address: session.peer.map(|peer| peer.to_string()).unwrap_or_default(),
    }
}
