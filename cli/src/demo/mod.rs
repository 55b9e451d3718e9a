//! `understudy demo`: two hosts on this machine, an application, a kill, and the proof that nothing
//! acknowledged was lost. The story is in `run`; its parts have a file each.

mod acknowledged;
mod check;
mod check_tree;
mod disk;
mod engines;
mod hosts;
mod latency;
mod ledger;
mod show;
mod tree;

#[cfg(test)]
mod check_tests;

use crate::args::{DemoArgs, DemoPart};
use crate::{engine, output, render};
use acknowledged::{Latencies, Recorder};
use check::Findings;
use engines::{Engine, NAME, Places, last_words};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use hosts::Host;
use serde_json::Value;
use show::{Show, latencies_json, thousands};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ADDRESS_A: &str = "10.99.0.1";
const ADDRESS_B: &str = "10.99.0.2";
const LISTEN: &str = "10.99.0.2:7400";
/// Writers of the ledger application.
const WORKERS: u32 = 4;
/// How long the plain directory is measured for comparison.
const PLAIN: u64 = 3;
/// For an engine to open its port or mount.
const START: Duration = Duration::from_secs(20);
/// For the first synchronisation.
const SYNC: Duration = Duration::from_secs(600);
/// For the survivor to notice.
const NOTICE: Duration = Duration::from_secs(10);

/// Tells the story; everything it made is removed when it returns, in whatever way.
pub fn run(args: &DemoArgs, json: bool) -> Outcome {
    hosts::prerequisites()?;
    let mut show = Show::new(json);
    let mut stage = Stage::set(args)?;
    let outcome = play(&mut stage, args, &mut show);
    if args.keep {
        stage.keep(&show);
    }
    show.finish();
    outcome
}

/// Everything that has to be gone at the end. Fields are dropped in this order: hosts before files.
struct Stage {
    a: Host,
    b: Host,
    places_a: Places,
    places_b: Places,
    /// Each host has a file system of its own.
    disks: bool,
    exe: PathBuf,
    interrupt: Interrupt,
    work: tempfile::TempDir,
}

