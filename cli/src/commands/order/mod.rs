//! `understudy start`, `stop`, `restart`, `swap` and `promote`: given to the daemon, followed to their end.

mod goal;
mod loss;
pub mod steps;

use crate::args::{Accept, Global, ModuleArgs, OrderArgs, Pace, PromoteArgs};
use crate::model::Module;
use crate::{node, output, render};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use goal::{Goal, Order, Verdict};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use steps::Steps;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Nothing moves for so long: it will not go on by itself.
const SETTLED: Duration = Duration::from_secs(4);

pub fn start(args: &OrderArgs, global: &Global) -> Outcome {
    Given::new(Order::Start, &args.module, args.node.as_deref(), &args.pace).carry(global)
}

pub fn stop(args: &OrderArgs, global: &Global) -> Outcome {
    Given::new(Order::Stop, &args.module, args.node.as_deref(), &args.pace).carry(global)
}

pub fn restart(args: &OrderArgs, global: &Global) -> Outcome {
    Given::new(Order::Restart, &args.module, args.node.as_deref(), &args.pace).carry(global)
}

pub fn swap(args: &ModuleArgs, global: &Global) -> Outcome {
    Given::new(Order::Swap, &args.module, None, &args.pace).carry(global)
}

pub fn promote(args: &PromoteArgs, global: &Global) -> Outcome {
    let given = Given::new(Order::Promote, &args.module, args.node.as_deref(), &args.pace);
    Given { accept: args.accept, ..given }.carry(global)
}

/// An order as it was typed.
struct Given<'a> {
    order: Order,
    module: &'a str,
    node: Option<&'a str>,
    accept: Option<Accept>,
    pace: &'a Pace,
}

