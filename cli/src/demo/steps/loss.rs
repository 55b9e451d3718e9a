//! The primary's host dies.

use super::work::Work;
use crate::demo::app::App;
use crate::demo::show::{Show, milliseconds};
use crate::demo::stage::Stage;
use crate::demo::verdict;
use crate::demo::wires::{self, Cables};
use fsrepl::node::options::Outcome;

/// Kills it, and compares what its successor has with what was acknowledged.
pub fn loss(stage: &mut Stage, work: &mut Work, app: App, show: &mut Show) -> Outcome {
    show.head("2  node1 dies: its cables and all its processes at once");
    work.recorder.mark();
    wires::set(&stage.outside, 0, Cables::All, false)?;
    stage.nodes[0].kill();
    let served = work.until("node2 does not take over", stage, |served| served.by == "node2")?;
    show.step("outage", format!("{} from the last answer of node1 to the first of node2", milliseconds(served.gap)));
    show.fact("outage_seconds", served.gap.as_secs_f64());
    // Whoever looked in vain has found node2 by now, or is still looking: its last connection is over either way.
    stage.interrupt.sleep(std::time::Duration::from_millis(300))?;
    let findings = app.findings(stage, 1)?;
    show.findings(app.unit(), &findings);
    show.fact("after_loss", serde_json::json!(findings));
    verdict(&findings)
}
