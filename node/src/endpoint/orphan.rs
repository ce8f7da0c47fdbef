//! Events of devices that are gone: nobody's endpoint publishes them.
//!
//! ```text
//!  not used in time, or deleted by an operator ─► removed, with its event in the outbox
//!  due, no record ─► events in the outbox ─► sink ─► acknowledged ─► taken out
//! ```
//! What the sink refuses stays in the outbox and is due again.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use godwit_proto::store::v1::Device;

use super::{Endpoints, services::Process};
use crate::{
    clock,
    identity::{DeviceId, RegistrationId},
    store::{StateStore, value},
    telemetry::{self, Event, Identity, Orders, Origin, Publication, Record, Ticket},
};

/// The activation that tickets of such events carry; no actor has it.
pub(super) const ACTIVATION: u32 = u32::MAX;

/// Events on their way to the sink.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    next: Cell<u32>,
    pending: RefCell<HashMap<u32, (DeviceId, String)>>,
}

impl Orphans {
    /// The sink has taken an event or not.
    pub(super) fn published(&self, store: &dyn StateStore, effect: u32, taken: bool) {
        if let Some((device, event)) = self.pending.borrow_mut().remove(&effect)
            && taken
        {
            drop(store.remove_event(device, event));
        }
    }

    fn is_pending(&self, device: DeviceId, event: &str) -> bool {
        self.pending.borrow().values().any(|(of, id)| *of == device && id == event)
    }
}

/// Publishes what a device that is gone has left in its outbox.
pub(super) async fn publish(endpoints: &Endpoints, device: DeviceId) {
    let Ok(events) = endpoints.store().events(device).await else { return };
    for stored in events {
        if endpoints.orphans.is_pending(device, &stored.id) {
            continue;
        }
        let record = record(&endpoints.shared.process, device, &stored);
        let effect = endpoints.orphans.next.get();
        endpoints.orphans.next.set(effect.wrapping_add(1));
        endpoints.orphans.pending.borrow_mut().insert(effect, (device, stored.id));
        let shared = &endpoints.shared;
        let ticket = Ticket { shard: shared.shard, key: u32::MAX, activation: ACTIVATION, effect };
        shared.turn.push(Publication { records: vec![record], ticket });
    }
}

/// The event that a device was deleted, for the outbox: [`Event::Deleted`] or [`Event::ActivationTimeout`].
pub(super) fn deletion(
    process: &Process,
    device: DeviceId,
    document: &Device,
    event: &Event,
) -> value::StoredEvent {
    let mut stored = value::StoredEvent {
        r#type: event.name().to_owned(),
        time: clock::unix_ms(),
        endpoint: document.endpoint.clone(),
        // What names it apart from the deletion of a later device of this name.
        data: document.revision.to_be_bytes().to_vec(),
        ..value::StoredEvent::default()
    };
    stored.id = record(process, device, &stored).id.to_string();
    stored
}

/// An event of the outbox, with what names it: the same whoever publishes it.
pub(super) fn of_stored(device: DeviceId, stored: &value::StoredEvent) -> (Event, Identity) {
    for event in [Event::Deleted, Event::ActivationTimeout] {
        if stored.r#type == event.name() {
            return (event, Identity::of(&[device.as_bytes(), b"deleted", &stored.data]));
        }
    }
    if stored.r#type == Event::Deregistered.name() {
        return (Event::Deregistered, Identity::of(&[stored.registration.as_bytes(), b"deregistered"]));
    }
    (Event::Expired, Identity::of(&[stored.registration.as_bytes(), b"expired"]))
}

fn record(process: &Process, device: DeviceId, stored: &value::StoredEvent) -> Record {
    let registration = RegistrationId::parse(&stored.registration);
    let origin = Origin {
        site: &process.site,
        device,
        endpoint: &stored.endpoint.as_str().into(),
        profile: &process.empty_profile.name().clone(),
        registration,
    };
    let (event, cause) = of_stored(device, stored);
    // Of a device that is gone there are no other records to be in order with.
    telemetry::event(&origin, event, cause, 0, &mut Orders::new(stored.time), stored.time)
}
