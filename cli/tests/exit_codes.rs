//! The binary as scripts see it: exit codes, one line on stderr, nothing else.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn understudy(run: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.arg("--run").arg(run).args(args).env_remove("RUST_LOG").env("UNDERSTUDY_LOG", "off");
    command.output().expect("the binary runs")
}

fn fails(run: &Path, args: &[&str], code: i32, says: &str) {
    let output = understudy(run, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    assert!(stderr.starts_with("understudy: ") && stderr.contains(says), "{args:?}: {stderr}");
}

#[test]
fn every_failure_is_one_line_and_its_code() {
    let tmp = tempfile::tempdir().expect("a directory");
    let run = tmp.path();
    let peer = ["--to", "127.0.0.1:1"];
    fails(run, &[], 2, "no command");
    fails(run, &["swap"], 2, "swap");
    fails(run, &["mount", "/"], 2, "--to");
    fails(run, &[&["mount", "/nowhere/at all", "--insecure"], &peer[..]].concat(), 1, "/nowhere/at all");
    fails(run, &[&["mount", "/", "--key", "/nowhere/key"], &peer[..]].concat(), 2, "keygen");
    fails(run, &["receive", "/nowhere", "--listen", "127.0.0.1:1", "--insecure"], 1, "/nowhere");
    fails(run, &["man", "frobnicate"], 2, "frobnicate");
    fails(run, &["status"], 6, "no replica runs here");
    fails(run, &["status", "--json", "data"], 6, "data");
    fails(run, &["sync", "data"], 6, "data");
}

#[test]
fn help_version_pages_and_scripts_succeed() {
    let tmp = tempfile::tempdir().expect("a directory");
    for args in [
        &["--help"][..],
        &["--version"],
        &["mount", "--help"],
        &["help", "receive"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["man"],
        &["man", "receive"],
    ] {
        let output = understudy(tmp.path(), args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    let tmp = tempfile::tempdir().expect("a directory");
    let file = tmp.path().join("pair.key");
    let name = file.to_str().expect("plain");
    assert_eq!(understudy(tmp.path(), &["keygen", name]).status.code(), Some(0));
    let before = std::fs::read(&file).expect("made");
    let mode = std::fs::metadata(&file).expect("made").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    fails(tmp.path(), &["keygen", name], 1, name);
    assert_eq!(std::fs::read(&file).expect("still there"), before);
}

#[test]
fn mistakes_in_a_configuration_are_lines_and_one_failure() {
    let tmp = tempfile::tempdir().expect("a directory");
    let dir = tmp.path().to_str().expect("a name");
    std::fs::write(tmp.path().join("cluster.toml"), "schema = 1\nnmae = \"c\"\n").expect("written");
    let output = understudy(tmp.path(), &["--config", dir, "config", "check"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stdout.lines().count(), 4, "{stdout}");
    assert!(stdout.contains("cluster.toml:2: nmae: found an unknown key, expected `name`?"), "{stdout}");
    assert!(stderr.lines().count() == 1 && stderr.contains("(and 3 more)"), "{stderr}");
    let output = understudy(tmp.path(), &["--config", dir, "--json", "config", "check"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2));
    assert!(told.starts_with('{') && told.contains("\"ok\":false") && told.contains("\"line\":2"), "{told}");
}
