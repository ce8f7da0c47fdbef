//! The live actors of one kind on one shard.

use std::cell::{Cell, RefCell};

use slab::Slab;

/// Names an actor of this shard. The generation tells it from a later one in the same slot, so that what comes
/// late reaches nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ActorKey {
    /// Its slot.
    pub index: u32,
    /// How many actors of its kind the shard had made before it.
    pub generation: u32,
}

/// Slots of live actors.
#[derive(Debug)]
pub struct Table<T> {
    slots: RefCell<Slab<(u32, T)>>,
    made: Cell<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: RefCell::default(), made: Cell::new(0) }
    }
}

impl<T> Table<T> {
    /// Adds an actor, made with the key that it will have.
    pub fn insert_with(&self, make: impl FnOnce(ActorKey) -> T) -> ActorKey {
        let generation = self.made.get();
        self.made.set(generation.wrapping_add(1));
        let index = self.slots.borrow().vacant_key();
        let key = ActorKey { index: u32::try_from(index).expect("fewer than 2^32 actors"), generation };
        let actor = make(key);
        let used = self.slots.borrow_mut().insert((generation, actor));
        debug_assert_eq!(used, index, "making an actor must not add another");
        key
    }

    /// Does something with an actor, unless it is gone.
    pub fn with<R>(&self, key: ActorKey, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut slots = self.slots.borrow_mut();
        let (generation, actor) = slots.get_mut(key.index as usize)?;
        (*generation == key.generation).then(|| act(actor))
    }

    /// Takes an actor out, unless it is gone.
    pub fn remove(&self, key: ActorKey) -> Option<T> {
        let mut slots = self.slots.borrow_mut();
        match slots.get(key.index as usize) {
            Some((generation, _)) if *generation == key.generation => {
                Some(slots.remove(key.index as usize).1)
            }
            _ => None,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at all actors.
    pub fn for_each(&self, mut act: impl FnMut(ActorKey, &T)) {
        for (index, (generation, actor)) in self.slots.borrow().iter() {
            act(ActorKey { index: index as u32, generation: *generation }, actor);
        }
    }

    /// Looks at up to `count` actors from slot `start` on, wrapping around.
    pub fn sample(&self, start: usize, count: usize, mut act: impl FnMut(ActorKey, &T)) {
        let slots = self.slots.borrow();
        let capacity = slots.capacity().max(1);
        let mut seen = 0;
        for offset in 0..capacity.min(count * 8) {
            let index = (start + offset) % capacity;
            if let Some((generation, actor)) = slots.get(index) {
                act(ActorKey { index: index as u32, generation: *generation }, actor);
                seen += 1;
                if seen == count {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_reach_a_later_actor_in_its_slot() {
        let table = Table::default();
        let first = table.insert_with(|_| "first");
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert_with(|_| "second");
        assert_eq!(first.index, second.index);
        assert_eq!(table.with(first, |actor| *actor), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.with(second, |actor| *actor), Some("second"));
    }

    #[test]
    fn a_sample_wraps_around_and_skips_empty_slots() {
        let table = Table::default();
        let keys: Vec<_> = (0..10).map(|n| table.insert_with(|_| n)).collect();
        table.remove(keys[9]);
        table.remove(keys[0]);
        let mut seen = Vec::new();
        table.sample(8, 3, |_, n| seen.push(*n));
        assert_eq!(seen, [8, 1, 2]);
    }
}
