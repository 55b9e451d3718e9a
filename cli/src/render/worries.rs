//! What is not as it should be in a cluster, worst first: for `status`, and for monitoring systems.

use crate::model::{Cluster, Module, OnNode};
use std::fmt;

/// How bad. The order counts: the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The service runs; something that protects it is missing, or an operator has switched it off.
    Warning,
    /// Nobody serves.
    Critical,
}

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worry {
    pub level: Level,
    pub text: String,
}

impl fmt::Display for Worry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Collects.
#[derive(Default)]
struct Worries(Vec<Worry>);

impl Worries {
    fn warn(&mut self, text: String) {
        self.0.push(Worry { level: Level::Warning, text });
    }

    fn critical(&mut self, text: String) {
        self.0.push(Worry { level: Level::Critical, text });
    }
}

/// All of them, the worst first.
pub fn worries(status: &Cluster) -> Vec<Worry> {
    let mut found = Worries::default();
    status.modules.iter().for_each(|module| of_module(module, &mut found));
    of_nodes(status, &mut found);
    found.0.sort_by_key(|worry| std::cmp::Reverse(worry.level));
    found.0
}

fn of_module(module: &Module, found: &mut Worries) {
    let name = &module.name;
    let stopped = |on: &OnNode| on.state == "STOP" && on.reason_code == "stopped";
    if module.nodes.iter().all(stopped) {
        return found.warn(format!("{name} is stopped by the operator: `understudy start {name}`"));
    }
    if !module.nodes.iter().any(OnNode::serves) {
        let reasons: Vec<String> = module.nodes.iter().map(|on| format!("{}: {}", on.node, on.reason)).collect();
        return found.critical(format!("{name} serves nowhere ({})", reasons.join("; ")));
    }
    if module.is_mirror() {
        of_mirror(module, found);
    } else {
        for on in module.nodes.iter().filter(|on| !on.serves()) {
            found.warn(format!("{name} does not serve on {}: {}", on.node, on.reason));
        }
    }
    if !module.checks_on {
        found.warn(format!("the checks of {name} are switched off: `understudy checks on {name}`"));
    }
    for check in module.checks.iter().filter(|check| check.ok == Some(false)) {
        found.warn(format!("check {} of {name} fails: {}", check.name, check.output.as_deref().unwrap_or("no output")));
    }
    for address in module.virtual_ips.iter().filter(|address| address.node.is_none()) {
        found.warn(format!("{} of {name} is on no node", address.address));
    }
    if !module.kept.is_empty() {
        let count = module.kept.len();
        let trees = if count == 1 { "tree" } else { "trees" };
        found.warn(format!("{count} {trees} of changes that lost are kept of {name}: `understudy kept {name}`"));
    }
    if let Some(why) = module.consistent["reason"].as_str() {
        found.warn(format!("the state of {name} from before the resync is not kept any more: {why}"));
    }
    if let Some(trouble) = module.farm["trouble"].as_str() {
        found.warn(format!("the farm {name} has trouble: {trouble}"));
    }
    digests(module, found);
}

fn of_mirror(module: &Module, found: &mut Worries) {
    let name = &module.name;
    if !module.failover {
        found.warn(format!("automatic failover of {name} is switched off: `understudy failover on {name}`"));
    } else if !module.can_fail_over.now {
        let waits: Vec<String> =
            module.nodes.iter().filter(|on| !on.serves() && !on.is_ready()).map(|on| format!("; {}: {}", on.node, on.reason)).collect();
        found.warn(format!("{name} cannot fail over: {}{}", module.can_fail_over.reason, waits.concat()));
    }
}

fn digests(module: &Module, found: &mut Worries) {
    let mut known = module.nodes.iter().filter_map(|on| on.config_digest.as_deref().filter(|digest| !digest.is_empty()));
    let Some(first) = known.next() else { return };
    if known.any(|digest| digest != first) {
        found.warn(format!(
            "the files of {} differ between the nodes: `understudy config diff`, then `understudy config push`",
            module.name
        ));
    }
}

fn of_nodes(status: &Cluster, found: &mut Worries) {
    for node in status.nodes.iter().filter(|node| node.node != status.node) {
        let name = &node.node;
        if !node.reachable {
            found.warn(format!("{name} is not heard"));
            continue;
        }
        for network in node.networks.iter().filter(|network| network.state != "up") {
            let what = match network.state.as_str() {
                "deaf" => "carries only towards this node".to_owned(),
                "new" => "has not carried anything yet".to_owned(),
                _ => format!("is down (silent for {:.0} s)", network.silence_seconds),
            };
            found.warn(format!("network {} to {name} {what}", network.network + 1));
        }
        if node.version.as_ref().is_some_and(|version| *version != status.version) {
            found.warn(format!("{name} runs version {}, {} runs {}", node.version.as_deref().unwrap_or("?"), status.node, status.version));
        }
        if node.config_digest.as_ref().is_some_and(|digest| *digest != status.config_digest) {
            found.warn(format!(
                "cluster.toml differs between {} and {name}: `understudy config diff`, then `understudy config push`",
                status.node
            ));
        }
    }
}

/// The one line for a monitoring system, and its code: 0 fine, 1 warning, 2 critical.
pub fn plugin(status: &Cluster, only: Option<&str>) -> (u8, String) {
    let found = match only {
        // What is wrong with the nodes concerns who asks for everything.
        Some(_) => worries(&Cluster { nodes: Vec::new(), ..status.clone() }),
        None => worries(status),
    };
    let count = |level: Level| found.iter().filter(|worry| worry.level == level).count();
    let (critical, warning) = (count(Level::Critical), count(Level::Warning));
    let (code, word) = match (critical, warning) {
        (0, 0) => (0, "OK"),
        (0, _) => (1, "WARNING"),
        _ => (2, "CRITICAL"),
    };
    let text = match found.as_slice() {
        [] => status.modules.iter().map(super::event::summary).collect::<Vec<_>>().join("; "),
        [one] => one.text.clone(),
        [first, more @ ..] => format!("{} (and {} more)", first.text, more.len()),
    };
    let text = if text.is_empty() { "no modules".to_owned() } else { text };
    // A bar begins the figures.
    let text = crate::output::one_line(&text).replace('|', "/");
    (code, format!("UNDERSTUDY {word} - {text} | modules={} critical={critical} warning={warning}", status.modules.len()))
}
