//! From the values of a message to records.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    sync::Arc,
};

use godwit_lwm2m::{entry::Entry, model::ModelSet, path::Path, value::Value};

use super::{Data, Identity, Keyed, Orders, Origin, Record, RecordId, RecordKind, Values};
use crate::profile::{Kind, Profile, key_of};

/// The message that brought values.
#[derive(Debug, Clone, Copy)]
pub struct Uplink<'a> {
    /// Why it came.
    pub cause: Cause,
    /// Its token.
    pub token: &'a [u8],
    /// Its message id; of a block-wise one, the first datagram's.
    pub message_id: u16,
    /// Its Observe value.
    pub observe: Option<u32>,
    /// Its payload; of a block-wise one, the first datagram's.
    pub payload: &'a [u8],
    /// Whether a newer notification came before it (RFC 7641 §3.4).
    pub stale: bool,
}

/// Why values came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A notification, or the first answer to an observe.
    Notification,
    /// A Send.
    Send,
    /// The answer to a read.
    Read,
}

/// The records of a message's values. `now` is in Unix milliseconds.
///
/// Values of one time and kind are one record; where two paths have one key, the second path's values go to a
/// further record, so that nothing overwrites. A value whose path is not mapped is telemetry under its default key
/// ([`key_of`]), as someone asked for it, unless it is only the answer to a read, of which just the mapped values
/// are published. Without a registration there are no records.
pub fn records(
    origin: &Origin<'_>,
    profile: &Profile,
    models: &ModelSet,
    uplink: &Uplink<'_>,
    entries: Vec<Entry>,
    orders: &mut Orders,
    now: u64,
) -> Vec<Record> {
    let Some(registration) = origin.registration else { return Vec::new() };
    let mut drafts = Drafts::default();
    let single = entries.len() == 1;
    for entry in entries {
        let Some((key, at, kind)) = keyed(profile, models, entry.path, uplink.cause) else { continue };
        let ts = entry.time.map_or(i64::try_from(now).unwrap_or(i64::MAX), millis);
        let mut add = |kind, value| drafts.add(Place { kind, ts, at }, &key, (entry.path, value), single);
        match (kind.is_telemetry(), kind.is_attribute()) {
            (true, true) => {
                add(RecordKind::Telemetry, entry.value.clone());
                add(RecordKind::Attributes, entry.value);
            }
            (true, false) => add(RecordKind::Telemetry, entry.value),
            (false, _) => add(RecordKind::Attributes, entry.value),
        }
    }
    if drafts.list.is_empty() {
        return Vec::new();
    }
    let Uplink { token, message_id, observe, payload, .. } = *uplink;
    let identity = Identity::of_message(registration, token, message_id, observe, payload);
    let mut ordinals = [0; 2];
    let finish = |draft: Draft| {
        let telemetry = draft.kind == RecordKind::Telemetry;
        let ordinal = &mut ordinals[usize::from(telemetry)];
        let id = RecordId { identity, label: draft.kind.name(), ordinal: *ordinal };
        *ordinal += 1;
        let path = common(&draft.values);
        let data = if telemetry { Data::Telemetry(draft.values) } else { Data::Attributes(draft.values) };
        let record = Record::new(origin, id, Some(path), orders.take(), now, data);
        Record { stale: uplink.stale, ..record }
    };
    drafts.list.into_iter().map(finish).collect()
}

/// The key of a value, the path that has the key, and its kind.
fn keyed(profile: &Profile, models: &ModelSet, path: Path, cause: Cause) -> Option<(Arc<str>, Path, Kind)> {
    match profile.mapping_for(path, models) {
        Some(mapping) => {
            let key = mapping.key.clone().unwrap_or_else(|| key_of(path, models).into());
            Some((key, mapping.at.path, mapping.kind))
        }
        None if cause == Cause::Read => None,
        None => Some((key_of(path, models).into(), path.truncate(3), Kind::Telemetry)),
    }
}

/// Nearest millisecond; out of range it saturates.
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// The deepest path at or above all values.
fn common(values: &Values) -> Path {
    let mut paths = values.values.iter().flat_map(|keyed| keyed.values.iter().map(|(path, _)| *path));
    let first = paths.next().unwrap_or(Path::ROOT);
    paths.fold(first, |common, path| {
        let shared = common.segments().iter().zip(path.segments()).take_while(|(a, b)| a == b).count();
        common.truncate(shared)
    })
}

/// Records in the making. The maps keep the cost linear in the number of values.
#[derive(Default)]
struct Drafts {
    list: Vec<Draft>,
    /// Where a path's values already go: index of the draft, index in it.
    places: HashMap<Place, (usize, usize)>,
    /// How many paths have a key.
    layers: HashMap<(RecordKind, i64, Arc<str>), usize>,
    /// The draft that takes the nth path of a key.
    layered: HashMap<(RecordKind, i64, usize), usize>,
}

struct Draft {
    kind: RecordKind,
    values: Values,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    kind: RecordKind,
    ts: i64,
    at: Path,
}

impl Drafts {
    fn add(&mut self, place: Place, key: &Arc<str>, value: (Path, Value), single: bool) {
        let Place { kind, ts, at } = place;
        let keyed = |value| Keyed { key: Arc::clone(key), at, values: vec![value] };
        if single {
            let values = Values { ts, values: vec![keyed(value)] };
            self.list.push(Draft { kind, values });
            return;
        }
        let vacant = match self.places.entry(place) {
            Slot::Occupied(known) => {
                let (draft, index) = *known.get();
                self.list[draft].values.values[index].values.push(value);
                return;
            }
            Slot::Vacant(vacant) => vacant,
        };
        let layers = self.layers.entry((kind, ts, Arc::clone(key))).or_default();
        let layer = *layers;
        *layers += 1;
        let list = &mut self.list;
        let draft = *self.layered.entry((kind, ts, layer)).or_insert_with(|| {
            list.push(Draft { kind, values: Values { ts, values: Vec::new() } });
            list.len() - 1
        });
        let values = &mut list[draft].values.values;
        vacant.insert((draft, values.len()));
        values.push(keyed(value));
    }
}
