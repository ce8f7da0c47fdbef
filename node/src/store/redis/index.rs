//! Indexes: what is due when, and which devices there are. Sorted sets, each elsewhere than the records. What is known of
//! them (`known`) is not asked for.
//!
//! A record says itself when it is due and what it is; an index is told afterwards. An entry that says otherwise than its record
//! is set right when it is read. Whoever takes an entry out looks at the record once more, because another may have written it
//! in between.

use std::sync::{Arc, LazyLock};

use futures_util::future::{try_join_all, try_join3};
use redis::{Cmd, Value};

use super::{
    Client, Link, Script, answer,
    known::{Counted, Known},
    pointers::device_id,
    record,
};
use crate::{
    clock,
    identity::DeviceId,
    store::{Counts, Due, StoreError},
};

/// Each index is in so many parts, by the first bits of the device's id: their order is that of the ids.
pub(super) const PARTS: u8 = 64;
/// Classes of devices: provisioned, registered, both or neither.
const CLASSES: u8 = 4;
/// A later time than this is written as this: sorted sets hold numbers up to 2^53.
const LAST: u64 = (1 << 48) - 1;

static DUE: LazyLock<Script> = LazyLock::new(|| Script::new(&[include_str!("lua/due.lua")]));

/// The part that a device is in.
pub(super) fn part(device: DeviceId) -> u8 {
    device.as_bytes()[0] >> 2
}

/// The indexes, over one link.
#[derive(Clone)]
pub(super) struct Indexes {
    pub(super) client: Client,
    pub(super) link: Link,
    pub(super) known: Arc<Known>,
}

impl Indexes {
    fn due_key(&self, part: u8) -> Vec<u8> {
        self.client.key(format!("exp:{part}"))
    }

    /// Devices without document and registration are of class 0, with a document 1, with a registration 2, with both 3.
    fn class_key(&self, part: u8, class: u8) -> Vec<u8> {
        self.client.key(format!("dev:{part}:{class}"))
    }

    async fn state(&self, device: DeviceId) -> Result<Option<Vec<u8>>, StoreError> {
        let mut get = Cmd::new();
        get.arg("HGET").arg(super::device_key(&self.client, device)).arg("s");
        answer::maybe(self.link.send(get).await?)
    }

    /// Writes when a device is due, unless it stands there already and `only_new`.
    pub(super) async fn put_due(&self, device: DeviceId, at: u64, only_new: bool) -> Result<(), StoreError> {
        let mut add = Cmd::new();
        add.arg("ZADD").arg(self.due_key(part(device)));
        if only_new {
            add.arg("NX");
        }
        add.arg(at.min(LAST)).arg(device.as_bytes());
        let _known = self.known.puts_due(part(device), at.min(LAST));
        self.link.send(add).await.map(drop)
    }

    /// Takes a device out that was due at this time and is not any more.
    async fn drop_due(&self, device: DeviceId, at: u64) -> Result<(), StoreError> {
        let at = at.min(LAST).to_string();
        let args: [&[u8]; 2] = [device.as_bytes(), at.as_bytes()];
        self.link.script(&DUE, &self.due_key(part(device)), &args).await?;
        let state = self.state(device).await?;
        match state.map_or(Ok(0), |state| record::read_due(&state))? {
            0 => Ok(()),
            at => self.put_due(device, at, true).await,
        }
    }

    /// Brings the due index in line.
    pub(super) async fn set_due(&self, device: DeviceId, before: u64, now: u64) -> Result<(), StoreError> {
        match (before, now) {
            (0, 0) => Ok(()),
            (_, 0) => self.drop_due(device, before).await,
            (_, now) => self.put_due(device, now, false).await,
        }
    }

    /// Brings the lists in line: first in, then out.
    pub(super) async fn set_class(
        &self,
        device: DeviceId,
        before: Option<u8>,
        now: Option<u8>,
    ) -> Result<(), StoreError> {
        if let Some(class) = now {
            self.put_class(device, class).await?;
        }
        match before.filter(|class| now != Some(*class)) {
            Some(class) => self.drop_class(device, class).await.map(drop),
            None => Ok(()),
        }
    }

