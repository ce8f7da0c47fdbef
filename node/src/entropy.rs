//! The only reader of the operating system's randomness.
//!
//! [`fill`] asks the kernel and is for keys. [`bytes()`] and [`u64()`] draw from a per-thread pool that one system call
//! refills, about 20 ns instead of 300: for tokens, message ids and identifiers on the datagram path.

use std::cell::RefCell;

use uuid::Uuid;

/// Fills a buffer with secret randomness straight from the kernel.
///
/// # Panics
/// When the kernel has no randomness to give, which ends a node at its start: nothing could be safe.
pub fn fill(buffer: &mut [u8]) {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads randomness")]
    getrandom::fill(buffer).expect("invariant: a booted Linux kernel always answers getrandom(2)");
}

/// `N` random bytes from this thread's pool; `N` up to 256. Each byte is handed out once and erased in the pool.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= POOL) };
    #[cfg(test)]
    if let Some(bytes) = simulated::bytes() {
        return bytes;
    }
    POOLED.with_borrow_mut(|pool| {
        if pool.left < N {
            fill(&mut pool.bytes);
            pool.left = POOL;
        }
        let mut out = [0; N];
        let start = pool.left - N;
        out.copy_from_slice(&pool.bytes[start..pool.left]);
        pool.bytes[start..pool.left].fill(0);
        pool.left = start;
        out
    })
}

/// A random `u64` from this thread's pool.
#[must_use]
pub fn u64() -> u64 {
    u64::from_ne_bytes(bytes())
}

/// `N` unbiased characters of `0-9A-Za-z`, 5.95 bits each: 12 of them make a registration id.
#[must_use]
pub fn base62<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    for slot in &mut out {
        *slot = loop {
            // 248 is the largest multiple of 62 in a byte; what lies above would favour the first characters.
            let [byte] = bytes::<1>();
            if byte < 248 {
                break ALPHABET[usize::from(byte % 62)];
            }
        };
    }
    out
}

/// A version 7 UUID: sorts by its millisecond, random within it. Operation ids are made so.
#[must_use]
pub fn uuid7(unix_ms: u64) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(unix_ms, &bytes()).into_uuid()
}

const POOL: usize = 256;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

struct Pool {
    bytes: [u8; POOL],
    left: usize,
}

thread_local! {
    static POOLED: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL], left: 0 }) };
}

/// Bytes that follow from a seed, for a thread whose test must be repeatable.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// From now on [`bytes()`](super::bytes()) goes by this seed; `None`: it is random again.
    pub(crate) fn seed(seed: Option<u64>) {
        STATE.set(seed);
    }

    pub(super) fn bytes<const N: usize>() -> Option<[u8; N]> {
        let mut state = STATE.get()?;
        let mut out = [0; N];
        for byte in &mut out {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = ((mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 56) as u8;
        }
        STATE.set(Some(state));
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn pooled_values_do_not_repeat_across_refills() {
        let drawn: HashSet<u64> = (0..10_000).map(|_| u64()).collect();
        assert_eq!(drawn.len(), 10_000);
    }

    #[test]
    fn the_pool_keeps_no_copy_of_what_it_gave() {
        let given: [u8; 32] = bytes();
        POOLED.with_borrow(|pool| {
            assert!(!pool.bytes.windows(32).any(|kept| kept == given));
        });
    }

    #[test]
    fn base62_uses_every_character_of_its_alphabet() {
        let seen: HashSet<u8> = (0..1000).flat_map(|_| base62::<12>()).collect();
        assert_eq!(seen.len(), 62);
    }

    #[test]
    fn a_uuid7_carries_its_time_and_version() {
        let id = uuid7(0x0123_4567_89ab);
        assert_eq!(id.get_version_num(), 7);
        assert!(id.to_string().starts_with("01234567-89ab-7"));
    }
}
