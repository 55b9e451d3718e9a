//! A planned change of roles, under load.

use super::PATIENCE;
use super::work::Work;
use crate::demo::node::{MODULE, in_sync};
use crate::demo::show::{Show, milliseconds};
use crate::demo::stage::Stage;
use fsrepl::node::options::Outcome;
use fsrepl::report::FailureKind;
use serde_json::json;
use std::time::{Duration, Instant};

/// To node `to`.
pub fn swap(stage: &Stage, work: &mut Work, to: usize, show: &mut Show) -> Outcome {
    let name = stage.nodes[to].name();
    show.head(format!("4  Swap under load: back to {name}"));
    work.recorder.mark();
    let until = Instant::now() + PATIENCE;
    loop {
        stage.interrupt.check()?;
        match stage.nodes[0].call("swap", &json!({ "module": MODULE })) {
            // Both nodes have to know that they are ready.
            Err(why) if why.kind == FailureKind::Refused && Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
            asked => break asked.map(drop)?,
        }
    }
    let served = work.until("the other node does not take over", stage, |served| served.by == name)?;
    show.step("no service", format!("{} from the last answer of one to the first of the other", milliseconds(served.gap)));
    show.fact("swap_seconds", served.gap.as_secs_f64());
    stage.nodes[to].reach("in sync", PATIENCE, &stage.interrupt, in_sync, |_| {})?;
    show.step("roles", format!("{name} PRIM, {} SECOND, both have everything", stage.nodes[1 - to].name()));
    Ok(())
}
