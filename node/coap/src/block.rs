//! The value of a Block1 or Block2 option (RFC 7959 §2.2).

/// One block of a body: which, whether more follow, and of what size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block {
    number: u32,
    more: bool,
    size: BlockSize,
}

/// A block size of 16 to 1024 bytes: the exponent SZX, 0 to 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize(u8);

/// Why an option value is no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// More than three bytes.
    #[error("block option of {0} bytes")]
    Length(usize),
    /// SZX 7 is reserved (over UDP).
    #[error("reserved block size")]
    ReservedSize,
}

impl BlockSize {
    /// 1024 bytes.
    pub const MAX: Self = Self(6);
    /// 16 bytes.
    pub const MIN: Self = Self(0);

    /// The size of this exponent; `None` above 6.
    pub const fn from_exponent(szx: u8) -> Option<Self> {
        if szx <= 6 { Some(Self(szx)) } else { None }
    }

    /// The largest size of at most `bytes`; `None` under 16.
    pub const fn fitting(bytes: usize) -> Option<Self> {
        if bytes < 16 {
            return None;
        }
        let exponent = bytes.ilog2() - 4;
        Some(if exponent > 6 { Self(6) } else { Self(exponent as u8) })
    }

    /// The exponent SZX.
    pub const fn exponent(self) -> u8 {
        self.0
    }

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        16 << self.0
    }
}

impl Block {
    /// The largest block number: 20 bits.
    pub const MAX_NUMBER: u32 = (1 << 20) - 1;

    /// The block with this number; `None` if that has more than 20 bits.
    pub const fn new(number: u32, more: bool, size: BlockSize) -> Option<Self> {
        if number <= Self::MAX_NUMBER { Some(Self { number, more, size }) } else { None }
    }

    /// The block that begins at `offset`; `None` if that is no multiple of the size or too far.
    pub fn at(offset: u64, more: bool, size: BlockSize) -> Option<Self> {
        let bytes = size.bytes() as u64;
        if !offset.is_multiple_of(bytes) {
            return None;
        }
        Self::new(u32::try_from(offset / bytes).ok()?, more, size)
    }

    /// Reads an option value of 0 to 3 bytes.
    pub fn decode(value: &[u8]) -> Result<Self, BlockError> {
        if value.len() > 3 {
            return Err(BlockError::Length(value.len()));
        }
        let bits = value.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let size = BlockSize::from_exponent((bits & 7) as u8).ok_or(BlockError::ReservedSize)?;
        Ok(Self { number: bits >> 4, more: bits & 8 != 0, size })
    }

    /// The value as a number, for the shortest option of at most three bytes.
    pub const fn bits(self) -> u32 {
        self.number << 4 | (self.more as u32) << 3 | self.size.0 as u32
    }

    /// The block number.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// Whether blocks follow this one.
    pub const fn more(self) -> bool {
        self.more
    }

    /// The block size.
    pub const fn size(self) -> BlockSize {
        self.size
    }

    /// Where the block begins in its body, in bytes.
    pub const fn offset(self) -> u64 {
        self.number as u64 * self.size.bytes() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_values_of_every_length_are_read() {
        assert_eq!(Block::decode(&[]), Ok(Block { number: 0, more: false, size: BlockSize::MIN }));
        assert_eq!(Block::decode(&[0x0e]), Ok(Block { number: 0, more: true, size: BlockSize::MAX }));
        let far = Block::decode(&[0xff, 0xff, 0xf6]).unwrap();
        assert_eq!((far.number(), far.offset()), (Block::MAX_NUMBER, (1024 << 20) - 1024));
        assert_eq!(far.bits(), 0x00ff_fff6);
    }

    #[test]
    fn bad_block_values_are_refused() {
        assert_eq!(Block::decode(&[7]), Err(BlockError::ReservedSize));
        assert_eq!(Block::decode(&[0; 4]), Err(BlockError::Length(4)));
    }

    #[test]
    fn a_block_begins_only_at_a_multiple_of_its_size() {
        assert_eq!(Block::at(64, false, BlockSize(1)).unwrap().number(), 2);
        assert_eq!(Block::at(63, false, BlockSize(1)), None);
        assert_eq!(BlockSize::fitting(1500).unwrap().bytes(), 1024);
        assert_eq!(BlockSize::fitting(127).unwrap().bytes(), 64);
        assert_eq!(BlockSize::fitting(15), None);
    }
}
