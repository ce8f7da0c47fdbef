//! Bodies by offset: block-wise transfer never needs a whole one in memory.

use std::fmt;

/// Where a body that goes out block by block comes from.
///
/// Reads must be quick: they happen while a datagram is handled. The same range may be read again (a block is asked for
/// twice) and must give the same bytes.
pub trait BodySource: fmt::Debug + Send {
    /// The size in bytes, if known. A known size goes out as Size1 or Size2 with the first block.
    fn size(&self) -> Option<u64>;

    /// Appends up to `len` bytes from `offset` to `out`. Fewer than `len` mean that the body ends there.
    fn read(&mut self, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<(), BodyError>;
}

/// Where a body that comes in block by block goes.
pub trait BodySink: fmt::Debug + Send {
    /// How many bytes it takes at most. More end the transfer: 4.13 with this as Size1, or a failed exchange.
    fn limit(&self) -> u64;

    /// Takes `bytes` at `offset`. Offsets come in order without gaps; offset 0 again means that the body starts over.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BodyError>;

    /// What was gathered, if the sink is to hand it over as the payload of the event. Sinks that write elsewhere
    /// return nothing.
    fn take(&mut self) -> Vec<u8>;
}

/// Why a source or sink cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body has changed or is gone.
    #[error("the body is gone")]
    Gone,
    /// No room is left.
    #[error("no room for the body")]
    Full,
    /// Reading or writing failed.
    #[error("the body cannot be read or written")]
    Failed,
}

impl BodySource for Vec<u8> {
    fn size(&self) -> Option<u64> {
        Some(self.len() as u64)
    }

    fn read(&mut self, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let start = usize::try_from(offset).map_or(self.len(), |offset| offset.min(self.len()));
        let end = start.saturating_add(len).min(self.len());
        out.extend_from_slice(&self[start..end]);
        Ok(())
    }
}

/// A sink that gathers the body in memory, up to a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySink {
    limit: u64,
    bytes: Vec<u8>,
}

impl MemorySink {
    /// An empty sink for at most `limit` bytes; memory grows with what arrives.
    pub fn new(limit: u64) -> Self {
        Self { limit, bytes: Vec::new() }
    }
}

impl BodySink for MemorySink {
    fn limit(&self) -> u64 {
        self.limit
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BodyError> {
        if offset == 0 {
            self.bytes.clear();
        }
        if offset != self.bytes.len() as u64 {
            return Err(BodyError::Gone);
        }
        if offset.saturating_add(bytes.len() as u64) > self.limit {
            return Err(BodyError::Full);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_vector_is_read_at_any_offset() {
        let mut source = b"0123456789".to_vec();
        let mut out = Vec::new();
        source.read(8, 4, &mut out).unwrap();
        source.read(10, 4, &mut out).unwrap();
        source.read(u64::MAX, 4, &mut out).unwrap();
        assert_eq!(out, b"89");
    }

    #[test]
    fn a_memory_sink_keeps_to_its_limit() {
        let mut sink = MemorySink::new(4);
        sink.write(0, b"abc").unwrap();
        assert_eq!(sink.write(3, b"de"), Err(BodyError::Full));
        assert_eq!(sink.write(2, b"d"), Err(BodyError::Gone));
        sink.write(3, b"d").unwrap();
        assert_eq!(sink.take(), b"abcd");
    }
}
