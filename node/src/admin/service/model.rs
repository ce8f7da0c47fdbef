//! `ModelService`.

use std::sync::Arc;

use godwit_lwm2m::model::{Ddf, MAX_DOCUMENT, ModelRegistry, ObjectModel, ObjectVersion, load_ddf};
use godwit_proto::v1::{
    DeleteModelRequest, GetModelRequest, ListModelsRequest, ListModelsResponse, Model, UploadModelsRequest,
    UploadModelsResponse, model_service_server::ModelService,
};
use tonic::{Request, Response, Status};

use super::answer;
use crate::{
    admin::{
        audit,
        convert::model::{self, Origin},
        error::{AdminError, Kind, invalid},
        name, page,
        room::Room,
    },
    models,
    store::{DocumentKey, DocumentKind, Expect, PageRequest, StoreError, page::PAGE_LIMIT, value::Document},
};

/// The service.
pub(in crate::admin) struct ObjectModels(pub(in crate::admin) Arc<Room>);

#[tonic::async_trait]
impl ModelService for ObjectModels {
    async fn upload_models(
        &self,
        request: Request<UploadModelsRequest>,
    ) -> Result<Response<UploadModelsResponse>, Status> {
        audit::about(&request, format!("{}/models", request.get_ref().parent));
        answer(self.upload(request.into_inner()).await)
    }

    async fn get_model(&self, request: Request<GetModelRequest>) -> Result<Response<Model>, Status> {
        answer(self.model(&request.get_ref().name).await)
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        answer(self.list(request.into_inner()).await)
    }

    async fn delete_model(&self, request: Request<DeleteModelRequest>) -> Result<Response<()>, Status> {
        audit::about(&request, &request.get_ref().name);
        answer(self.delete(&request.get_ref().name).await)
    }
}

impl ObjectModels {
    async fn upload(&self, request: UploadModelsRequest) -> Result<UploadModelsResponse, AdminError> {
        let profile = match request.parent.as_str() {
            "" => "",
            parent => name::profile("parent", parent)?,
        };
        if !profile.is_empty() && !self.0.has_profile(profile).await? {
            return Err(AdminError::NotFound { what: Kind::Profile, name: request.parent.clone() });
        }
        let defined = defined(&request.xml)?;
        if !request.replace {
            self.none_exists(profile, &defined).await?;
        }
        let mut models = Vec::new();
        for object in &defined {
            let expect = if request.replace { Expect::Any } else { Expect::Absent };
            let stored = self.0.store().put_document(key(profile, object), request.xml.clone(), expect).await;
            let stored = stored.map_err(|error| match error {
                StoreError::Conflict { .. } => exists(profile, object),
                other => other.into(),
            })?;
            models.push(model::show(
                object,
                Origin::Uploaded { profile, created_at: stored.created_at },
                true,
            ));
        }
        self.changed().await?;
        Ok(UploadModelsResponse { models })
    }

    /// All or none: a file of several objects must not be half stored because of one that exists.
    async fn none_exists(&self, profile: &str, defined: &[ObjectModel]) -> Result<(), AdminError> {
        for object in defined {
            if self.0.store().document(key(profile, object)).await?.is_some() {
                return Err(exists(profile, object));
            }
        }
        Ok(())
    }

    async fn model(&self, text: &str) -> Result<Model, AdminError> {
        let (profile, object, version) = name::model("name", text)?;
        let not_found = || AdminError::NotFound { what: Kind::Model, name: text.to_owned() };
        let key = DocumentKey::Model { profile: profile.clone(), object, version: version.clone() };
        if let Some(document) = self.0.store().document(key).await? {
            let stored = models::stored(&document.body, object, &version)
                .ok_or_else(|| AdminError::Damaged(format!("the stored {text} can't be read")))?;
            let origin = Origin::Uploaded { profile: &profile, created_at: document.created_at };
            return Ok(model::show(&stored, origin, true));
        }
        let built_in = built_in(object, &version).filter(|_| profile.is_empty()).ok_or_else(not_found)?;
        Ok(model::show(&built_in, Origin::BuiltIn, true))
    }

