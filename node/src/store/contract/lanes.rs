//! Shares of the nonce space.

use super::*;
use crate::store::{LANES, Lane, lane::AHEAD};

const NOW: u32 = (START / 1000) as u32;

fn take(subject: &dyn Subject, by: &Owner) -> Vec<Lane> {
    wait(subject.store().take_lanes(by, 3)).unwrap()
}

pub(super) fn a_process_begins_above_all_seconds_that_were_acknowledged_before(subject: &mut dyn Subject) {
    let first = take(subject, &owner("a"));
    let lane = |number, from| Lane { number, from, until: from + AHEAD };
    assert_eq!(first, [lane(0, NOW), lane(1, NOW), lane(2, NOW)]);
    subject.reopen();
    let second = take(subject, &owner("b"));
    assert_eq!(second[2], lane(2, NOW + AHEAD + 1), "at once, and already above");
    subject.reopen();
    subject.advance(3 * u64::from(AHEAD) * 1000);
    assert_eq!(take(subject, &owner("c"))[0].from, NOW + 3 * AHEAD, "the clock has caught up");
}

pub(super) fn a_clock_set_back_opens_no_second_again(subject: &mut dyn Subject) {
    let before = take(subject, &owner("a"))[0];
    subject.set_back(7 * 24 * 3_600_000);
    subject.reopen();
    assert_eq!(take(subject, &owner("b"))[0].from, before.until + 1);
}

pub(super) fn lanes_are_extended_by_their_holder_alone(subject: &mut dyn Subject) {
    let (a, b) = (owner("a"), owner("b"));
    let extend = |subject: &dyn Subject, by: &Owner, second| wait(subject.store().extend_lanes(by, second));
    assert_eq!(extend(subject, &a, NOW), Err(StoreError::LanesLost), "there are none yet");
    let until = take(subject, &a)[0].until;
    assert_eq!(extend(subject, &a, NOW + 1_800), Ok(until + 1_800));
    assert_eq!(extend(subject, &a, NOW), Ok(until + 1_800), "what was acknowledged stays so");
    subject.reopen();
    assert_eq!(take(subject, &b)[0].from, until + 1_801);
    assert_eq!(extend(subject, &a, NOW + 3_600), Err(StoreError::LanesLost));
    let reborn = Owner { boot: 2, ..b };
    assert_eq!(extend(subject, &reborn, NOW), Err(StoreError::LanesLost), "another run of the same node");
}

pub(super) fn there_are_no_more_lanes_than_fit_into_a_nonce(subject: &mut dyn Subject) {
    let store = subject.store();
    assert!(matches!(wait(store.take_lanes(&owner("a"), LANES + 1)), Err(StoreError::Invalid { .. })));
    assert_eq!(wait(store.take_lanes(&owner("a"), LANES)).unwrap().len(), usize::from(LANES));
}
