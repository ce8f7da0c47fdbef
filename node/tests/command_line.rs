//! The command line from outside: exit codes, and what goes to which stream.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output, Stdio};

fn godwit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_godwit"));
    command.args(arguments).env_clear();
    command
}

fn run(arguments: &[&str]) -> Output {
    godwit(arguments).output().unwrap()
}

#[test]
fn a_faultless_configuration_exits_0() {
    let output = run(&["config", "check", "--preset", "demo"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}

#[test]
fn faults_exit_2_and_stand_on_standard_error_one_per_line() {
    let output = run(&["config", "print", "--set", "log.format=xml", "--set", "no.such=1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 2);
}

#[test]
fn the_environment_sets_settings() {
    let output = godwit(&["config", "print"]).env("GODWIT_SERVER__SHARDS", "7").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("shards = 7  # GODWIT_SERVER__SHARDS"), "{text}");
}

#[test]
fn an_unknown_flag_exits_2() {
    assert_eq!(run(&["config", "check", "--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn a_reader_that_closes_early_is_no_failure() {
    let mut child = godwit(&["config", "schema"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
