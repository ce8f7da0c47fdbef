//! What is observed: one path, or the several of an Observe-Composite.

use std::collections::HashMap;

use crate::model::Model;
use crate::path::Path;

/// Different sets of paths that a fleet keeps apart; a server that observes more gets no further observations.
const CAPACITY: usize = 65_536;

/// Observed paths, shared by all devices of a fleet of which the same is observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) paths: Box<[Path]>,
    /// The resources among or below them that carry the counter; without any there is nothing to notify.
    pub(crate) counters: Box<[Path]>,
}

/// Targets by number, so that an observation is small.
#[derive(Default)]
pub(crate) struct Targets {
    list: Vec<Target>,
    known: HashMap<Box<[Path]>, u32>,
}

impl Targets {
    /// The number of a set of paths; `None` when there are too many sets.
    pub(crate) fn number(&mut self, paths: &[Path], model: &Model) -> Option<u32> {
        if let Some(&number) = self.known.get(paths) {
            return Some(number);
        }
        if self.list.len() == CAPACITY {
            return None;
        }
        let mut counters: Vec<_> = paths.iter().filter_map(|path| model.counter(path)).collect();
        counters.sort_unstable();
        counters.dedup();
        let number = self.list.len() as u32;
        self.known.insert(paths.into(), number);
        self.list.push(Target { paths: paths.into(), counters: counters.into() });
        Some(number)
    }

    pub(crate) fn target(&self, number: u32) -> &Target {
        &self.list[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Values;

    #[test]
    fn the_same_paths_have_one_number_and_know_their_counters_once() {
        let objects: Vec<String> = ["/3/0", "/3303/0"].map(Into::into).into();
        let model = Model::new(&objects, Values::Counter).unwrap();
        let paths: Vec<Path> =
            ["/3/0/9", "/3303/0", "/3303/0/5700", "/3/0/0"].map(|text| text.parse().unwrap()).into();
        let mut targets = Targets::default();
        let number = targets.number(&paths, &model).unwrap();
        assert_eq!(targets.number(&paths, &model), Some(number));
        assert_ne!(targets.number(&paths[..1], &model), Some(number));
        assert_eq!(*targets.target(number).counters, [paths[0], paths[2]]);
    }
}
