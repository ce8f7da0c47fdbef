//! `godwit ctl` as a shell runs it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

use serde_json::Value;

use crate::{Inbox, Node, binary};

/// How one command ended.
#[derive(Debug)]
pub struct Ctl {
    /// Its exit code.
    pub exit: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ctl {
    /// Runs `godwit ctl ARGUMENTS` against a node, to its end.
    pub fn run(node: &Node, arguments: &[&str]) -> Ctl {
        let output = command(node, arguments).output().expect("the command runs");
        Ctl {
            exit: output.status.code().expect("it ended by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The same, which must succeed; its output.
    #[track_caller]
    pub fn ok(node: &Node, arguments: &[&str]) -> String {
        let run = Ctl::run(node, arguments);
        assert_eq!(run.exit, 0, "{arguments:?}: {}", run.err);
        run.out
    }

    /// The same with `--output json`: each line of the output.
    #[track_caller]
    pub fn json(node: &Node, arguments: &[&str]) -> Vec<Value> {
        let out = Ctl::ok(node, &[arguments, &["--output", "json"]].concat());
        out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    /// Starts a command that goes on, with `--output json`; its lines arrive in the inbox.
    pub fn watch(node: &Node, arguments: &[&str]) -> Watch {
        let mut command = command(node, &[arguments, &["--output", "json"]].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command runs");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let inbox = Arc::<Inbox>::default();
        let filled = Arc::clone(&inbox);
        thread::spawn(move || {
            let lines = lines.map_while(Result::ok);
            lines.for_each(|line| filled.push(serde_json::from_str(&line).expect("each line is JSON")));
        });
        Watch { child, inbox, place: 0 }
    }
}

/// A command that goes on until this is dropped.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    inbox: Arc<Inbox>,
    place: usize,
}

impl Watch {
    /// Waits for the next line that `matches`, and goes on after it next time.
    #[track_caller]
    pub fn next(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let Some((place, line)) = self.inbox.find(self.place, matches) else {
            panic!("there never was: {what}\n{:#?}", self.inbox.lines());
        };
        self.place = place + 1;
        line
    }

    /// Whether any line up to now `matches`.
    pub fn seen(&self, matches: impl Fn(&Value) -> bool) -> bool {
        self.inbox.lines().iter().any(matches)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// A file with this text in the node's folder, for a command to read.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.data_dir().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn command(node: &Node, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary::godwit());
    command.args(["ctl", "--address", &node.admin_address().to_string()]).args(arguments);
    command.env_remove("GODWIT_OUTPUT").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}
