//! What all secured connections of a process share.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use godwit_dtls::Config;

use super::allowance::Allowance;
use crate::{
    admission::Admission,
    keys::{ClusterKeys, Trust},
    seal::Sealer,
};

/// Keys, limits, and what the server offers.
pub struct Settings {
    /// What makes and recognises Connection IDs and cookies.
    pub cluster: ClusterKeys,
    /// Seals what is stored of sessions, and opens credentials.
    pub sealer: Arc<Sealer>,
    /// Budgets for strangers.
    pub admission: Arc<Admission>,
    /// Numbers are written before each answer (`dtls.replay_floor = "strict"`).
    pub strict_floor: bool,
    /// Of what devices do that can't log in.
    pub(in crate::connection) told: Allowance,
    offer: Mutex<Offer>,
    changes: AtomicU64,
}

/// What may change while the node runs.
#[derive(Clone)]
pub(super) struct Offer {
    pub(super) engine: Arc<Config>,
    pub(super) trust: Arc<Trust>,
    changes: u64,
}

impl Settings {
    /// Settings that begin with this offer.
    pub fn new(
        engine: Config,
        trust: Trust,
        cluster: ClusterKeys,
        sealer: Arc<Sealer>,
        admission: Arc<Admission>,
        strict_floor: bool,
    ) -> Self {
        let offer = Mutex::new(Offer { engine: Arc::new(engine), trust: Arc::new(trust), changes: 0 });
        let changes = AtomicU64::new(0);
        let told = Allowance::default();
        Self { cluster, sealer, admission, strict_floor, told, offer, changes }
    }

    /// Serves by another key pair, other authorities or other modes from now on. Sessions and handshakes go on.
    pub fn replace(&self, engine: Config, trust: Trust) {
        let mut offer = self.offer.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = offer.changes + 1;
        *offer = Offer { engine: Arc::new(engine), trust: Arc::new(trust), changes };
        self.changes.store(changes, Ordering::Release);
    }

    pub(super) fn offer(&self) -> Offer {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an offer that was taken earlier still holds. Costs a load of what no other core writes.
    pub(super) fn holds(&self, offer: &Offer) -> bool {
        self.changes.load(Ordering::Acquire) == offer.changes
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("admission", &self.admission).finish_non_exhaustive()
    }
}
