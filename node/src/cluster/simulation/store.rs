//! The store of the simulation: the contract suite's model, lanes and heartbeats, and what may go wrong with a store.

use std::collections::{BTreeMap, VecDeque};

use super::bug::Bug;
use crate::{
    identity::{AssociationId, DeviceId, Owner},
    ownership::Timings,
    store::{
        Beat, Change, Claim, Claimed, DeviceRecord, Fence, Lane, Member, Pointer, Refused, Served,
        StoreError, contract::model::Model, recent::Again, value,
    },
};

/// Where the store's clock begins, Unix milliseconds.
pub(super) const START: u64 = 1_700_000_000_000;
/// Lanes of this store: few, so that they are used again.
const LANES: usize = 12;
/// Writes within so many milliseconds are forgotten together.
const TOGETHER: u64 = 40;
/// States that may come back after a failure, one for each write.
const HISTORY: usize = 4_000;

/// What nodes ask of the store.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Resolve(Pointer),
    Load(DeviceId),
    Claim(DeviceId, Owner, Claim),
    Commit(DeviceId, Fence, Vec<Change>),
    /// What a store that came back may have forgotten. Read and written in one: of one owner's writes none comes between.
    Rewrite(DeviceId, Box<Again>),
    Beat(Box<Member>),
    TakeLane(Owner),
    /// Which, and until when it was acknowledged: a store that forgot it hears it again.
    ExtendLane(Owner, u16, u32),
}

impl Request {
    /// Tells one request from another in a schedule's digest.
    pub(super) fn kind(&self) -> u64 {
        match self {
            Self::Resolve(_) => 0,
            Self::Load(_) => 1,
            Self::Claim(..) => 2,
            Self::Commit(_, _, changes) => 16 + changes.len() as u64,
            Self::Beat(_) => 3,
            Self::TakeLane(_) => 4,
            Self::ExtendLane(..) => 5,
            Self::Rewrite(..) => 6,
        }
    }
}

/// What it answers.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Resolved(Option<DeviceId>),
    Loaded(Option<Box<DeviceRecord>>),
    Claimed(Result<Box<Claimed>, StoreError>),
    Committed(Result<(), StoreError>),
    /// With the claims that others made of what was this node's.
    Beaten(Box<Beat>, Vec<(DeviceId, u64)>),
    Lane(Result<Lane, StoreError>),
    Extended(Result<u32, StoreError>),
    Unavailable,
}

#[derive(Debug, Clone, Default)]
struct LaneState {
    holder: Option<Owner>,
    until: u32,
}

/// What a store loses when it fails over.
#[derive(Debug, Clone, Default)]
struct State {
    model: Model,
    lanes: Vec<LaneState>,
    members: BTreeMap<(String, u64), (Member, u64)>,
    inboxes: BTreeMap<(String, u64), Vec<(DeviceId, u64)>>,
    incarnation: u64,
    mark: u64,
    back: u64,
    run: u64,
    served: Served,
}

/// The store.
#[derive(Debug)]
pub(super) struct Store {
    state: State,
    history: VecDeque<(u64, State)>,
    timings: Timings,
    /// This process of it; another after each failure.
    run: u64,
    pub(super) up: bool,
    /// How far its clock is off.
    pub(super) ahead_ms: i64,
    /// The last moment to which it went back, and when: writes between were forgotten.
    pub(super) forgot: Vec<(u64, u64)>,
    pub(super) bug: Option<Bug>,
}

fn key(owner: &Owner) -> (String, u64) {
    (owner.node.to_string(), owner.boot)
}

impl Store {
    pub(super) fn new(timings: Timings, bug: Option<Bug>) -> Self {
        let state = State {
            lanes: vec![LaneState::default(); LANES],
            incarnation: 1,
            mark: START,
            // It has long been there.
            back: START - 1_000_000,
            run: 1,
            ..State::default()
        };
        Self {
            state,
            history: VecDeque::new(),
            timings,
            run: 1,
            up: true,
            ahead_ms: 0,
            forgot: Vec::new(),
            bug,
        }
    }

    /// Which process of it answers.
    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// Its clock at a moment of the simulation.
    pub(super) fn time_ms(&self, now: u64) -> u64 {
        (START + now).saturating_add_signed(self.ahead_ms)
    }

    pub(super) fn provision(&mut self, document: value::Device) {
        self.state.model.now = self.time_ms(0);
        self.state.model.provision(document).expect("a new device");
    }