impl<'a> Given<'a> {
    fn new(order: Order, module: &'a str, node: Option<&'a str>, pace: &'a Pace) -> Given<'a> {
        Given { order, module, node, accept: None, pace }
    }

    fn args(&self) -> Value {
        json!({ "module": self.module, "node": self.node, "accept": self.accept.map(Accept::word), "dry_run": self.pace.dry_run })
    }

    fn carry(&self, global: &Global) -> Outcome {
        let before = node::module(global, self.module)?;
        if let Some(accept) = self.accept {
            self.tell_loss(accept, &before, global);
        }
        if self.pace.dry_run {
            let answer = node::ask(global, self.order.verb(), &self.args(), node::ANSWER).map_err(|failure| self.explain(failure))?;
            tell_dry(self.module, self.order.verb(), &answer, global);
            return Ok(());
        }
        let started = Instant::now();
        let names: Vec<String> = before.nodes.iter().filter(|on| on.reachable).map(|on| on.node.clone()).collect();
        let mut steps = if self.pace.no_wait { None } else { Some(Steps::follow(self.module, &names, global)) };
        let answer = node::ask(global, self.order.verb(), &self.args(), node::ANSWER).map_err(|failure| self.explain(failure))?;
        let goal = Goal { order: self.order, targets: told(&answer), before };
        match &mut steps {
            Some(steps) => self.follow(&goal, steps, started, global)?,
            None => self.tell_ordered(&answer, global),
        }
        not_told(self.order.verb(), self.module, &answer)
    }

    fn tell_loss(&self, accept: Accept, before: &Module, global: &Global) {
        let target = self.node.unwrap_or(&before.node);
        let text = loss::words(accept, before, target);
        output::line(&if global.json {
            json!({ "schema": output::SCHEMA, "event": "loss", "accept": accept.word(), "text": text }).to_string()
        } else {
            output::one_line(&text)
        });
    }

    /// A refusal of a promotion names the word, and how it is said.
    fn explain(&self, failure: Failure) -> Failure {
        if self.order != Order::Promote || failure.kind != FailureKind::Refused || self.accept.is_some() {
            return failure;
        }
        let known = [Accept::First, Accept::Outdated, Accept::Inconsistent, Accept::Split];
        match known.into_iter().find(|accept| failure.why.contains(&format!("what is lost is {}", accept.word()))) {
            Some(accept) => {
                let cure = format!("if that may be lost: `understudy promote {} --accept {}`", self.module, accept.word());
                Failure { cure, ..failure }
            }
            None => failure,
        }
    }

    fn tell_ordered(&self, answer: &Value, global: &Global) {
        let nodes = told(answer);
        output::line(&if global.json {
            json!({ "schema": output::SCHEMA, "event": "ordered", "module": self.module, "verb": self.order.verb(), "nodes": nodes })
                .to_string()
        } else {
            format!("{}: {} ordered on {}", self.module, self.order.verb(), nodes.join(", "))
        });
    }

    fn follow(&self, goal: &Goal, steps: &mut Steps, started: Instant, global: &Global) -> Outcome {
        let mut stuck: Option<Instant> = None;
        let mut now = goal.before.clone();
        loop {
            // The daemon may be restarted meanwhile: what it does goes on.
            if let Ok(module) = node::module(global, self.module) {
                now = module;
            }
            let verdict = goal.judge(&now, steps.take(LOOK), started.elapsed());
            if !matches!(verdict, Verdict::Stuck(_)) {
                stuck = None;
            }
            match verdict {
                Verdict::Arrived => {
                    steps.take(Duration::from_millis(1));
                    self.tell_done(&now, started, global);
                    return Ok(());
                }
                Verdict::Failed(why) => return Err(self.ended(FailureKind::Failed, "did not do what was ordered", &why)),
                Verdict::Stuck(why) if stuck.get_or_insert_with(Instant::now).elapsed() >= SETTLED => {
                    return Err(self.ended(FailureKind::Refused, "cannot go on by itself", &why));
                }
                _ if started.elapsed() >= self.pace.timeout => return Err(self.timed_out(steps)),
                _ => {}
            }
        }
    }

    fn ended(&self, kind: FailureKind, what: &str, why: &str) -> Failure {
        let cure = match why {
            why if why.contains("--accept first") => {
                format!("on the node with the good data: `understudy promote {} --accept first`", self.module)
            }
            why if why.contains("--accept") => format!("see `understudy promote --help`, and `understudy log {}`", self.module),
            _ => format!("see `understudy status {0}` and `understudy log {0}`", self.module),
        };
        Failure::new(kind, format!("{} {}: {what}", self.order.verb(), self.module), why, cure)
    }

    fn timed_out(&self, steps: &Steps) -> Failure {
        let what = format!("{} {} is not done yet", self.order.verb(), self.module);
        let last = steps.last().map(|entry| format!("; last on {}: {}", entry.node, entry.reason)).unwrap_or_default();
        let why = format!("{} passed{last}", humantime::format_duration(self.pace.timeout));
        Failure::new(
            FailureKind::TimedOut,
            what,
            why,
            format!("it goes on; see `understudy status {0}` and `understudy log {0}`", self.module),
        )
    }

    fn tell_done(&self, now: &Module, started: Instant, global: &Global) {
        let seconds = started.elapsed().as_secs_f64();
        if global.json {
            let nodes: Vec<Value> = now
                .nodes
                .iter()
                .map(|on| {
                    json!({ "node": on.node, "state": on.state, "readiness": on.readiness, "reason": on.reason,
                            "reason_code": on.reason_code, "data": on.data })
                })
                .collect();
            let verb = self.order.verb();
            output::line(
                &json!({ "schema": output::SCHEMA, "event": "done", "module": self.module, "verb": verb, "nodes": nodes, "seconds": seconds })
                    .to_string(),
            );
        } else {
            output::line(&format!("{} ({seconds:.1} s)", render::event::summary(now)));
        }
    }
}

/// Nodes that have got an order.
fn told(answer: &Value) -> Vec<String> {
    match answer["nodes"].as_array() {
        Some(nodes) => nodes.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => answer["node"].as_str().map(str::to_owned).into_iter().collect(),
    }
}

/// Some nodes have got the order and one has not: what could be done is done, and the rest is said.
pub fn not_told(verb: &str, module: &str, answer: &Value) -> Outcome {
    let failed = &answer["failed"];
    let Some(name) = failed["node"].as_str() else { return Ok(()) };
    let why = failed["error"].as_str().unwrap_or("no reason given");
    let done = told(answer).join(", ");
    let cure = format!("it was done on {done}; on {name}: `understudy {verb} {module} --node {name}` when it is back");
    Err(Failure::new(FailureKind::Failed, format!("{verb} {module}: {name} did not take the order"), why, cure))
}

/// What an order would lead to.
pub fn tell_dry(module: &str, verb: &str, answer: &Value, global: &Global) {
    let follows: Vec<(String, String)> = match answer["follows"].as_array() {
        Some(all) => all.iter().map(|one| (word(&one["node"]), word(&one["follows"]))).collect(),
        None => vec![(word(&answer["node"]), word(&answer["follows"]))],
    };
    if global.json {
        let nodes: Vec<Value> = follows.iter().map(|(node, follows)| json!({ "node": node, "follows": follows })).collect();
        let value = json!({ "schema": output::SCHEMA, "event": "dry_run", "module": module, "verb": verb, "nodes": nodes, "failed": answer["failed"] });
        output::line(&value.to_string());
        return;
    }
    for (node, follows) in follows {
        output::line(&output::one_line(&format!("{module} on {node}: would follow: {follows}")));
    }
    if let (Some(node), Some(why)) = (answer["failed"]["node"].as_str(), answer["failed"]["error"].as_str()) {
        output::line(&output::one_line(&format!("{module} on {node}: would fail: {why}")));
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}
