//! `godwit ctl models`.

use std::path::PathBuf;

use clap::Subcommand;
use godwit_proto::v1::{
    DeleteModelRequest, GetModelRequest, ListModelsRequest, Model, UploadModelsRequest, model::Source,
    model_service_client::ModelServiceClient,
};

use super::{
    connect::{Connection, read},
    console::{Console, Table, dash},
    fault::CtlError,
};

const MODEL: &str = "godwit.v1.Model";

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Upload object definitions (DDF XML)
    Upload {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Only for devices of this profile
        #[arg(long)]
        profile: Option<String>,
        /// Replace what has the same object and version
        #[arg(long)]
        replace: bool,
    },
    /// Show a model with its resources
    Get {
        /// OBJECT_VERSION, as in 3303_1.1, or its full name
        model: String,
        /// The profile's own
        #[arg(long)]
        profile: Option<String>,
    },
    /// List models
    List {
        /// Only this object
        #[arg(long)]
        object: Option<u16>,
        /// Those of this profile
        #[arg(long)]
        profile: Option<String>,
        /// Uploaded ones only
        #[arg(long)]
        uploaded: bool,
    },
    /// Delete an uploaded model
    Delete {
        /// OBJECT_VERSION, as in 3303_1.1, or its full name
        model: String,
        /// The profile's own
        #[arg(long)]
        profile: Option<String>,
    },
}

impl Verb {
    pub(super) async fn run(
        self,
        connection: &Connection,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        match self {
            Self::Upload { files, profile, replace } => {
                let read = files.iter().map(|file| Ok((file, read(file)?)));
                let contents = read.collect::<Result<Vec<_>, CtlError>>()?;
                let mut client = ModelServiceClient::new(connection.open().await?);
                let mut models = Vec::new();
                for (file, xml) in contents {
                    let request = UploadModelsRequest { parent: parent(profile.as_deref()), xml, replace };
                    let answer = client.upload_models(request).await;
                    let answer = answer.inspect_err(|_| {
                        // Which of many files is at fault; there is nothing to do if nobody can read it.
                        let _ = console.note(&format!("{}:", file.display()));
                    })?;
                    models.extend(answer.into_inner().models);
                }
                list(&models, console)
            }
            Self::Get { model, profile } => {
                let mut client = ModelServiceClient::new(connection.open().await?);
                let request = GetModelRequest { name: name(&model, profile.as_deref()) };
                show(&client.get_model(request).await?.into_inner(), console)
            }
            Self::List { object, profile, uploaded } => {
                let mut client = ModelServiceClient::new(connection.open().await?);
                let mut request = ListModelsRequest {
                    page_size: 1000,
                    page_token: String::new(),
                    parent: parent(profile.as_deref()),
                    object: object.map(u32::from),
                    show_built_in: !uploaded,
                };
                let mut models = Vec::new();
                loop {
                    let page = client.list_models(request.clone()).await?.into_inner();
                    models.extend(page.models);
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        return list(&models, console);
                    }
                }
            }
            Self::Delete { model, profile } => {
                let mut client = ModelServiceClient::new(connection.open().await?);
                client.delete_model(DeleteModelRequest { name: name(&model, profile.as_deref()) }).await?;
                Ok(())
            }
        }
    }
}

fn parent(profile: Option<&str>) -> String {
    match profile {
        None => String::new(),
        Some(profile) if profile.starts_with("profiles/") => profile.to_owned(),
        Some(profile) => format!("profiles/{profile}"),
    }
}

fn name(model: &str, profile: Option<&str>) -> String {
    if model.contains("models/") {
        return model.to_owned();
    }
    match profile {
        None => format!("models/{model}"),
        profile => format!("{}/models/{model}", parent(profile)),
    }
}

fn list(models: &[Model], console: &mut Console<'_>) -> Result<(), CtlError> {
    if console.is_json() {
        for model in models {
            console.message(MODEL, model)?;
        }
        return Ok(());
    }
    let mut table = Table::new(&["OBJECT", "VERSION", "NAME", "SOURCE", "MODEL"]);
    for model in models {
        let source = match model.source() {
            Source::BuiltIn => "built in",
            Source::Global => "uploaded",
            Source::Profile => "profile",
            Source::Unspecified => "-",
        };
        table.row([
            model.object.to_string(),
            model.version.clone(),
            model.display_name.clone(),
            source.to_owned(),
            model.name.clone(),
        ]);
    }
    Ok(console.table(&table)?)
}

fn show(model: &Model, console: &mut Console<'_>) -> Result<(), CtlError> {
    if console.is_json() {
        return Ok(console.message(MODEL, model)?);
    }
    console.line(&format!("{} {}: {}", model.object, model.version, model.display_name))?;
    let mut table = Table::new(&["ID", "NAME", "OPERATIONS", "TYPE", "INSTANCES", "RANGE", "UNIT"]);
    for resource in &model.resources {
        table.row([
            resource.id.to_string(),
            resource.display_name.clone(),
            dash(&resource.operations),
            dash(&resource.r#type),
            if resource.multiple_instances { "many" } else { "one" }.to_owned(),
            dash(&resource.range),
            dash(&resource.units),
        ]);
    }
    Ok(console.table(&table)?)
}
