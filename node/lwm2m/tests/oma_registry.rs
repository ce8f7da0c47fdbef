//! The definition files of the OMA registry, in the folder that `OMA_REGISTRY` names.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use godwit_lwm2m::model::{Ddf, ObjectModel, ObjectVersion, Range, builtin, load_ddf};

/// `None`, with a printed skip, when the folder is not given: it is data beside the repository, nothing to install.
fn registry() -> Option<PathBuf> {
    let folder = std::env::var_os("OMA_REGISTRY").filter(|f| !f.is_empty()).map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: OMA_REGISTRY does not name a folder of definition files");
    }
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|e| e == "xml") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_file_of_the_registry_loads() {
    let Some(folder) = registry() else { return };
    let files = files(&folder);
    let (mut objects, mut reusable, mut companions) = (0, 0, 0);
    for file in &files {
        match load_ddf(&std::fs::read(file).unwrap()) {
            Ok(Ddf::Objects(found)) => objects += found.len(),
            Ok(Ddf::Resources(found)) => reusable += found.len(),
            Ok(Ddf::Companion) => companions += 1,
            Err(error) => panic!("{}: {error}", file.display()),
        }
    }
    println!(
        "{} files: {objects} objects, {reusable} reusable resources, {companions} companions",
        files.len()
    );
    assert!(objects >= 751 && reusable >= 177 && objects + companions < files.len());
}

#[test]
fn the_built_in_table_says_what_the_registry_says() {
    let Some(folder) = registry() else { return };
    let mut published: BTreeMap<(u16, ObjectVersion), ObjectModel> = BTreeMap::new();
    for file in files(&folder) {
        if let Ok(Ddf::Objects(found)) = load_ddf(&std::fs::read(file).unwrap()) {
            published.extend(found.into_iter().map(|m| ((m.id, m.version), without_prose(m))));
        }
    }
    for model in builtin() {
        assert_eq!(
            Some(&**model),
            published.get(&(model.id, model.version)),
            "{} {}",
            model.id,
            model.version
        );
    }
    let known = |id, version| builtin().iter().any(|m| (m.id, m.version) == (id, version));
    let family = |id: u16| id <= 7 || (3300..=3499).contains(&id);
    for (id, version) in published.into_keys().filter(|(id, _)| family(*id)) {
        assert!(known(id, version), "{id} {version} is not built in");
    }
}

/// The table keeps no free text.
fn without_prose(mut model: ObjectModel) -> ObjectModel {
    for resource in &mut model.resources {
        resource.range = resource.range.take().filter(|r| !matches!(r, Range::Text(_)));
    }
    model
}
