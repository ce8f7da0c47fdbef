//! What goes wrong in a schedule, and when.

use super::{Event, FAULTS, MS, NODES, SECOND, World};

/// What goes wrong, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster::simulation) enum Fault {
    /// A node dies, and another run of it starts later.
    Crash(usize),
    /// SIGSTOP, and later SIGCONT.
    Pause(usize),
    /// Two nodes don't reach each other.
    CutLink(usize, usize),
    /// A node does not reach the store.
    CutStore(usize),
    /// Nobody does, and another process of it comes back.
    StoreDown,
    /// Nobody does; it was there all the time.
    StoreAway,
    /// Another store takes over that lacks the last milliseconds.
    Failover(u64),
    /// Every answer of the store takes 200 ms.
    StoreSlow,
    /// A device's datagrams go to other nodes from now on.
    Move(usize),
    /// Each of them goes to any node.
    Spray(usize),
    /// Its address changes.
    Rebind(usize),
    /// Somebody repeats what a device has sent, to any node, at times from elsewhere.
    Replay(usize),
    /// Many datagrams are lost.
    Loss,
    /// The sink takes nothing.
    SinkFull,
    /// A node's wall clock is off, by milliseconds.
    Clock(usize, i64),
}

impl World {
    pub(super) fn plan(&mut self) {
        let count = self.rng.range(1, 7);
        let device = self.rng.below(self.devices.len());
        let node = self.rng.below(NODES);
        let other = (node + 1 + self.rng.below(NODES - 1)) % NODES;
        // What is rare by chance and hard: faults that meet at one device.
        let theme = self.rng.below(10);
        for _ in 0..count {
            let fault = match (theme, self.rng.below(4)) {
                (0, 0) => Fault::Spray(device),
                (0, 1 | 2) => Fault::CutLink(node, other),
                (1, 0) => Fault::Spray(device),
                (1, 1) => Fault::Pause(node),
                (2, 0 | 1) => Fault::Crash(self.rng.below(NODES)),
                (2, 2) => Fault::Replay(device),
                (3, 0) => Fault::Replay(device),
                (3, 1 | 2) => Fault::Move(device),
                _ => self.any_fault(),
            };
            self.schedule(fault);
        }
        self.faults.sort_by_key(|(begin, ..)| *begin);
    }

    /// Devices live for some seconds, and mostly it is the store that fails.
    pub(super) fn plan_busily(&mut self) {
        for device in 0..self.devices.len() {
            let lifetime = self.rng.range(8, 16) as u32;
            self.devices[device].live_for(lifetime);
            self.at(4 * SECOND, Event::Command { device });
        }
        let device = self.rng.below(self.devices.len());
        match self.rng.below(8) {
            0..=2 => {
                let begin = self.rng.range(FAULTS.0, FAULTS.1 - 16 * SECOND);
                let end = begin + self.rng.range(11 * SECOND, 16 * SECOND);
                let fault = *self.rng.pick(&[Fault::StoreDown, Fault::StoreAway]);
                self.fail(begin, end, fault);
                if self.rng.once_in(300) {
                    // Who starts when it is over has not seen it.
                    let (node, from) = (self.rng.below(NODES), self.rng.range(begin, end));
                    let until = self.rng.range(end - SECOND, end + 3 * SECOND).max(from + SECOND);
                    self.fail(from, until, Fault::Crash(node));
                }
                for _ in 0..self.rng.below(3) {
                    let fault = *self.rng.pick(&[Fault::Move(device), Fault::Spray(device)]);
                    self.schedule(fault);
                }
            }
            3 | 4 => {
                let lag = self.rng.range(500, 8_000);
                let begin = self.rng.range(FAULTS.0, FAULTS.1 - 10 * SECOND);
                let end = begin + self.rng.range(20 * MS, 2 * SECOND);
                self.fail(begin, end, Fault::Failover(lag));
                let around = (begin - 2 * SECOND, begin + 8 * SECOND);
                self.fail(around.0, around.1, Fault::Spray(device));
                let cut = Fault::CutLink(0, 1);
                if self.rng.once_in(300) {
                    self.fail(begin - SECOND, begin + 4 * SECOND, cut);
                }
            }
            5 | 6 => {
                for _ in 0..self.rng.range(1, 4) {
                    let node = self.rng.below(NODES);
                    self.schedule(Fault::Crash(node));
                }
                self.schedule(Fault::Move(device));
            }
            _ => {
                for _ in 0..self.rng.range(1, 5) {
                    let fault = self.any_fault();
                    self.schedule(fault);
                }
            }
        }
        self.faults.sort_by_key(|(begin, ..)| *begin);
    }

