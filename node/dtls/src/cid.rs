//! The Connection IDs that we give out (RFC 9146): steerable, unguessable, and checked without a look-up.
//!
//! ```text
//! byte 0        1          2..6       6..8
//! gen(3) rnd(5) steering   random     HMAC(key of gen, bytes 0..6)
//! ```
//! The 3-bit generation names the layout and the tag's key; old ones stay configured as long as sessions carry them.
//! A wrong tag means a record that was never ours: dropped before any table or store is asked.

use ring::hmac;

/// Bytes of a Connection ID that we give out.
pub const CID_LEN: usize = 8;
const TAG_AT: usize = 6;

/// A Connection ID of ours.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid(pub [u8; CID_LEN]);

impl Cid {
    /// The byte that chooses the shard: `steering() % shards`.
    pub fn steering(&self) -> u8 {
        self.0[1]
    }

    /// Which key its tag was made with, 0 to 7.
    pub fn generation(&self) -> u8 {
        self.0[0] >> 5
    }
}

impl AsRef<[u8]> for Cid {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Cid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cid(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// The tag keys by generation, of which one makes new CIDs and the others are still known.
pub struct CidKeys {
    keys: [Option<hmac::Key>; 8],
    current: u8,
}

impl CidKeys {
    /// Keys with one generation, which makes new CIDs. `key`: 32 bytes that all nodes of a cluster share.
    ///
    /// # Panics
    /// If `generation` is above 7.
    pub fn new(generation: u8, key: &[u8]) -> Self {
        let keys = [const { None }; 8];
        Self { keys, current: generation }.with_known(generation, key)
    }

    /// Also knows CIDs of another generation.
    ///
    /// # Panics
    /// If `generation` is above 7.
    #[must_use]
    pub fn with_known(mut self, generation: u8, key: &[u8]) -> Self {
        assert!(generation < 8, "invariant: generations have 3 bits");
        self.keys[usize::from(generation)] = Some(hmac::Key::new(hmac::HMAC_SHA256, key));
        self
    }

    /// A new CID from five random bytes. Its uniqueness (40 bits under one steering byte) is the caller's to ensure.
    pub fn mint(&self, random: [u8; 5], steering: u8) -> Cid {
        let [first, a, b, c, d] = random;
        let mut cid = [self.current << 5 | first & 0x1f, steering, a, b, c, d, 0, 0];
        if let Some(tag) = self.tag(&cid) {
            cid[TAG_AT..].copy_from_slice(&tag);
        }
        Cid(cid)
    }

    /// The CID of a received record, if one of our cluster made it. One HMAC, no look-up.
    pub fn recognise(&self, cid: &[u8]) -> Option<Cid> {
        let cid = <[u8; CID_LEN]>::try_from(cid).ok()?;
        let [high, low] = self.tag(&cid)?;
        // No early end: nobody shall learn a tag byte by byte.
        let difference = (high ^ cid[TAG_AT]) | (low ^ cid[TAG_AT + 1]);
        (difference == 0).then_some(Cid(cid))
    }

    /// Whether one of our cluster made this CID.
    pub fn check(&self, cid: &[u8]) -> bool {
        self.recognise(cid).is_some()
    }

    fn tag(&self, cid: &[u8; CID_LEN]) -> Option<[u8; CID_LEN - TAG_AT]> {
        let key = self.keys[usize::from(cid[0] >> 5)].as_ref()?;
        let mac = hmac::sign(key, &cid[..TAG_AT]);
        Some([mac.as_ref()[0], mac.as_ref()[1]])
    }
}

impl std::fmt::Debug for CidKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known: Vec<_> = (0..8).filter(|&generation| self.keys[generation].is_some()).collect();
        f.debug_struct("CidKeys").field("current", &self.current).field("known", &known).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_cid_is_recognised_and_steers() {
        let keys = CidKeys::new(5, &[7; 32]);
        let cid = keys.mint([0xff, 1, 2, 3, 4], 0x2a);
        assert_eq!((cid.generation(), cid.steering()), (5, 0x2a));
        assert_eq!(keys.recognise(cid.as_ref()), Some(cid));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let keys = CidKeys::new(0, &[7; 32]).with_known(1, &[8; 32]);
        let cid = keys.mint([9; 5], 3);
        for bit in 0..64 {
            let mut forged = cid.0;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!keys.check(&forged), "bit {bit}");
        }
    }

    #[test]
    fn an_older_generation_stays_known_and_an_unknown_one_does_not() {
        let old = CidKeys::new(1, &[1; 32]).mint([0; 5], 0);
        let both = CidKeys::new(2, &[2; 32]).with_known(1, &[1; 32]);
        assert!(both.check(&old.0));
        assert_eq!(both.mint([0; 5], 0).generation(), 2);
        assert!(!CidKeys::new(2, &[2; 32]).check(&old.0));
    }

    #[test]
    fn other_lengths_are_not_ours() {
        let keys = CidKeys::new(0, &[7; 32]);
        let cid = keys.mint([9; 5], 3);
        assert!(!keys.check(&cid.0[..7]) && !keys.check(&[]));
        assert!(!keys.check(&[&cid.0[..], &[0]].concat()));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", CidKeys::new(3, &[7; 32])), "CidKeys { current: 3, known: [3] }");
    }
}
