//! What is done with one device's record: claims, commits, provisioning; and what follows from it elsewhere.
//!
//! ```text
//! reserve pointers that must be unique ─► the script: checks the fence, writes the record ─► pointers, indexes ─► answer
//! ```

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, atomic::Ordering},
};

use futures_util::future::{try_join, try_join_all};
use prost::Message;
use redis::Cmd;

use super::{
    Link, Script, Shared,
    answer::{self, Reply, Verdict},
    change::Changes,
    device_key,
    index::Indexes,
    pointers::{self, Life, Pointers, Reservation},
    record::{self, Fields, Stored},
};
use crate::{
    identity::{DeviceId, Owner, RegistrationId},
    store::{
        Claim, Claimed, DeviceRecord, Expect, Fence, Pointer, StoreError, header::NODE_NAME_LIMIT, session,
        value,
    },
};

const RECORD: &str = include_str!("lua/record.lua");
static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(&[RECORD, include_str!("lua/claim.lua")]));
static COMMIT: LazyLock<Script> = LazyLock::new(|| Script::new(&[RECORD, include_str!("lua/commit.lua")]));
static DEVICE: LazyLock<Script> = LazyLock::new(|| Script::new(&[RECORD, include_str!("lua/device.lua")]));

/// One device, over one link.
pub(super) struct Device {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Link,
    pub(super) id: DeviceId,
}

/// What a script says of what it wrote.
struct Written {
    now: u64,
    due: (u64, u64),
    class: (Option<u8>, Option<u8>),
    /// The sessions before and after, where what leads to them may have changed.
    sessions: (Vec<Vec<u8>>, Vec<Vec<u8>>),
}

impl Written {
    fn read(reply: &mut Reply) -> Result<Self, StoreError> {
        let now = reply.time()?;
        let due = (reply.time()?, reply.time()?);
        let mut class = || reply.number().map(|class| u8::try_from(class).ok());
        let class = (class()?, class()?);
        Ok(Self { now, due, class, sessions: (reply.list()?, reply.list()?) })
    }
}

/// What leads to a device before and after a write, as far as that may have changed.
type Leads = BTreeMap<Pointer, Life>;

impl Device {
    fn key(&self) -> Vec<u8> {
        device_key(&self.shared.client, self.id)
    }

    fn pointers(&self) -> Pointers {
        Pointers { client: self.shared.client.clone(), link: self.link.clone(), device: self.id }
    }

    fn indexes(&self) -> Indexes {
        self.shared.indexes(&self.link)
    }

    /// Reads the record as it was written last.
    pub(super) async fn read(&self) -> Result<Option<Stored>, StoreError> {
        let mut read = Cmd::new();
        read.arg("HGETALL").arg(self.key());
        Stored::read(Fields::of(self.link.send(read).await?)?)
    }

    /// The record without what is over; a tombstone too.
    pub(super) async fn current(&self) -> Result<Option<Stored>, StoreError> {
        let now = self.shared.now();
        Ok(self.read().await?.and_then(|stored| stored.at(now)))
    }

