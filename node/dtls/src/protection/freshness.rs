//! What makes each record's encryption unlike every other's: nonces that never repeat, IVs that nobody foresees.

use ring::rand::SecureRandom;

use super::SealError;
use crate::{nonce::NonceSource, record::Header};

/// Where a record's explicit nonce (AEAD) or IV (CBC) comes from.
pub trait Freshness {
    /// Eight bytes that never repeat under the same key (RFC 5116 §3.2).
    fn nonce(&mut self, header: &Header<'_>) -> Result<[u8; 8], SealError>;
    /// Sixteen unpredictable bytes (RFC 5246 §6.2.3.2).
    fn iv(&mut self) -> Result<[u8; 16], SealError>;
}

/// A shard's lane: unique whatever happens to the session's numbers. What the node seals with.
pub struct Lane<'a> {
    /// The shard's one source.
    pub nonces: &'a mut NonceSource,
    /// Unix time by the cluster's clock.
    pub second: u32,
    /// For CBC's IVs.
    pub random: &'a dyn SecureRandom,
}

impl Freshness for Lane<'_> {
    fn nonce(&mut self, _: &Header<'_>) -> Result<[u8; 8], SealError> {
        Ok(self.nonces.next(self.second)?)
    }

    fn iv(&mut self) -> Result<[u8; 16], SealError> {
        random_iv(self.random)
    }
}

/// The nonce is epoch and record number, as most clients choose it: right only where a number is never used twice,
/// so for a peer that lives and dies in one process.
pub struct ByNumber<'a> {
    /// For CBC's IVs.
    pub random: &'a dyn SecureRandom,
}

impl Freshness for ByNumber<'_> {
    fn nonce(&mut self, header: &Header<'_>) -> Result<[u8; 8], SealError> {
        Ok(header.epoch_and_number().to_be_bytes())
    }

    fn iv(&mut self) -> Result<[u8; 16], SealError> {
        random_iv(self.random)
    }
}

fn random_iv(random: &dyn SecureRandom) -> Result<[u8; 16], SealError> {
    let mut iv = [0; 16];
    random.fill(&mut iv).map_err(|_| SealError::NoEntropy)?;
    Ok(iv)
}
