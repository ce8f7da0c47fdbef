//! What a soak leaves behind: `docs/soak/<name>.md`, a line for each test of one binary.

use std::{collections::BTreeMap, fs, path::Path, sync::Mutex};

static LINES: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());

/// Prints what a test found, and at the scale of a soak writes it into the report of its binary.
pub fn report(name: &str, title: &str, test: &'static str, found: String) {
    eprintln!("{test}: {found}");
    if std::env::var("SCALE").as_deref() != Ok("soak") {
        return;
    }
    let mut lines = LINES.lock().unwrap();
    lines.insert(test, found);
    let command = format!("SCALE=soak cargo test -p godwit-dtls --features client --test {name}");
    let mut text = format!("# {title}\n\nMade by `{command}`.\n\n");
    for (test, found) in lines.iter() {
        text += &format!("- `{test}`: {found}\n");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/soak");
    fs::write(folder.join(format!("dtls-{name}.md")), text).unwrap();
}
