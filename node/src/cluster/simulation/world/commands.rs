//! Callers hand commands in, and devices that live for short.

use std::time::Duration;

use super::{super::callers::Told, Event, MS, SECOND, Scene, World};

impl World {
    /// How long a registration lives past its lifetime.
    pub(super) fn grace(&self) -> Duration {
        match self.scene {
            Scene::Plain | Scene::Split => Duration::from_secs(30),
            Scene::Busy => Duration::from_secs(2),
        }
    }

    /// How long all goes on after the last fault: what was put off is done in that time.
    pub(super) fn rest(&self) -> u64 {
        if self.scene == Scene::Busy { 8 * SECOND } else { 0 }
    }

    /// Somebody asks a device for something, at any node.
    pub(super) fn command(&mut self, device: usize) {
        let runs =
            |index: &usize| self.slots[*index].node.is_some() && self.slots[*index].paused_us.is_none();
        let nodes: Vec<usize> = (0..self.slots.len()).filter(runs).collect();
        if !nodes.is_empty() {
            let node = *self.rng.pick(&nodes);
            let id = self.devices[device].id;
            let operation = self.observer.callers.ask(self.now, id, &mut self.rng);
            self.say(|| format!("a caller asks node {node} for {}: {:?}", operation.id, operation.command));
            self.act(node, |it, now| it.submit(now, id, operation));
        }
        let delay = self.rng.range(200 * MS, 2 * SECOND);
        if self.now + delay < self.healed_us {
            self.after(delay, Event::Command { device });
        }
    }

    pub(super) fn told(&mut self, operation: &str, told: Told) {
        self.say(|| format!("the caller of {operation} is told: {told:?}"));
        let violation = self.observer.callers.told(self.now, operation, told);
        let excused = self.observer.excuses();
        self.observer.note(violation.filter(|_| !excused));
    }

    pub(super) fn look_back_at_commands(&mut self) {
        if self.observer.excuses() {
            return;
        }
        let is_live = |owner: &crate::identity::Owner| {
            self.slots.iter().filter_map(|slot| slot.node.as_ref()).any(|node| node.owner == *owner)
        };
        let violation = self.observer.callers.look_back(
            self.now,
            |device| self.store.record(device),
            |record| !record.header.passive && record.header.owner.as_ref().is_some_and(is_live),
        );
        self.observer.note(violation);
    }
}
