//! Shares of the nonce space.

use super::*;
use crate::store::{
    LANES, Lane,
    lane::{AHEAD, SHARED_AHEAD},
};

const NOW: u32 = (START / 1000) as u32;
/// How long a lane of a shared store must have rested, in seconds.
const REST: u32 = 60;

fn take(subject: &dyn Subject, by: &Owner) -> Vec<Lane> {
    wait(subject.store().take_lanes(by, 3)).unwrap()
}

fn ahead(subject: &dyn Subject) -> u32 {
    if subject.is_shared() { SHARED_AHEAD } else { AHEAD }
}

/// No second of a lane was granted twice.
fn assert_disjoint(lanes: &[Lane]) {
    for (at, one) in lanes.iter().enumerate() {
        for other in lanes[..at].iter().filter(|other| other.number == one.number) {
            assert!(one.until < other.from || other.until < one.from, "{one:?} and {other:?}");
        }
    }
}

pub(super) fn a_process_begins_above_all_seconds_that_were_acknowledged_before(subject: &mut dyn Subject) {
    let ahead = ahead(subject);
    let first = take(subject, &owner("a"));
    let lane = |number, from| Lane { number, from, until: from + ahead };
    // Above what a holder may have been granted whom a shared store has forgotten.
    let new = if subject.is_shared() { NOW + ahead + 1 } else { NOW };
    assert_eq!(first, [lane(0, new), lane(1, new), lane(2, new)]);
    subject.reopen();
    let second = take(subject, &owner("b"));
    if subject.is_shared() {
        assert_eq!(second[2], lane(5, new), "at once, beside those that are held");
    } else {
        assert_eq!(second[2], lane(2, NOW + AHEAD + 1), "at once, and already above");
    }
    subject.reopen();
    subject.advance(3 * u64::from(AHEAD) * 1000);
    let third = take(subject, &owner("c"));
    assert_eq!(third[0], lane(0, NOW + 3 * AHEAD), "the clock has caught up");
    assert_disjoint(&[first, second, third].concat());
}

pub(super) fn a_clock_set_back_opens_no_second_again(subject: &mut dyn Subject) {
    let before = take(subject, &owner("a"));
    subject.set_back(7 * 24 * 3_600_000);
    subject.reopen();
    let after = take(subject, &owner("b"));
    assert!(subject.is_shared() || after[0].from == before[0].until + 1);
    assert_disjoint(&[before, after].concat());
}

pub(super) fn lanes_are_extended_by_their_holder_alone(subject: &mut dyn Subject) {
    let (a, b) = (owner("a"), owner("b"));
    let half = ahead(subject) / 2;
    let extend = |subject: &dyn Subject, by: &Owner, second| wait(subject.store().extend_lanes(by, second));
    assert_eq!(extend(subject, &a, NOW), Err(StoreError::LanesLost), "there are none yet");
    let until = take(subject, &a)[0].until;
    let begun = until - ahead(subject);
    assert_eq!(extend(subject, &a, begun + half), Ok(until + half));
    assert_eq!(extend(subject, &a, begun), Ok(until + half), "what was acknowledged stays so");
    if subject.is_shared() {
        assert!(take(subject, &b).iter().all(|lane| lane.number > 2), "what is held nobody else takes");
        subject.advance(u64::from(until + half + REST - NOW) * 1_000);
        assert!(take(subject, &owner("c")).iter().all(|lane| lane.number > 2), "it has not rested");
        subject.advance(1_000);
    }
    subject.reopen();
    let taken = take(subject, &owner("d"));
    assert_eq!(taken[0].number, 0);
    assert!(taken[0].from > until + half);
    assert_eq!(extend(subject, &a, NOW + 3_600), Err(StoreError::LanesLost));
    let reborn = Owner { boot: 2, ..owner("d") };
    assert_eq!(extend(subject, &reborn, NOW), Err(StoreError::LanesLost), "another run of the same node");
}

pub(super) fn there_are_no_more_lanes_than_fit_into_a_nonce(subject: &mut dyn Subject) {
    let store = subject.store();
    assert!(matches!(wait(store.take_lanes(&owner("a"), LANES + 1)), Err(StoreError::Invalid { .. })));
    assert_eq!(wait(store.take_lanes(&owner("a"), LANES)).unwrap().len(), usize::from(LANES));
    if subject.is_shared() {
        let more = wait(store.take_lanes(&owner("b"), 1));
        assert!(matches!(more, Err(StoreError::Unavailable(_))), "{more:?}");
    }
}
