//! `understudy witness`: votes for clusters, on a third host.

use crate::args::{Global, WitnessArgs};
use crate::output;
use cluster::witness::Server;
use fsrepl::node::options::Outcome;
use fsrepl::report::{Event, Failure, FailureKind};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Where the records are, below the state directory.
const RECORDS: &str = "witness";

pub fn run(args: &WitnessArgs, global: &Global) -> Outcome {
    // Before anything is started, so that no signal is missed.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|why| {
        Failure::new(FailureKind::Failed, "cannot run the witness", why.to_string(), "see the log for what happened before")
    })?;
    let server = Server::start(args.listen, &args.keys, &global.state.join(RECORDS))?;
    output::reporter(global.json)(Event::Ready);
    signals.forever().next();
    drop(server);
    Ok(())
}