impl Stage {
    fn set(args: &DemoArgs) -> Result<Stage, Failure> {
        let interrupt = Interrupt::listen()?;
        let exe = std::env::current_exe().map_err(failed("cannot find this program"))?;
        // /tmp is memory on many systems; the data belongs on a disk.
        let base = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let work = tempfile::Builder::new().prefix("understudy-demo-").tempdir_in(&base).map_err(failed("cannot make a work directory"))?;
        let (places_a, places_b) = (Places::make(&work.path().join("a"))?, Places::make(&work.path().join("b"))?);
        engine::keygen(&work.path().join("pair.key"))?;
        let (a, b) = (Host::start("host-a", false)?, Host::start("host-b", args.keep)?);
        hosts::connect(&a, ADDRESS_A, &b, ADDRESS_B)?;
        let mut disks = true;
        for (host, places) in [(&a, &places_a), (&b, &places_b)] {
            disks &= disk::attach(host, &places.image, &places.disk, args.files);
            places.furnish(host)?;
        }
        Ok(Stage { a, b, places_a, places_b, disks, exe, interrupt, work })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn key(&self) -> String {
        self.path("pair.key").to_string_lossy().into_owned()
    }

    fn receive(&self) -> Result<Engine, Failure> {
        let data = self.places_b.data.to_string_lossy();
        let args = ["receive", &data, "--listen", LISTEN, "--key", &self.key()];
        Engine::start(&self.b, &self.exe, &self.places_b, &args)
    }

    fn mount(&self) -> Result<Engine, Failure> {
        let data = self.places_a.data.to_string_lossy();
        let args = ["mount", &data, "--to", LISTEN, "--key", &self.key()];
        Engine::start(&self.a, &self.exe, &self.places_a, &args)
    }

    /// Starts the ledger application on host A.
    fn ledger(&self, dir: &Path, seconds: u64, record: &Path) -> Result<(Child, Recorder), Failure> {
        let (seconds, workers) = (seconds.to_string(), WORKERS.to_string());
        let mut command = self.part(&self.a, "ledger", dir);
        command.args(["--seconds", &seconds, "--workers", &workers]);
        let cannot = failed("cannot start the ledger application");
        let log = File::create(self.path("ledger.log")).map_err(cannot)?;
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().map_err(cannot)?;
        let out = child.stdout.take().ok_or_else(|| cannot(io::ErrorKind::BrokenPipe.into()))?;
        Ok((child, Recorder::start(out, record)?))
    }

    fn part(&self, host: &Host, part: &str, dir: &Path) -> Command {
        let mut command = host.command(&self.exe);
        command.args(["demo-part", part]).arg(dir);
        command
    }

    fn keep(self: &mut Stage, show: &Show) {
        self.b.keep();
        self.work.disable_cleanup(true);
        let (pid, work) = (self.b.pid(), self.work.path().display());
        show.say(format!("\nKept. Look:   nsenter -t {pid} -a ls -la {}", self.places_b.data.display()));
        show.say(format!("      Remove: kill -9 {pid}; rm -r {work}"));
    }
}

fn play(stage: &mut Stage, args: &DemoArgs, show: &mut Show) -> Outcome {
    show.step("Hosts", format!("host-a {ADDRESS_A} (primary), host-b {ADDRESS_B} (secondary): namespaces of this machine"));
    if !stage.disks {
        show.step("", "no loop devices here: both hosts use this machine's file system");
    }
    build(stage, args, show)?;
    let mut receive = stage.receive()?;
    receive.wait(START, &stage.interrupt, |line| line["event"] == "ready", || {})?;
    let mut mount = synchronise(stage, args, show)?;
    plain(stage, show)?;
    let running = application(stage, args, show)?;
    receive.forget();
    let killed = Instant::now();
    let mounted = kill(stage, running, show)?;
    mount.reap();
    show.fact("replicated", latencies_json(&mounted));
    match receive.reach(&["WAIT", "ALONE"], NOTICE, &stage.interrupt, || {}) {
        Ok(line) => show.step("host-b", format!("noticed {:.1} s later: {}", killed.elapsed().as_secs_f64(), words(&line["reason"]))),
        Err(failure) => {
            stage.interrupt.check()?;
            show.step("host-b", format!("did not report the loss: {failure}"));
        }
    }
    let findings = prove(stage)?;
    show.findings(&findings);
    show.limits();
    verdict(&findings)
}

fn words(reason: &Value) -> String {
    output::one_line(reason.as_str().unwrap_or("no reason given"))
}

fn build(stage: &Stage, args: &DemoArgs, show: &mut Show) -> Outcome {
    let start = Instant::now();
    show.progress("Tree", &format!("writing {} files", thousands(args.files.into())));
    let mut command = stage.part(&stage.a, "tree", &stage.places_a.data.join("tree"));
    command.args(["--files", &args.files.to_string()]).arg("--manifest").arg(stage.path("manifest"));
    let built: tree::Built = answer(&mut command, "cannot build the tree")?;
    let seconds = start.elapsed().as_secs_f64();
    show.settled();
    show.step("Tree", format!("{} files, {}, written in {seconds:.1} s on host-a", thousands(built.files), render::bytes(built.bytes)));
    show.fact("files", built.files);
    show.fact("bytes", built.bytes);
    stage.interrupt.check()
}

/// Mounts, and waits for the first synchronisation.
fn synchronise(stage: &Stage, args: &DemoArgs, show: &mut Show) -> Result<Engine, Failure> {
    let start = Instant::now();
    let mut mount = stage.mount()?;
    mount.wait(START, &stage.interrupt, |line| line["event"] == "ready", || {})?;
    let ready = start.elapsed().as_secs_f64();
    let run = &stage.places_a.run;
    let look = || show.progress("Sync", &progress(run, start));
    mount.reach(&["PRIM"], SYNC, &stage.interrupt, look)?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = f64::from(args.files) / seconds.max(0.001);
    show.settled();
    show.step("Sync", format!("usable after {ready:.1} s, in sync after {seconds:.1} s ({} files/s), encrypted", thousands(rate as u64)));
    show.fact("ready_seconds", ready);
    show.fact("sync_seconds", seconds);
    Ok(mount)
}

fn progress(run: &Path, start: Instant) -> String {
    let seconds = start.elapsed().as_secs_f64();
    let resync = engine::call(run, NAME, "status", Duration::from_secs(1)).map(|status| status["resync"].clone());
    let done = resync.as_ref().ok().and_then(|resync| resync["files_done"].as_u64());
    match done {
        Some(files) => format!("{} files, {} files/s", thousands(files), thousands((files as f64 / seconds) as u64)),
        None => format!("{seconds:.0} s"),
    }
}

/// The same application on a plain directory, for comparison.
fn plain(stage: &Stage, show: &mut Show) -> Outcome {
    show.say("");
    show.latency_heading();
    let (mut child, recorder) = stage.ledger(&stage.places_a.disk.join("plain"), PLAIN, &stage.path("plain.record"))?;
    let latencies = recorder.finish()?;
    let _ = child.wait();
    let count = latencies.values().map(latency::Histogram::total).sum();
    show.latency_row("plain", &latencies, Duration::from_secs(PLAIN), count);
    show.fact("plain", latencies_json(&latencies));
    stage.interrupt.check()
}

/// The application in the middle of its work.
struct Running {
    process: Child,
    recorder: Recorder,
    since: Instant,
}

/// Runs the application on the mount and shows how it does.
fn application(stage: &Stage, args: &DemoArgs, show: &Show) -> Result<Running, Failure> {
    // Longer than it will live: it never ends by itself.
    let seconds = args.seconds + 60;
    let (process, recorder) = stage.ledger(&stage.places_a.data.join("ledger"), seconds, &stage.path("record"))?;
    let mut running = Running { process, recorder, since: Instant::now() };
    for second in 1..=args.seconds {
        let looked = Instant::now();
        stage.interrupt.sleep_until(running.since + Duration::from_secs(second))?;
        let window = running.recorder.window();
        let label = format!("mount {second:>4} s");
        show.latency_row(&label, &window, looked.elapsed(), running.recorder.count());
        if running.process.try_wait().is_ok_and(|ended| ended.is_some()) {
            let (what, why) = ("the application could not go on", last_words(&stage.path("ledger.log")));
            return Err(Failure::new(FailureKind::Failed, what, why, "look at the logs after `understudy demo --keep`"));
        }
    }
    Ok(running)
}

/// Kills the application's host, and returns what the application measured until then.
fn kill(stage: &mut Stage, mut running: Running, show: &Show) -> Result<Latencies, Failure> {
    let after = running.since.elapsed().as_secs_f64();
    stage.a.kill();
    stage.b.link_down();
    show.say("");
    show.step("host-a", format!("killed after {after:.1} s: SIGKILL to all its processes at once, then its cable cut"));
    let _ = running.process.wait();
    running.recorder.finish()
}

/// Lets a process on host B read the replica there, as an application would that starts there.
fn prove(stage: &Stage) -> Result<Findings, Failure> {
    let mut command = stage.part(&stage.b, "check", &stage.places_b.data);
    command.arg("--acknowledged").arg(stage.path("record")).arg("--manifest").arg(stage.path("manifest"));
    answer(&mut command, "cannot read the replica")
}

/// What a process inside a host answers.
fn answer<T: serde::de::DeserializeOwned>(command: &mut Command, what: &'static str) -> Result<T, Failure> {
    let output = command.output().map_err(failed(what))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Failure::new(FailureKind::Failed, what, why, "run the demo again with UNDERSTUDY_LOG=debug")
    })
}

