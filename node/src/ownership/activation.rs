//! What to do with an authenticated packet, a command or a due entry for a device that is not live in this process.
//!
//! ```text
//!            ┌──────────────── LoadAgain ◄───────────────┐
//!            ▼                                            │ Gone, a refused claim
//!  load ─► handle_loaded ─┬─► Claim { seen } ─► claimed: the actor is built from the claim's answer
//!                         ├─► Present(owner) ─► Handled, Replay, Busy: nothing is left to do
//!                         │       └─► refused, silent for 500 ms: Claim { seen }
//!                         └─► Leave(why): the device repeats
//! ```
//!
//! A packet is authenticated against what was loaded before anything else: a forged one must move nothing. Every claim
//! names the term that was seen, so that it loses against a claim that nobody here knew of.

use std::{sync::Arc, time::Duration};

use super::{Hold, Membership, Standing, Validity};
use crate::{
    clock::Boot,
    identity::Owner,
    store::{Header, Member},
};

/// Loads per activation: the first, one after a `Gone`, one after a refused claim, and one more for the winner's change.
const LOADS: u8 = 4;

/// What wants the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// An authenticated packet of it.
    Packet,
    /// A command or whatever else an operator asks of it.
    Command,
    /// Something of it is due: an expiry, an event.
    Due,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Claim with this `seen`. Refused: [`Activation::handle_claim_refused`].
    Claim {
        /// The term of the record that led here; 0: there is none.
        seen: u64,
    },
    /// Hand it to the owner, over the link, and wait for its answer until [`Activation::poll_timeout`].
    Present(Arc<Member>),
    /// This node can't load or claim: hand it to this peer, which goes on as if it had come there. Nothing follows.
    Relay(Arc<Member>),
    /// Load the record anew, then [`Activation::handle_loaded`].
    LoadAgain,
    /// Drop it.
    Leave(Why),
}

/// Why something is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The owner has taken it; the ordinary end.
    Handled,
    /// The owner had it before.
    Replay,
    /// The owner's mailbox is full.
    Busy,
    /// It is due, and a living owner sees to it.
    Owned,
    /// The owner may have been forgotten by a store that has just come back.
    OwnerMissing,
    /// Nothing may be claimed now.
    Held(Hold),
    /// Nobody sees the store: a session that is not live waits.
    Outage,
    /// Neither the store nor a peer is seen.
    Isolated,
    /// The device moved faster than we could follow, or 1.5 s went by.
    TooLate,
}

/// How a `Present` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The owner judged it by its exact window and took it.
    Handled,
    /// It was not fresh.
    Replay,
    /// The owner's boot does not hold the device, or no longer; `term` is the last one in which it did, 0 if it never did.
    Gone {
        /// See above.
        term: u64,
    },
    /// The owner's mailbox is full.
    Busy,
    /// The connection was refused, or another boot answered: tell [`Membership::handle_refused`].
    Dead,
}

/// One attempt to have something served, from its first load to its end.
#[derive(Debug)]
pub struct Activation {
    want: Want,
    until: Boot,
    loads: u8,
    /// Whom the last load named, in which term.
    loaded: Option<(Owner, u64)>,
    /// That owner says that it does not hold the device.
    disowned: Option<(Owner, u64)>,
    /// Until when an answer is waited for.
    asked: Option<Boot>,
}

impl Activation {
    /// Begins; it ends within [`Timings::activation`](super::Timings::activation).
    #[must_use]
    pub fn new(now: Boot, want: Want, membership: &Membership) -> Self {
        let until = now + membership.timings().activation;
        Self { want, until, loads: 0, loaded: None, disowned: None, asked: None }
    }

