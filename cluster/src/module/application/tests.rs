//! With real processes. Whatever a test starts lies in its own directory and is killed at its end.

use super::*;
use crate::config::Launch;
use crate::module::environment::Context;
use crate::module::output::Line;
use crate::module::process::{Identity, Stat, session, signal_one};
use crossbeam::channel::Receiver;
use parking_lot::Mutex;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

struct Bench {
    temp: tempfile::TempDir,
    launch: Option<Launch>,
    systemd: Option<Systemd>,
    lines: Arc<Mutex<Vec<String>>>,
    spared: Arc<Mutex<Vec<u32>>>,
}

struct Running {
    app: Application,
    events: Receiver<AppEvent>,
}

impl Bench {
    fn new() -> Bench {
        let temp = tempfile::tempdir().unwrap();
        for folder in ["module", "run", "data"] {
            fs::create_dir(temp.path().join(folder)).unwrap();
        }
        Bench { temp, launch: None, systemd: None, lines: Arc::default(), spared: Arc::default() }
    }

    fn scripts(start: &str, stop: &str) -> Bench {
        let mut bench = Bench::new();
        bench.script("start", start);
        bench.script("stop", stop);
        bench.launch = Some(Launch::Scripts { start: "start".into(), stop: "stop".into() });
        bench
    }

    fn command(script: &str) -> Bench {
        let mut bench = Bench::new();
        bench.launch = Some(Launch::Run(["sh", "-c", script].map(str::to_owned).into()));
        bench
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path("module").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join(name)
    }

    fn start(&self) -> Running {
        let (told, events) = crossbeam::channel::unbounded();
        let lines = self.lines.clone();
        let spared = self.spared.clone();
        let spec = Spec {
            environment: Environment {
                module: "db".into(),
                node: "node1".into(),
                peer: "node2".into(),
                directories: vec![self.path("data")],
                virtual_ips: vec!["10.0.0.100".parse().unwrap()],
                variables: [("PORT".to_owned(), "5432".to_owned())].into(),
            },
            folder: self.path("module"),
            application: self.launch.clone().map(|launch| config::Application {
                launch,
                start_timeout: LONG,
                stop_timeout: LONG,
                max_restarts: 3,
                restart_window: LONG,
            }),
            run: self.path("run"),
            systemd: self.systemd.clone(),
            spared: Arc::new(move || spared.lock().clone()),
            log: Arc::new(move |line: Line| lines.lock().push(line.text)),
        };
        let app = Application::new(spec, Arc::new(move |event| told.send(event).unwrap_or(()))).unwrap();
        Running { app, events }
    }

    fn said(&self, text: &str) -> bool {
        self.lines.lock().iter().any(|line| line.contains(text))
    }

    fn wait_said(&self, text: &str) {
        wait_for(text, || self.said(text));
    }

    fn number(&self, file: &str) -> u32 {
        let path = self.path(file);
        wait_for(file, || fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')));
        fs::read_to_string(&path).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A test that failed in the middle leaves nothing behind.
        if let Ok(Some(record)) = Record::read(&self.path("run/db.app.json"))
            && let Some(leader) = record.leader
        {
            crate::module::process::signal_session(leader, Signal::KILL);
        }
    }
}

impl Running {
    fn next(&self) -> AppEvent {
        self.events.recv_timeout(LONG).expect("an event")
    }

    fn up(&self) {
        self.app.start(Context::new("ALONE", "ALONE", "start"));
        assert_eq!(self.next(), AppEvent::Started);
        assert!(self.app.is_running());
    }

