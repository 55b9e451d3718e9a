//! `understudy wait`: until a module has arrived in a state.

use crate::args::{Global, StateWord, WaitArgs};
use crate::model::OnNode;
use crate::{node, output};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::json;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

pub fn run(args: &WaitArgs, global: &Global) -> Outcome {
    let started = Instant::now();
    let wanted = args.wanted().ok_or_else(|| {
        let why = format!("{} is no state", args.state.display());
        Failure::new(FailureKind::Usage, "cannot wait", why, "name STOP, WAIT, ALONE, PRIM, SECOND or UP with --state")
    })?;
    let mut module = node::module(global, &args.module)?;
    let name = args.node.clone().unwrap_or_else(|| module.node.clone());
    if module.on(&name).is_none() {
        let known: Vec<&str> = module.nodes.iter().map(|on| on.node.as_str()).collect();
        let why = format!("{} does not run on {name}", args.module);
        return Err(Failure::new(
            FailureKind::Usage,
            format!("cannot wait for {}", args.module),
            why,
            format!("name one of {}", known.join(", ")),
        ));
    }
    loop {
        let on = module.on(&name).cloned().unwrap_or_default();
        if arrived(&on, wanted) {
            return tell(args, &name, &on, started, global);
        }
        if started.elapsed() >= args.timeout {
            let what = format!("{} is not {} on {name}", args.module, wanted.word());
            let why = format!("it is {} ({}): {}", on.state, on.readiness, on.reason);
            return Err(Failure::new(FailureKind::TimedOut, what, why, format!("see `understudy log {}`", args.module)));
        }
        std::thread::sleep(LOOK);
        // A daemon may be restarted meanwhile.
        if let Ok(now) = node::module(global, &args.module) {
            module = now;
        }
    }
}

/// What serves or follows does so only when it is ready.
fn arrived(on: &OnNode, state: StateWord) -> bool {
    let rests = matches!(state, StateWord::Stop | StateWord::Wait);
    on.reachable && on.state == state.word() && (rests || on.is_ready())
}

fn tell(args: &WaitArgs, name: &str, on: &OnNode, started: Instant, global: &Global) -> Outcome {
    if global.json {
        let seconds = started.elapsed().as_secs_f64();
        let value = json!({ "schema": output::SCHEMA, "module": args.module, "node": name, "state": on.state, "readiness": on.readiness,
                            "reason": on.reason, "reason_code": on.reason_code, "seconds": seconds });
        output::line(&value.to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serves_has_to_be_ready_and_what_rests_has_not() {
        let on = |state: &str, readiness: &str, reachable| OnNode {
            state: state.into(),
            readiness: readiness.into(),
            reachable,
            ..OnNode::default()
        };
        assert!(arrived(&on("PRIM", "ready", true), StateWord::Prim));
        assert!(!arrived(&on("PRIM", "transient", true), StateWord::Prim));
        assert!(!arrived(&on("PRIM", "ready", false), StateWord::Prim));
        assert!(!arrived(&on("ALONE", "ready", true), StateWord::Prim));
        assert!(arrived(&on("WAIT", "transient", true), StateWord::Wait));
        assert!(arrived(&on("STOP", "not_ready", true), StateWord::Stop));
    }
}
