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

#[test]
fn a_check_says_which_modes_result() {
    let output = run(&["config", "check", "--preset", "thingsboard"]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    for line in [
        "the configuration has no faults",
        "coap://[::]:5685  no_sec",
        "coaps://[::]:5686  psk",
        "no rpk: no key of the server's own; set security.identity.key_file",
    ] {
        assert!(said.lines().any(|said| said == line), "no {line} in\n{said}");
    }

    let output = run(&["config", "check", "--set", "security.identity.key=nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr).unwrap().starts_with("security.identity.key: holds no private key")
    );
    assert!(String::from_utf8(output.stdout).unwrap().contains("coaps://[::]:5684  psk"));
}

#[test]
fn a_generated_server_key_serves_and_shows_its_public_half_alone() {
    let path = std::env::temp_dir().join(format!("godwit-{}-generated.pem", std::process::id()));
    let name = path.to_str().unwrap();
    let made = run(&["keys", "generate", "server", "--out", name]);
    assert_eq!(made.status.code(), Some(0));
    assert_eq!(
        run(&["keys", "generate", "server", "--out", name]).status.code(),
        Some(1),
        "never overwritten"
    );

    let shown = run(&["keys", "show", "--set", &format!("security.identity.key_file={name}")]);
    let key = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let public = String::from_utf8(made.stderr).unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(public.starts_with("public_key = 3059") && shown.contains(&public), "{public}{shown}");
    assert!(shown.contains("coaps://[::]:5684  psk, rpk\n") && shown.contains("public_x = "), "{shown}");
    assert!(!shown.contains(key.lines().nth(1).unwrap()), "{shown}");

    let secret = run(&["keys", "generate", "cluster"]);
    assert_eq!(secret.stdout.len(), 65);
}
