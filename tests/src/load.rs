//! The load tool, `godwit-load`, as a process.

use std::{
    fs,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::Value;

use crate::{Node, binary};

/// A running `godwit-load`; it ends with this.
#[derive(Debug)]
pub struct Load {
    child: Child,
    what: String,
}

impl Load {
    /// Starts `godwit-load` with these arguments. Its table goes to the test's output.
    pub fn start<S: AsRef<str>>(arguments: &[S]) -> Load {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let what = format!("godwit-load {}", arguments.join(" "));
        eprintln!("{what}");
        let mut command = Command::new(binary::godwit_load());
        command.args(&arguments).stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        Load { child: command.spawn().expect("the load tool starts"), what }
    }

    /// Runs it to its end, which must be a good one, and reads what it wrote to `--json`.
    #[track_caller]
    pub fn json<S: AsRef<str>>(arguments: &[S], json: &Path) -> Value {
        let mut all: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let path = json.to_str().expect("a plain path");
        all.extend(["--json", path]);
        Load::start(&all).succeed();
        let text = fs::read_to_string(json).expect("the load tool wrote its results");
        serde_json::from_str(&text).expect("they are JSON")
    }

    /// The same of `check`, which also ends well here where it finds faults.
    #[track_caller]
    pub fn findings<S: AsRef<str>>(arguments: &[S], json: &Path) -> Value {
        let mut all: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        all.extend(["--json", json.to_str().expect("a plain path")]);
        let mut load = Load::start(&all);
        let code = load.end().code();
        assert!(matches!(code, Some(0 | 1)), "{}: {code:?}", load.what);
        let text = fs::read_to_string(json).expect("the load tool wrote its results");
        serde_json::from_str(&text).expect("they are JSON")
    }

    /// The address and process that it shall load, as arguments.
    pub fn target(node: &Node) -> [String; 2] {
        [format!("--server={}", node.coap()), format!("--server-pid={}", node.pid())]
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to end: it sends nothing new, and reports as at its end.
    pub fn stop(&self) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, however long that takes.
    pub fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Asks it to end as a user would, and waits for its end, which must be a good one.
    #[track_caller]
    pub fn interrupt(self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.succeed();
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub fn succeed(mut self) {
        let status = self.end();
        assert!(status.success(), "{}: {status}", self.what);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
