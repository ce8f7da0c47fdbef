//! Faults as they begin and end.

use super::{DEBTS_WITHIN, Event, Fault, MS, NODES, Scene, World};

impl World {
    pub(super) fn begin(&mut self, fault: Fault) {
        self.say(|| format!("--- begins: {fault:?}"));
        match fault {
            Fault::Crash(index) => {
                self.observer.died |= self.slots[index].node.take().is_some();
                let slot = &mut self.slots[index];
                slot.store_run = 0;
                slot.paused_us = None;
                slot.waiting.clear();
            }
            Fault::Pause(index) => {
                let slot = &mut self.slots[index];
                if slot.node.is_some() && slot.paused_us.is_none() {
                    slot.paused_us = Some(self.now);
                }
            }
            Fault::CutLink(one, other) => {
                *self.cut.entry((one.min(other), one.max(other))).or_default() += 1;
            }
            Fault::CutStore(index) => self.slots[index].store_cut += 1,
            Fault::StoreDown | Fault::StoreAway => self.lose_store(),
            Fault::Failover(lag) => {
                self.lose_store();
                self.store.go_back(self.now / MS, lag);
                self.observer.forgot = true;
            }
            Fault::StoreSlow => self.store_slow += 1,
            Fault::Move(device) => {
                self.routes[device] = (self.routes[device] + 1 + self.rng.below(NODES - 1)) % NODES;
            }
            Fault::Spray(device) => self.spray[device] += 1,
            // Without a connection id an address is all that finds the device.
            Fault::Rebind(device) if self.devices[device].with_cid => self.devices[device].rebind(),
            Fault::Rebind(_) => {}
            Fault::Replay(device) => {
                self.replays[device] += 1;
                self.after(MS, Event::Repeat { device });
            }
            Fault::Loss => self.loss += 1,
            Fault::SinkFull => self.sink_full += 1,
            Fault::Clock(index, by) => self.set_wall(index, by),
        }
    }

    pub(super) fn end(&mut self, fault: Fault) {
        self.say(|| format!("--- ends: {fault:?}"));
        match fault {
            Fault::Crash(index) => {
                if self.slots[index].node.is_none() {
                    self.start(index);
                }
            }
            Fault::Pause(index) => {
                if let Some(paused_us) = self.slots[index].paused_us.take() {
                    if self.now - paused_us > 600 * MS
                        && let Some(owner) = self.owner(index)
                    {
                        self.observer.resumed(&owner, self.now);
                    }
                    self.act(index, |node, now| node.resume(now, paused_us));
                    for event in std::mem::take(&mut self.slots[index].waiting) {
                        self.handle(event);
                    }
                }
            }
            Fault::CutLink(one, other) => {
                *self.cut.entry((one.min(other), one.max(other))).or_default() -= 1;
            }
            Fault::CutStore(index) => self.slots[index].store_cut -= 1,
            Fault::StoreDown => {
                self.find_store();
                self.store.restart();
            }
            Fault::StoreAway | Fault::Failover(_) => self.find_store(),
            Fault::StoreSlow => self.store_slow -= 1,
            Fault::Spray(device) => self.spray[device] -= 1,
            Fault::Replay(device) => self.replays[device] -= 1,
            Fault::Loss => self.loss -= 1,
            Fault::SinkFull => self.sink_full -= 1,
            Fault::Clock(index, _) => self.set_wall(index, 0),
            Fault::Move(_) | Fault::Rebind(_) => {}
        }
    }

    fn lose_store(&mut self) {
        self.store_down += 1;
        if self.store_down == 1 {
            self.observer.outages.push((self.now, u64::MAX));
        }
    }

    fn find_store(&mut self) {
        self.store_down -= 1;
        if let (0, Some((_, end))) = (self.store_down, self.observer.outages.last_mut()) {
            *end = self.now;
            if self.scene == Scene::Busy {
                self.after(DEBTS_WITHIN, Event::LookForDebts);
            }
        }
    }

    fn set_wall(&mut self, index: usize, by: i64) {
        self.slots[index].wall_ahead_ms = by;
        if let Some(node) = &mut self.slots[index].node {
            node.wall_ahead_ms = by;
        }
    }
}
