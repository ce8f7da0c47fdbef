//! From a record of an unknown peer to the session that it belongs to.
//!
//! Nothing moves here: the device's record was only read. A record that does not open under the stored keys is dropped.

use std::{net::SocketAddr, time::Instant};

use godwit_dtls::{Association, Numbering, cid::Cid};

use super::{
    ground::{Ground, Minted},
    path::Place,
    stored,
};
use crate::{
    identity::{AssociationId, DeviceId},
    shard::ActorKey,
    store::{DeviceRecord, Pointer, Session},
};

/// What a record says of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// It carries this Connection ID, which is one of ours.
    Named(Cid),
    /// It comes from this address, without a Connection ID.
    At(SocketAddr),
}

impl Wanted {
    /// What finds the device in the store.
    pub fn pointer(&self) -> Pointer {
        match self {
            Self::Named(cid) => Pointer::Cid(cid.0.to_vec()),
            Self::At(address) => Pointer::SessionAddress(*address),
        }
    }

    fn is(&self, session: &Session) -> bool {
        match self {
            Self::Named(cid) => session.cid == cid.0,
            Self::At(address) => session.cid.is_empty() && session.peer == Some(*address),
        }
    }

    /// By which Connection ID its records come.
    pub fn cid(&self) -> Option<Cid> {
        match self {
            Self::Named(cid) => Some(*cid),
            Self::At(_) => None,
        }
    }
}

impl Ground {
    /// The session of a device to which one of these datagrams verifiably belongs, and which datagram. Costs a key schedule and one decryption per
    /// datagram and session.
    pub fn authenticate(
        &self,
        now: Instant,
        device: DeviceId,
        record: &DeviceRecord,
        wanted: Wanted,
        datagrams: &[(Place, Box<[u8]>)],
    ) -> Option<(AssociationId, usize)> {
        let live = record.sessions.iter().filter(|session| session.is_live() && wanted.is(session));
        let own = live.filter_map(|session| {
            let stored = stored::open(&self.settings().sealer, device, session, false)?;
            Some((session.association, stored))
        });
        own.into_iter().find_map(|(association, stored)| {
            // Of no use but this: what it says is thrown away with it.
            let mut trial = Association::resume(stored, Numbering::Jump);
            let fits = datagrams.iter().position(|(_, datagram)| {
                let act = |cx: &mut godwit_dtls::Context<'_>| trial.handle_datagram(cx, datagram);
                self.with(now, NOBODY, &mut Minted::new(), act).is_authentic()
            });
            fits.map(|at| (association, at))
        })
    }
}

/// No actor has this key: a trial makes no names.
const NOBODY: ActorKey = ActorKey { index: u32::MAX, generation: u32::MAX };