    pub(super) async fn claim(&self, owner: &Owner, claim: Claim) -> Result<Claimed, StoreError> {
        check_owner(owner)?;
        let seen = claim.seen.map(u64::to_be_bytes);
        let create: &[u8] = if claim.create { b"1" } else { b"0" };
        let args: [&[u8]; 5] = [
            &self.shared.now_arg(),
            owner.node.as_bytes(),
            &owner.boot.to_be_bytes(),
            create,
            seen.as_ref().map_or(&[][..], |seen| seen),
        ];
        let process = self.shared.process().known.clone();
        let answer = self.link.script_by(process.as_deref(), &CLAIM, &self.key(), &args).await?;
        let mut reply = answer::verdict(answer)?.done()?;
        let written = Written::read(&mut reply)?;
        let (exact, unsure) = (reply.number()? == 1, reply.number()? == 1);
        let stored = Stored::read(Fields::of(reply.next())?)?;
        let stored = stored.ok_or(StoreError::Unreadable { what: "device", version: 0 })?;
        self.shared.set_clock(written.now);
        let (indexes, id, due) = (self.indexes(), self.id, stored.due);
        let (before, now) = written.class;
        let tell = async move {
            try_join(indexes.set_class(id, before, now), indexes.set_due(id, written.due.0, due))
                .await
                .map(drop)
        };
        if written.due.0 == due && before == now {
            // What a crash or a Redis that forgot may have left out is mended with the next activation.
            tokio::spawn(tell);
        } else {
            tell.await?;
        }
        if unsure || self.shared.is_unsure(self.id) {
            self.heal(&stored).await?;
        }
        let (before, after) = session_leads(&written)?;
        self.lead(&before, &after, &[], false, false).await?;
        let header = &stored.record.header;
        let (term, claims) = (header.term, header.claims);
        Ok(Claimed { term, claims, exact, record: stored.record })
    }

    /// Makes all that leads to a record anew: somebody wrote it and may not have come to that.
    async fn heal(&self, stored: &Stored) -> Result<(), StoreError> {
        let now = self.shared.now();
        let leads = pointers::of_record(&stored.record, now);
        let wanted: Vec<Pointer> = leads.keys().cloned().collect();
        let (indexes, id) = (self.indexes(), self.id);
        let due = indexes.set_due(id, 0, stored.due);
        let class = indexes.heal_class(id, stored.class());
        let none = Leads::new();
        let lead = self.lead(&none, &leads, &wanted, false, false);
        try_join(lead, try_join(due, class)).await?;
        self.shared.set_unsure(self.id, false);
        Ok(())
    }

    pub(super) async fn commit(&self, fence: &Fence, changes: &Changes) -> Result<(), StoreError> {
        crate::failpoint::hit("store.before_commit", &changes.labels);
        let number = self.shared.writes.fetch_add(1, Ordering::Relaxed);
        let result = self.try_commit(fence, changes, number).await;
        match &result {
            // Whether it was written, and what followed from it, nobody knows.
            Err(StoreError::Unavailable(_)) => self.shared.set_unsure(self.id, true),
            Ok(()) if self.shared.is_unsure(self.id) => {
                if let Some(stored) = self.current().await? {
                    self.heal(&stored).await?;
                }
            }
            _ => {}
        }
        if result.is_ok() {
            crate::failpoint::hit("store.after_commit", &changes.labels);
        }
        result
    }

    /// `number`: of this write among all of this process.
    pub(super) async fn try_commit(
        &self,
        fence: &Fence,
        changes: &Changes,
        number: u64,
    ) -> Result<(), StoreError> {
        let mut made = Vec::new();
        let mut reserve = changes.new;
        let result = loop {
            if reserve {
                let due = async {
                    match changes.due {
                        0 => Ok(()),
                        at => self.indexes().put_due(self.id, at, true).await,
                    }
                };
                if let Err(error) = try_join(self.reserve(&changes.unique, &mut made), due).await {
                    // Whoever may not write at all is told that first.
                    let may = self.run_commit(fence, changes, number, b"3").await;
                    break may.and_then(Verdict::done).and(Err(error));
                }
            }
            let known: &[u8] = match (reserve, self.shared.is_unsure(self.id)) {
                (true, _) => b"1",
                (false, false) => b"0",
                (false, true) => b"2",
            };
            match self.run_commit(fence, changes, number, known).await {
                Ok(Verdict::Reserve) if !reserve => reserve = true,
                verdict => break verdict.and_then(Verdict::done),
            }
        };
        let mut reply = match result {
            Ok(reply) => reply,
            Err(error) => {
                self.unreserve(&made, &error).await;
                return Err(error);
            }
        };
        self.follow(&mut reply, changes, &made).await?;
        if changes.weighty {
            self.link.wait_for_replicas(&self.shared.client, &self.key()).await?;
        }
        Ok(())
    }