    /// The record was loaded; `None`: there is none.
    pub fn handle_loaded(&mut self, now: Boot, header: Option<&Header>, membership: &Membership) -> Step {
        self.asked = None;
        self.loads += 1;
        if now >= self.until {
            return Step::Leave(Why::TooLate);
        }
        let term = header.map_or(0, |header| header.term);
        let held = header.filter(|header| !header.passive).and_then(|header| header.owner.clone());
        self.loaded = held.clone().map(|owner| (owner, term));
        let Some(owner) = held else { return Self::claim(now, term, membership) };
        match membership.standing(now, &owner) {
            Standing::Missing => Step::Leave(Why::OwnerMissing),
            Standing::Own | Standing::Suspect | Standing::Dead => Self::claim(now, term, membership),
            // The same claim as before, and who made it does not know of it: its end was not written, or was forgotten.
            Standing::Alive(_) if self.disowned == self.loaded => Self::claim(now, term, membership),
            Standing::Alive(_) if self.want == Want::Due => Step::Leave(Why::Owned),
            Standing::Alive(member) => {
                self.asked = Some(now + membership.timings().suspect_after);
                Step::Present(member)
            }
        }
    }

    /// The store did not answer.
    pub fn handle_load_failed(&mut self, now: Boot, membership: &Membership) -> Step {
        match membership.validity(now) {
            Validity::CutOff(peer) if self.want != Want::Due => Step::Relay(peer),
            Validity::CutOff(_) => Step::Leave(Why::Owned),
            Validity::Isolated => Step::Leave(Why::Isolated),
            Validity::Outage | Validity::Valid => Step::Leave(Why::Outage),
        }
    }

    /// The owner has answered, or its link has. Tell the membership as well.
    pub fn handle_answer(&mut self, now: Boot, answer: Answer, membership: &Membership) -> Step {
        self.asked = None;
        match answer {
            Answer::Handled => Step::Leave(Why::Handled),
            Answer::Replay => Step::Leave(Why::Replay),
            Answer::Busy => Step::Leave(Why::Busy),
            Answer::Gone { .. } => {
                self.disowned = self.loaded.clone();
                self.load_again(now)
            }
            Answer::Dead => self.claim_loaded(now, membership),
        }
    }

    /// Nothing came until [`poll_timeout`](Self::poll_timeout): tell [`Membership::handle_silent`].
    pub fn handle_timeout(&mut self, now: Boot, membership: &Membership) -> Step {
        if self.asked.take().is_none() {
            return Step::Leave(Why::TooLate);
        }
        self.claim_loaded(now, membership)
    }

    /// Somebody has claimed since the load.
    pub fn handle_claim_refused(&mut self, now: Boot) -> Step {
        self.load_again(now)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout): an owner is silent, or all of it takes too long.
    #[must_use]
    pub fn poll_timeout(&self) -> Boot {
        self.asked.map_or(self.until, |asked| asked.min(self.until))
    }

    /// How long the owner may take for its answer, from now.
    #[must_use]
    pub fn patience(&self, now: Boot) -> Duration {
        self.poll_timeout().since(now)
    }

    fn load_again(&mut self, now: Boot) -> Step {
        if self.loads >= LOADS || now >= self.until { Step::Leave(Why::TooLate) } else { Step::LoadAgain }
    }

    fn claim_loaded(&self, now: Boot, membership: &Membership) -> Step {
        match &self.loaded {
            Some((_, term)) if now < self.until => Self::claim(now, *term, membership),
            _ => Step::Leave(Why::TooLate),
        }
    }

