//! `ProfileService`.

use std::sync::Arc;

use godwit_proto::v1::{
    CreateProfileRequest, DeleteProfileRequest, GetProfileRequest, ImportThingsBoardProfileRequest,
    ImportThingsBoardProfileResponse, ListProfilesRequest, ListProfilesResponse, Profile,
    UpdateProfileRequest, profile_service_server::ProfileService,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{answer, request_id};
use crate::{
    admin::{
        audit,
        error::{AdminError, Kind, invalid},
        name, page,
        room::Room,
    },
    profile,
    store::{
        DeviceFilter, DocumentKey, DocumentKind, Expect, PageRequest, StoreError, page::PAGE_LIMIT,
        value::Document,
    },
};

/// The largest ThingsBoard JSON.
const MAX_JSON: usize = 1 << 20;

/// The service.
pub(in crate::admin) struct Profiles(pub(in crate::admin) Arc<Room>);

#[tonic::async_trait]
impl ProfileService for Profiles {
    async fn create_profile(
        &self,
        request: Request<CreateProfileRequest>,
    ) -> Result<Response<Profile>, Status> {
        if let Some(profile) = &request.get_ref().profile {
            audit::about(&request, &profile.name);
        }
        answer(self.create(request.into_inner()).await)
    }

    async fn get_profile(&self, request: Request<GetProfileRequest>) -> Result<Response<Profile>, Status> {
        let found = async { self.profile(name::profile("name", &request.get_ref().name)?).await };
        answer(found.await)
    }

    async fn list_profiles(
        &self,
        request: Request<ListProfilesRequest>,
    ) -> Result<Response<ListProfilesResponse>, Status> {
        answer(self.list(request.into_inner()).await)
    }

    async fn update_profile(
        &self,
        request: Request<UpdateProfileRequest>,
    ) -> Result<Response<Profile>, Status> {
        if let Some(profile) = &request.get_ref().profile {
            audit::about(&request, &profile.name);
        }
        answer(self.update(request.into_inner()).await)
    }

    async fn delete_profile(&self, request: Request<DeleteProfileRequest>) -> Result<Response<()>, Status> {
        audit::about(&request, &request.get_ref().name);
        answer(self.delete(request.into_inner()).await)
    }

    async fn import_things_board_profile(
        &self,
        request: Request<ImportThingsBoardProfileRequest>,
    ) -> Result<Response<ImportThingsBoardProfileResponse>, Status> {
        audit::about(&request, &request.get_ref().name);
        answer(self.import(request.into_inner()).await)
    }
}

impl Profiles {
    async fn create(&self, request: CreateProfileRequest) -> Result<Profile, AdminError> {
        request_id(&request.request_id)?;
        let given = checked(request.profile)?;
        let name = given.name.clone();
        match self.put(given.clone(), Expect::Absent).await {
            Err(AdminError::EtagMismatch { .. }) => {
                let stored = self.profile(&name).await?;
                let same = Profile { revision: 0, models: Vec::new(), ..stored.clone() }
                    == Profile { name: stored.name.clone(), ..given };
                if same && !request.request_id.is_empty() {
                    return Ok(stored);
                }
                Err(AdminError::Exists { what: Kind::Profile, name })
            }
            other => other,
        }
    }

    /// A profile as it counts: the stored one, else the built-in one.
    async fn profile(&self, name: &str) -> Result<Profile, AdminError> {
        if let Some(document) = self.0.store().document(DocumentKey::Profile(name.to_owned())).await? {
            return self.show(name, &document);
        }
        let built_in = profile::builtin(name)
            .ok_or_else(|| AdminError::NotFound { what: Kind::Profile, name: name.to_owned() })?;
        Ok(self.built_in(&built_in))
    }

    async fn list(&self, request: ListProfilesRequest) -> Result<ListProfilesResponse, AdminError> {
        let mut profiles = Vec::new();
        let mut token = None;
        loop {
            let page = PageRequest { token, limit: PAGE_LIMIT };
            let page = self.0.store().list_documents(DocumentKind::Profile, page).await?;
            for (key, document) in page.items {
                if let DocumentKey::Profile(name) = key {
                    profiles.push(self.show(&name, &document)?);
                }
            }
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        for built_in in [profile::DEFAULT, profile::DEMO].into_iter().filter_map(profile::builtin) {
            let built_in = self.built_in(&built_in);
            if !profiles.iter().any(|stored| stored.name == built_in.name) {
                profiles.push(built_in);
            }
        }
        profiles.sort_by(|a, b| a.name.cmp(&b.name));
        let key = |profile: &Profile| profile.name.clone();
        let (profiles, next_page_token) = page::cut(profiles, key, request.page_size, &request.page_token)?;
        Ok(ListProfilesResponse { profiles, next_page_token })
    }

    async fn update(&self, request: UpdateProfileRequest) -> Result<Profile, AdminError> {
        let given = request.profile.ok_or_else(|| invalid("profile", "must be set"))?;
        let name = name::profile("profile.name", &given.name)?.to_owned();
        let stored = self.0.store().document(DocumentKey::Profile(name.clone())).await?;
        let now = match (&stored, self.profile(&name).await) {
            (_, Ok(now)) => now,
            (None, Err(AdminError::NotFound { .. })) if request.allow_missing => {
                Profile { name: name.clone(), ..Default::default() }
            }
            (_, Err(error)) => return Err(error),
        };
        if given.revision != 0 && given.revision != now.revision {
            return Err(AdminError::EtagMismatch { name, found: now.revision });
        }
        let mask = request.update_mask.unwrap_or_default().paths;
        let merged = checked(Some(merge(now, given, &mask)?))?;
        let expect = stored.map_or(Expect::Absent, |document| Expect::Revision(document.revision));
        self.put(merged, expect).await
    }

    async fn delete(&self, request: DeleteProfileRequest) -> Result<(), AdminError> {
        let name = name::profile("name", &request.name)?;
        let key = DocumentKey::Profile(name.to_owned());
        let stored = self.0.store().document(key.clone()).await?;
        if name == profile::DEFAULT || (stored.is_none() && profile::builtin(name).is_some()) {
            let message = format!("the profile {name:?} is built in; it can be updated");
            return Err(AdminError::Precondition { reason: "BUILT_IN", message });
        }
        let stored =
            stored.ok_or_else(|| AdminError::NotFound { what: Kind::Profile, name: name.to_owned() })?;
        if request.revision != 0 && request.revision != stored.revision {
            return Err(AdminError::EtagMismatch { name: name.to_owned(), found: stored.revision });
        }
        if profile::builtin(name).is_none() && self.in_use(name).await? {
            let message = format!("devices have the profile {name:?}: give them another first");
            return Err(AdminError::Precondition { reason: "IN_USE", message });
        }
        self.0.store().remove_document(key, Expect::Revision(stored.revision)).await.map_err(|error| {
            match error {
                StoreError::Conflict { found } => AdminError::EtagMismatch { name: name.to_owned(), found },
                other => other.into(),
            }
        })?;
        self.0.endpoints().profile_changed(name).await;
        Ok(())
    }

    /// Whether any device has the profile. Reads on until one is found, all of them if there is none.
    async fn in_use(&self, name: &str) -> Result<bool, AdminError> {
        let filter = DeviceFilter { profile: Some(name.to_owned()), ..Default::default() };
        let mut token = None;
        loop {
            let page = self.0.store().list(filter.clone(), PageRequest { token, limit: 1 }).await?;
            if !page.items.is_empty() {
                return Ok(true);
            }
            token = page.next;
            if token.is_none() {
                return Ok(false);
            }
        }
    }

    async fn import(
        &self,
        request: ImportThingsBoardProfileRequest,
    ) -> Result<ImportThingsBoardProfileResponse, AdminError> {
        let name = name::profile("name", &request.name)?;
        if request.json.len() > MAX_JSON {
            let fix = format!("has {} bytes, must have at most {MAX_JSON}", request.json.len());
            return Err(invalid("json", fix));
        }
        let imported = profile::import_thingsboard(name, &request.json)
            .map_err(|error| invalid("json", error.to_string()))?;
        let notes = imported.notes.iter().map(ToString::to_string).collect();
        let given = checked(Some(imported.profile))?;
        let profile = if request.validate_only {
            Profile { name: format!("profiles/{name}"), ..given }
        } else {
            let expect = if request.replace { Expect::Any } else { Expect::Absent };
            self.put(given, expect).await.map_err(|error| match error {
                AdminError::EtagMismatch { name, .. } => AdminError::Exists { what: Kind::Profile, name },
                other => other,
            })?
        };
        Ok(ImportThingsBoardProfileResponse { profile: Some(profile), notes })
    }

    /// Stores a checked profile and tells the endpoints.
    async fn put(&self, profile: Profile, expect: Expect) -> Result<Profile, AdminError> {
        let name = profile.name.clone();
        let key = DocumentKey::Profile(name.clone());
        let stored = self.0.store().put_document(key, profile.encode_to_vec(), expect).await;
        let stored = stored.map_err(|error| match error {
            StoreError::Conflict { found } => AdminError::EtagMismatch { name: name.clone(), found },
            other => other.into(),
        })?;
        self.0.endpoints().profile_changed(&name).await;
        self.show(&name, &stored)
    }

    fn show(&self, name: &str, document: &Document) -> Result<Profile, AdminError> {
        let mut profile = Profile::decode(&*document.body)
            .map_err(|_| AdminError::Damaged(format!("the stored profile {name:?} can't be read")))?;
        profile.name = format!("profiles/{name}");
        profile.revision = document.revision;
        profile.models = self.0.parts.models.names(name);
        Ok(profile)
    }

    fn built_in(&self, profile: &profile::Profile) -> Profile {
        Profile { models: self.0.parts.models.names(profile.name()), ..Profile::from(profile) }
    }
}

/// Checks a profile and gives it the form in which it is stored: its name without "profiles/", no revision.
fn checked(profile: Option<Profile>) -> Result<Profile, AdminError> {
    let mut profile = profile.ok_or_else(|| invalid("profile", "must be set"))?;
    profile.name = name::profile("profile.name", &profile.name)?.to_owned();
    profile.revision = 0;
    profile.models.clear();
    profile::Profile::try_from(profile.clone())
        .map_err(|error| invalid(format!("profile.{}", error.field), error.fault.to_string()))?;
    Ok(profile)
}

/// The stored profile with the fields of the mask taken from the given one; all of them without a mask.
fn merge(now: Profile, given: Profile, mask: &[String]) -> Result<Profile, AdminError> {
    if mask.is_empty() {
        return Ok(given);
    }
    let mut merged = now;
    for field in mask {
        match field.as_str() {
            "mappings" => merged.mappings.clone_from(&given.mappings),
            "observe" => merged.observe.clone_from(&given.observe),
            "start_strategy" => merged.start_strategy = given.start_strategy,
            "observe_strategy" => merged.observe_strategy = given.observe_strategy,
            "write_attributes" => merged.write_attributes.clone_from(&given.write_attributes),
            "format" => merged.format = given.format,
            "power" => merged.power = given.power,
            "limits" => merged.limits = given.limits,
            "ack_first_block" => merged.ack_first_block = given.ack_first_block,
            "codecs" => merged.codecs.clone_from(&given.codecs),
            "bootstrap" => merged.bootstrap.clone_from(&given.bootstrap),
            "read_composite" => merged.read_composite = given.read_composite,
            unknown => {
                return Err(invalid("update_mask", format!("{unknown:?} is no field that can be updated")));
            }
        }
    }
    Ok(merged)
}
