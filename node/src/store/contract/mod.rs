//! What every state store must do: one suite, run on each.

mod beats;
mod claims;
mod documents;
mod due;
mod lanes;
pub(crate) mod model;
mod pointers;
mod records;
pub(super) mod redis;
mod sessions;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Claim, Claimed, Fence, Numbers, Session, StateStore, StoreError, StoreFuture,
    embedded::{Embedded, Options},
    value,
};
use crate::identity::{AssociationId, DeviceId, Owner, RegistrationId, SessionId};

/// When stepped clocks begin.
pub(super) const START: u64 = 1_700_000_000_000;

/// A store under test, whose clock the test moves.
pub(super) trait Subject {
    fn store(&self) -> &dyn StateStore;
    /// Moves the store's clock, and lets it do what is to be done by then.
    fn advance(&mut self, ms: u64);
    /// Sets the store's clock back.
    fn set_back(&mut self, ms: u64);
    /// Closes the store and opens it again; a store that can't forgets nothing.
    fn reopen(&mut self);
    /// An empty store of the same kind.
    fn fresh(&self) -> Box<dyn Subject>;
    /// How many random sequences are worth its cost.
    fn cases(&self) -> u32;
    /// Several processes may use it at once.
    fn is_shared(&self) -> bool {
        false
    }
}

/// Makes the suite's tests for one kind of store.
macro_rules! contract {
    ($subject:expr; $($room:ident: $($test:ident),* $(,)?;)*) => {
        $($(#[test] fn $test() {
            if let Some(mut subject) = $subject {
                super::$room::$test(&mut subject);
            }
        })*)*
    };
}

macro_rules! suite {
    ($name:ident, $subject:expr) => {
        mod $name {
            use super::*;

            contract! { $subject;
                beats:
                    whoever_beats_is_listed_for_its_time,
                    a_member_is_what_it_said_last_and_another_run_is_another_member,
                    a_heartbeat_tells_the_stores_time_and_since_when_it_is_there,
                    after_a_time_without_a_ready_member_nothing_expires_for_as_long;
                claims:
                    a_term_is_above_the_clock_and_above_every_term_before,
                    a_device_without_a_record_is_claimed_only_by_who_may_create_it,
                    a_claim_is_refused_if_somebody_claimed_since_it_was_seen,
                    a_write_is_fenced_by_term_and_owner,
                    a_refused_commit_changes_nothing,
                    an_owner_heals_a_store_that_forgot,
                    a_passive_record_is_exact_until_the_next_claim,
                    requests_take_effect_in_the_order_of_their_calls,
                    a_dropped_future_cancels_nothing;
                records:
                    a_record_comes_back_whole,
                    operations_come_in_the_order_of_the_queue,
                    a_deregistered_device_leaves_a_tombstone_for_247_seconds,
                    a_provisioned_device_outlives_its_tombstone,
                    a_claim_from_which_nothing_came_is_forgotten,
                    many_tombstones_are_all_cleared_away,
                    a_removed_device_leaves_nothing_but_its_event,
                    a_removed_device_may_be_provisioned_again;
                pointers:
                    a_registration_id_leads_to_its_device_until_it_is_replaced,
                    a_registration_id_belongs_to_one_device,
                    of_two_registrations_in_one_commit_the_last_counts,
                    a_psk_identity_belongs_to_one_device,
                    an_address_belongs_to_the_last_who_came_from_it,
                    what_a_credential_names_belongs_to_one_device;
                sessions:
                    a_session_comes_back_whole_also_from_a_claim,
                    a_psk_session_with_connection_ids_takes_at_most_400_bytes,
                    a_connection_id_belongs_to_one_session,
                    a_session_without_connection_id_is_found_by_its_address,
                    an_address_of_a_session_is_not_that_of_a_plain_device,
                    a_device_has_at_most_two_sessions_and_two_provisional_ones,
                    a_promoted_session_takes_the_place_of_the_one_that_it_resumed,
                    a_session_id_leads_to_its_device_as_long_as_one_association_has_it,
                    a_closed_session_is_found_no_longer_but_remains,
                    marks_belong_to_a_session,
                    sessions_whose_time_is_over_are_cleared_away,
                    sessions_survive_the_end_of_the_registration_but_not_of_the_device;
                lanes:
                    a_process_begins_above_all_seconds_that_were_acknowledged_before,
                    a_clock_set_back_opens_no_second_again,
                    lanes_are_extended_by_their_holder_alone,
                    there_are_no_more_lanes_than_fit_into_a_nonce;
                due:
                    devices_are_due_by_their_deadline_in_pages,
                    an_unacknowledged_event_is_due_at_once,
                    an_operation_is_due_when_its_time_is_over,
                    a_device_that_was_not_activated_is_due,
                    an_earlier_deadline_is_found_after_a_later_one;
                documents:
                    a_device_changes_only_from_the_expected_revision,
                    a_document_changes_only_from_the_expected_revision,
                    a_revision_is_never_used_again,
                    documents_are_listed_by_kind_in_pages,
                    devices_are_listed_in_pages_by_filter,
                    what_cannot_be_stored_is_refused;
                model:
                    a_store_does_what_a_simple_model_does;
            }
        }
    };
}

suite!(memory, Some(InMemory::new()));
suite!(folder, Some(InFolder::new()));
suite!(redis_single, redis::OnRedis::single());
suite!(redis_cluster, redis::OnRedis::cluster());