    /// Puts a device into the list of its class, and takes it out of all others.
    pub(super) async fn heal_class(&self, device: DeviceId, class: Option<u8>) -> Result<(), StoreError> {
        self.set_class(device, None, class).await?;
        let others = (0..CLASSES).filter(|other| Some(*other) != class);
        try_join_all(others.map(|other| self.correct(device, other))).await.map(drop)
    }

    async fn put_class(&self, device: DeviceId, class: u8) -> Result<(), StoreError> {
        let mut add = Cmd::new();
        add.arg("ZADD").arg(self.class_key(part(device), class)).arg(0).arg(device.as_bytes());
        self.change_class(device, class, add).await.map(drop)
    }

    /// `false`: it was not there.
    async fn drop_class(&self, device: DeviceId, class: u8) -> Result<bool, StoreError> {
        let mut remove = Cmd::new();
        remove.arg("ZREM").arg(self.class_key(part(device), class)).arg(device.as_bytes());
        self.change_class(device, class, remove).await
    }

    async fn change_class(&self, device: DeviceId, class: u8, change: Cmd) -> Result<bool, StoreError> {
        let changes = self.known.changes_part(part(device));
        let changed = self.link.send(change).await? != Value::Int(0);
        // Devices of class 0 are not counted.
        if class == 0 || !changed {
            changes.cancel();
        }
        Ok(changed)
    }

    /// What is due up to `now`, from after `after`, earliest first. Entries that are not their records' are set right.
    pub(super) async fn due(
        &self,
        now: u64,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let parts = (0..PARTS).map(|part| self.due_of(part, now, after, limit));
        let mut due: Vec<Due> = try_join_all(parts).await?.into_iter().flatten().collect();
        due.sort_unstable();
        let mut checked = Vec::with_capacity(due.len().min(limit));
        for batch in due.chunks(limit.min(256)) {
            let states = try_join_all(batch.iter().map(|due| self.state(due.device))).await?;
            for (entry, state) in batch.iter().zip(states) {
                let at = state.map_or(Ok(0), |state| record::read_due(&state))?;
                if at.min(LAST) == entry.at {
                    checked.push(*entry);
                } else {
                    self.set_due(entry.device, entry.at, at).await?;
                }
                if checked.len() == limit {
                    return Ok(checked);
                }
            }
        }
        Ok(checked)
    }

    async fn due_of(
        &self,
        part: u8,
        now: u64,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let (mut found, mut offset) = (Vec::new(), 0);
        let until = now.min(LAST);
        let Some(look) = self.known.look_for_due(clock::boot(), part, until) else { return Ok(found) };
        let range = |from: u64, to: &str, offset: usize, limit: usize| {
            let mut range = Cmd::new();
            range.arg("ZRANGEBYSCORE").arg(self.due_key(part)).arg(from).arg(to);
            range.arg("WITHSCORES").arg("LIMIT").arg(offset).arg(limit);
            self.link.send(range)
        };
        if after.is_none() {
            // Mostly that is all: nothing is due.
            let first = answer::parts(range(0, "+inf", 0, 1).await?)?.into_iter().nth(1);
            let first = first.map_or(Ok(u64::MAX), answer::time)?;
            self.known.saw_due(look, first);
            if first > until {
                return Ok(found);
            }
        }
        let (from, to) = (after.map_or(0, |after| after.at), until.to_string());
        loop {
            let entries = answer::parts(range(from, &to, offset, limit).await?)?;
            let read = entries.len() / 2;
            let mut entries = entries.into_iter();
            while let (Some(device), Some(score)) = (entries.next(), entries.next()) {
                let entry = Due { at: answer::time(score)?, device: device_id(&answer::bytes(device)?)? };
                // The first of them may be of the page before.
                if after.is_none_or(|after| entry > after) {
                    found.push(entry);
                }
            }
            if read < limit || found.len() >= limit {
                return Ok(found);
            }
            offset += read;
        }
    }

