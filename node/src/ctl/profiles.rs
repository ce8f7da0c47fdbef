//! `godwit ctl profiles`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use godwit_proto::v1::{
    CreateProfileRequest, DeleteProfileRequest, GetProfileRequest, ImportThingsBoardProfileRequest,
    ListProfilesRequest, Profile, UpdateProfileRequest, profile::StartStrategy,
    profile_service_client::ProfileServiceClient,
};

use super::{
    connect::{Connection, read},
    console::{Console, Table},
    fault::CtlError,
};
use crate::profile;

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Create a profile from its JSON
    Create {
        /// JSON of the profile; - for standard input
        file: PathBuf,
        /// Name, if the file has none or another
        #[arg(long)]
        name: Option<String>,
    },
    /// Show a profile as JSON that `create` and `update` read
    Get {
        /// Name
        profile: String,
    },
    /// List profiles
    List,
    /// Replace a profile; connected devices get the difference
    Update {
        /// JSON of the profile; - for standard input
        file: PathBuf,
        /// Name, if the file has none or another
        #[arg(long)]
        name: Option<String>,
        /// Create it if it is missing
        #[arg(long)]
        create: bool,
    },
    /// Delete a profile that no device has
    Delete {
        /// Name
        profile: String,
    },
    /// Create a profile from ThingsBoard's JSON
    Import {
        /// Name that it will have
        profile: String,
        /// ThingsBoard's JSON; - for standard input
        file: PathBuf,
        /// Replace a profile of this name
        #[arg(long)]
        replace: bool,
        /// Only say what would be stored
        #[arg(long)]
        dry_run: bool,
    },
}

impl Verb {
    pub(super) async fn run(
        self,
        connection: &Connection,
        console: &mut Console<'_>,
    ) -> Result<(), CtlError> {
        match self {
            Self::Create { file, name } => {
                let profile = Some(from_file(&file, name)?);
                let mut client = ProfileServiceClient::new(connection.open().await?);
                let request = CreateProfileRequest { profile, request_id: String::new() };
                list(&[client.create_profile(request).await?.into_inner()], console)
            }
            Self::Get { profile } => {
                let mut client = ProfileServiceClient::new(connection.open().await?);
                let profile = client.get_profile(GetProfileRequest { name: profile }).await?.into_inner();
                let json = profile::to_json(&profile);
                if console.is_json() {
                    Ok(console.json(&json)?)
                } else {
                    Ok(console.line(&format!("{json:#}"))?)
                }
            }
            Self::List => {
                let mut client = ProfileServiceClient::new(connection.open().await?);
                let mut request = ListProfilesRequest { page_size: 1000, page_token: String::new() };
                let mut profiles = Vec::new();
                loop {
                    let page = client.list_profiles(request.clone()).await?.into_inner();
                    profiles.extend(page.profiles);
                    request.page_token = page.next_page_token;
                    if request.page_token.is_empty() {
                        return list(&profiles, console);
                    }
                }
            }
            Self::Update { file, name, create } => {
                let profile = Some(from_file(&file, name)?);
                let mut client = ProfileServiceClient::new(connection.open().await?);
                let request = UpdateProfileRequest { profile, update_mask: None, allow_missing: create };
                list(&[client.update_profile(request).await?.into_inner()], console)
            }
            Self::Delete { profile } => {
                let mut client = ProfileServiceClient::new(connection.open().await?);
                client.delete_profile(DeleteProfileRequest { name: profile, revision: 0 }).await?;
                Ok(())
            }
            Self::Import { profile, file, replace, dry_run } => {
                let json = text(&file)?;
                let mut client = ProfileServiceClient::new(connection.open().await?);
                let request =
                    ImportThingsBoardProfileRequest { name: profile, json, replace, validate_only: dry_run };
                let answer = client.import_things_board_profile(request).await?.into_inner();
                for note in answer.notes {
                    console.note(&format!("note: {note}"))?;
                }
                list(answer.profile.as_slice(), console)
            }
        }
    }
}

fn text(path: &Path) -> Result<String, CtlError> {
    let bytes = if path.as_os_str() == "-" {
        return Ok(std::io::read_to_string(std::io::stdin())?);
    } else {
        read(path)?
    };
    String::from_utf8(bytes)
        .map_err(|_| CtlError::Content { path: path.to_owned(), fault: "not UTF-8".to_owned() })
}

fn from_file(path: &Path, name: Option<String>) -> Result<Profile, CtlError> {
    let text = text(path)?;
    // A file without a name is fine where the command line gives one, and a profile without one is not.
    let text = match &name {
        Some(name) => named(&text, name).unwrap_or(text),
        None => text,
    };
    profile::from_json(&text).map_err(|error| CtlError::Profile { path: path.to_owned(), error })
}

fn named(text: &str, name: &str) -> Option<String> {
    let mut json: serde_json::Value = serde_json::from_str(text).ok()?;
    json.as_object_mut()?.insert("name".to_owned(), name.into());
    Some(json.to_string())
}

fn list(profiles: &[Profile], console: &mut Console<'_>) -> Result<(), CtlError> {
    if console.is_json() {
        for profile in profiles {
            console.json(&profile::to_json(profile))?;
        }
        return Ok(());
    }
    let mut table = Table::new(&["PROFILE", "MAPPED", "OBSERVED", "START", "REVISION"]);
    for profile in profiles {
        let start = match profile.start_strategy() {
            StartStrategy::Unspecified | StartStrategy::Observe => "observe",
            StartStrategy::ReadAll => "read all",
            StartStrategy::ReadMapped => "read mapped",
        };
        table.row([
            profile.name.trim_start_matches("profiles/").to_owned(),
            profile.mappings.len().to_string(),
            profile.observe.len().to_string(),
            start.to_owned(),
            if profile.revision == 0 { "built in".to_owned() } else { profile.revision.to_string() },
        ]);
    }
    Ok(console.table(&table)?)
}
