//! `RegistrationService`.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{StreamExt as _, stream};
use godwit_proto::v1::{
    GetRegistrationRequest, ListRegistrationsRequest, ListRegistrationsResponse, Registration,
    WatchRegistrationsRequest, WatchRegistrationsResponse,
    registration_service_server::RegistrationService,
    watch_registrations_response::{Change, Event, Reset, Synced, change::Kind},
};
use tonic::{Request, Response, Status};

use super::{Answers, answer};
use crate::{
    admin::{
        convert::{registration, timestamp},
        error::{self, AdminError},
        journal::At,
        name::{self, DeviceName},
        page,
        room::{Room, profile_of},
    },
    endpoint::handle::{RegistrationChange, RegistrationChangeKind},
    identity::DeviceId,
    store::{DeviceFilter, DeviceRecord, PageRequest, page::PAGE_LIMIT},
};

/// Pages of the store that one page of a filtered list may cost.
const MAX_SCANS: usize = 20;

/// The service.
pub(in crate::admin) struct Registrations(pub(in crate::admin) Arc<Room>);

#[tonic::async_trait]
impl RegistrationService for Registrations {
    async fn get_registration(
        &self,
        request: Request<GetRegistrationRequest>,
    ) -> Result<Response<Registration>, Status> {
        answer(self.registration(&request.get_ref().name).await)
    }

    async fn list_registrations(
        &self,
        request: Request<ListRegistrationsRequest>,
    ) -> Result<Response<ListRegistrationsResponse>, Status> {
        answer(self.list(request.into_inner()).await)
    }

    type WatchRegistrationsStream = Answers<WatchRegistrationsResponse>;

    async fn watch_registrations(
        &self,
        request: Request<WatchRegistrationsRequest>,
    ) -> Result<Response<Self::WatchRegistrationsStream>, Status> {
        let watcher = Watcher::new(self.0.clone(), request.into_inner())?;
        let events = stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            let stopping = watcher.room.stopping();
            tokio::select! {
                event = watcher.next() => match event {
                    Ok(event) => Some((Ok(event), Some(watcher))),
                    Err(error) => Some((Err(error.into()), None)),
                },
                () = stopping => Some((Err(AdminError::Stopping.into()), None)),
            }
        });
        Ok(Response::new(events.boxed()))
    }
}

impl Registrations {
    async fn registration(&self, name: &str) -> Result<Registration, AdminError> {
        let not_registered =
            || AdminError::NotFound { what: error::Kind::Registration, name: name.to_owned() };
        let name = DeviceName::parse_registration("name", name)?;
        let (id, record) = self.0.device(&name).await?;
        registration::show(id, &record).ok_or_else(not_registered)
    }

    async fn list(&self, request: ListRegistrationsRequest) -> Result<ListRegistrationsResponse, AdminError> {
        let filter = Filter::new(&request.profile, request.endpoint_prefix)?;
        let PageRequest { mut token, limit } = page::request(request.page_size, &request.page_token)?;
        let mut registrations = Vec::new();
        for _ in 0..MAX_SCANS {
            let page = PageRequest { token, limit: limit - registrations.len() };
            let page = self.0.store().list(filter.of_store(), page).await?;
            registrations.extend(page.items.iter().filter_map(|(id, record)| filter.show(*id, record)));
            token = page.next;
            if token.is_none() || registrations.len() == limit {
                break;
            }
        }
        Ok(ListRegistrationsResponse { registrations, next_page_token: token.unwrap_or_default() })
    }
}

/// Which registrations are wanted.
struct Filter {
    profile: Option<String>,
    prefix: String,
}

impl Filter {
    fn new(profile: &str, prefix: String) -> Result<Self, AdminError> {
        let profile = match profile {
            "" => None,
            given => Some(name::profile("profile", given)?.to_owned()),
        };
        Ok(Self { profile, prefix })
    }

    fn of_store(&self) -> DeviceFilter {
        DeviceFilter { registered: Some(true), profile: self.profile.clone(), provisioned: None }
    }

    fn show(&self, id: DeviceId, record: &DeviceRecord) -> Option<Registration> {
        registration::show(id, record).filter(|shown| shown.endpoint.starts_with(&self.prefix))
    }

    /// Whether a change is of a wanted device, as far as its record tells.
    fn passes(&self, change: &RegistrationChange, record: Option<&DeviceRecord>) -> bool {
        let wanted = |wanted: &String| record.is_none_or(|record| profile_of(record) == wanted);
        change.endpoint.starts_with(&self.prefix) && self.profile.as_ref().is_none_or(wanted)
    }
}

