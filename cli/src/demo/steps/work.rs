//! The application at work: what an acknowledgement costs, beside a plain directory.

use super::PATIENCE;
use crate::demo::acknowledged::{Latencies, Recorder, Served};
use crate::demo::app::{App, WORKERS};
use crate::demo::failed;
use crate::demo::latency::Histogram;
use crate::demo::node::last_words;
use crate::demo::show::{Show, latencies_json};
use crate::demo::stage::Stage;
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use std::fs::File;
use std::io;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the plain directory is measured for comparison.
const PLAIN: u64 = 2;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// The application's clients, from their start to the end of the demo.
pub struct Work {
    process: Child,
    /// They end when it is closed.
    input: Option<ChildStdin>,
    pub recorder: Recorder,
}

impl Work {
    pub fn start(stage: &Stage, app: App) -> Result<Work, Failure> {
        let cannot = failed("cannot start the application's clients");
        let log = File::create(stage.path("clients.log")).map_err(cannot)?;
        let mut command = app.client(stage);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().map_err(cannot)?;
        let out = process.stdout.take().ok_or_else(|| cannot(io::ErrorKind::BrokenPipe.into()))?;
        let input = process.stdin.take();
        Ok(Work { process, input, recorder: Recorder::start(out, &stage.path("record"))? })
    }

    /// Waits until `wanted` holds of who serves.
    pub fn until(&mut self, what: &str, stage: &Stage, wanted: impl Fn(&Served) -> bool) -> Result<Served, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            stage.interrupt.check()?;
            let served = self.recorder.served();
            if wanted(&served) {
                return Ok(served);
            }
            let ended = self.process.try_wait().is_ok_and(|ended| ended.is_some());
            if ended || Instant::now() > until {
                let state = |at: usize| stage.nodes[at].status()["reason"].as_str().unwrap_or("no answer").to_owned();
                let why = if ended { last_words(&stage.path("clients.log")) } else { format!("node1: {}; node2: {}", state(0), state(1)) };
                let cure = "run it again with --keep, and look at the logs that it names";
                return Err(Failure::new(FailureKind::TimedOut, what, why, cure));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Ends the clients after their last answer.
    pub fn stop(mut self) -> Result<Latencies, Failure> {
        drop(self.input.take());
        let latencies = self.recorder.finish();
        let _ = self.process.wait();
        latencies
    }
}

/// The ledger application on a plain directory of the same disk.
pub fn plain(stage: &Stage, show: &mut Show) -> Outcome {
    show.say("");
    show.latency_heading();
    let mut command: Command = stage.part(&stage.nodes[0].host, "ledger");
    command.arg(stage.places.disk.join("plain")).args(["--seconds", &PLAIN.to_string(), "--workers", &WORKERS.to_string()]);
    let cannot = failed("cannot run the ledger application");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(cannot)?;
    let out = child.stdout.take().ok_or_else(|| cannot(io::ErrorKind::BrokenPipe.into()))?;
    let latencies = Recorder::start(out, &stage.path("plain.record"))?.finish()?;
    let _ = child.wait();
    let count = latencies.values().map(Histogram::total).sum();
    show.latency_row("plain", &latencies, Duration::from_secs(PLAIN), count);
    show.fact("plain", latencies_json(&latencies));
    stage.interrupt.check()
}

/// Shows for so many seconds how the application does.
pub fn live(stage: &Stage, work: &mut Work, seconds: u64, show: &mut Show) -> Outcome {
    work.until("the application does not answer its clients", stage, |served| !served.by.is_empty())?;
    work.recorder.window();
    let (since, mut total) = (Instant::now(), Latencies::new());
    for second in 1..=seconds {
        let looked = Instant::now();
        stage.interrupt.sleep_until(since + Duration::from_secs(second))?;
        let window = work.recorder.window();
        show.latency_row(&format!("both  {second:>3} s"), &window, looked.elapsed(), work.recorder.count());
        for (kind, latencies) in &window {
            total.entry(kind.clone()).or_default().merge(latencies);
        }
    }
    show.fact("replicated", latencies_json(&total));
    Ok(())
}
