//! `understudy demo`: a cluster of two hosts on this machine, an application, what can go wrong, and the proof that nothing
//! acknowledged was lost.
//!
//! ```text
//! steps/   the story, a step a file       app.rs      the applications         show.rs  what is printed
//! stage.rs all that is made and removed   ledger, server, client               check, check_tree, listing  judges
//! hosts, init, wires, disk  the machines  sql, sql_client  databases           acknowledged, latency  the outside
//! ```

mod acknowledged;
mod app;
mod check;
mod check_tree;
mod client;
mod disk;
mod hosts;
mod init;
mod latency;
mod ledger;
mod listing;
mod node;
mod server;
mod show;
mod sql;
mod sql_client;
mod stage;
mod steps;
mod tree;
mod wires;

#[cfg(test)]
mod check_tests;

use crate::args::{DemoArgs, DemoPart};
use crate::output;
use app::App;
use check::Findings;
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use show::Show;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use stage::Stage;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use steps::Work;

/// Tells the story; everything it made is removed when it returns, in whatever way, unless it is to be kept.
pub fn run(args: &DemoArgs, json: bool) -> Outcome {
    hosts::prerequisites()?;
    let app = App::of(args.app);
    app.installed()?;
    let mut show = Show::new(json, app);
    let mut stage = Stage::set(args)?;
    let outcome = play(&mut stage, app, args, &mut show);
    show.settled();
    if args.keep {
        stage.keep(&show);
    } else {
        drop(stage);
    }
    if outcome.is_ok() {
        show.finish();
    }
    outcome
}

fn play(stage: &mut Stage, app: App, args: &DemoArgs, show: &mut Show) -> Outcome {
    let begun = Instant::now();
    steps::hosts(stage, show);
    if app == App::Ledger {
        steps::tree(stage, args.files, show)?;
    }
    app.prepare(stage)?;
    stage.module(app)?;
    steps::start(stage, args.files, show)?;
    show.step("application", format!("{} with {} clients of {}", app.title(), app::WORKERS, wires::VIRTUAL));
    if app == App::Ledger {
        steps::plain(stage, show)?;
    } else {
        show.say("");
        show.latency_heading();
    }
    let mut work = Work::start(stage, app)?;
    steps::live(stage, &mut work, args.seconds, show)?;
    steps::loss(stage, &mut work, app, show)?;
    steps::comeback(stage, &mut work, 0, (app == App::Ledger).then_some(args.files), show)?;
    steps::swap(stage, &mut work, 0, show)?;
    steps::cut(stage, &mut work, show)?;
    steps::compare(stage, work, app, show)?;
    show.fact("seconds", begun.elapsed().as_secs_f64());
    show.limits(app, begun.elapsed());
    Ok(())
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
        None if findings.acknowledged == 0 => "nothing was acknowledged at all".into(),
        None => format!("{} lost", findings.lost),
    };
    Err(stage::broken("the data are not what was acknowledged", why))
}

/// A process inside one of the hosts.
pub fn part(part: &DemoPart) -> Outcome {
    let say = |value: serde_json::Value| {
        output::line(&value.to_string());
        Ok(())
    };
    match part {
        DemoPart::Host { name, keep } => init::run(name, *keep),
        DemoPart::Serve { dir, listen } => server::run(dir, *listen),
        DemoPart::Client { to, workers } => client::run(*to, *workers),
        DemoPart::SqlClient { product, to, workers } => match sql::Product::of(product) {
            Some(product) => sql_client::run(product, *to, *workers),
            None => Err(failed("cannot be a client")(io::ErrorKind::InvalidInput.into())),
        },
        DemoPart::Ledger { dir, seconds, workers } => {
            let until = ledger::Until::Time(Instant::now() + Duration::from_secs(*seconds));
            ledger::run(dir, *workers, until, io::stdout()).map_err(failed("the ledger application ended"))
        }
        DemoPart::Tree { dir, files, manifest } => say(serde_json::json!(tree::build(dir, *files, manifest)?)),
        DemoPart::Check { dir, acknowledged } => {
            let mut findings = Findings::default();
            check::ledger(dir, acknowledged, &mut findings).map_err(failed("cannot check the ledger"))?;
            say(serde_json::json!(findings))
        }
        DemoPart::CheckTree { dir, manifest } => {
            let mut findings = Findings::default();
            check_tree::compare(dir, manifest, &mut findings).map_err(failed("cannot check the tree"))?;
            say(serde_json::json!(findings))
        }
        DemoPart::List { dir } => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            let written = listing::write(dir, &mut out).and_then(|_| io::Write::flush(&mut out));
            written.map_err(failed("cannot list a tree"))
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
            return Err(Failure::new(
                FailureKind::Failed,
                "the demo was interrupted",
                why,
                "all it made was removed, unless it is to be kept",
            ));
        }
        Ok(())
    }

    fn sleep(&self, time: Duration) -> Outcome {
        self.sleep_until(Instant::now() + time)
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
