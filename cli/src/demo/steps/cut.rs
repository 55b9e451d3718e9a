//! The worst case for a pair: the link between the nodes is cut, and the primary is paused, to wake when another serves.

use super::PATIENCE;
use super::work::Work;
use crate::demo::node::in_sync;
use crate::demo::show::{Show, milliseconds};
use crate::demo::stage::{Stage, broken};
use crate::demo::wires::{self, Cables};
use crate::output;
use fsrepl::node::options::Outcome;
use serde_json::{Value, json};
use std::time::Duration;

/// What the machine says when a node may no longer serve, or gives way.
const REFUSALS: [&str; 6] = ["fenced", "superseded", "split_lost", "held_too_long", "engine_died", "engine_ended"];
/// How long both are awake and apart.
const APART: Duration = Duration::from_secs(1);

/// Node1 is the primary before, node2 after.
pub fn cut(stage: &Stage, work: &mut Work, show: &mut Show) -> Outcome {
    show.head("5  Both links between the nodes cut, and the primary paused");
    let [first, second] = &stage.nodes;
    let known = last_number(&first.events());
    work.recorder.mark();
    wires::set(&stage.outside, 0, Cables::Between, false)?;
    first.host.pause();
    let served = work.until("node2 does not take over", stage, |served| served.by == "node2")?;
    show.step("outage", format!("{}, then node2 serves: the witness let one go on", milliseconds(served.gap)));
    first.host.resume();
    let idle = |status: &Value| !matches!(status["state"].as_str(), Some("PRIM" | "ALONE") | None);
    first.reach("aware that it may not serve", PATIENCE, &stage.interrupt, idle, |_| {})?;
    stage.interrupt.sleep(APART)?;
    let words = refusal(&first.events(), known);
    show.step("node1 wakes", format!("and says: {}", output::one_line(&words)));
    let turns = work.recorder.served().turns;
    if turns != 1 {
        return Err(broken("two nodes acknowledged in turn", format!("{turns} changes of who acknowledged")));
    }
    show.step("one writer", "node1 has acknowledged nothing since node2 serves");
    wires::set(&stage.outside, 0, Cables::Between, true)?;
    second.reach("in sync", PATIENCE, &stage.interrupt, in_sync, |_| {})?;
    show.step("healed", "links back: node2 PRIM, node1 SECOND, by itself");
    show.fact("cut", json!({ "outage_seconds": served.gap.as_secs_f64(), "refusal": words, "writers": 1 }));
    Ok(())
}

fn last_number(events: &[Value]) -> u64 {
    events.iter().filter_map(|event| event["seq"].as_u64()).max().unwrap_or(0)
}

/// The first refusal after event `known`, else the first change of state.
fn refusal(events: &[Value], known: u64) -> String {
    let new = || events.iter().filter(|event| event["kind"] == "state" && event["seq"].as_u64().is_some_and(|seq| seq > known));
    let refused = |event: &&Value| event["reason_code"].as_str().is_some_and(|code| REFUSALS.contains(&code));
    let found = new().find(refused).or_else(|| new().next());
    found.and_then(|event| event["reason"].as_str()).unwrap_or("nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_refusal_are_found() {
        let event = |seq: u64, code: &str| json!({ "kind": "state", "seq": seq, "reason_code": code, "reason": format!("{code} {seq}") });
        let events = [event(1, "fenced"), event(2, "holding"), event(3, "fenced"), event(4, "peer_serves")];
        assert_eq!(refusal(&events, 1), "fenced 3");
        assert_eq!(refusal(&events, 3), "peer_serves 4");
        assert_eq!(refusal(&events, last_number(&events)), "nothing");
    }
}
