//! What the client sent and the handshake has not taken yet.

use crate::{
    fate::{Dropped, Used},
    message::{Fragment, Message},
    reassembly::{Limits, Reassembly, Taken},
    record::{ContentType, Record},
};

/// Messages under way, and protected records that came before their keys.
pub(super) struct Incoming {
    reassembly: Reassembly,
    early: Vec<EarlyRecord>,
}

/// A received record that owns its bytes.
pub(super) struct EarlyRecord {
    content_type: ContentType,
    version: u16,
    epoch: u16,
    number: u64,
    cid: Box<[u8]>,
    fragment: Box<[u8]>,
}

impl Incoming {
    /// The client's Finished, and whatever overtook it.
    const EARLY: usize = 2;
    /// No record of a flight that overtakes is longer.
    const EARLY_LEN: usize = 2048;

    /// Expects message `first` next.
    pub(super) fn new(first: u16) -> Self {
        Self { reassembly: Reassembly::new(first, Limits::default()), early: Vec::new() }
    }

    pub(super) fn accept(&mut self, fragment: &Fragment<'_>) -> Result<Used, Dropped> {
        match self.reassembly.accept(fragment) {
            Taken::Kept | Taken::Known => Ok(Used::Unproven),
            Taken::Repeated => Err(Dropped::Unprotected),
            Taken::Later | Taken::TooLong => Err(Dropped::Full),
            Taken::Contradiction => Err(Dropped::Malformed),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        self.reassembly.pop()
    }

    /// From here on messages come in protected records: none that came in the clear may take their place.
    pub(super) fn begin_protected(&mut self) {
        self.reassembly = Reassembly::new(self.reassembly.expected(), Limits::default());
    }

    pub(super) fn keep_early(&mut self, record: &Record<'_>) -> Result<Used, Dropped> {
        if self.early.len() == Self::EARLY || record.fragment.len() > Self::EARLY_LEN {
            return Err(Dropped::Full);
        }
        self.early.push(EarlyRecord {
            content_type: record.content_type,
            version: record.version,
            epoch: record.epoch,
            number: record.number,
            cid: record.cid.into(),
            fragment: record.fragment.into(),
        });
        Ok(Used::Unproven)
    }

    pub(super) fn take_early(&mut self) -> Vec<EarlyRecord> {
        std::mem::take(&mut self.early)
    }
}

impl EarlyRecord {
    pub(super) fn view(&self) -> Record<'_> {
        let Self { content_type, version, epoch, number, .. } = *self;
        Record { content_type, version, epoch, number, cid: &self.cid, fragment: &self.fragment }
    }
}