    fn claim(now: Boot, seen: u64, membership: &Membership) -> Step {
        match membership.hold(now) {
            None => Step::Claim { seen },
            Some(hold) => Step::Leave(Why::Held(hold)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ownership::Timings, store::Beat};

    const UNIX: u64 = 1_800_000_000_000;

    fn owner(node: &str, boot: u64) -> Owner {
        Owner { node: node.into(), boot }
    }

    fn at(ms: u64) -> Boot {
        Boot::from_start(Duration::from_millis(ms))
    }

    fn member(node: &str) -> Member {
        Member { restored: UNIX, ..Member::of(owner(node, 1)) }
    }

    /// As node `a` sees it at time 0, with `b` and `c`; the store has long been there.
    fn membership() -> Membership {
        let mut membership = Membership::new(owner("a", 1), Timings::default());
        let members = ["a", "b", "c"].map(member).into();
        let beat = Beat {
            time_ms: UNIX + 100_000,
            incarnation: Some(1),
            back_ms: UNIX,
            expires_from_ms: 0,
            members,
        };
        membership.handle_beat(at(0), at(0), beat);
        membership
    }

    fn held_by(node: &str, boot: u64, term: u64) -> Header {
        Header { owner: Some(owner(node, boot)), term, ..Header::default() }
    }

    fn begin(want: Want, header: Option<Header>) -> (Activation, Step, Membership) {
        let membership = membership();
        let mut activation = Activation::new(at(0), want, &membership);
        let step = activation.handle_loaded(at(10), header.as_ref(), &membership);
        (activation, step, membership)
    }

    fn present(node: &str) -> Step {
        Step::Present(Arc::new(member(node)))
    }

    #[test]
    fn what_nobody_holds_is_claimed_by_the_term_that_was_seen() {
        let step = |header| begin(Want::Packet, header).1;
        assert_eq!(step(None), Step::Claim { seen: 0 });
        assert_eq!(step(Some(Header { term: 5, ..Header::default() })), Step::Claim { seen: 5 });
        let passive = Header { passive: true, ..held_by("b", 1, 7) };
        assert_eq!(step(Some(passive)), Step::Claim { seen: 7 });
        assert_eq!(step(Some(held_by("a", 1, 8))), Step::Claim { seen: 8 });
        assert_eq!(step(Some(held_by("a", 0, 8))), Step::Claim { seen: 8 });
        assert_eq!(step(Some(held_by("gone", 4, 9))), Step::Claim { seen: 9 });
    }

    #[test]
    fn a_living_owner_is_asked_about_packets_and_commands_and_left_what_is_due() {
        assert_eq!(begin(Want::Packet, Some(held_by("b", 1, 7))).1, present("b"));
        assert_eq!(begin(Want::Command, Some(held_by("b", 1, 7))).1, present("b"));
        assert_eq!(begin(Want::Due, Some(held_by("b", 1, 7))).1, Step::Leave(Why::Owned));
    }

    #[test]
    fn a_handled_a_repeated_and_a_refused_packet_are_done_with() {
        for (answer, why) in
            [(Answer::Handled, Why::Handled), (Answer::Replay, Why::Replay), (Answer::Busy, Why::Busy)]
        {
            let (mut activation, _, membership) = begin(Want::Packet, Some(held_by("b", 1, 7)));
            assert_eq!(activation.handle_answer(at(20), answer, &membership), Step::Leave(why));
        }
    }

    #[test]
    fn a_silent_owner_is_claimed_from_after_500_ms() {
        let (mut activation, _, mut membership) = begin(Want::Packet, Some(held_by("b", 1, 7)));
        assert_eq!(activation.poll_timeout(), at(510));
        assert_eq!(activation.patience(at(400)), Duration::from_millis(110));
        membership.handle_silent(at(510), &owner("b", 1));
        assert_eq!(activation.handle_timeout(at(510), &membership), Step::Claim { seen: 7 });
        // The next packet does not wait.
        let mut next = Activation::new(at(600), Want::Packet, &membership);
        let step = next.handle_loaded(at(600), Some(&held_by("b", 1, 7)), &membership);
        assert_eq!(step, Step::Claim { seen: 7 });
    }

    #[test]
    fn a_dead_owner_is_claimed_from_at_once() {
        let (mut activation, _, membership) = begin(Want::Packet, Some(held_by("b", 1, 7)));
        assert_eq!(activation.handle_answer(at(20), Answer::Dead, &membership), Step::Claim { seen: 7 });
    }

    #[test]
    fn an_owner_that_has_given_the_device_up_is_looked_for_in_the_store() {
        let (mut activation, _, membership) = begin(Want::Packet, Some(held_by("b", 1, 7)));
        let gone = Answer::Gone { term: 7 };
        assert_eq!(activation.handle_answer(at(20), gone, &membership), Step::LoadAgain);
        let passive = Header { passive: true, ..held_by("b", 1, 7) };
        let step = activation.handle_loaded(at(30), Some(&passive), &membership);
        assert_eq!(step, Step::Claim { seen: 7 });
    }

    #[test]
    fn an_owner_that_does_not_know_of_its_claim_loses_it_and_a_new_claim_is_asked_about() {
        let (mut activation, _, membership) = begin(Want::Packet, Some(held_by("b", 1, 7)));
        activation.handle_answer(at(20), Answer::Gone { term: 0 }, &membership);
        let step = activation.handle_loaded(at(30), Some(&held_by("b", 1, 7)), &membership);
        assert_eq!(step, Step::Claim { seen: 7 });

        let (mut activation, _, membership) = begin(Want::Packet, Some(held_by("b", 1, 7)));
        activation.handle_answer(at(20), Answer::Gone { term: 7 }, &membership);
        let step = activation.handle_loaded(at(30), Some(&held_by("b", 1, 8)), &membership);
        assert_eq!(step, present("b"));
    }

    #[test]
    fn who_loses_a_claim_presents_to_the_winner() {
        let (mut activation, step, membership) = begin(Want::Packet, None);
        assert_eq!(step, Step::Claim { seen: 0 });
        assert_eq!(activation.handle_claim_refused(at(20)), Step::LoadAgain);
        let step = activation.handle_loaded(at(30), Some(&held_by("c", 1, 9)), &membership);
        assert_eq!(step, present("c"));
    }

    #[test]
    fn a_device_that_moves_faster_than_we_follow_is_left() {
        let (mut activation, _, membership) = begin(Want::Packet, Some(held_by("b", 1, 1)));
        for term in 2..=4 {
            assert_eq!(activation.handle_answer(at(20), Answer::Gone { term }, &membership), Step::LoadAgain);
            let node = if term % 2 == 0 { "c" } else { "b" };
            assert_eq!(
                activation.handle_loaded(at(20), Some(&held_by(node, 1, term)), &membership),
                present(node)
            );
        }
        let gone = Answer::Gone { term: 4 };
        assert_eq!(activation.handle_answer(at(20), gone, &membership), Step::Leave(Why::TooLate));
    }

    #[test]
    fn an_activation_ends_after_a_second_and_a_half() {
        let (mut activation, _, membership) = begin(Want::Packet, Some(held_by("b", 1, 1)));
        activation.handle_answer(at(400), Answer::Gone { term: 1 }, &membership);
        assert_eq!(activation.poll_timeout(), at(1_500));
        assert_eq!(
            activation.handle_loaded(at(1_500), Some(&held_by("c", 1, 2)), &membership),
            Step::Leave(Why::TooLate)
        );
        assert_eq!(activation.handle_timeout(at(1_500), &membership), Step::Leave(Why::TooLate));
        assert_eq!(activation.handle_claim_refused(at(1_500)), Step::Leave(Why::TooLate));
    }

    #[test]
    fn a_node_that_may_not_claim_still_presents() {
        let mut membership = membership();
        let members = ["a", "b", "c"].map(|node| Member { clock_ahead_ms: 9_000, ..member(node) });
        let mut members = Vec::from(members);
        members[1].clock_ahead_ms = 0;
        members[2].clock_ahead_ms = 0;
        let beat = Beat {
            time_ms: UNIX + 100_000,
            incarnation: Some(1),
            back_ms: UNIX,
            expires_from_ms: 0,
            members,
        };
        membership.handle_beat(at(0), at(0), beat);
        let mut activation = Activation::new(at(0), Want::Packet, &membership);
        let step = activation.handle_loaded(at(0), Some(&held_by("dead", 1, 1)), &membership);
        assert_eq!(step, Step::Leave(Why::Held(Hold::ClockAhead(9_000))));
        let step = activation.handle_loaded(at(0), Some(&held_by("b", 1, 1)), &membership);
        assert!(matches!(step, Step::Present(_)));
    }

    #[test]
    fn without_the_store_a_packet_goes_to_a_peer_that_sees_it_or_waits() {
        let mut membership = membership();
        let step = |membership: &Membership, want| {
            Activation::new(at(9_000), want, membership).handle_load_failed(at(9_000), membership)
        };
        assert_eq!(step(&membership, Want::Packet), Step::Leave(Why::Isolated));
        membership.handle_view(at(9_000), &owner("b", 1), false);
        assert_eq!(step(&membership, Want::Packet), Step::Leave(Why::Outage));
        membership.handle_view(at(9_000), &owner("c", 1), true);
        assert_eq!(step(&membership, Want::Packet), Step::Relay(Arc::new(member("c"))));
        assert_eq!(step(&membership, Want::Due), Step::Leave(Why::Owned));
    }
}
