//! What servers observe, in one slab for the whole fleet.

/// No observation; ends a device's list.
pub(crate) const NONE: u32 = u32::MAX;

/// Observations that one device accepts; beyond it a GET is answered without Observe, RFC 7641 §4.1.
const PER_DEVICE: usize = 64;

/// One observation of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    next: u32,
    token: [u8; 8],
    token_length: u8,
    /// The content format in which the observer wants its notifications.
    pub(crate) format: u16,
    /// Which [`Target`](crate::target::Target) is observed.
    pub(crate) target: u32,
}

const _: () = assert!(size_of::<Observation>() <= 24);

impl Observation {
    pub(crate) fn token(&self) -> &[u8] {
        &self.token[..usize::from(self.token_length)]
    }
}

/// Linked lists within one vector: a device holds only the index of its first observation.
#[derive(Default)]
pub(crate) struct Observations {
    slab: Vec<Observation>,
    free: Vec<u32>,
    observed: u32,
}

impl Observations {
    /// Observations of the whole fleet.
    pub(crate) fn count(&self) -> usize {
        self.slab.len() - self.free.len()
    }

    /// Devices with at least one observation.
    pub(crate) fn devices(&self) -> u32 {
        self.observed
    }

    pub(crate) fn observation(&self, at: u32) -> &Observation {
        &self.slab[at as usize]
    }

    /// Adds an observation, or gives the one of the same target its new token and format (RFC 7641 §4.1 knows
    /// only the token; a device that kept both would send every value twice). `None` when the list is full.
    pub(crate) fn put(&mut self, head: &mut u32, target: u32, token: &[u8], format: u16) -> Option<u32> {
        let mut bytes = [0; 8];
        bytes[..token.len()].copy_from_slice(token);
        let (mut at, mut length) = (*head, 0);
        while at != NONE {
            let known = &mut self.slab[at as usize];
            if known.target == target {
                (known.token, known.token_length, known.format) = (bytes, token.len() as u8, format);
                return Some(at);
            }
            (at, length) = (known.next, length + 1);
        }
        if length == PER_DEVICE {
            return None;
        }
        self.observed += u32::from(*head == NONE);
        let token_length = token.len() as u8;
        let new = Observation { next: *head, token: bytes, token_length, format, target };
        *head = match self.free.pop() {
            Some(at) => {
                self.slab[at as usize] = new;
                at
            }
            None => {
                self.slab.push(new);
                (self.slab.len() - 1) as u32
            }
        };
        Some(*head)
    }

    /// Ends the observations that `ended` picks; answers how many they were.
    pub(crate) fn remove(&mut self, head: &mut u32, ended: impl Fn(u32, &Observation) -> bool) -> usize {
        let (mut at, mut before, mut removed) = (*head, NONE, 0);
        while at != NONE {
            let next = self.slab[at as usize].next;
            if ended(at, &self.slab[at as usize]) {
                match before {
                    NONE => *head = next,
                    before => self.slab[before as usize].next = next,
                }
                self.free.push(at);
                removed += 1;
            } else {
                before = at;
            }
            at = next;
        }
        self.observed -= u32::from(removed > 0 && *head == NONE);
        removed
    }

    /// The next observation that `wanted` picks; it moves to the end of its device's list, so that all get
    /// their turn.
    pub(crate) fn turn(&mut self, head: &mut u32, wanted: impl Fn(&Observation) -> bool) -> Option<u32> {
        let (mut at, mut before) = (*head, NONE);
        while at != NONE && !wanted(&self.slab[at as usize]) {
            (before, at) = (at, self.slab[at as usize].next);
        }
        if at == NONE {
            return None;
        }
        let next = self.slab[at as usize].next;
        if next != NONE {
            match before {
                NONE => *head = next,
                before => self.slab[before as usize].next = next,
            }
            let mut last = next;
            while self.slab[last as usize].next != NONE {
                last = self.slab[last as usize].next;
            }
            self.slab[last as usize].next = at;
            self.slab[at as usize].next = NONE;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATTERY: u32 = 0;
    const TEMPERATURE: u32 = 1;
    const MODEL: u32 = 2;

    #[test]
    fn observations_take_turns_and_keep_their_tokens() {
        let (mut all, mut head) = (Observations::default(), NONE);
        for (n, target) in [BATTERY, TEMPERATURE, MODEL].into_iter().enumerate() {
            all.put(&mut head, target, &[n as u8; 3], 0);
        }
        let numeric = |o: &Observation| o.target != MODEL;
        let turns: Vec<_> = (0..4)
            .map(|_| {
                let at = all.turn(&mut head, numeric).unwrap();
                (all.observation(at).target, all.observation(at).token().to_vec())
            })
            .collect();
        assert_eq!(turns[0], (TEMPERATURE, vec![1; 3]));
        assert_eq!(turns[1], (BATTERY, vec![0; 3]));
        assert_eq!(turns[2..], turns[..2]);
    }

    #[test]
    fn observing_a_path_again_replaces_its_token() {
        let (mut all, mut head) = (Observations::default(), NONE);
        let first = all.put(&mut head, BATTERY, &[1], 0);
        assert_eq!(all.put(&mut head, BATTERY, &[2, 2], 112), first);
        assert_eq!(all.count(), 1);
        assert_eq!(all.observation(head).token(), [2, 2]);
        assert_eq!(all.observation(head).format, 112);
    }

    #[test]
    fn removed_observations_leave_the_others_and_their_place_is_used_again() {
        let (mut all, mut head) = (Observations::default(), NONE);
        for target in [BATTERY, TEMPERATURE, MODEL] {
            all.put(&mut head, target, &[], 0);
        }
        assert_eq!(all.remove(&mut head, |_, o| o.target == TEMPERATURE), 1);
        assert_eq!((all.count(), all.devices()), (2, 1));
        all.put(&mut head, 3, &[], 0);
        assert_eq!(all.slab.len(), 3);
        assert_eq!(all.remove(&mut head, |_, _| true), 3);
        assert_eq!((head, all.count(), all.devices()), (NONE, 0, 0));
    }

    #[test]
    fn a_full_device_takes_no_more_observations() {
        let (mut all, mut head) = (Observations::default(), NONE);
        for target in 0..PER_DEVICE as u32 {
            assert!(all.put(&mut head, target, &[], 0).is_some());
        }
        assert_eq!(all.put(&mut head, PER_DEVICE as u32, &[], 0), None);
    }
}
