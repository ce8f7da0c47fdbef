//! Which message id comes next, so that none is used twice within EXCHANGE_LIFETIME (RFC 7252 §4.4).

use std::time::{Duration, Instant};

/// Ids in ascending order, round that half of the 16-bit space in which the first lies; the other half is a caller's to
/// give out, so that the two never meet.
///
/// Each quarter remembers when it was last left or borrowed from, and is not entered again sooner than a lifetime
/// later. So a peer may use 16384 ids per lifetime (66 per second by default), at 40 bytes.
#[derive(Debug)]
pub(crate) struct MessageIds {
    next: u16,
    entered: bool,
    used: [Option<Instant>; 2],
}

/// Says in which half of the space an id lies.
const UPPER: u16 = 0x8000;

impl MessageIds {
    pub(crate) fn new(first: u16) -> Self {
        Self { next: first, entered: true, used: [None; 2] }
    }

    pub(crate) fn next(&self) -> u16 {
        self.next
    }

    /// The next id; if none is free, when one will be.
    pub(crate) fn allocate(&mut self, now: Instant, lifetime: Duration) -> Result<u16, Instant> {
        let id = self.next;
        if !self.entered {
            if let Some(free_at) = self.used[quarter(id)].map(|used| used + lifetime)
                && now < free_at
            {
                return Err(free_at);
            }
            self.entered = true;
        }
        self.used[quarter(id)] = Some(now);
        self.advance(id);
        Ok(id)
    }

    /// Marks an id that was taken from outside, or that leaves later than it was allocated.
    pub(crate) fn mark(&mut self, now: Instant, id: u16) {
        if (id ^ self.next) & UPPER != 0 {
            return;
        }
        self.used[quarter(id)] = Some(now);
        if quarter(id) == quarter(self.next) && id >= self.next {
            self.advance(id);
        }
    }

    fn advance(&mut self, id: u16) {
        self.next = id & UPPER | id.wrapping_add(1) & !UPPER;
        self.entered &= quarter(self.next) == quarter(id);
    }
}

/// Which quarter of its half an id lies in.
fn quarter(id: u16) -> usize {
    usize::from(id >> 14 & 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(247);

    #[expect(clippy::disallowed_methods, reason = "an instant to start from; time is stepped")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn no_id_comes_twice_within_a_lifetime() {
        let start = start();
        let mut ids = MessageIds::new(0x3000);
        let mut last: Vec<Option<Instant>> = vec![None; 1 << 16];
        let mut now = start;
        for _ in 0..300_000 {
            match ids.allocate(now, LIFETIME) {
                Ok(id) => {
                    let before = last[usize::from(id)].replace(now);
                    assert!(
                        before.is_none_or(|before| now - before >= LIFETIME),
                        "{id} at {:?}",
                        now - start
                    );
                    now += Duration::from_millis(1);
                }
                Err(free_at) => {
                    assert!(free_at > now);
                    now = free_at;
                }
            }
        }
    }

    #[test]
    fn a_borrowed_id_is_skipped() {
        let now = start();
        let mut ids = MessageIds::new(0x3000);
        ids.mark(now, 0x3002);
        assert_eq!(ids.allocate(now, LIFETIME), Ok(0x3003));
        ids.mark(now, 0x2fff);
        assert_eq!(ids.allocate(now, LIFETIME), Ok(0x3004));
    }

    #[test]
    fn ids_of_a_caller_are_never_met() {
        let mut now = start();
        let mut ids = MessageIds::new(0x7ffe);
        for round in 0..100_000_u32 {
            ids.mark(now, UPPER | round as u16);
            match ids.allocate(now, LIFETIME) {
                Ok(id) => assert!(id < UPPER),
                Err(free_at) => now = free_at,
            }
        }
    }
}
