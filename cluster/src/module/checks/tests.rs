//! Checks with real probes: scripts that do what a file says.

use super::*;
use crate::config::{CheckKind, Timing};
use crate::module::process::Stat;
use crossbeam::channel::Receiver;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(30);

struct Bench {
    temp: tempfile::TempDir,
    checks: Vec<Check>,
}

impl Bench {
    fn new() -> Bench {
        Bench { temp: tempfile::tempdir().unwrap(), checks: Vec::new() }
    }

    /// A script check that passes as long as the file of its name is there.
    fn file(&mut self, name: &str, on_failure: OnFailure) -> &mut Timing {
        self.set(name, true);
        let path = self.temp.path().join(name);
        self.script(name, &format!("echo looked; test -e {}", path.display()), on_failure)
    }

    fn script(&mut self, name: &str, text: &str, on_failure: OnFailure) -> &mut Timing {
        let script = self.temp.path().join(format!("check-{name}"));
        fs::write(&script, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let timing = Timing { interval: OFTEN, timeout: LONG, rise: 1, fall: 2, grace: Duration::ZERO };
        self.checks.push(Check { name: name.into(), kind: CheckKind::Script { script }, timing, on_failure });
        &mut self.checks.last_mut().unwrap().timing
    }

    fn set(&self, name: &str, passes: bool) {
        let path = self.temp.path().join(name);
        let _ = if passes { fs::write(path, "") } else { fs::remove_file(path) };
    }

    fn start(&self) -> (Checks, Receiver<CheckEvent>) {
        let (told, events) = unbounded();
        let setup = Setup {
            environment: Environment { module: "db".into(), ..Environment::default() },
            folder: self.temp.path().into(),
            context: Arc::new(|| Context::new("PRIM", "PRIM", "check")),
            systemd: None,
            module: Arc::new(|name| if name == "base" { Ok(()) } else { Err(format!("{name} does not serve")) }),
        };
        let checks = Checks::start(self.checks.clone(), setup, Arc::new(move |event| told.send(event).unwrap_or(()))).unwrap();
        (checks, events)
    }
}

fn passed(name: &str) -> CheckEvent {
    CheckEvent::Passed { name: name.into() }
}

fn next(events: &Receiver<CheckEvent>) -> CheckEvent {
    events.recv_timeout(LONG).expect("an event")
}

fn fails(events: &Receiver<CheckEvent>, wanted: &str) -> (OnFailure, String) {
    match next(events) {
        CheckEvent::Failed { name, on_failure, why } if name == wanted => (on_failure, why),
        other => panic!("{other:?}"),
    }
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_check_passes_fails_and_passes_again() {
    let mut bench = Bench::new();
    bench.file("sql", OnFailure::Restart);
    let (checks, events) = bench.start();
    checks.application(true);
    assert_eq!(next(&events), passed("sql"));
    wait_for("status", || checks.status()[0].ok == Some(true) && checks.status()[0].output == "looked");
    bench.set("sql", false);
    let (on_failure, why) = fails(&events, "sql");
    assert_eq!(on_failure, OnFailure::Restart);
    assert!(why.contains("exited with status 1: looked"), "{why}");
    assert_eq!(checks.status()[0].ok, Some(false));
    bench.set("sql", true);
    assert_eq!(next(&events), passed("sql"));
}

#[test]
fn checks_look_only_while_the_application_runs_and_waiting_ones_always() {
    let mut bench = Bench::new();
    bench.file("sql", OnFailure::Restart);
    bench.file("router", OnFailure::Wait);
    bench.set("sql", false);
    bench.set("router", false);
    let (checks, events) = bench.start();
    assert_eq!(fails(&events, "router").0, OnFailure::Wait);
    assert_eq!(checks.status()[0].ok, None);
    bench.set("router", true);
    assert_eq!(next(&events), passed("router"));
    assert_eq!(next(&events), CheckEvent::Well);
    checks.application(true);
    fails(&events, "sql");
    checks.application(false);
    wait_for("forgotten", || checks.status()[0].ok.is_none());
}

#[test]
fn a_new_start_is_counted_anew() {
    let mut bench = Bench::new();
    bench.file("sql", OnFailure::Failover);
    bench.set("sql", false);
    let (checks, events) = bench.start();
    for _ in 0..3 {
        checks.application(true);
        assert_eq!(fails(&events, "sql").0, OnFailure::Failover);
    }
}

#[test]
fn in_the_grace_failures_do_not_count() {
    let mut bench = Bench::new();
    bench.file("slow", OnFailure::Restart).grace = LONG * 60;
    bench.file("quick", OnFailure::Log);
    bench.set("slow", false);
    bench.set("quick", false);
    let (checks, events) = bench.start();
    checks.application(true);
    fails(&events, "quick");
    wait_for("looks", || checks.status()[0].output.contains("exited with status 1"));
    assert_eq!(checks.status()[0].ok, None);
    assert!(events.is_empty());
}

#[test]
fn a_check_that_hangs_fails_and_delays_no_other() {
    let mut bench = Bench::new();
    let pid = bench.temp.path().join("pid");
    let hang = format!("(sh -c 'echo $$ > {}; sleep 1000') & sleep 1000", pid.display());
    let timing = bench.script("hang", &hang, OnFailure::Restart);
    (timing.timeout, timing.fall) = (Duration::from_secs(4), 1);
    bench.file("sql", OnFailure::Restart);
    let (checks, events) = bench.start();
    checks.application(true);
    assert_eq!(next(&events), passed("sql"));
    let (_, why) = fails(&events, "hang");
    assert!(why.contains("hung for 4s and was killed"), "{why}");
    let grandchild = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    drop(checks);
    wait_for("the grandchild's end", || Stat::read(grandchild).is_none_or(|stat| stat.over()));
}

#[test]
fn switched_off_nothing_fails() {
    let mut bench = Bench::new();
    bench.file("router", OnFailure::Wait);
    bench.set("router", false);
    let (checks, events) = bench.start();
    fails(&events, "router");
    checks.set_enabled(false);
    assert_eq!(next(&events), CheckEvent::Well);
    assert_eq!(checks.status()[0].ok, None);
    checks.set_enabled(true);
    fails(&events, "router");
}

#[test]
fn other_modules_and_units() {
    let mut bench = Bench::new();
    let timing = Timing { interval: OFTEN, timeout: LONG, rise: 1, fall: 1, grace: Duration::ZERO };
    let check = |name: &str, kind| Check { name: name.into(), kind, timing, on_failure: OnFailure::Wait };
    bench.checks.push(check("base", CheckKind::Module { module: "base".into() }));
    let (_checks, events) = bench.start();
    assert_eq!(next(&events), passed("base"));
    bench.checks = vec![check("other", CheckKind::Module { module: "other".into() })];
    let (_others, events) = bench.start();
    assert_eq!(fails(&events, "other").1, "other does not serve");
    bench.checks = vec![check("unit", CheckKind::Unit { unit: "db.service".into() })];
    let (_units, events) = bench.start();
    assert!(fails(&events, "unit").1.contains("systemd does not run here"));
}

#[test]
fn without_checks_nothing_is_said() {
    let (checks, events) = Bench::new().start();
    checks.application(true);
    checks.set_enabled(false);
    assert!(checks.status().is_empty() && events.is_empty());
}
