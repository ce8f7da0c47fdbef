//! The binaries under test: the node, with fault points, and the load tool.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

/// The binary `godwit`, built when needed with the feature `failpoints` and the profile of the tests. It is a copy, so
/// that a build meanwhile changes nothing. `GODWIT_TEST_BINARY` names another.
pub(crate) fn godwit() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("GODWIT_TEST_BINARY") {
        Some(path) => path.into(),
        None => {
            let built = build("godwit", &["--features", "failpoints"]);
            copy(&built, "godwit-failpoints")
        }
    })
}

/// The binary `godwit-load`, built when needed. `GODWIT_LOAD_BINARY` names another.
pub(crate) fn godwit_load() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("GODWIT_LOAD_BINARY") {
        Some(path) => path.into(),
        None => build("godwit-load", &[]),
    })
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// `<target>/<profile>` of this test, `<target>/<profile>/deps/<test>`, or of a program beside it.
fn folder() -> PathBuf {
    let own = env::current_exe().unwrap();
    let folder = own.parent().unwrap();
    if folder.ends_with("deps") { folder.parent().unwrap().into() } else { folder.into() }
}

fn build(package: &str, arguments: &[&str]) -> PathBuf {
    let folder = folder();
    let lock = fs::File::create(folder.join(".godwit-tests.lock")).unwrap();
    lock.lock().unwrap();

    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["build", "--quiet", "--locked", "-p", package, "--bin", package]);
    cargo.args(arguments).args(["--message-format", "json-render-diagnostics", "--target-dir"]);
    cargo.arg(folder.parent().unwrap());
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == package)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable")
}

fn copy(built: &Path, name: &str) -> PathBuf {
    let folder = folder();
    let lock = fs::File::create(folder.join(".godwit-tests.lock")).unwrap();
    lock.lock().unwrap();
    let copy = folder.join(name);
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    if modified(&copy) < modified(built) {
        let fresh = copy.with_extension("new");
        fs::copy(built, &fresh).unwrap();
        fs::rename(&fresh, &copy).unwrap();
    }
    copy
}
