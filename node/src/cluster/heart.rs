//! The heartbeat: says through the store that this node lives, and hears who else does.
//!
//! ```text
//!  every 2 s ─► store.heartbeat ─► members ─► links to them
//!          ├──► store.extend_lanes ─► shards: nonces for the next 30 s
//!          ├──► the store has come back: store.rewrite ─► claims are open again once all members have done so
//!          └──► fitness ─► readiness
//! ```

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::sync::{Notify, watch};

use super::{
    company::Company,
    fitness::{self, Fitness, Unfit},
    link::Hub,
};
use crate::{
    clock,
    endpoint::{Process, ShardMessage},
    health::{self, Readiness},
    metrics::cluster::{Sight, StoreSight},
    ownership::{Hold, Timings},
    shard::listener::Listener,
    store::{Lane, Member, Rewritten, StoreError},
};

/// How long a lost connection is given to be made anew before the next heartbeat.
const AFTER_LOSS: Duration = Duration::from_millis(50);

/// Why a node can't join its cluster. It goes on trying; this says what an operator may have to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotJoined {
    /// The store does not answer, or refuses.
    #[error("the store can't be used: {0}")]
    Store(String),
    /// The store is there, but nothing may be claimed.
    #[error("{0}")]
    Held(Hold),
}

/// A node's heartbeat.
pub struct Heart {
    hub: Arc<Hub>,
    process: Arc<Process>,
    readiness: Readiness,
    sight: StoreSight,
    listeners: Vec<Listener>,
    timings: Timings,
    draining: AtomicBool,
    beats: AtomicU64,
    /// The last second that the node's lanes are acknowledged for.
    until: AtomicU32,
    /// They are not extended for now, which has been said.
    resting: AtomicBool,
    rewriting: Mutex<Rewriting>,
    company: Mutex<Company>,
    /// Beats out of turn.
    now: Notify,
}

/// Names a coming back of a store: of data that has this name, at this time.
type Back = (Option<u64>, u64);

/// How far this process has written again what the store may have forgotten.
#[derive(Debug, Default)]
struct Rewriting {
    /// Up to this coming back of this store; before its first heartbeat a process has written nothing.
    done: Option<Back>,
    under_way: bool,
}

/// What a heart remembers from beat to beat.
#[derive(Default)]
struct Memory {
    fitness: Fitness,
    hold: Option<(Unfit, health::Hold)>,
    outage: bool,
}