    async fn list(&self, request: ListModelsRequest) -> Result<ListModelsResponse, AdminError> {
        let of = match request.parent.as_str() {
            "" => "",
            parent => name::profile("parent", parent)?,
        };
        let wanted = |object: u16| request.object.is_none_or(|wanted| wanted == u32::from(object));
        let mut all = Vec::new();
        for (key, document) in self.documents().await? {
            let DocumentKey::Model { profile, object, version } = key else { continue };
            if profile == of && wanted(object) {
                let Some(stored) = models::stored(&document.body, object, &version) else { continue };
                let origin = Origin::Uploaded { profile: of, created_at: document.created_at };
                all.push((stored.version, model::show(&stored, origin, false)));
            }
        }
        if request.show_built_in && of.is_empty() {
            let registry = ModelRegistry::builtin();
            let shown = registry.models().into_iter().filter(|model| wanted(model.id));
            all.extend(shown.map(|m| (m.version, model::show(m, Origin::BuiltIn, false))));
        }
        // An uploaded model and the built-in one that it covers have the same place; both are shown.
        let place = |(version, model): &(ObjectVersion, Model)| {
            format!("{:05}_{:05}.{:05}_{}", model.object, version.major, version.minor, model.source)
        };
        all.sort_by_cached_key(place);
        let (models, next_page_token) = page::cut(all, place, request.page_size, &request.page_token)?;
        let models = models.into_iter().map(|(_, model)| model).collect();
        Ok(ListModelsResponse { models, next_page_token })
    }

    async fn delete(&self, text: &str) -> Result<(), AdminError> {
        let (profile, object, version) = name::model("name", text)?;
        let key = DocumentKey::Model { profile: profile.clone(), object, version: version.clone() };
        if self.0.store().document(key.clone()).await?.is_none() {
            return Err(match built_in(object, &version).filter(|_| profile.is_empty()) {
                Some(_) => AdminError::Precondition {
                    reason: "BUILT_IN",
                    message: format!("{text} is built in; an upload of the same version covers it"),
                },
                None => AdminError::NotFound { what: Kind::Model, name: text.to_owned() },
            });
        }
        match self.0.store().remove_document(key, Expect::Any).await {
            // Somebody else deleted it meanwhile.
            Ok(()) | Err(StoreError::Conflict { found: 0 }) => self.changed().await,
            Err(error) => Err(error.into()),
        }
    }

    async fn changed(&self) -> Result<(), AdminError> {
        self.0.parts.models.reload(self.0.store()).await?;
        self.0.endpoints().models_changed().await;
        Ok(())
    }

    async fn documents(&self) -> Result<Vec<(DocumentKey, Document)>, AdminError> {
        let mut all = Vec::new();
        let mut token = None;
        loop {
            let page = PageRequest { token, limit: PAGE_LIMIT };
            let page = self.0.store().list_documents(DocumentKind::Model, page).await?;
            all.extend(page.items);
            token = page.next;
            if token.is_none() {
                return Ok(all);
            }
        }
    }
}

fn key(profile: &str, model: &ObjectModel) -> DocumentKey {
    DocumentKey::Model { profile: profile.to_owned(), object: model.id, version: model.version.to_string() }
}

fn exists(profile: &str, model: &ObjectModel) -> AdminError {
    let name = name::of_model(profile, model.id, &model.version.to_string());
    AdminError::Exists { what: Kind::Model, name }
}

fn built_in(object: u16, version: &str) -> Option<Arc<ObjectModel>> {
    ModelRegistry::builtin().exact(object, version.parse().ok()?).cloned()
}

/// The objects that a DDF file defines, each once.
fn defined(xml: &[u8]) -> Result<Vec<ObjectModel>, AdminError> {
    if xml.len() > MAX_DOCUMENT {
        return Err(invalid("xml", format!("has {} bytes, must have at most {MAX_DOCUMENT}", xml.len())));
    }
    let models = match load_ddf(xml).map_err(|error| invalid("xml", error.to_string()))? {
        Ddf::Objects(models) => models,
        Ddf::Resources(_) => return Err(invalid("xml", "defines reusable resources and no object")),
        Ddf::Companion => return Err(invalid("xml", "is an index or a list of units, no object definition")),
    };
    for (index, model) in models.iter().enumerate() {
        if models[..index].iter().any(|other| (other.id, other.version) == (model.id, model.version)) {
            return Err(invalid("xml", format!("defines object {} {} twice", model.id, model.version)));
        }
    }
    Ok(models)
}