    /// Devices are heard at every node while one or the other does not hear its peers, so that who has lost a device goes on with
    /// it until a write is refused; or does not see the store, which all lose then, so that it must not go on with it again.
    pub(super) fn plan_splits(&mut self) {
        for device in 0..self.devices.len() {
            self.fail(FAULTS.0, FAULTS.1, Fault::Spray(device));
        }
        if self.rng.once_in(250) {
            let node = self.rng.below(NODES);
            let begin = self.rng.range(FAULTS.0, FAULTS.0 + 2 * SECOND);
            // By then it stands still, and is asked for its devices by who is slow to claim them.
            let lost = begin + self.rng.range(8 * SECOND, 11 * SECOND);
            self.fail(begin, FAULTS.1, Fault::CutStore(node));
            self.fail(begin, lost, Fault::StoreSlow);
            self.fail(lost, FAULTS.1 - SECOND, Fault::StoreAway);
        }
        for _ in 0..self.rng.range(3, 7) {
            let node = self.rng.below(NODES);
            let begin = self.rng.range(FAULTS.0, FAULTS.1 - 6 * SECOND);
            let end = begin + self.rng.range(2 * SECOND, 6 * SECOND);
            for other in (0..NODES).filter(|other| *other != node) {
                self.fail(begin, end, Fault::CutLink(node, other));
            }
        }
        self.faults.sort_by_key(|(begin, ..)| *begin);
    }

    fn any_fault(&mut self) -> Fault {
        let node = self.rng.below(NODES);
        let other = (node + 1 + self.rng.below(NODES - 1)) % NODES;
        let device = self.rng.below(self.devices.len());
        match self.rng.below(18) {
            0..=2 => Fault::Crash(node),
            3 | 4 => Fault::Pause(node),
            5 => Fault::CutLink(node, other),
            6 => Fault::CutStore(node),
            7 => Fault::StoreDown,
            8 => Fault::Failover(self.rng.range(5, 1500)),
            9 => Fault::Failover(self.rng.range(1_500, 20_000)),
            10 => Fault::StoreSlow,
            11 | 12 => Fault::Move(device),
            13 => Fault::Spray(device),
            14 => Fault::Rebind(device),
            15 => Fault::Replay(device),
            16 => match self.rng.below(2) {
                0 => Fault::Loss,
                _ => Fault::SinkFull,
            },
            _ => {
                let by = *self.rng.pick(&[4_000, -4_000, 3_600_000, -3_600_000]);
                Fault::Clock(node, by)
            }
        }
    }

    fn schedule(&mut self, fault: Fault) {
        let begin = self.rng.range(FAULTS.0, FAULTS.1 - SECOND);
        let longest = match self.rng.below(3) {
            0 => SECOND,
            1 => 4 * SECOND,
            _ => 15 * SECOND,
        };
        let end = (begin + self.rng.range(20 * MS, longest)).min(FAULTS.1);
        self.fail(begin, end, fault);
    }

    fn fail(&mut self, begin: u64, end: u64, fault: Fault) {
        // Who is away for so long is as good as dead.
        let away = matches!(fault, Fault::Pause(_) | Fault::CutStore(_));
        self.observer.died |= away && end - begin > 7 * SECOND;
        self.faults.push((begin, end, fault));
        self.at(begin, Event::Begin(fault));
        self.at(end, Event::End(fault));
    }
}
