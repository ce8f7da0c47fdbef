//! Who is alive, by heartbeats through the store and by what the links between nodes tell.
//!
//! ```text
//!  Beat ───────────► members, the store's clock, since when the store is back ─┐
//!  BeatFailed ─────► nothing: validity runs out by itself                       ├─► standing, validity, hold
//!  Refused, Silent, Answered, View ─► what a peer is by its link ───────────────┘
//! ```
//!
//! A value without a thread: clone it for a snapshot. It decides when to claim and when to stop, never whether a write
//! holds; that is the store's.

use std::{cmp::Reverse, fmt, sync::Arc, time::Duration};

use super::Timings;
use crate::{
    clock::{Boot, StoreTime},
    identity::{DeviceId, Owner},
    store::{Beat, Member},
};

/// What a member is, seen from here and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// This very process.
    Own,
    /// Ask it.
    Alive(Arc<Member>),
    /// It does not answer: claim without asking.
    Suspect,
    /// Another run, refused connections, or no heartbeat: claim.
    Dead,
    /// No heartbeat is on record, but the store has just come back and may have forgotten it. Wait: the device repeats.
    Missing,
}

/// Whether this node may act as a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validity {
    /// It sees the store.
    Valid,
    /// Nobody sees the store, or there is nobody else: live sessions go on, none moves.
    Outage,
    /// It alone is cut off: it freezes what it has, and presents everything to this peer.
    CutOff(Arc<Member>),
    /// It sees neither the store nor a peer: notifications and responses only.
    Isolated,
}

/// By more than this no outage moves what is over.
const OUTAGE_MOST: Duration = Duration::from_hours(1);

/// Why nothing may be claimed just now, though the store is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// No heartbeat counts: see [`Validity`].
    NotValid,
    /// The connection to the store has broken, and no heartbeat has been answered since.
    Reconnecting,
    /// The store is empty.
    Empty,
    /// This node's clock is more than 5 s from the median of all; by how much.
    ClockAhead(i64),
    /// The store has just come back, and not every member has written again what it may have forgotten.
    Restoring,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotValid => "no heartbeat was acknowledged in time",
            Self::Reconnecting => "the store was lost, and no heartbeat was acknowledged since",
            Self::Empty => "the store is empty: if that is meant, set store.allow_empty",
            Self::ClockAhead(ms) => {
                let (off, side) = (ms.unsigned_abs(), if *ms < 0 { "behind" } else { "ahead of" });
                return write!(
                    f,
                    "this machine's clock is {off} ms {side} the other nodes' and the store's: set it"
                );
            }
            Self::Restoring => {
                "the store has just come back, and not all nodes have written again what it forgot"
            }
        })
    }
}

/// The members of the cluster.
#[derive(Debug, Clone)]
pub struct Membership {
    own: Owner,
    timings: Timings,
    time: Option<StoreTime>,
    /// When the last acknowledged heartbeat was sent.
    sent: Option<Boot>,
    last: Option<Arc<Last>>,
    /// The connection that answered the last heartbeat stands.
    connected: bool,
    /// Nothing expires before: devices could not update in an outage that this node has seen.
    expires_from: Boot,
    peers: Vec<Peer>,
}

/// The last heartbeat that was answered.
#[derive(Debug)]
struct Last {
    incarnation: Option<u64>,
    back_ms: u64,
    expires_from_ms: u64,
    /// How far the store's clock is off the median of all, and ours.
    store_ahead_ms: i64,
    own_ahead_ms: i64,
    own: Option<Arc<Member>>,
}

/// What is known of another node.
#[derive(Debug, Clone)]
struct Peer {
    member: Arc<Member>,
    /// It was in the last heartbeat's answer.
    listed: bool,
    /// When its heartbeat was last on record.
    listed_at: Boot,
    /// Its address was refused, or another run answered there.
    refused: bool,
    silent_at: Option<Boot>,
    view: Option<(Boot, bool)>,
}

impl Membership {
    /// Knows nobody, and is not valid before its first heartbeat.
    #[must_use]
    pub fn new(own: Owner, timings: Timings) -> Self {
        Self {
            own,
            timings,
            time: None,
            sent: None,
            last: None,
            connected: false,
            expires_from: Boot::default(),
            peers: Vec::new(),
        }
    }

    // What happens.

