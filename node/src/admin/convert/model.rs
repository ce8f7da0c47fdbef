//! Object models.

use godwit_lwm2m::model::{ObjectModel, ResourceModel};
use godwit_proto::v1::{
    Model,
    model::{Resource, Source},
};

use super::timestamp;
use crate::admin::name;

/// Where a model comes from.
#[derive(Debug, Clone, Copy)]
pub(in crate::admin) enum Origin<'a> {
    BuiltIn,
    /// Uploaded, for a profile or (empty) for all.
    Uploaded {
        profile: &'a str,
        created_at: u64,
    },
}

/// A model as the API shows it; lists leave its resources out.
pub(in crate::admin) fn show(model: &ObjectModel, origin: Origin<'_>, resources: bool) -> Model {
    let (source, profile, created_at) = match origin {
        Origin::BuiltIn => (Source::BuiltIn, "", 0),
        Origin::Uploaded { profile: "", created_at } => (Source::Global, "", created_at),
        Origin::Uploaded { profile, created_at } => (Source::Profile, profile, created_at),
    };
    let version = model.version.to_string();
    Model {
        name: name::of_model(profile, model.id, &version),
        object: model.id.into(),
        version,
        display_name: model.name.to_string(),
        multiple_instances: model.multiple,
        mandatory: model.mandatory,
        source: source.into(),
        resources: if resources { model.resources.iter().map(resource).collect() } else { Vec::new() },
        create_time: timestamp(created_at),
    }
}

fn resource(model: &ResourceModel) -> Resource {
    Resource {
        id: model.id.into(),
        display_name: model.name.to_string(),
        operations: model.operations.letters().to_owned(),
        multiple_instances: model.multiple,
        mandatory: model.mandatory,
        r#type: model.value_type.map(|value_type| value_type.name().to_owned()).unwrap_or_default(),
        range: model.range.as_ref().map(ToString::to_string).unwrap_or_default(),
        units: model.unit.to_string(),
    }
}
