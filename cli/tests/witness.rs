//! The witness as a process: it says `ready`, votes, ends with code 0 on SIGTERM, and refuses what it cannot use.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn witness(home: &Path, extra: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.args(["witness", "--listen", "127.0.0.1:0", "--keys"]).arg(home.join("keys"));
    command.arg("--state").arg(home.join("state")).args(extra).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
    line
}

#[test]
fn it_is_ready_ends_on_sigterm_and_keeps_a_record_for_each_key_file() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join("keys")).expect("made");
    let key = home.path().join("keys/demo");
    let made = Command::new(env!("CARGO_BIN_EXE_understudy")).arg("keygen").arg(&key).output().expect("runs");
    assert!(made.status.success());
    for (extra, ready) in [(&[][..], "ready\n"), (&["--json"], "{")] {
        let mut child = witness(home.path(), extra).spawn().expect("runs");
        let line = first_line(&mut child);
        assert!(line.starts_with(ready) && line.contains("ready"), "{line}");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
        assert_eq!(child.wait().expect("ends").code(), Some(0));
    }
    let records = std::fs::read_dir(home.path().join("state/witness")).expect("there");
    let names: Vec<String> = records.map(|entry| entry.expect("there").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(names.iter().filter(|name| name.ends_with(".json")).count(), 1, "{names:?}");
}

#[test]
fn a_missing_directory_of_keys_is_a_mistake_in_usage() {
    let home = tempfile::tempdir().expect("a directory");
    let ended = witness(home.path(), &[]).output().expect("runs");
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("--keys"));
}
