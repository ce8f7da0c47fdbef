//! Finished.

use crate::wire::{Malformed, Reader};

/// The proof that both saw the same handshake (RFC 5246 §7.4.9); to be compared in constant time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished<'a>(pub &'a [u8; 12]);

impl<'a> Finished<'a> {
    /// Twelve bytes, as every suite of this crate has it.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let verify_data = reader.array()?;
        reader.finish()?;
        Ok(Finished(verify_data))
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}