    fn stops(&self) {
        assert_eq!(self.next(), AppEvent::Stopped);
        assert!(!self.app.is_running());
    }
}

fn stop() -> Context {
    Context::new("PRIM", "STOP", "stop")
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn gone(pid: u32) -> bool {
    Stat::read(pid).is_none_or(|stat| stat.over())
}

#[test]
fn nothing_to_run_starts_and_stops_at_once() {
    let bench = Bench::new();
    let running = bench.start();
    running.up();
    running.app.stop(stop());
    running.stops();
    running.app.stop(stop());
    running.stops();
}

#[test]
fn scripts_are_told_what_they_must_know() {
    let bench =
        Bench::scripts("pwd; env | grep -e UNDERSTUDY -e PORT | sort", "echo stops $UNDERSTUDY_STATE $UNDERSTUDY_NEXT $UNDERSTUDY_ACTION");
    let running = bench.start();
    running.up();
    for line in ["UNDERSTUDY_MODULE=db", "UNDERSTUDY_NODE=node1", "UNDERSTUDY_PEER=node2", "UNDERSTUDY_FORCE=0", "PORT=5432"] {
        assert!(bench.said(line), "{line}");
    }
    assert!(bench.said(&format!("UNDERSTUDY_DIRECTORIES={}", bench.path("data").display())));
    assert!(bench.said("UNDERSTUDY_VIRTUAL_IPS=10.0.0.100"));
    assert!(bench.said(bench.path("module").to_str().unwrap()));
    running.app.stop(stop());
    running.stops();
    assert!(bench.said("stops PRIM STOP stop"));
}

#[test]
fn a_start_that_fails_says_how() {
    let bench = Bench::scripts("echo no such table >&2; exit 7", "true");
    let running = bench.start();
    running.app.start(Context::default());
    assert_eq!(running.next(), AppEvent::Failed("the start script exited with status 7".into()));
    assert!(bench.said("no such table") && running.app.is_running());
    running.app.stop(stop());
    running.stops();
}

#[test]
fn a_script_that_is_not_executable_says_so() {
    let bench = Bench::scripts("true", "true");
    fs::set_permissions(bench.path("module/start"), fs::Permissions::from_mode(0o644)).unwrap();
    let running = bench.start();
    running.app.start(Context::default());
    let AppEvent::Failed(why) = running.next() else { panic!("it started") };
    assert!(why.contains("may not be executed"), "{why}");
}

#[test]
fn a_program_is_watched_and_its_death_told() {
    let bench = Bench::command("echo here; echo $$ > ../data/pid; exec sleep 1000");
    let running = bench.start();
    running.up();
    let pid = bench.number("data/pid");
    signal_one(Identity::of(pid).unwrap(), Signal::KILL);
    assert_eq!(running.next(), AppEvent::Failed("the application died by signal 9 (SIGKILL)".into()));
    assert!(bench.said("here"));
    running.app.stop(stop());
    running.stops();
    running.up();
    running.app.stop(stop());
    running.stops();
}

#[test]
fn a_program_that_ends_at_once_has_not_started() {
    let bench = Bench::command("exit 4");
    let running = bench.start();
    running.app.start(Context::default());
    // On a busy machine even this lives for the short moment.
    let told = Some(running.next()).filter(|event| *event != AppEvent::Started).unwrap_or_else(|| running.next());
    assert_eq!(told, AppEvent::Failed("the application exited with status 4".into()));
}

#[test]
fn children_of_a_program_are_asked_to_end_after_it() {
    let bench = Bench::command("sleep 1000 & echo $! > ../data/child; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    let running = bench.start();
    running.up();
    let child = bench.number("data/child");
    running.app.stop(stop());
    running.stops();
    assert!(gone(child));
}

#[test]
fn force_ends_what_ignores_the_gentle_word() {
    let bench = Bench::command("trap '' TERM; echo $$ > ../data/pid; while :; do sleep 1000; done");
    let running = bench.start();
    running.up();
    let pid = bench.number("data/pid");
    running.app.stop(stop());
    bench.wait_said("waits for the end of");
    assert!(!gone(pid) && running.events.is_empty());
    running.app.force_stop(stop());
    running.stops();
    assert!(gone(pid));
}

#[test]
fn stopped_means_that_nothing_runs() {
    // The stop script only asks; the application ends when the test lets it.
    let bench = Bench::scripts(
        "sh -c 'trap \"while [ ! -e ../data/go ]; do sleep 0.05; done; exit\" TERM; echo $$ > ../data/pid; while :; do sleep 0.05; done' &",
        "kill -TERM $(cat ../data/pid)",
    );
    let running = bench.start();
    running.up();
    let pid = bench.number("data/pid");
    running.app.stop(stop());
    bench.wait_said("waits for the end of sh");
    assert!(!gone(pid) && running.events.is_empty());
    fs::write(bench.path("data/go"), "").unwrap();
    running.stops();
    assert!(gone(pid));
}

#[test]
fn a_stop_script_that_hangs_is_called_again_with_force() {
    let bench = Bench::scripts(
        "sleep 1000 & echo $! > ../data/pid",
        "echo called with $UNDERSTUDY_FORCE\n[ $UNDERSTUDY_FORCE = 1 ] || sleep 1000\nkill $(cat ../data/pid)",
    );
    let running = bench.start();
    running.up();
    running.app.stop(stop());
    bench.wait_said("called with 0");
    running.app.force_stop(stop());
    running.stops();
    assert!(bench.said("called with 1") && bench.said("the stop script does not end: it is killed"));
}

#[test]
fn a_stop_script_that_fails_is_called_with_force_and_then_all_is_killed() {
    let bench = Bench::scripts("sleep 1000 & echo $! > ../data/pid", "echo force $UNDERSTUDY_FORCE; exit 1");
    let running = bench.start();
    running.up();
    let pid = bench.number("data/pid");
    running.app.stop(stop());
    running.stops();
    assert!(gone(pid) && bench.said("force 1") && bench.said("what runs is killed"));
}

#[test]
fn a_start_script_that_hangs_is_killed_with_its_grandchildren() {
    let bench = Bench::scripts(
        "trap '' TERM; (trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > ../data/pid; while :; do sleep 1000; done' & wait) & while :; do sleep 1000; done",
        "echo stop $UNDERSTUDY_FORCE",
    );
    let running = bench.start();
    running.app.start(Context::default());
    let grandchild = bench.number("data/pid");
    running.app.stop(stop());
    bench.wait_said("the start script still runs: it is asked to end");
    bench.wait_said("stop 0");
    running.app.kill(stop());
    running.stops();
    assert!(gone(grandchild) && bench.said("stop 1"));
}

/// Somebody in a session of its own who works in the data, and ends with the test.
struct Outsider(Identity);

impl Outsider {
    fn new(bench: &Bench, file: &str) -> Outsider {
        let script = format!("trap '' TERM; sleep 1000 & echo $$ > {}; wait", bench.path(file).display());
        let mut command = std::process::Command::new("setsid");
        let mut child = command.args(["-f", "sh", "-c", &script]).current_dir(bench.path("data")).spawn().unwrap();
        child.wait().unwrap();
        Outsider(Identity::of(bench.number(file)).unwrap())
    }

    fn members(&self) -> Vec<u32> {
        session(self.0).iter().map(|member| member.pid).collect()
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        crate::module::process::signal_session(self.0, Signal::KILL);
    }
}

#[test]
fn who_holds_the_directories_is_named_and_killed_and_the_spared_are_not() {
    let bench = Bench::command("exec sleep 1000");
    let running = bench.start();
    running.up();
    let (intruder, engine) = (Outsider::new(&bench, "intruder"), Outsider::new(&bench, "engine"));
    assert_eq!(engine.members().len(), 2);
    *bench.spared.lock() = engine.members();
    running.app.kill(stop());
    running.stops();
    assert!(!intruder.0.lives() && engine.members().len() == 2);
    assert!(bench.said(&format!("kills sh (pid {}: working directory {}", intruder.0.pid, bench.path("data").display())));
}

#[test]
fn killing_works_without_an_application() {
    let bench = Bench::new();
    let running = bench.start();
    let intruder = Outsider::new(&bench, "intruder");
    running.app.kill(stop());
    running.stops();
    assert!(!intruder.0.lives());
}

#[test]
fn another_daemon_finds_the_application_and_its_output() {
    let bench = Bench::command("echo $$ > ../data/pid; while [ ! -e ../data/go ]; do sleep 0.05; done; echo still here; exec sleep 1000");
    let first = bench.start();
    first.up();
    let pid = bench.number("data/pid");
    drop(first.app);
    let second = bench.start();
    assert!(second.app.adopt() && second.app.is_running());
    fs::write(bench.path("data/go"), "").unwrap();
    bench.wait_said("still here");
    signal_one(Identity::of(pid).unwrap(), Signal::KILL);
    assert_eq!(second.next(), AppEvent::Failed("the application ended".into()));
    second.app.stop(stop());
    second.stops();
    assert!(!bench.start().app.adopt());
}

#[test]
fn an_application_that_ended_meanwhile_is_a_failure() {
    let bench = Bench::command("echo $$ > ../data/pid; exec sleep 1000");
    let first = bench.start();
    first.up();
    let pid = bench.number("data/pid");
    drop(first.app);
    signal_one(Identity::of(pid).unwrap(), Signal::KILL);
    wait_for("the end", || gone(pid));
    let second = bench.start();
    assert!(second.app.adopt());
    assert!(matches!(second.next(), AppEvent::Failed(why) if why.contains("while no daemon watched it")));
}

#[test]
fn what_scripts_started_is_found_again() {
    let bench = Bench::scripts("sleep 1000 & echo $! > ../data/pid", "kill $(cat ../data/pid)");
    let first = bench.start();
    first.up();
    drop(first.app);
    let second = bench.start();
    assert!(second.app.adopt() && second.app.is_running());
    let pid = bench.number("data/pid");
    second.app.stop(stop());
    second.stops();
    assert!(gone(pid));
}

#[test]
fn a_unit_without_systemd_is_refused_in_words() {
    let mut bench = Bench::new();
    bench.launch = Some(Launch::Unit("db.service".into()));
    let running = bench.start();
    running.app.start(Context::default());
    assert!(matches!(running.next(), AppEvent::Failed(why) if why.contains("needs systemd")));
    running.app.stop(stop());
    running.stops();
}

/// Programs that behave as systemd's, as far as a unit's state goes.
fn pretend(bench: &Bench) -> Systemd {
    let state = bench.path("data/state");
    let systemctl = bench.script(
        "systemctl",
        &format!(
            "state={}; echo \"$@\" | tee -a $state.asked; [ -e $state.stuck ] && [ \"$2\" != show ] && exit 0; case \"$2\" in start) echo active > $state;; stop) echo inactive > $state;; kill) echo failed > $state;; \
             show) echo ActiveState=$(cat $state); echo SubState=x; echo Result=exit-code;; esac",
            state.display()
        ),
    );
    let systemd_run = bench.script("systemd-run", "echo \"scope: $@\"; while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"");
    Systemd { systemctl, systemd_run }
}

#[test]
fn a_unit_is_started_watched_and_stopped() {
    let mut bench = Bench::new();
    bench.systemd = Some(pretend(&bench));
    bench.launch = Some(Launch::Unit("db.service".into()));
    let running = bench.start();
    running.up();
    fs::write(bench.path("data/state"), "failed\n").unwrap();
    assert_eq!(running.next(), AppEvent::Failed("unit db.service is failed (x, exit-code)".into()));
    running.app.stop(stop());
    running.stops();
    running.up();
    running.app.kill(stop());
    running.stops();
    assert!(bench.said("kill --signal=SIGKILL -- db.service"));
    assert_eq!(fs::read_to_string(bench.path("data/state")).unwrap(), "inactive\n");
}

#[test]
fn under_systemd_the_application_has_a_scope_of_its_own() {
    let mut bench = Bench::command("echo $$ > ../data/pid; exec sleep 1000");
    bench.systemd = Some(pretend(&bench));
    let running = bench.start();
    running.up();
    bench.wait_said("--unit=understudy-db.scope -- sh -c");
    let pid = bench.number("data/pid");
    let record = Record::read(&bench.path("run/db.app.json")).unwrap().unwrap();
    assert_eq!((record.leader.unwrap().pid, record.started), (pid, true));
    running.app.stop(stop());
    running.stops();
    // Who left the session is in the scope.
    assert!(fs::read_to_string(bench.path("data/state.asked")).unwrap().contains("kill --signal=SIGKILL -- understudy-db.scope"));
    assert!(!Path::new(&bench.path("run/db.app.json")).exists());
}

#[test]
fn a_unit_that_cannot_be_killed_is_not_called_stopped() {
    let mut bench = Bench::new();
    bench.systemd = Some(pretend(&bench));
    bench.launch = Some(Launch::Unit("db.service".into()));
    let running = bench.start();
    running.up();
    fs::write(bench.path("data/state.stuck"), "").unwrap();
    running.app.kill(stop());
    assert_eq!(running.next(), AppEvent::StillHeld("unit db.service is active (x, exit-code)".into()));
    assert!(running.app.is_running());
    fs::remove_file(bench.path("data/state.stuck")).unwrap();
    running.app.kill(stop());
    running.stops();
}
