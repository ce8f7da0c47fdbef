//! Lanes: each shard's share of the nonce space, so that no two of them ever make the same nonce.

/// How many lanes there are: 12 bits of a nonce.
pub const LANES: u16 = 1 << 12;

/// How far ahead of the clock an embedded store acknowledges seconds. It is written twice in that time, and after a
/// clean restart nonces run this far ahead of the clock, until that has caught up.
pub const AHEAD: u32 = 3_600;

/// The same of a store that several processes share: a lane is theirs for so long after their last sign of life.
pub const SHARED_AHEAD: u32 = 30;

/// A lane as it was taken. Seconds are Unix time: of a clock that never goes back, not always of the wall's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// Below [`LANES`].
    pub number: u16,
    /// The first second that may be opened; what the holder's clock says at least.
    pub from: u32,
    /// The last second that may be opened, unless the lane is extended.
    pub until: u32,
}
