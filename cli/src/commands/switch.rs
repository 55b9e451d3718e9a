//! `understudy failover`, `checks`, `reset`, `drain` and `undrain`: what the daemon takes in at once and keeps.

use super::order::{not_told, tell_dry};
use crate::args::{Global, OrderArgs, Switch, SwitchArgs};
use crate::{node, output};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};

pub fn failover(args: &SwitchArgs, global: &Global) -> Outcome {
    let on = args.to == Switch::On;
    let done = if on { "automatic failover is on" } else { "automatic failover is off: no node becomes primary by itself" };
    One { verb: "failover", typed: words("failover", args.to), order: &args.order, on: Some(on), done, tries: true }.carry(global)
}

pub fn checks(args: &SwitchArgs, global: &Global) -> Outcome {
    let on = args.to == Switch::On;
    let done = if on { "checks are on" } else { "checks are off: a failure of the application that only they see goes unnoticed" };
    One { verb: "checks", typed: words("checks", args.to), order: &args.order, on: Some(on), done, tries: false }.carry(global)
}

pub fn reset(args: &OrderArgs, global: &Global) -> Outcome {
    One { verb: "reset", typed: "reset".into(), order: args, on: None, done: "failures counted so far are forgotten", tries: true }
        .carry(global)
}

/// Without a node: this one.
pub fn drain(args: &OrderArgs, drained: bool, global: &Global) -> Outcome {
    let module = node::module(global, &args.module)?;
    if module.kind != "farm" {
        let why = format!("it is a {}, and only servers of farms are drained", module.kind);
        let cure = if module.is_mirror() { "use `understudy swap` or `understudy stop --node`" } else { "use `understudy stop`" };
        return Err(Failure::new(FailureKind::Usage, format!("cannot drain {}", args.module), why, cure));
    }
    let order = OrderArgs { node: Some(args.node.clone().unwrap_or(module.node)), ..args.clone() };
    let (typed, done) = match drained {
        true => ("drain", "gets no new clients; who is connected stays"),
        false => ("undrain", "gets new clients again"),
    };
    One { verb: "drain", typed: typed.into(), order: &order, on: Some(drained), done, tries: false }.carry(global)
}

/// Without a node: on all of them.
pub fn guard(args: &OrderArgs, covered: bool, global: &Global) -> Outcome {
    let module = node::module(global, &args.module)?;
    if !module.is_mirror() {
        let why = format!("it is a {}, and only mirrors have replicated directories", module.kind);
        return Err(Failure::new(FailureKind::Usage, format!("cannot do that with {}", args.module), why, "name a mirror"));
    }
    let (typed, done) = match covered {
        true => ("guard", "its directories are covered while it is stopped"),
        false => ("unguard", "its directories are open to edit while it is stopped"),
    };
    One { verb: "guard", typed: typed.into(), order: args, on: Some(covered), done, tries: false }.carry(global)
}

fn words(verb: &str, to: Switch) -> String {
    format!("{verb} {}", if to == Switch::On { "on" } else { "off" })
}

/// One of them.
struct One<'a> {
    verb: &'a str,
    /// As the operator says it.
    typed: String,
    order: &'a OrderArgs,
    on: Option<bool>,
    done: &'a str,
    /// The daemon can say what would follow.
    tries: bool,
}

impl One<'_> {
    fn carry(&self, global: &Global) -> Outcome {
        let (name, pace) = (&self.order.module, &self.order.pace);
        let module = node::module(global, name)?;
        let args = json!({ "module": name, "node": self.order.node, "on": self.on, "dry_run": pace.dry_run });
        if pace.dry_run && !self.tries {
            self.dry(&module, global)?;
            return Ok(());
        }
        let answer = node::ask(global, self.verb, &args, pace.timeout)?;
        if pace.dry_run {
            tell_dry(name, &self.typed, &answer, global);
            return Ok(());
        }
        self.tell(&answer, global);
        not_told(&self.typed, name, &answer)
    }

    /// Nothing is refused of what the daemon cannot try; a node that is wrong is.
    fn dry(&self, module: &crate::model::Module, global: &Global) -> Outcome {
        let nodes: Vec<&str> = module.nodes.iter().map(|on| on.node.as_str()).collect();
        let meant: Vec<&str> = match &self.order.node {
            None => nodes.clone(),
            Some(name) => nodes.iter().copied().filter(|node| node == name).collect(),
        };
        if meant.is_empty() {
            let why = format!("it does not run on {}", self.order.node.as_deref().unwrap_or_default());
            let cure = format!("name one of {}", nodes.join(", "));
            return Err(Failure::new(FailureKind::Usage, format!("cannot {} {}", self.typed, module.name), why, cure));
        }
        let follows: Vec<Value> = meant.iter().map(|node| json!({ "node": node, "follows": self.done })).collect();
        tell_dry(&module.name, &self.typed, &json!({ "follows": follows }), global);
        Ok(())
    }

    fn tell(&self, answer: &Value, global: &Global) {
        let nodes: Vec<String> = match (answer["nodes"].as_array(), &self.order.node) {
            (Some(nodes), _) => nodes.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            (None, Some(name)) => vec![name.clone()],
            (None, None) => Vec::new(),
        };
        let name = &self.order.module;
        output::line(&if global.json {
            json!({ "schema": output::SCHEMA, "event": "done", "module": name, "verb": self.typed, "nodes": nodes }).to_string()
        } else {
            let place = if nodes.is_empty() { String::new() } else { format!(" on {}", nodes.join(", ")) };
            format!("{name}{place}: {}", self.done)
        });
    }
}