    /// Devices of these classes in one part from `from` on, at most so many of each class, in order; and up to where all
    /// are among them, if there are more.
    pub(super) async fn devices(
        &self,
        part: u8,
        classes: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<(Vec<(DeviceId, u8)>, Option<DeviceId>), StoreError> {
        let ranges = classes.iter().map(|class| async move {
            let mut range = Cmd::new();
            let from = [b"(", from].concat();
            let from: &[u8] = if from.len() == 1 { b"-" } else { &from };
            range.arg("ZRANGEBYLEX").arg(self.class_key(part, *class)).arg(from).arg("+");
            range.arg("LIMIT").arg(0).arg(limit);
            answer::list(self.link.send(range).await?)
        });
        let mut devices = Vec::new();
        let mut end: Option<DeviceId> = None;
        for (class, members) in classes.iter().zip(try_join_all(ranges).await?) {
            let full = members.len() == limit;
            for member in members {
                devices.push((device_id(&member)?, *class));
            }
            if let Some((last, _)) = devices.last().filter(|_| full) {
                end = Some(end.map_or(*last, |end| end.min(*last)));
            }
        }
        devices.sort_unstable();
        if let Some(end) = end {
            devices.retain(|(device, _)| *device <= end);
        }
        Ok((devices, end))
    }

    /// Takes a device out of a list in which it does not belong.
    pub(super) async fn correct(&self, device: DeviceId, class: u8) -> Result<(), StoreError> {
        if !self.drop_class(device, class).await? {
            return Ok(());
        }
        let Some(state) = self.state(device).await? else { return Ok(()) };
        // The first two flags of the state are the class. A tombstone's are not set; it is in no list and comes into one.
        match state.get(1).map(|flags| flags & 3) {
            Some(now) if now != 0 => self.put_class(device, now).await,
            _ => Ok(()),
        }
    }

    /// How many devices there are of the classes that count. Other nodes' changes of the last seconds may be missing.
    pub(super) async fn counts(&self) -> Result<Counts, StoreError> {
        let counted = try_join_all((0..PARTS).map(|part| self.counts_of(part))).await?;
        let of = |class: usize| counted.iter().map(|part| part[class - 1]).sum::<u64>();
        Ok(Counts { provisioned: of(1) + of(3), registered: of(2) + of(3) })
    }

    async fn counts_of(&self, part: u8) -> Result<Counted, StoreError> {
        let look = match self.known.counts(clock::boot(), part) {
            Ok(counted) => return Ok(counted),
            Err(look) => look,
        };
        let count = |class: u8| async move {
            let mut count = Cmd::new();
            count.arg("ZCARD").arg(self.class_key(part, class));
            answer::time(self.link.send(count).await?)
        };
        let (one, two, both) = try_join3(count(1), count(2), count(3)).await?;
        self.known.counted(look, [one, two, both]);
        Ok([one, two, both])
    }

    /// Takes out devices of class 0 that are gone: their records end by themselves. Looks at so many from after
    /// `from`, and answers where to go on.
    pub(super) async fn sweep(
        &self,
        part: u8,
        from: &[u8],
        limit: usize,
    ) -> Result<Option<DeviceId>, StoreError> {
        let (devices, end) = self.devices(part, &[0], from, limit).await?;
        for (device, class) in devices {
            let mut exists = Cmd::new();
            exists.arg("EXISTS").arg(super::device_key(&self.client, device));
            if self.link.send(exists).await? == Value::Int(0) {
                self.drop_class(device, class).await?;
                // Somebody may have made it anew in between.
                if self.state(device).await?.is_some_and(|state| state.get(1).is_some_and(|it| it & 3 == 0)) {
                    self.put_class(device, class).await?;
                }
            }
        }
        Ok(end)
    }
}