/// A folder that is removed when dropped.
pub(crate) struct TempFolder(pub(crate) PathBuf);

impl TempFolder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("godwit-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A clock that stands until it is moved.
pub(super) fn stepped(now: &Arc<AtomicU64>) -> Options {
    let now = Arc::clone(now);
    Options { sync: false, clock: Arc::new(move || now.load(Ordering::SeqCst)), ..Options::default() }
}

struct InMemory {
    now: Arc<AtomicU64>,
    store: Embedded,
}

impl InMemory {
    fn new() -> Self {
        let now = Arc::new(AtomicU64::new(START));
        Self { store: Embedded::in_memory(stepped(&now)).unwrap(), now }
    }
}

impl Subject for InMemory {
    fn store(&self) -> &dyn StateStore {
        &self.store
    }

    fn advance(&mut self, ms: u64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
        wait(self.store.remove_event(device("nobody"), "none".into())).unwrap();
    }

    fn set_back(&mut self, ms: u64) {
        self.now.fetch_sub(ms, Ordering::SeqCst);
    }

    fn reopen(&mut self) {}

    fn fresh(&self) -> Box<dyn Subject> {
        Box::new(Self::new())
    }

    fn cases(&self) -> u32 {
        256
    }
}

struct InFolder {
    now: Arc<AtomicU64>,
    store: Option<Embedded>,
    folder: TempFolder,
}

impl InFolder {
    fn new() -> Self {
        let now = Arc::new(AtomicU64::new(START));
        let folder = TempFolder::new();
        Self { store: Some(Embedded::open(&folder.0, stepped(&now)).unwrap()), now, folder }
    }
}

impl Subject for InFolder {
    fn store(&self) -> &dyn StateStore {
        self.store.as_ref().unwrap()
    }

    fn advance(&mut self, ms: u64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
        wait(self.store().remove_event(device("nobody"), "none".into())).unwrap();
    }

    fn set_back(&mut self, ms: u64) {
        self.now.fetch_sub(ms, Ordering::SeqCst);
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Embedded::open(&self.folder.0, stepped(&self.now)).unwrap());
    }

    fn fresh(&self) -> Box<dyn Subject> {
        Box::new(Self::new())
    }

    fn cases(&self) -> u32 {
        16
    }
}

/// Waits for a store's answer on a runtime of its own.
pub(super) fn wait<T>(future: StoreFuture<T>) -> Result<T, StoreError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn device(endpoint: &str) -> DeviceId {
    DeviceId::of(endpoint)
}

fn owner(node: &str) -> Owner {
    Owner { node: node.into(), boot: 1 }
}

/// Claims a device, which is made if need be.
fn claim(subject: &dyn Subject, endpoint: &str, by: &Owner) -> Claimed {
    wait(subject.store().claim(device(endpoint), by, Claim { create: true, seen: None })).unwrap()
}

fn fence(owner: &Owner, claimed: &Claimed) -> Fence {
    Fence { owner: owner.clone(), term: claimed.term, claims: claimed.claims }
}

/// The `n`th registration id.
fn registration_id(n: u8) -> RegistrationId {
    RegistrationId::from_random([n; 16])
}

fn registration(endpoint: &str, n: u8) -> value::Registration {
    value::Registration {
        endpoint: endpoint.into(),
        id: registration_id(n).to_string(),
        version: "1.1".into(),
        lifetime: 300,
        binding: "U".into(),
        links: b"</1/0>,</3/0>".to_vec(),
        formats: vec![110, 112],
        ..Default::default()
    }
}

fn applied(n: u8, time: u64) -> value::Applied {
    value::Applied {
        source: vec![127, 0, 0, 1, 22, 51],
        message_id: u32::from(n),
        token: vec![n; 8],
        code: 0x41,
        time,
        registration: registration_id(n).to_string(),
        ..Default::default()
    }
}

/// What sealing makes of the 173 bytes that a PSK session with two connection ids takes: version, key id, nonce, tag.
const SEALED: usize = 1 + 8 + 12 + 173 + 16;

fn association(n: u8) -> AssociationId {
    AssociationId::from_bytes([n; 8])
}

/// The `n`th session, by connection id, of a size as real ones have it.
fn session(n: u8) -> Session {
    Session {
        association: association(n),
        id: SessionId::from_bytes([n; 32]),
        provisional: false,
        resumed: false,
        closed: false,
        numbers: Numbers { write_mark: 1 << 20, read_floor: 1 << 20, read_window: u64::MAX },
        established_at: START + u64::from(n),
        heard_at: START + u64::from(n),
        expires_at: 0,
        cid: vec![n; 8],
        peer_cid: Some(8),
        peer: "10.1.2.3:61616".parse().ok(),
        local: "10.1.2.4:5684".parse().ok(),
        mode: value::credential::Mode::Psk,
        suite: 0xc0a8,
        credential_version: 3,
        sealed: vec![n; SEALED],
        answer: Vec::new(),
    }
}

fn event(id: &str, time: u64) -> value::StoredEvent {
    value::StoredEvent { id: id.into(), r#type: "expired".into(), time, ..Default::default() }
}

fn operation(id: &str, order: u64, due_at: u64) -> value::StoredOperation {
    value::StoredOperation { id: id.into(), order, due_at, ..Default::default() }
}