    /// A heartbeat sent at `sent` was answered at `now`. An answer that took longer than [`Timings::valid`] counts for the
    /// members it lists, but makes nothing valid.
    pub fn handle_beat(&mut self, sent: Boot, now: Boot, beat: Beat) {
        match &mut self.time {
            Some(time) => time.handle_reading(sent, now, beat.time_ms),
            None => self.time = Some(StoreTime::new(sent, now, beat.time_ms)),
        }
        if let Some(before) = self.sent.filter(|before| now.since(*before) >= self.timings.valid) {
            self.expires_from = self.expires_from.max(now + now.since(before).min(OUTAGE_MOST));
        }
        self.sent = self.sent.max(Some(sent));
        self.connected = true;
        let (store_ahead_ms, median) = skew(&beat.members);
        self.peers.iter_mut().for_each(|peer| peer.listed = false);
        let mut own = None;
        for member in beat.members {
            let member = Arc::new(member);
            if member.owner == self.own {
                own = Some(member);
                continue;
            }
            match self.peers.iter_mut().find(|peer| peer.member.owner == member.owner) {
                // Its heartbeat may be older than the refusal: only its answer tells otherwise.
                Some(peer) => (peer.member, peer.listed, peer.listed_at) = (member, true, now),
                None => self.peers.push(Peer {
                    member,
                    listed: true,
                    listed_at: now,
                    refused: false,
                    silent_at: None,
                    view: None,
                }),
            }
        }
        let own_ahead_ms = own.as_ref().map_or(0, |own| own.clock_ahead_ms.saturating_sub(median));
        self.last = Some(Arc::new(Last {
            incarnation: beat.incarnation,
            back_ms: beat.back_ms,
            expires_from_ms: beat.expires_from_ms,
            store_ahead_ms,
            own_ahead_ms,
            own,
        }));
        // One that goes on saying what it sees lives, and is answered over its link.
        let forget_after = self.timings.ttl * 2;
        let speaks = |peer: &Peer| peer.view.is_some_and(|(at, _)| now.since(at) <= forget_after);
        self.peers.retain(|peer| peer.listed || now.since(peer.listed_at) <= forget_after || speaks(peer));
    }

    /// The connection to the store has broken: another process of it may answer next, which has forgotten something. Nothing
    /// may be asked of it before the next heartbeat, which shows that, and nothing is claimed until then.
    pub fn handle_store_lost(&mut self) {
        self.connected = false;
    }

    /// The peer's address refuses connections, or another run answers there.
    pub fn handle_refused(&mut self, owner: &Owner) {
        if let Some(peer) = self.peer_mut(owner) {
            (peer.refused, peer.view) = (true, None);
        }
    }

    /// The peer has not answered for [`Timings::suspect_after`]. Already suspected, it stays so until then, and is asked again.
    pub fn handle_silent(&mut self, now: Boot, owner: &Owner) {
        let suspect_for = self.timings.suspect_for;
        if let Some(peer) = self.peer_mut(owner) {
            let open = peer.silent_at.is_some_and(|at| now.since(at) < suspect_for);
            if !open {
                peer.silent_at = Some(now);
            }
        }
    }

    /// The peer, this very run, has answered something.
    pub fn handle_answered(&mut self, owner: &Owner) {
        if let Some(peer) = self.peer_mut(owner) {
            (peer.refused, peer.silent_at) = (false, None);
        }
    }

    /// The peer says whether it sees the store. That counts for two heartbeats' time.
    pub fn handle_view(&mut self, now: Boot, owner: &Owner, sees_store: bool) {
        self.handle_answered(owner);
        if let Some(peer) = self.peer_mut(owner) {
            peer.view = Some((now, sees_store));
        }
    }