/// One watcher: a snapshot, SYNCED, and then the journal from where it stood before the snapshot, so that nothing
/// falls between the two. What changed during the snapshot is told twice.
struct Watcher {
    room: Arc<Room>,
    filter: Filter,
    /// The next place of the journal.
    place: u64,
    stage: Stage,
}

enum Stage {
    Reset,
    /// Registrations to be told, and the store's next page.
    Snapshot {
        waiting: VecDeque<Registration>,
        next: Option<PageRequest>,
    },
    Changes,
}

impl Stage {
    fn snapshot() -> Self {
        Self::Snapshot {
            waiting: VecDeque::new(),
            next: Some(PageRequest { token: None, limit: PAGE_LIMIT }),
        }
    }
}

impl Watcher {
    fn new(room: Arc<Room>, request: WatchRegistrationsRequest) -> Result<Self, AdminError> {
        let filter = Filter::new(&request.profile, request.endpoint_prefix)?;
        let (place, stage) = match request.resume_token.as_str() {
            "" => (room.journal.end(), Stage::snapshot()),
            token => match room.journal.place(token) {
                Some(place) => (place, Stage::Changes),
                None => (room.journal.end(), Stage::Reset),
            },
        };
        Ok(Self { room, filter, place, stage })
    }

    async fn next(&mut self) -> Result<WatchRegistrationsResponse, AdminError> {
        loop {
            match &mut self.stage {
                Stage::Reset => {
                    self.place = self.room.journal.end();
                    self.stage = Stage::snapshot();
                    return Ok(event(Event::Reset(Reset {}), String::new()));
                }
                Stage::Snapshot { waiting, next } => {
                    if let Some(present) = waiting.pop_front() {
                        return Ok(event(Event::Present(present), String::new()));
                    }
                    let Some(page) = next.take() else {
                        self.stage = Stage::Changes;
                        return Ok(event(Event::Synced(Synced {}), self.room.journal.token(self.place)));
                    };
                    let page = self.room.store().list(self.filter.of_store(), page).await?;
                    let filter = &self.filter;
                    waiting.extend(page.items.iter().filter_map(|(id, record)| filter.show(*id, record)));
                    *next = page.next.map(|token| PageRequest { token: Some(token), limit: PAGE_LIMIT });
                }
                Stage::Changes => {
                    if let Some(change) = self.change().await? {
                        return Ok(event(Event::Change(change), self.room.journal.token(self.place)));
                    }
                }
            }
        }
    }

    /// The next change that is wanted; `None` if one was passed over, or the stage changed.
    async fn change(&mut self) -> Result<Option<Change>, AdminError> {
        match self.room.journal.at(self.place) {
            At::Gone => {
                self.stage = Stage::Reset;
                Ok(None)
            }
            At::End => {
                let mut end = self.room.journal.changed();
                if end.wait_for(|end| *end > self.place).await.is_err() {
                    return Err(AdminError::Stopping);
                }
                Ok(None)
            }
            At::Change(change) => {
                // The place moves only after the last await: a dropped future loses nothing.
                let shown = self.show(&change).await?;
                self.place += 1;
                Ok(shown)
            }
        }
    }

    async fn show(&self, change: &RegistrationChange) -> Result<Option<Change>, AdminError> {
        if !change.endpoint.starts_with(&self.filter.prefix) {
            return Ok(None);
        }
        let record = self.room.store().load(change.device).await?;
        if !self.filter.passes(change, record.as_ref()) {
            return Ok(None);
        }
        Ok(Some(Change {
            kind: kind(change.kind).into(),
            name: registration::name(change.device),
            endpoint: change.endpoint.to_string(),
            time: timestamp(change.at),
            registration: record.and_then(|record| registration::show(change.device, &record)),
        }))
    }
}

fn event(event: Event, resume_token: String) -> WatchRegistrationsResponse {
    WatchRegistrationsResponse { event: Some(event), resume_token }
}

fn kind(kind: RegistrationChangeKind) -> Kind {
    match kind {
        RegistrationChangeKind::Registered => Kind::Registered,
        RegistrationChangeKind::Updated => Kind::Updated,
        RegistrationChangeKind::Deregistered => Kind::Deregistered,
        RegistrationChangeKind::Expired => Kind::Expired,
    }
}
