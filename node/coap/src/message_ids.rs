//! Which message id comes next, so that none is used twice within EXCHANGE_LIFETIME (RFC 7252 §4.4).

use std::time::{Duration, Instant};

/// Ids in ascending order, round the 16-bit space.
///
/// Each half of the space remembers when it was last left or borrowed from, and is not entered again sooner than a
/// lifetime later. So a peer may use 32768 ids per lifetime (132 per second by default), at 40 bytes.
#[derive(Debug)]
pub(crate) struct MessageIds {
    next: u16,
    entered: bool,
    used: [Option<Instant>; 2],
}

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
            if let Some(free_at) = self.used[half(id)].map(|used| used + lifetime)
                && now < free_at
            {
                return Err(free_at);
            }
            self.entered = true;
        }
        self.used[half(id)] = Some(now);
        self.advance(id);
        Ok(id)
    }

    /// Marks an id that was taken from outside, or that leaves later than it was allocated.
    pub(crate) fn mark(&mut self, now: Instant, id: u16) {
        self.used[half(id)] = Some(now);
        if half(id) == half(self.next) && id >= self.next {
            self.advance(id);
        }
    }

    fn advance(&mut self, id: u16) {
        self.next = id.wrapping_add(1);
        self.entered &= half(self.next) == half(id);
    }
}

fn half(id: u16) -> usize {
    usize::from(id >> 15)
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
}