    fn peer_mut(&mut self, owner: &Owner) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.member.owner == *owner)
    }

    // What follows.

    /// What an owner named by a record is. Dead are also earlier runs of this node, and whoever was never heard of once
    /// the store has been back for a `ttl`.
    #[must_use]
    pub fn standing(&self, now: Boot, owner: &Owner) -> Standing {
        if *owner == self.own {
            return Standing::Own;
        }
        if owner.node == self.own.node {
            return Standing::Dead;
        }
        let Some(peer) = self.peers.iter().find(|peer| peer.member.owner == *owner) else {
            return if self.forgives(now) { Standing::Missing } else { Standing::Dead };
        };
        if peer.refused || !peer.listed && !self.forgives(now) {
            Standing::Dead
        } else if self.is_suspect(now, peer) {
            Standing::Suspect
        } else {
            Standing::Alive(peer.member.clone())
        }
    }

    fn is_suspect(&self, now: Boot, peer: &Peer) -> bool {
        peer.silent_at.is_some_and(|at| now.since(at) < self.timings.suspect_for)
    }

    /// For one `ttl` after the store is back, a missing heartbeat proves nothing; without a valid one of our own, never.
    fn forgives(&self, now: Boot) -> bool {
        !self.is_valid(now) || self.store_back_for(now).is_none_or(|span| span < self.timings.ttl)
    }

    /// How long ago the store came (back), by its own clock; `None` before the first heartbeat.
    #[must_use]
    pub fn store_back_for(&self, now: Boot) -> Option<Duration> {
        let back_ms = self.last.as_ref()?.back_ms;
        Some(Duration::from_millis(self.time?.unix_ms(now).saturating_sub(back_ms)))
    }

    /// Which store it is, and when it last came back, as [`Member::restored`] wants it.
    #[must_use]
    pub fn back(&self) -> Option<(Option<u64>, u64)> {
        self.last.as_ref().map(|last| (last.incarnation, last.back_ms))
    }

    /// Another run that was heard of lately, dead or alive: without a heartbeat it may still hold what it has.
    #[must_use]
    pub fn known(&self, owner: &Owner) -> Option<Arc<Member>> {
        self.peers.iter().find(|peer| peer.member.owner == *owner).map(|peer| peer.member.clone())
    }

    /// Whether this node may act as a member.
    #[must_use]
    pub fn validity(&self, now: Boot) -> Validity {
        if self.is_valid(now) {
            return Validity::Valid;
        }
        let fresh = self.timings.heartbeat * 2;
        let others = || self.peers.iter().filter(|peer| !peer.refused);
        let view = |peer: &Peer| peer.view.filter(|(at, _)| now.since(*at) <= fresh).map(|(_, sees)| sees);
        // Best one that may claim what it is given.
        let better = |peer: &&Peer| !peer.member.ready || peer.member.draining;
        if let Some(peer) = others().filter(|peer| view(peer) == Some(true)).min_by_key(better) {
            return Validity::CutOff(peer.member.clone());
        }
        let (mut any, mut reached) = (false, false);
        for peer in others() {
            any = true;
            reached |= view(peer).is_some();
        }
        if any && !reached { Validity::Isolated } else { Validity::Outage }
    }

    /// What a node tells its peers of the store. Not that it was there within the last 8 s: a peer that has just run out of
    /// these would stand still and hand all to this one, which can't serve it either.
    #[must_use]
    pub fn sees_store(&self, now: Boot) -> bool {
        self.connected && self.is_valid(now)
    }

    /// Until the send time of the last acknowledged heartbeat + 8 s.
    #[must_use]
    pub fn is_valid(&self, now: Boot) -> bool {
        self.sent.is_some_and(|sent| now.since(sent) < self.timings.valid)
    }

    /// Why nothing may be claimed just now.
    #[must_use]
    pub fn hold(&self, now: Boot) -> Option<Hold> {
        let Some(last) = self.last.as_ref().filter(|_| self.is_valid(now)) else {
            return Some(Hold::NotValid);
        };
        if !self.connected {
            return Some(Hold::Reconnecting);
        }
        if last.incarnation.is_none() {
            return Some(Hold::Empty);
        }
        if self.is_off(last.own_ahead_ms) && !self.is_off(last.store_ahead_ms) {
            return Some(Hold::ClockAhead(last.own_ahead_ms));
        }
        let restored = |member: &Member| member.restored == last.back_ms;
        // One that was cut off for longer is dead, though it goes on speaking.
        let counts = |peer: &Peer| !peer.refused && now.since(peer.listed_at) <= self.timings.ttl * 2;
        let behind = last.own.as_deref().is_none_or(|own| !restored(own))
            || self.peers.iter().any(|peer| counts(peer) && !restored(&peer.member));
        let back_for = self.store_back_for(now).unwrap_or_default();
        (behind && back_for < self.timings.ttl).then_some(Hold::Restoring)
    }

    /// Whether a starting process may take lanes: the store has kept what it acknowledged for as long as a lane may be in
    /// use. Else, how long to wait in `joining`.
    ///
    /// # Errors
    /// Why not, if waiting alone does not help.
    pub fn may_join(&self, now: Boot) -> Result<Duration, Hold> {
        match self.hold(now) {
            Some(hold) if hold != Hold::Restoring => Err(hold),
            _ => {
                let back_for = self.store_back_for(now).unwrap_or_default();
                Ok(self.timings.lane_rest.saturating_sub(back_for))
            }
        }
    }

    /// Whether a holder may have its lanes extended that are acknowledged up to this second. Lanes that have lapsed may have been
    /// given away, and a store that has just come back may have forgotten it: then they wait as long as a starting process.
    #[must_use]
    pub fn may_extend(&self, now: Boot, until: u32) -> bool {
        let lapsed = self.time.is_none_or(|time| time.second(now) > until);
        !lapsed || self.store_back_for(now).is_some_and(|span| span >= self.timings.lane_rest)
    }

    /// By how much the store's own clock is off the median of all, if that is more than 5 s: expiry pauses.
    #[must_use]
    pub fn store_clock_off(&self) -> Option<i64> {
        self.last.as_ref().map(|last| last.store_ahead_ms).filter(|ahead| self.is_off(*ahead))
    }

    /// Whether what is over may be ended: not without the store, not for as long again as an outage took, so that devices can
    /// say that they are there, and not by a store's clock that is wrong. An outage is one that this node has seen, or that
    /// the store's heartbeats show.
    #[must_use]
    pub fn may_expire(&self, now: Boot) -> bool {
        let by_store = self.last.as_ref().zip(self.time);
        let by_store = by_store.is_some_and(|(last, time)| time.unix_ms(now) >= last.expires_from_ms);
        self.is_valid(now) && now >= self.expires_from && by_store && self.store_clock_off().is_none()
    }

    fn is_off(&self, ahead_ms: i64) -> bool {
        Duration::from_millis(ahead_ms.unsigned_abs()) > self.timings.outlier
    }

    /// The store's clock as it is carried here; `None` before the first heartbeat.
    #[must_use]
    pub fn time(&self) -> Option<&StoreTime> {
        self.time.as_ref()
    }

    /// This process as its last heartbeat showed it.
    #[must_use]
    pub fn own_member(&self) -> Option<Arc<Member>> {
        self.last.as_ref()?.own.clone()
    }

    /// The times by which it judges.
    #[must_use]
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// This process.
    #[must_use]
    pub fn own(&self) -> &Owner {
        &self.own
    }

    /// The others that are not dead, ordered by name.
    #[must_use]
    pub fn others(&self, now: Boot) -> Vec<Arc<Member>> {
        let mut all: Vec<_> = self.peers.iter().map(|peer| peer.member.clone()).collect();
        all.retain(|member| {
            matches!(self.standing(now, &member.owner), Standing::Alive(_) | Standing::Suspect)
        });
        all.sort_by(|a, b| (&a.owner.node, a.owner.boot).cmp(&(&b.owner.node, b.owner.boot)));
        all
    }

    /// Which of the ready others takes a device that this node must give away: the same for all who ask (rendezvous hash).
    #[must_use]
    pub fn heir(&self, now: Boot, device: DeviceId) -> Option<Arc<Member>> {
        let ready = self.others(now).into_iter().filter(|member| member.ready && !member.draining);
        ready.max_by_key(|member| rank(device, &member.owner))
    }

    /// Whether it is this node's turn to see to what is due at a device that nobody has: one ready member's at a time.
    #[must_use]
    pub fn is_turn(&self, now: Boot, device: DeviceId) -> bool {
        let heir = self.heir(now, device);
        heir.is_none_or(|heir| rank(device, &self.own) > rank(device, &heir.owner))
    }
}