impl Heart {
    /// Of a node with these listeners, which has not beaten yet.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        process: Arc<Process>,
        readiness: Readiness,
        listeners: Vec<Listener>,
    ) -> Arc<Self> {
        let timings = *hub.members().timings();
        let (draining, until, now) = (AtomicBool::new(false), AtomicU32::new(0), Notify::new());
        let (resting, rewriting) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self {
            hub,
            process,
            readiness,
            sight: StoreSight::default(),
            listeners,
            timings,
            draining,
            beats: AtomicU64::default(),
            until,
            resting,
            rewriting,
            company: Mutex::default(),
            now,
        })
    }

    /// Joins the cluster and takes lanes: waits for a store that answers, and, where it has just come back, for as long as
    /// nonces of what it forgot may still be in use.
    ///
    /// # Errors
    /// Lanes can't be taken.
    pub async fn join(&self, shards: u16) -> Result<Vec<Lane>, StoreError> {
        let mut said = None;
        loop {
            let joined = match self.beat().await {
                Ok(()) => self.hub.members().may_join(clock::boot()).map_err(NotJoined::Held),
                Err(error) => Err(NotJoined::Store(error.reason())),
            };
            match joined {
                Ok(Duration::ZERO) => break,
                Ok(rest) => {
                    if said.replace(None) != Some(None) {
                        tracing::info!(
                            ?rest,
                            "joining: the store has just come, earlier nonces may be in use"
                        );
                    }
                    tokio::time::sleep(rest.min(self.timings.heartbeat)).await;
                }
                Err(why) => {
                    if said.as_ref() != Some(&Some(why.clone())) {
                        tracing::error!(%why, "this node does not join its cluster");
                        said = Some(Some(why));
                    }
                    tokio::time::sleep(self.timings.heartbeat).await;
                }
            }
        }
        let lanes = self.process.store.take_lanes(&self.process.owner, shards).await?;
        self.until.store(lanes.first().map_or(0, |lane| lane.until), Ordering::Relaxed);
        Ok(lanes)
    }

    /// Beats once.
    #[cfg(test)]
    pub(crate) async fn once(&self) {
        self.beat().await.unwrap();
    }

    /// Beats for as long as the node lives.
    pub async fn run(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.timings.heartbeat);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut memory = Memory::default();
        let mut losses = self.process.store.losses();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.now.notified() => {}
                () = lost(&mut losses) => {
                    // Whoever answers next may have forgotten something: nothing is claimed before a heartbeat.
                    self.hub.handle_store_lost();
                    self.judge(&mut memory);
                    tokio::time::sleep(AFTER_LOSS).await;
                }
            }
            // What is lost from here on may be younger than this heartbeat.
            if let Some(losses) = &mut losses {
                losses.mark_unchanged();
            }
            let beaten = self.beat_on(&mut memory).await;
            let lost = losses.as_ref().is_some_and(|it| it.has_changed().unwrap_or(false));
            if beaten.is_err() || lost {
                self.hub.handle_store_lost();
            }
            // All wait until the last has said that it wrote again what the store may have forgotten.
            let waits = self.hub.members().hold(clock::boot()) == Some(Hold::Restoring);
            if beaten.is_err() || waits {
                tick.reset_after(self.timings.heartbeat / 4);
            }
            if beaten.is_ok() {
                self.rewrite();
            }
            self.hub.tell_view();
            self.judge(&mut memory);
            if beaten.is_ok() {
                self.extend_lanes().await;
            }
        }
    }

    /// The node gives its devices up: its peers hear of it at once.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.now.notify_one();
    }

    /// Beats. While that takes long, peers go on hearing that this node does not see the store: what one has not said for two
    /// heartbeats' time does not count, and it would be taken for one that nobody reaches.
    async fn beat_on(&self, memory: &mut Memory) -> Result<(), StoreError> {
        let mut beat = pin!(self.beat());
        loop {
            if let Ok(beaten) = tokio::time::timeout(self.timings.heartbeat, beat.as_mut()).await {
                return beaten;
            }
            if !self.hub.members().sees_store(clock::boot()) {
                self.hub.tell_view();
            }
            self.judge(memory);
        }
    }

    /// What follows for readiness, metrics and the log from what is known of the members now.
    fn judge(&self, memory: &mut Memory) {
        let (now, members) = (clock::boot(), self.hub.members());
        let sight = fitness::sight(now, &members);
        self.sight.set(sight);
        match (sight, memory.outage) {
            (Sight::Outage, false) => {
                memory.outage = true;
                tracing::warn!(
                    "no node sees the store: live sessions go on, registrations, changes and handshakes wait"
                );
            }
            (Sight::Seen, true) => {
                memory.outage = false;
                tracing::info!("the store is seen again");
            }
            _ => {}
        }
        let unfit = memory.fitness.judge(now, &members);
        let before = memory.hold.as_ref().map(|(why, _)| why);
        if before.map(std::mem::discriminant) == unfit.map(std::mem::discriminant) {
            return;
        }
        match unfit {
            Some(why) => tracing::error!(%why, "this node is not ready"),
            None => tracing::info!("this node is ready again"),
        }
        memory.hold = unfit.map(|why| (why.clone(), self.readiness.hold("cluster")));
    }

    /// Writes again what the store may have forgotten, if it has come back since this was done last.
    fn rewrite(self: &Arc<Self>) {
        let members = self.hub.members();
        let Some(back) = members.back().filter(|(incarnation, _)| incarnation.is_some()) else { return };
        {
            let mut rewriting = self.rewriting();
            if rewriting.done == Some(back) || std::mem::replace(&mut rewriting.under_way, true) {
                return;
            }
        }
        let heart = self.clone();
        tokio::spawn(async move {
            let rewritten = heart.process.store.rewrite().await;
            heart.rewriting().under_way = false;
            match rewritten {
                Ok(Rewritten { provisions, devices, refused, failed }) => {
                    tracing::info!(
                        provisions,
                        devices,
                        refused,
                        failed,
                        "the store is back, and has what this node wrote"
                    );
                    heart.rewriting().done = Some(back);
                    heart.now.notify_one();
                }
                // At the next heartbeat once more.
                Err(error) => {
                    tracing::warn!(%error, "the store is back, but does not take what it may have forgotten");
                }
            }
        });
    }

    fn rewriting(&self) -> MutexGuard<'_, Rewriting> {
        self.rewriting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn beat(&self) -> Result<(), StoreError> {
        let members = self.hub.members();
        let sent = clock::boot();
        let ahead = members.time().map_or(0, |time| {
            let (wall, store) = (clock::wall_ms(), time.unix_ms(sent));
            i64::try_from(i128::from(wall) - i128::from(store)).unwrap_or(i64::MAX)
        });
        let draining = self.draining.load(Ordering::Relaxed);
        let member = Member {
            owner: self.process.owner.clone(),
            address: self.hub.advertised(),
            listeners: self.listeners.clone(),
            ready: !draining && self.readiness.report().state == "ready",
            draining,
            clock_ahead_ms: ahead,
            restored: self.rewriting().done.map_or(0, |(_, back_ms)| back_ms),
            beats: self.beats.fetch_add(1, Ordering::Relaxed),
        };
        let answer = self.process.store.heartbeat(member, self.timings.ttl);
        let beat = match tokio::time::timeout(self.timings.valid, answer).await {
            Ok(answer) => answer?,
            Err(_) => return Err(StoreError::Unavailable("a heartbeat was not answered".into())),
        };
        // Before its first heartbeat this run has written nothing.
        self.rewriting().done.get_or_insert((beat.incarnation, beat.back_ms));
        let odd = self.company.lock().unwrap_or_else(PoisonError::into_inner).look(
            sent,
            &self.process.owner,
            self.hub.advertised(),
            &beat.members,
            self.timings.ttl,
        );
        for odd in odd {
            tracing::error!("{odd}");
        }
        self.hub.handle_beat(sent, clock::boot(), beat);
        if self.process.store.is_shared()
            && let Some(time) = self.hub.members().time()
        {
            clock::follow(*time);
        }
        Ok(())
    }

    async fn extend_lanes(&self) {
        let members = self.hub.members();
        let Some(second) = members.time().map(|time| time.second(clock::boot())) else { return };
        let rest = !members.may_extend(clock::boot(), self.until.load(Ordering::Relaxed));
        match (self.resting.swap(rest, Ordering::Relaxed), rest) {
            (false, true) => {
                tracing::warn!("the shards' nonces rest: the store may have forgotten who else had them");
            }
            (true, false) => tracing::info!("the shards' nonces are extended again"),
            (true, true) | (false, false) => {}
        }
        if rest {
            return;
        }
        match self.process.store.extend_lanes(&self.process.owner, second).await {
            Ok(until) => {
                self.until.store(until, Ordering::Relaxed);
                for shard in 0..self.process.inboxes.shards() {
                    self.process.inboxes.of(shard as u16).push(ShardMessage::LanesExtended(until));
                }
            }
            Err(error) => tracing::warn!(%error, "the shards' nonces could not be extended"),
        }
    }
}

/// Waits for a loss; for ever where there are none.
async fn lost(losses: &mut Option<watch::Receiver<u64>>) {
    if let Some(receiver) = losses
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