    /// What is on record, for the observer.
    pub(super) fn record(&self, device: DeviceId) -> Option<DeviceRecord> {
        self.state.model.load(device)
    }

    /// A device's sessions on record.
    pub(super) fn sessions(&self, device: DeviceId) -> Vec<AssociationId> {
        let known = self.state.model.devices.get(&device);
        known.iter().flat_map(|known| &known.record.sessions).map(|session| session.association).collect()
    }

    /// Goes back to what it held `lag` milliseconds ago, as another process: a failover, or an old copy.
    pub(super) fn go_back(&mut self, now: u64, lag: u64) {
        let then = now.saturating_sub(lag);
        while self.history.back().is_some_and(|(at, _)| *at > then) {
            self.history.pop_back();
        }
        if let Some((_, state)) = self.history.back() {
            self.state = state.clone();
        }
        self.run += 1;
        self.forgot.push((then, now));
    }

    /// Restarts with what it held.
    pub(super) fn restart(&mut self) {
        self.run += 1;
    }

    pub(super) fn handle(&mut self, now: u64, request: Request) -> Reply {
        if !self.up {
            return Reply::Unavailable;
        }
        let time = self.time_ms(now);
        let ahead = time.saturating_sub(self.state.model.now);
        self.state.model.advance(ahead);
        let writes = !matches!(request, Request::Resolve(_) | Request::Load(_));
        let reply = self.answer(time, request);
        // Each costs a copy of everything, so what was written within some milliseconds is forgotten together.
        let apart = self.history.back().is_none_or(|(at, _)| now >= at + TOGETHER);
        if writes && apart {
            self.history.push_back((now, self.state.clone()));
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
        reply
    }

    fn answer(&mut self, time: u64, request: Request) -> Reply {
        match request {
            Request::Resolve(pointer) => Reply::Resolved(self.state.model.resolve(&pointer)),
            Request::Load(device) => Reply::Loaded(self.state.model.load(device).map(Box::new)),
            Request::Claim(device, owner, claim) => {
                Reply::Claimed(self.claim(device, owner, claim).map(Box::new))
            }
            Request::Commit(device, fence, changes) => {
                Reply::Committed(self.commit(device, &fence, &changes))
            }
            Request::Rewrite(device, again) => Reply::Committed(self.rewrite(device, *again)),
            Request::Beat(member) => {
                let inbox = self.state.inboxes.remove(&key(&member.owner)).unwrap_or_default();
                Reply::Beaten(Box::new(self.beat(time, *member)), inbox)
            }
            Request::TakeLane(owner) => Reply::Lane(self.take_lane(time, owner)),
            Request::ExtendLane(owner, number, until) => {
                Reply::Extended(self.extend_lane(time, &owner, number, until))
            }
        }
    }

    fn claim(&mut self, device: DeviceId, owner: Owner, claim: Claim) -> Result<Claimed, StoreError> {
        let model = &mut self.state.model;
        let stored = model.load(device).map(|record| record.header).unwrap_or_default();
        let seen = claim.seen.filter(|_| self.bug != Some(Bug::SeenIgnored));
        if let Some(seen) = seen
            && stored.term > seen
        {
            let owner = stored.owner.unwrap_or(Owner { node: "".into(), boot: 0 });
            return Err(Refused { term: stored.term, owner }.into());
        }
        let (mut term, claims, exact) = model.claim(device, owner.clone(), claim.create)?;
        if self.bug == Some(Bug::ClaimWithoutNewTerm)
            && stored.term > 0
            && let Some(known) = model.devices.get_mut(&device)
        {
            known.record.header.term = stored.term;
            term = stored.term;
        }
        if let Some(before) = stored.owner.filter(|before| *before != owner && !stored.passive) {
            self.state.inboxes.entry(key(&before)).or_default().push((device, term));
        }
        let record = self.state.model.load(device).unwrap_or_default();
        Ok(Claimed { term, claims, exact, record })
    }

    fn commit(&mut self, device: DeviceId, fence: &Fence, changes: &[Change]) -> Result<(), StoreError> {
        if self.bug == Some(Bug::TermsComparedForEquality) {
            let stored = self.state.model.load(device).map(|record| record.header).unwrap_or_default();
            if stored.term != fence.term {
                let owner = stored.owner.unwrap_or(Owner { node: "".into(), boot: 0 });
                return Err(Refused { term: stored.term, owner }.into());
            }
        }
        if self.bug == Some(Bug::WritesNotFenced) {
            let stored = self.state.model.load(device).map(|record| record.header).unwrap_or_default();
            let fence = Fence { term: fence.term.max(stored.term + 1), ..fence.clone() };
            return self.state.model.commit(device, &fence, changes);
        }
        self.state.model.commit(device, fence, changes)
    }

    fn rewrite(&mut self, device: DeviceId, mut again: Again) -> Result<(), StoreError> {
        let stored = self.state.model.load(device);
        if self.bug == Some(Bug::RewriteNotFenced)
            && let Some(stored) = &stored
        {
            again.fence.term = again.fence.term.max(stored.header.term + 1);
        }
        let fence = again.fence.clone();
        for changes in [again.clone().over(stored.as_ref()), again.instead_of_sessions(stored.as_ref())] {
            let Some(changes) = changes else { break };
            match self.commit(device, &fence, &changes) {
                Err(StoreError::Invalid { .. }) => {}
                done => {
                    if self.bug == Some(Bug::ReplacedSessionsStay) {
                        self.bring_back(device, &fence, stored);
                    }
                    return done;
                }
            }
        }
        let header = stored.map(|record| record.header).unwrap_or_default();
        let owner = header.owner.unwrap_or(Owner { node: "".into(), boot: 0 });
        Err(Refused { term: header.term, owner }.into())
    }

    /// A planted bug: sessions that were on record come back.
    fn bring_back(&mut self, device: DeviceId, fence: &Fence, stored: Option<DeviceRecord>) {
        let sessions = self.sessions(device);
        let stored = stored.into_iter().flat_map(|stored| stored.sessions);
        for gone in stored.filter(|it| !sessions.contains(&it.association)) {
            // There may be no room for it.
            let _ = self.commit(device, fence, &[Change::Session(Box::new(gone))]);
        }
    }

    fn beat(&mut self, time: u64, member: Member) -> Beat {
        let state = &mut self.state;
        let ttl = self.timings.ttl.as_millis() as u64;
        if state.run != self.run || time + ttl < state.mark {
            (state.run, state.back) = (self.run, time);
        }
        // Nobody could beat for so long: that counts against nobody.
        let gap = time.saturating_sub(state.mark);
        if gap > ttl / 2 {
            state.members.values_mut().for_each(|(_, at)| *at += gap);
        }
        state.mark = time;
        let expires_from_ms = match self.bug {
            Some(Bug::OutageNotKept) => 0,
            _ => state.served.beat(time, member.ready, self.timings.ttl),
        };
        state.members.retain(|_, (_, at)| time.saturating_sub(*at) < ttl);
        state.members.insert(key(&member.owner), (member, time));
        Beat {
            time_ms: time,
            incarnation: Some(state.incarnation),
            back_ms: state.back,
            expires_from_ms,
            members: state.members.values().map(|(member, _)| member.clone()).collect(),
        }
    }

    fn take_lane(&mut self, time: u64, owner: Owner) -> Result<Lane, StoreError> {
        let second = (time / 1000) as u32;
        let hasty = self.bug == Some(Bug::LaneDoesNotRest);
        let (ahead, rest) =
            (self.timings.lane_ahead.as_secs() as u32, self.timings.lane_rest.as_secs() as u32);
        let rested = |lane: &LaneState| match &lane.holder {
            None => true,
            // Its holder has not been heard of for 10 s, though it may open seconds for longer.
            Some(_) if hasty => lane.until + 10 < second + ahead,
            Some(_) => lane.until + rest < second,
        };
        let number = self.state.lanes.iter().position(rested).ok_or(StoreError::Overloaded)?;
        let lane = &mut self.state.lanes[number];
        let from = if hasty { second } else { second.max(lane.until + 1) };
        lane.until = from + ahead;
        lane.holder = Some(owner);
        Ok(Lane { number: number as u16, from, until: lane.until })
    }

    fn extend_lane(&mut self, time: u64, owner: &Owner, number: u16, until: u32) -> Result<u32, StoreError> {
        let ahead = (time / 1000) as u32 + self.timings.lane_ahead.as_secs() as u32;
        let lane = &mut self.state.lanes[usize::from(number)];
        // Whoever knows of a later second had it last.
        let forgotten = lane.holder.is_none() || lane.until < until;
        if lane.holder.as_ref() != Some(owner) && !forgotten {
            return Err(StoreError::LanesLost);
        }
        lane.holder = Some(owner.clone());
        lane.until = lane.until.max(until).max(ahead);
        Ok(lane.until)
    }
}