    async fn run_commit(
        &self,
        fence: &Fence,
        changes: &Changes,
        number: u64,
        known: &[u8],
    ) -> Result<Verdict, StoreError> {
        let (now, number) = (self.shared.now_arg(), number.to_string());
        let (boot, term, claims) =
            (fence.owner.boot.to_be_bytes(), fence.term.to_be_bytes(), fence.claims.to_be_bytes());
        let mut args: Vec<&[u8]> =
            vec![&now, fence.owner.node.as_bytes(), &boot, &term, &claims, number.as_bytes(), known];
        args.extend(changes.args.iter().map(Vec::as_slice));
        answer::verdict(self.link.script(&COMMIT, &self.key(), &args).await?)
    }

    /// Brings pointers and indexes in line with what was written.
    async fn follow(&self, reply: &mut Reply, changes: &Changes, made: &[Pointer]) -> Result<(), StoreError> {
        let written = Written::read(reply)?;
        let heads = (reply.bytes()?, reply.bytes()?);
        let ids = reply.list()?;
        let (mut before, mut after) = session_leads(&written)?;
        let registered = |class: Option<u8>| class.is_some_and(|class| class & 2 != 0);
        for (leads, head, class) in
            [(&mut before, &heads.0, written.class.0), (&mut after, &heads.1, written.class.1)]
        {
            if let Some(header) = record::read_header(head)? {
                let registration = registered(class).then(value::Registration::default);
                let record = DeviceRecord { header, registration, ..DeviceRecord::default() };
                leads.extend(pointers::of_record(&record, written.now));
            }
        }
        if let [r_before, a_before, r_after, a_after, until] = ids.as_slice() {
            let until = std::str::from_utf8(until).ok().and_then(|until| until.parse::<u64>().ok());
            let life = until.unwrap_or(0).saturating_sub(written.now).max(1_000);
            for (leads, applied, registration) in
                [(&mut before, a_before, r_before), (&mut after, a_after, r_after)]
            {
                leads.extend(id_lead(applied, Some(life)));
                leads.extend(id_lead(registration, None));
            }
        }
        let lead = self.lead(&before, &after, made, changes.address_taken, changes.session_moved);
        try_join(lead, self.tell(&written)).await.map(drop)
    }

    /// Makes the pointers that the record needs now, and removes those that only the old one needed.
    async fn lead(
        &self,
        before: &Leads,
        after: &Leads,
        made: &[Pointer],
        address_taken: bool,
        session_moved: bool,
    ) -> Result<(), StoreError> {
        let pointers = self.pointers();
        let mut work = Vec::new();
        for (pointer, life) in after {
            let taken = match pointer {
                Pointer::Address(_) => address_taken,
                Pointer::SessionAddress(_) => session_moved,
                _ => made.contains(pointer),
            };
            let old = before.get(pointer);
            if taken || old.is_none_or(|old| is_renewed(*old, *life)) {
                let take = !pointer.is_unique() && (taken || old.is_none());
                work.push((pointer, Some((*life, take))));
            }
        }
        let gone = before.keys().chain(made).filter(|pointer| !after.contains_key(*pointer));
        work.extend(gone.map(|pointer| (pointer, None)));
        try_join_all(work.into_iter().map(|(pointer, keep)| {
            let pointers = pointers.clone();
            async move {
                match keep {
                    Some((life, take)) => pointers.keep(pointer, life, take).await,
                    None => pointers.free(pointer).await,
                }
            }
        }))
        .await
        .map(drop)
    }

