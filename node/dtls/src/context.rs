//! What a shard lends to its associations for each input.

use std::time::Instant;

use ring::rand::SecureRandom;

use crate::{config::Config, naming::Naming, nonce::NonceSource, protection::Lane};

/// What every input may use. All of it belongs to the shard, none to the association.
pub struct Context<'a> {
    /// The time, never going back.
    pub now: Instant,
    /// Unix time in seconds by the cluster's clock: for nonces and for the age of sessions.
    pub unix: u64,
    /// The settings of the moment.
    pub config: &'a Config,
    /// The shard's one source of nonces.
    pub nonces: &'a mut NonceSource,
    /// For keys, randoms and IVs.
    pub random: &'a dyn SecureRandom,
    /// For the names of new sessions.
    pub naming: &'a mut dyn Naming,
}

impl Context<'_> {
    pub(crate) fn lane(&mut self) -> Lane<'_> {
        Lane {
            nonces: self.nonces,
            second: u32::try_from(self.unix).unwrap_or(u32::MAX),
            random: self.random,
        }
    }
}
