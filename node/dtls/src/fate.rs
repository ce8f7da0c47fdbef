//! What became of each record of a datagram.

use std::fmt;

/// Why a record had no effect. Nothing is ever sent because of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Dropped {
    /// The header or a handshake fragment doesn't parse, or is cut short.
    Malformed,
    /// No keys for its DTLS epoch, or a Connection ID that is not this association's.
    NoKeys,
    /// Not from who holds the keys.
    NotAuthentic,
    /// Its number was seen, or lies behind the window of 64.
    Replayed,
    /// In epoch 0 where only authenticated records count: alerts, stray or repeated handshake messages.
    Unprotected,
    /// A kind or a moment that has no use for it.
    Unexpected,
    /// A bound was reached: early records, fragments, records that wait for the store.
    Full,
}

impl Dropped {
    /// All of them, for tables of counters.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::NoKeys,
        Self::NotAuthentic,
        Self::Replayed,
        Self::Unprotected,
        Self::Unexpected,
        Self::Full,
    ];

    /// In snake case, as a metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoKeys => "no_keys",
            Self::NotAuthentic => "not_authentic",
            Self::Replayed => "replayed",
            Self::Unprotected => "unprotected",
            Self::Unexpected => "unexpected",
            Self::Full => "full",
        }
    }
}

/// Each record of one datagram: counted as used or by why it was dropped.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct Fate {
    used: u16,
    authentic: u16,
    dropped: [u16; Dropped::ALL.len()],
}

impl Fate {
    /// Records that had an effect or will have one.
    #[must_use]
    pub fn used(&self) -> u16 {
        self.used
    }

    /// Whether a record proved that its sender holds this association's keys.
    #[must_use]
    pub fn is_authentic(&self) -> bool {
        self.authentic > 0
    }

    /// How many records were dropped, for each reason that occurred.
    pub fn dropped(&self) -> impl Iterator<Item = (Dropped, u16)> + '_ {
        Dropped::ALL.into_iter().zip(self.dropped).filter(|(_, count)| *count > 0)
    }

    pub(crate) fn note(&mut self, record: Result<Used, Dropped>) {
        match record {
            Ok(used) => {
                self.used = self.used.saturating_add(1);
                self.authentic = self.authentic.saturating_add((used == Used::Authentic).into());
            }
            Err(why) => {
                let count = &mut self.dropped[why as usize];
                *count = count.saturating_add(1);
            }
        }
    }
}

impl fmt::Debug for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Fate");
        debug.field("used", &self.used);
        for (why, count) in self.dropped() {
            debug.field(why.label(), &count);
        }
        debug.finish()
    }
}

/// How a record was of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Used {
    /// Its sender holds the keys.
    Authentic,
    /// It proved nothing: epoch 0, or kept for later.
    Unproven,
}
