//! Comparisons that take the same time and touch the same memory whatever the values: all ones for true, else zero.
//!
//! Values must be below 2³¹; record lengths are.

use std::hint::black_box;

/// `a < b`. The result passes a barrier, so that no branch on it is made.
pub(super) fn less(a: u32, b: u32) -> u32 {
    black_box(0u32.wrapping_sub(a.wrapping_sub(b) >> 31))
}

/// `a == b`.
pub(super) fn equal(a: u32, b: u32) -> u32 {
    let difference = a ^ b;
    black_box(!0u32.wrapping_sub((difference | difference.wrapping_neg()) >> 31))
}

/// `a` where the mask is set, else `b`.
pub(super) fn select(mask: u32, a: u32, b: u32) -> u32 {
    mask & a | !mask & b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_agree_with_the_operators() {
        let values = [0, 1, 2, 31, 32, 255, 256, 0x4800, (1 << 31) - 1];
        for a in values {
            for b in values {
                assert_eq!(less(a, b) == u32::MAX, a < b, "{a} < {b}");
                assert_eq!(equal(a, b) == u32::MAX, a == b, "{a} == {b}");
                assert!([0, u32::MAX].contains(&less(a, b)) && [0, u32::MAX].contains(&equal(a, b)));
                assert_eq!(select(less(a, b), a, b), a.min(b));
            }
        }
    }
}
