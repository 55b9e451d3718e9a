//! A replica by the name that an operator uses: an engine of this node, or a module of the daemon, wherever it leads.

use crate::args::Global;
use crate::{engine, names, node};
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::time::Duration;

/// Where its engine is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replica {
    /// Straight through its socket on this node.
    Here(String),
    /// Through the daemon, on the node where the module leads; of several directories only that one, if one is named.
    Module(String, Option<String>),
}

impl Replica {
    /// The one that is meant.
    pub fn find(word: &str, directory: Option<&str>, global: &Global) -> Result<Replica, Failure> {
        let running = engine::list(&global.run)?;
        let status = match node::status(global, Some(word)) {
            Ok((_, status)) => Some(status),
            Err(failure) if node::is_away(&failure) => None,
            Err(failure) => return Err(failure),
        };
        let Some(module) = status.as_ref().and_then(|status| status.module(word)) else {
            let name = names::running(word, &running);
            if status.is_some() && !running.contains(&name) {
                // Neither a module nor an engine: the daemon's words name those there are.
                node::module(global, word)?;
            }
            if let Some(directory) = directory {
                let why = format!("{name} is no module of a daemon that answers here, and replicates one directory");
                return Err(Failure::new(FailureKind::Usage, format!("cannot choose {directory}"), why, "leave out --directory"));
            }
            return Ok(Replica::Here(name));
        };
        if directory.is_some() || module.directories.len() > 1 {
            return Ok(Replica::Module(word.into(), directory.map(str::to_owned)));
        }
        // Whoever leads here is asked straight: with no limit of time but the caller's.
        let leads_here = module.leader().is_some_and(|leader| leader.node == module.node);
        Ok(if leads_here && running.contains(&module.name) { Replica::Here(word.into()) } else { Replica::Module(word.into(), None) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Replica::Here(name) | Replica::Module(name, _) => name,
        }
    }

    /// Asks its engine.
    pub fn ask(&self, verb: &str, args: &Value, timeout: Duration, global: &Global) -> Result<Value, Failure> {
        match self {
            Replica::Here(name) => engine::ask(&global.run, name, verb, args, timeout),
            Replica::Module(name, directory) => {
                let asked = json!({ "module": name, "directory": directory, "verb": verb, "args": args });
                node::ask(global, "engine", &asked, timeout)
                    .map(|answer| answer["answer"].clone())
                    .map_err(|failure| not_running(failure, name))
            }
        }
    }
}

/// The engine of a module is started by `understudy start`, not by hand.
pub fn not_running(failure: Failure, module: &str) -> Failure {
    if failure.kind == FailureKind::Unreachable && failure.what.starts_with("cannot reach the engine") {
        let why = "its engine does not run there";
        return Failure::new(failure.kind, failure.what, why, format!("start it with `understudy start {module}`"));
    }
    failure
}
