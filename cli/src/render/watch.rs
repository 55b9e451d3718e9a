//! What changed between two looks at a cluster, a line for each change.

use crate::model::{Cluster, OnNode};
use crate::output::one_line;

/// Since `before`; everything, if there is none.
pub fn changes(before: Option<&Cluster>, now: &Cluster) -> Vec<String> {
    let mut lines = Vec::new();
    for module in &now.modules {
        let old = before.and_then(|before| before.module(&module.name));
        for on in &module.nodes {
            if old.and_then(|old| old.on(&on.node)).is_none_or(|old| shown(old) != shown(on)) {
                let state = if on.reachable { on.state.clone() } else { format!("({})", on.state) };
                lines.push(format!("{}  {}  {state}  {} [{}]", module.name, on.node, on.reason, on.reason_code));
            }
        }
        if old.is_none_or(|old| old.can_fail_over.now != module.can_fail_over.now) && module.is_mirror() {
            let can = &module.can_fail_over;
            lines.push(format!(
                "{}  can fail over: {}, {} [{}]",
                module.name,
                if can.now { "yes" } else { "no" },
                can.reason,
                can.reason_code
            ));
        }
    }
    for module in before.into_iter().flat_map(|before| &before.modules).filter(|module| now.module(&module.name).is_none()) {
        lines.push(format!("{}  is gone", module.name));
    }
    lines.iter().map(|line| one_line(line)).collect()
}

fn shown(on: &OnNode) -> (&str, &str, &str, &str, bool) {
    (&on.state, &on.readiness, &on.reason, &on.reason_code, on.reachable)
}
