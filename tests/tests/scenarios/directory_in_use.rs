//! A directory that processes work in is not mounted over: they would write past the replication.

use crate::LIMIT;
use std::process::{Child, Stdio};
use tests::engine::wait_for;
use tests::hosts::only_child;
use tests::lab::scenario;
use tests::pair::Pair;

/// A process on host `a` that has a file of the directory open for writing.
fn hold(pair: &Pair) -> Child {
    let script = format!("exec 3>>{}; exec sleep 1000", pair.dir_a.join("open").display());
    let holder = pair.a.command("bash").args(["-c", &script]).stdin(Stdio::null()).spawn().expect("run bash");
    wait_for(LIMIT, || pair.mounted().join("open").exists().then_some(())).expect("the file appears");
    holder
}

#[test]
fn directory_in_use() {
    scenario("in-use", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        let mut holder = hold(&pair);
        let pid = only_child(holder.id()).expect("nsenter forks");
        let inner = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the holder lives");
        let inner = inner.lines().find(|line| line.starts_with("NSpid")).expect("NSpid").to_owned();
        let inner = inner.split_whitespace().last().expect("a number");
        let receive = pair.receive().spawn();
        receive.wait_ready();
        pair.mount().spawn().must_refuse(&["use", inner]);

        tests::hosts::kill(pid, rustix::process::Signal::KILL);
        let _ = holder.wait();
        pair.secondary = Some(receive);
        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        pair.finish();
    });
}

#[test]
fn a_directory_in_use_is_reported_at_the_end() {
    scenario("in-use-at-end", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        let mut holder = hold(&pair);
        tests::hosts::kill(pair.primary().pid(), rustix::process::Signal::TERM);
        let told = wait_for(tests::engine::PATIENCE, || {
            let said = format!("{:?} {}", pair.primary().said_since(0), pair.primary().stderr());
            said.contains("use").then_some(())
        });
        assert!(told.is_some(), "nobody says who holds the directory: {}", pair.primary().stderr());
        pair.a.power_off();
        let _ = holder.wait();
    });
}