/// How far the store's clock is ahead of the median of its own and all members' clocks, and that median, which is relative
/// to the store's clock. With an even number the store's counts twice: deadlines go by it.
fn skew(members: &[Member]) -> (i64, i64) {
    let mut clocks: Vec<i64> = members.iter().map(|member| member.clock_ahead_ms).collect();
    clocks.push(0);
    if clocks.len().is_multiple_of(2) {
        clocks.push(0);
    }
    clocks.sort_unstable();
    let median = clocks[clocks.len() / 2];
    (median.saturating_neg(), median)
}

fn rank(device: DeviceId, owner: &Owner) -> (u64, Reverse<u64>) {
    (weight(device, owner), Reverse(owner.boot))
}

fn weight(device: DeviceId, owner: &Owner) -> u64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(device.as_bytes());
    context.update(&owner.boot.to_be_bytes());
    context.update(owner.node.as_bytes());
    let digest = context.finish();
    digest.as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: u64 = 1_800_000_000_000;

    fn owner(node: &str, boot: u64) -> Owner {
        Owner { node: node.into(), boot }
    }

    fn member(node: &str) -> Member {
        Member { restored: UNIX, ..Member::of(owner(node, 1)) }
    }

    fn at(seconds: f64) -> Boot {
        Boot::from_start(Duration::from_secs_f64(seconds))
    }

    /// The store came back at second 0.
    fn beat(seconds: f64, members: &[&str]) -> Beat {
        Beat {
            time_ms: UNIX + (seconds * 1_000.0) as u64,
            incarnation: Some(7),
            back_ms: UNIX,
            expires_from_ms: 0,
            members: members.iter().map(|node| member(node)).collect(),
        }
    }

    /// Node `a`, with heartbeats every 2 s up to `until`.
    fn beating(until: u32, members: &[&str]) -> Membership {
        let mut membership = Membership::new(owner("a", 1), Timings::default());
        for second in (0..=until).step_by(2).map(f64::from) {
            membership.handle_beat(at(second), at(second + 0.01), beat(second, members));
        }
        membership
    }

    fn alive(node: &str) -> Standing {
        Standing::Alive(Arc::new(member(node)))
    }

    #[test]
    fn who_has_a_heartbeat_is_alive_and_an_earlier_run_of_this_node_is_dead() {
        let membership = beating(20, &["a", "b"]);
        assert_eq!(membership.standing(at(21.0), &owner("a", 1)), Standing::Own);
        assert_eq!(membership.standing(at(21.0), &owner("a", 0)), Standing::Dead);
        assert_eq!(membership.standing(at(21.0), &owner("b", 1)), alive("b"));
        assert_eq!(membership.standing(at(21.0), &owner("b", 2)), Standing::Dead);
    }

    #[test]
    fn a_node_is_valid_until_8_seconds_after_it_sent_what_was_acknowledged() {
        let mut membership = Membership::new(owner("a", 1), Timings::default());
        assert!(!membership.is_valid(at(0.0)));
        membership.handle_beat(at(10.0), at(13.0), beat(10.0, &["a"]));
        assert!(membership.is_valid(at(17.9)));
        assert!(!membership.is_valid(at(18.0)));
        // An answer that comes late does not shorten it.
        membership.handle_beat(at(8.0), at(14.0), beat(8.0, &["a"]));
        assert!(membership.is_valid(at(17.9)));
    }

    #[test]
    fn a_member_whose_heartbeat_has_expired_is_dead() {
        let mut membership = beating(20, &["a", "b"]);
        membership.handle_beat(at(22.0), at(22.0), beat(22.0, &["a"]));
        assert_eq!(membership.standing(at(22.0), &owner("b", 1)), Standing::Dead);
        // Without heartbeats of our own we can't say.
        assert_eq!(membership.standing(at(31.0), &owner("b", 1)), alive("b"));
        assert_eq!(membership.standing(at(31.0), &owner("c", 1)), Standing::Missing);
    }

    #[test]
    fn for_one_ttl_after_the_store_is_back_nobody_is_dead_by_heartbeat_alone() {
        let mut membership = beating(20, &["a", "b"]);
        let back = |seconds: f64| Beat { back_ms: UNIX + 60_000, ..beat(seconds, &["a"]) };
        membership.handle_beat(at(60.0), at(60.0), back(60.0));
        // Forgotten after two TTLs, it is as one that was never heard of.
        assert_eq!(membership.standing(at(61.0), &owner("b", 1)), Standing::Missing);
        assert_eq!(membership.standing(at(61.0), &owner("a", 0)), Standing::Dead);
        membership.handle_beat(at(69.0), at(69.0), back(69.0));
        assert_eq!(membership.standing(at(69.9), &owner("b", 1)), Standing::Missing);
        assert_eq!(membership.standing(at(70.1), &owner("b", 1)), Standing::Dead);
    }

    #[test]
    fn a_refused_connection_kills_even_then_and_an_answer_revives() {
        let mut membership = beating(4, &["a", "b"]);
        membership.handle_refused(&owner("b", 1));
        assert_eq!(membership.standing(at(5.0), &owner("b", 1)), Standing::Dead);
        membership.handle_beat(at(6.0), at(6.0), beat(6.0, &["a", "b"]));
        assert_eq!(membership.standing(at(6.0), &owner("b", 1)), Standing::Dead);
        membership.handle_answered(&owner("b", 1));
        assert_eq!(membership.standing(at(6.0), &owner("b", 1)), alive("b"));
    }

    #[test]
    fn a_silent_member_is_suspect_for_a_second_and_then_asked_again() {
        let mut membership = beating(20, &["a", "b"]);
        membership.handle_silent(at(21.0), &owner("b", 1));
        assert_eq!(membership.standing(at(21.9), &owner("b", 1)), Standing::Suspect);
        // A second silence meanwhile does not prolong it.
        membership.handle_silent(at(21.5), &owner("b", 1));
        assert_eq!(membership.standing(at(22.0), &owner("b", 1)), alive("b"));
        membership.handle_silent(at(22.0), &owner("b", 1));
        membership.handle_answered(&owner("b", 1));
        assert_eq!(membership.standing(at(22.0), &owner("b", 1)), alive("b"));
    }

    #[test]
    fn without_heartbeats_the_peers_tell_whose_fault_it_is() {
        let mut membership = beating(0, &["a", "b", "c"]);
        let (b, c) = (owner("b", 1), owner("c", 1));
        assert_eq!(membership.validity(at(7.9)), Validity::Valid);
        assert_eq!(membership.validity(at(8.0)), Validity::Isolated);
        membership.handle_view(at(8.0), &b, false);
        assert_eq!(membership.validity(at(8.0)), Validity::Outage);
        membership.handle_view(at(9.0), &c, true);
        assert_eq!(membership.validity(at(9.0)), Validity::CutOff(Arc::new(member("c"))));
        // Views grow old.
        assert_eq!(membership.validity(at(13.5)), Validity::Isolated);
        // Who is dead counts as nobody.
        membership.handle_refused(&b);
        membership.handle_refused(&c);
        assert_eq!(membership.validity(at(13.5)), Validity::Outage);
    }

    #[test]
    fn a_dead_member_that_goes_on_speaking_is_not_forgotten() {
        let mut membership = beating(20, &["a", "b", "c"]);
        for second in (22..=80).step_by(2).map(f64::from) {
            membership.handle_view(at(second), &owner("b", 1), false);
            membership.handle_beat(at(second), at(second), beat(second, &["a"]));
        }
        assert!(membership.known(&owner("b", 1)).is_some(), "it is cut off from the store");
        assert!(membership.known(&owner("c", 1)).is_none());
        assert_eq!(membership.standing(at(80.0), &owner("b", 1)), Standing::Dead);
    }

    #[test]
    fn nothing_is_claimed_before_all_have_restored_or_a_ttl_has_passed() {
        let mut membership = beating(20, &["a", "b"]);
        assert_eq!(membership.hold(at(21.0)), None);
        let back = |seconds: f64, restored: [u64; 2]| {
            let members = [("a", restored[0]), ("b", restored[1])];
            let members = members.map(|(node, at)| Member { restored: UNIX + at, ..member(node) });
            Beat { back_ms: UNIX + 30_000, members: members.into(), ..beat(seconds, &[]) }
        };
        membership.handle_beat(at(30.0), at(30.0), back(30.0, [0, 0]));
        assert_eq!(membership.hold(at(30.0)), Some(Hold::Restoring));
        membership.handle_beat(at(32.0), at(32.0), back(32.0, [30_000, 0]));
        assert_eq!(membership.hold(at(32.0)), Some(Hold::Restoring));
        let mut all = membership.clone();
        all.handle_beat(at(34.0), at(34.0), back(34.0, [30_000, 30_000]));
        assert_eq!(all.hold(at(34.0)), None);
        membership.handle_beat(at(39.0), at(39.0), back(39.0, [30_000, 0]));
        assert_eq!(membership.hold(at(39.9)), Some(Hold::Restoring));
        assert_eq!(membership.hold(at(40.1)), None);
    }

    #[test]
    fn a_peer_that_was_cut_off_for_long_holds_no_claims_back_though_it_speaks() {
        let mut membership = beating(20, &["a", "b"]);
        let back = |seconds: f64| Beat {
            back_ms: UNIX + 60_000,
            members: vec![Member { restored: UNIX + 60_000, ..member("a") }],
            ..beat(seconds, &[])
        };
        for second in (22..60).step_by(2).map(f64::from) {
            membership.handle_view(at(second), &owner("b", 1), false);
            membership.handle_beat(at(second), at(second), beat(second, &["a"]));
        }
        membership.handle_beat(at(60.0), at(60.0), back(60.0));
        assert!(membership.known(&owner("b", 1)).is_some());
        assert_eq!(membership.hold(at(60.0)), None);
    }

    #[test]
    fn a_node_that_is_cut_off_hands_what_comes_to_a_peer_that_is_ready() {
        let mut membership = Membership::new(owner("a", 1), Timings::default());
        let peers = [("b", false, false), ("c", true, true), ("d", true, false), ("e", true, false)];
        let peers = peers.map(|(node, ready, draining)| Member { ready, draining, ..member(node) });
        membership.handle_beat(at(0.0), at(0.0), Beat { members: peers.into(), ..beat(0.0, &[]) });
        let hands_to = |membership: &Membership| match membership.validity(at(9.0)) {
            Validity::CutOff(peer) => peer.owner.node.to_string(),
            other => panic!("{other:?}"),
        };
        for (sees, best) in [("b", "b"), ("c", "b"), ("d", "d"), ("e", "d")] {
            membership.handle_view(at(9.0), &owner(sees, 1), true);
            assert_eq!(hands_to(&membership), best);
        }
    }

    #[test]
    fn nothing_expires_in_an_outage_nor_for_as_long_again() {
        let mut membership = beating(20, &["a", "b"]);
        assert!(membership.may_expire(at(27.9)));
        assert!(!membership.may_expire(at(28.0)), "the last heartbeat is too old");
        membership.handle_beat(at(80.0), at(80.0), beat(80.0, &["a", "b"]));
        membership.handle_beat(at(100.0), at(100.0), beat(100.0, &["a", "b"]));
        // The second gap was shorter than the rest of the first.
        for seconds in 102..150 {
            membership.handle_beat(
                at(f64::from(seconds)),
                at(f64::from(seconds)),
                beat(f64::from(seconds), &["a", "b"]),
            );
        }
        assert!(!membership.may_expire(at(139.9)));
        assert!(membership.may_expire(at(140.0)));
    }

    #[test]
    fn nothing_expires_at_a_process_that_was_started_after_an_outage_before_the_store_says_so() {
        let mut membership = Membership::new(owner("a", 2), Timings::default());
        let after = Beat { expires_from_ms: UNIX + 110_000, ..beat(60.0, &["b"]) };
        membership.handle_beat(at(1.0), at(1.0), after.clone());
        assert!(membership.is_valid(at(1.0)) && !membership.may_expire(at(1.0)));
        for second in (6..=46).step_by(5).map(f64::from) {
            let time_ms = after.time_ms + (second * 1_000.0) as u64 - 1_000;
            membership.handle_beat(at(second), at(second), Beat { time_ms, ..after.clone() });
        }
        assert!(!membership.may_expire(at(50.9)));
        assert!(membership.may_expire(at(51.1)));
    }

    #[test]
    fn an_empty_store_and_none_at_all_hold_everything_back() {
        let mut membership = Membership::new(owner("a", 1), Timings::default());
        assert_eq!(membership.hold(at(0.0)), Some(Hold::NotValid));
        let empty = Beat { incarnation: None, ..beat(0.0, &["a"]) };
        membership.handle_beat(at(0.0), at(0.0), empty);
        assert_eq!(membership.hold(at(0.0)), Some(Hold::Empty));
        assert_eq!(membership.may_join(at(0.0)), Err(Hold::Empty));
        assert_eq!(membership.hold(at(8.0)), Some(Hold::NotValid));
    }

    #[test]
    fn nothing_is_claimed_from_a_store_that_was_lost_before_a_heartbeat_of_it() {
        let mut membership = beating(20, &["a", "b"]);
        assert!(membership.sees_store(at(20.5)));
        membership.handle_store_lost();
        assert_eq!(membership.hold(at(20.5)), Some(Hold::Reconnecting));
        assert!(membership.is_valid(at(20.5)));
        assert!(!membership.sees_store(at(20.5)), "peers hear of it before the heartbeat is overdue");
        membership.handle_beat(at(21.0), at(21.0), beat(21.0, &["a", "b"]));
        assert_eq!(membership.hold(at(21.0)), None);
    }

    #[test]
    fn a_starting_process_waits_until_the_store_has_been_back_for_a_lanes_rest() {
        let membership = beating(20, &["a"]);
        let wait = membership.may_join(at(20.01)).unwrap();
        assert!((39_950..=40_000).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(beating(60, &["a"]).may_join(at(61.0)), Ok(Duration::ZERO));
    }

    #[test]
    fn a_lapsed_lane_is_not_extended_by_a_store_that_may_have_forgotten_its_next_holder() {
        let second = |after: u64| (UNIX / 1_000 + after) as u32;
        let back = beating(20, &["a"]);
        assert!(back.may_extend(at(20.0), second(30)));
        assert!(!back.may_extend(at(20.0), second(10)));
        assert!(beating(62, &["a"]).may_extend(at(62.0), second(10)));
    }

    fn with_clocks(clocks: &[(&str, i64)]) -> Membership {
        let mut membership = Membership::new(owner("a", 1), Timings::default());
        let members = clocks.iter().map(|(node, ahead)| Member { clock_ahead_ms: *ahead, ..member(node) });
        let beat = Beat { members: members.collect(), ..beat(0.0, &[]) };
        membership.handle_beat(at(0.0), at(0.0), beat);
        membership
    }

    #[test]
    fn a_clock_more_than_5_seconds_from_the_median_claims_nothing() {
        let hold = |clocks: &[_]| with_clocks(clocks).hold(at(0.0));
        assert_eq!(hold(&[("a", 4_000), ("b", 0), ("c", 0)]), None);
        assert_eq!(hold(&[("a", -3_600_000), ("b", 0), ("c", 0)]), Some(Hold::ClockAhead(-3_600_000)));
        assert_eq!(hold(&[("a", 0), ("b", 3_600_000), ("c", 0)]), None);
        // Two clocks that disagree: the store's counts.
        assert_eq!(hold(&[("a", 3_600_000)]), Some(Hold::ClockAhead(3_600_000)));
    }

    #[test]
    fn a_store_whose_clock_is_off_is_told_from_members_whose_clocks_are() {
        let membership = with_clocks(&[("a", 9_000), ("b", 9_100), ("c", 8_900)]);
        assert_eq!(membership.store_clock_off(), Some(-8_900));
        assert_eq!(membership.hold(at(0.0)), None);
        assert_eq!(with_clocks(&[("a", 9_000), ("b", 0), ("c", 0)]).store_clock_off(), None);
    }

    #[test]
    fn what_is_due_is_one_members_turn() {
        let members = ["a", "b", "c"];
        let seen_by = |node: &str| {
            let mut membership = Membership::new(owner(node, 1), Timings::default());
            membership.handle_beat(at(0.0), at(0.0), beat(0.0, &members));
            membership
        };
        let all = members.map(seen_by);
        for n in 0..100 {
            let device = DeviceId::of(&format!("device {n}"));
            let turns = all.iter().filter(|membership| membership.is_turn(at(0.1), device)).count();
            assert_eq!(turns, 1, "{device}");
        }
    }

    #[test]
    fn heirs_are_ready_peers_spread_evenly_and_the_same_for_all() {
        let mut membership = beating(20, &["a", "b", "c", "d"]);
        let heir = |membership: &Membership, n: u32| {
            let device = DeviceId::of(&n.to_string());
            membership.heir(at(21.0), device).map(|member| member.owner.node.to_string())
        };
        let mut counts = std::collections::BTreeMap::new();
        for n in 0..300 {
            *counts.entry(heir(&membership, n).unwrap()).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 3);
        assert!(counts.values().all(|count| (60..140).contains(count)), "{counts:?}");
        let before: Vec<_> = (0..300).map(|n| heir(&membership, n)).collect();
        membership.handle_refused(&owner("b", 1));
        let moved = (0..300).filter(|n| heir(&membership, *n) != before[*n as usize]).count();
        assert_eq!(moved, counts["b"]);
    }
}