fn verdict(findings: &Findings) -> Outcome {
    if findings.good() && findings.acknowledged > 0 {
        return Ok(());
    }
    let why = match findings.problems.first() {
        Some(problem) => problem.clone(),
        None if findings.acknowledged == 0 => "no operation was acknowledged at all".into(),
        None => format!("{} operations lost", findings.lost),
    };
    Err(Failure::new(FailureKind::Failed, "the replica is not what was acknowledged", why, "report this: it must not happen"))
}

/// A process inside one of the hosts.
pub fn part(part: &DemoPart) -> Outcome {
    match part {
        DemoPart::Ledger { dir, seconds, workers } => {
            let until = ledger::Until::Time(Instant::now() + Duration::from_secs(*seconds));
            ledger::run(dir, *workers, until, io::stdout()).map_err(failed("the ledger application ended"))
        }
        DemoPart::Tree { dir, files, manifest } => {
            output::line(&serde_json::json!(tree::build(dir, *files, manifest)?).to_string());
            Ok(())
        }
        DemoPart::Check { dir, acknowledged, manifest } => {
            let mut findings = Findings::default();
            check::ledger(&dir.join("ledger"), acknowledged, &mut findings).map_err(failed("cannot check the ledger"))?;
            check_tree::compare(&dir.join("tree"), manifest, &mut findings).map_err(failed("cannot check the tree"))?;
            output::line(&serde_json::json!(findings).to_string());
            Ok(())
        }
    }
}

/// An operator who has seen enough: everything is removed, then the demo ends.
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn listen() -> Result<Interrupt, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(failed("cannot listen to signals"))?;
        }
        Ok(Interrupt(flag))
    }

    fn check(&self) -> Outcome {
        if self.0.load(Ordering::Relaxed) {
            let why = "a signal asked it to end";
            return Err(Failure::new(FailureKind::Failed, "the demo was interrupted", why, "all it made was removed"));
        }
        Ok(())
    }

    fn sleep_until(&self, end: Instant) -> Outcome {
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.check()?;
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        self.check()
    }
}

/// A failure of the machine under the demo.
fn failed(what: &'static str) -> impl Fn(io::Error) -> Failure + Copy {
    move |error| Failure::new(FailureKind::Failed, what, error.to_string(), "see that the machine has room and rights")
}