    /// Reserves pointers; those that were not the device's yet are added to `made`.
    async fn reserve(&self, wanted: &[Pointer], made: &mut Vec<Pointer>) -> Result<(), StoreError> {
        let pointers = self.pointers();
        for pointer in wanted {
            let mut stale = None;
            loop {
                match pointers.reserve(pointer, stale).await? {
                    Reservation::Mine => break,
                    Reservation::Made => {
                        made.push(pointer.clone());
                        break;
                    }
                    Reservation::Held { by, pending } => {
                        if pending || stale == Some(by) || self.leads_to(by, pointer).await? {
                            return Err(StoreError::Taken { pointer: pointer.clone(), device: by });
                        }
                        stale = Some(by);
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets reservations go for which nothing was written. Best effort: what stays is not believed, and goes by itself.
    async fn unreserve(&self, made: &[Pointer], because: &StoreError) {
        if matches!(because, StoreError::Unavailable(_)) {
            return;
        }
        for pointer in made {
            self.pointers().free(pointer).await.ok();
        }
    }

    /// Whether a device's record has what the pointer is.
    async fn leads_to(&self, device: DeviceId, pointer: &Pointer) -> Result<bool, StoreError> {
        let other = Device { shared: Arc::clone(&self.shared), link: self.link.clone(), id: device };
        Ok(other.current().await?.is_some_and(|stored| is_led_to(&stored, pointer, self.shared.now())))
    }

    pub(super) async fn put_device(
        &self,
        mut document: value::Device,
        expect: Expect,
    ) -> Result<value::Device, StoreError> {
        if document.endpoint.is_empty() {
            return Err(StoreError::Invalid { what: "a device without an endpoint name" });
        }
        (document.revision, document.created_at, document.updated_at) = (0, 0, 0);
        let of = |document: &value::Device| -> Leads {
            let pointers = document.credential.as_ref().map(Pointer::of_credential).unwrap_or_default();
            pointers.into_iter().map(|pointer| (pointer, None)).collect()
        };
        let after = of(&document);
        let wanted: Vec<Pointer> = after.keys().cloned().collect();
        let mut made = Vec::new();
        let activate_by = document.activate_by.to_be_bytes();
        let body = document.encode_to_vec();
        let due = async {
            match document.activate_by {
                0 => Ok(()),
                at => self.indexes().put_due(self.id, at, true).await,
            }
        };
        let write = async {
            if let Err(error) = try_join(self.reserve(&wanted, &mut made), due).await {
                self.run_device("check", expect, &[]).await?;
                return Err(error);
            }
            self.run_device("put", expect, &[&body, &activate_by]).await
        };
        let mut reply = match write.await {
            Ok(reply) => reply,
            Err(error) => {
                self.unreserve(&made, &error).await;
                return Err(error);
            }
        };
        let written = Written::read(&mut reply)?;
        (document.revision, document.created_at) = (reply.time()?, reply.time()?);
        document.updated_at = written.now;
        let old = reply.bytes()?;
        let before = if old.is_empty() { Leads::new() } else { of(&record::document(&old)?) };
        // All of them anew: another, which removed one of them a moment ago, may have come too late with it.
        let confirm = self.lead(&before, &after, &wanted, false, false);
        try_join(confirm, self.tell(&written)).await?;
        self.mend_credentials(&before, &after).await?;
        self.link.wait_for_replicas(&self.shared.client, &self.key()).await?;
        Ok(document)
    }

    /// What was freed is made again if the record has it by now: another may have written it in between.
    async fn mend_credentials(&self, before: &Leads, after: &Leads) -> Result<(), StoreError> {
        if before.keys().all(|pointer| after.contains_key(pointer)) {
            return Ok(());
        }
        let Some(stored) = self.current().await? else { return Ok(()) };
        let now = pointers::of_record(&stored.record, self.shared.now());
        for pointer in
            before.keys().filter(|pointer| !after.contains_key(*pointer) && now.contains_key(*pointer))
        {
            self.pointers().keep(pointer, None, false).await?;
        }
        Ok(())
    }

    /// Answers when that was, in the place of a revision.
    pub(super) async fn remove_device(
        &self,
        expect: Expect,
        event: Option<value::StoredEvent>,
    ) -> Result<u64, StoreError> {
        let event = event.map(|event| (event.id.clone().into_bytes(), record::queued(event.time, &event)));
        let args: Vec<&[u8]> = event.iter().flat_map(|(id, value)| [id.as_slice(), value]).collect();
        let mut reply = self.run_device("remove", expect, &args).await?;
        let written = Written::read(&mut reply)?;
        let old = Stored::read(Fields::of(reply.next())?)?.unwrap_or_default();
        let before = pointers::of_record(&old.record, written.now);
        let none = Leads::new();
        let lead = self.lead(&before, &none, &[], false, false);
        try_join(lead, self.tell(&written)).await?;
        self.link.wait_for_replicas(&self.shared.client, &self.key()).await?;
        let revision = old.record.document.map_or(0, |document| document.revision);
        Ok(revision.max(written.now))
    }

    pub(super) async fn remove_event(&self, event: &str) -> Result<(), StoreError> {
        let mut reply = self.run_device("unevent", Expect::Any, &[event.as_bytes()]).await?;
        let written = Written::read(&mut reply)?;
        self.tell(&written).await
    }

    async fn run_device(&self, verb: &str, expect: Expect, args: &[&[u8]]) -> Result<Reply, StoreError> {
        let now = self.shared.now_arg();
        let expect = expected(expect);
        let all: Vec<&[u8]> =
            [&now, verb.as_bytes(), &expect].into_iter().chain(args.iter().copied()).collect();
        answer::verdict(self.link.script(&DEVICE, &self.key(), &all).await?)?.done()
    }

    /// Brings the indexes in line, if anything changed.
    async fn tell(&self, written: &Written) -> Result<(), StoreError> {
        let indexes = self.indexes();
        let due = async {
            let (before, now) = written.due;
            if before == now { Ok(()) } else { indexes.set_due(self.id, before, now).await }
        };
        let class = async {
            let (before, now) = written.class;
            // A record of nothing but a claim may have been over, and out of its list, before this write.
            if before == now && now != Some(0) {
                return Ok(());
            }
            indexes.set_class(self.id, before, now).await
        };
        try_join(due, class).await.map(drop)
    }
}

/// Whether the record has what the pointer is.
pub(super) fn is_led_to(stored: &Stored, pointer: &Pointer, now: u64) -> bool {
    !stored.removed && pointers::of_record(&stored.record, now).contains_key(pointer)
}

/// Whether a pointer that was to stay for `old` must be told to stay for `new`.
fn is_renewed(old: Life, new: Life) -> bool {
    const SLACK: u64 = 1_000;
    match (old, new) {
        (None, None) => false,
        (Some(old), Some(new)) => new > old + SLACK,
        _ => true,
    }
}

fn id_lead(id: &[u8], life: Life) -> Option<(Pointer, Life)> {
    let id = RegistrationId::parse(std::str::from_utf8(id).ok()?)?;
    Some((Pointer::Registration(id), life))
}

fn session_leads(written: &Written) -> Result<(Leads, Leads), StoreError> {
    let of = |list: &[Vec<u8>]| {
        let pairs = list.chunks_exact(2).filter(|pair| !pair[1].is_empty());
        let sessions = pairs.map(|pair| session::decode(&pair[0], &pair[1])).collect::<Result<_, _>>()?;
        let record = DeviceRecord { sessions, ..DeviceRecord::default() };
        Ok::<Leads, StoreError>(pointers::of_record(&record, written.now))
    };
    Ok((of(&written.sessions.0)?, of(&written.sessions.1)?))
}

/// What a document is to be, as scripts take it.
pub(super) fn expected(expect: Expect) -> Vec<u8> {
    match expect {
        Expect::Any => b"any".to_vec(),
        Expect::Absent => b"absent".to_vec(),
        Expect::Revision(revision) => revision.to_be_bytes().to_vec(),
    }
}

fn check_owner(owner: &Owner) -> Result<(), StoreError> {
    if owner.node.is_empty() || owner.node.len() >= NODE_NAME_LIMIT {
        return Err(StoreError::Invalid { what: "a node name" });
    }
    Ok(())
}
