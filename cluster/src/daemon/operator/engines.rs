//! What an operator asks of a module's engines: the one of the directory that is named, else all, and their answers as one.

use super::super::node::Node;
use super::usage;
use crate::config::Module;
use crate::engine::sum_of_resyncs;
use fsrepl::node::control;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// One directory's answer.
type Answer = (String, Value);

/// Asks the engines of `module` on this node; `only`: the one of that directory, by its name or its path.
pub fn ask(node: &Node, module: &Module, verb: &str, args: &Value, only: Option<&str>, patience: Duration) -> Result<Value, Failure> {
    let engines = chosen(module, verb, only)?;
    if let [(_, engine)] = engines.as_slice() {
        return control::call(&node.home.run, engine, verb, args, patience);
    }
    if verb == "kept-remove" {
        return remove(engines, |engine| control::call(&node.home.run, engine, verb, args, patience));
    }
    let args = &shared(args, engines.len());
    let answers: Result<Vec<Answer>, Failure> = engines
        .into_iter()
        .map(|(directory, engine)| {
            let answer = control::call(&node.home.run, &engine, verb, args, patience);
            answer.map(|answer| (directory.clone(), answer)).map_err(|failure| named(failure, &directory))
        })
        .collect();
    Ok(merged(verb, &answers?))
}

/// A rate is for all directories together; 0 is no limit.
fn shared(args: &Value, engines: usize) -> Value {
    let mut args = args.clone();
    if let Some(rate) = args["max_rate"].as_u64().filter(|rate| *rate > 0) {
        args["max_rate"] = (rate / engines as u64).max(1).into();
    }
    args
}

fn named(failure: Failure, directory: &str) -> Failure {
    Failure { why: format!("{} (directory {directory})", failure.why), ..failure }
}

/// Names of directories and of their engines.
fn chosen(module: &Module, verb: &str, only: Option<&str>) -> Result<Vec<(String, String)>, Failure> {
    let mut all = Vec::new();
    for (replicate, engine) in module.replicate.iter().zip(module.engines()) {
        if only.is_none_or(|only| only == replicate.name || replicate.directory == std::path::Path::new(only)) {
            all.push((replicate.name.clone(), engine));
        }
    }
    if all.is_empty() {
        let names: Vec<&str> = module.replicate.iter().map(|replicate| replicate.name.as_str()).collect();
        let (why, cure) = match only {
            Some(only) => (format!("{} has no directory {only}", module.name), format!("name one of: {}", names.join(", "))),
            None => (format!("{} replicates nothing", module.name), "name a mirror".to_owned()),
        };
        return Err(usage(format!("cannot {verb}"), why, &cure));
    }
    Ok(all)
}

/// From the directory that keeps it.
fn remove(engines: Vec<(String, String)>, call: impl Fn(&str) -> Result<Value, Failure>) -> Result<Value, Failure> {
    let mut last = None;
    for (_, engine) in engines {
        match call(&engine) {
            Ok(answer) => return Ok(answer),
            // It keeps nothing of that name.
            Err(failure) if failure.kind == FailureKind::Failed => last = Some(failure),
            Err(failure) => return Err(failure),
        }
    }
    Err(last.unwrap_or_else(|| usage("cannot remove that", "there is no engine", "")))
}

/// Several answers as one of the same form: what counts is added, lists follow one another, the worst state is the state.
/// Each directory's own is in `by_directory`.
fn merged(verb: &str, answers: &[Answer]) -> Value {
    let worst = answers.iter().map(|(_, answer)| answer).rev().max_by_key(|answer| weight(answer));
    let mut whole = worst.cloned().unwrap_or_else(|| json!({}));
    let Some(fields) = whole.as_object_mut() else { return whole };
    let keys: Vec<String> = fields.keys().cloned().collect();
    for key in keys {
        let values: Vec<&Value> = answers.iter().map(|(_, answer)| &answer[&key]).collect();
        match key.as_str() {
            "schema" => {}
            // Flushed on both nodes when it is in all.
            "nodes" => drop(fields.insert(key, values.iter().filter_map(|value| value.as_u64()).min().into())),
            "resync" => drop(fields.insert(key, sum_of_resyncs(values.into_iter()))),
            // What lies only in one directory says so.
            "kept" | "differences" => drop(fields.insert(key.clone(), listed(answers, &key))),
            "verify" => drop(fields.insert(key, verify(answers))),
            "left_count" if values.iter().all(|value| value.is_null()) => {}
            _ => combine(fields, &key, &values),
        }
    }
    if matches!(verb, "status" | "verify-look" | "verify" | "estimate") {
        whole["by_directory"] = answers.iter().map(|(name, answer)| with(answer, "directory_name", name)).collect();
    }
    whole
}

fn verify(answers: &[Answer]) -> Value {
    let begun: Vec<Answer> = answers
        .iter()
        .filter(|(_, answer)| !answer["verify"].is_null())
        .map(|(name, answer)| (name.clone(), answer["verify"].clone()))
        .collect();
    if begun.is_empty() { Value::Null } else { merged("", &begun) }
}

/// Whose words are the module's: a verify that runs or failed before one that is done, a state that is worse before a better one.
fn weight(answer: &Value) -> u8 {
    match (answer["phase"].as_str(), answer["state"].as_str()) {
        (_, Some("WAIT")) => 9,
        (_, Some("ALONE")) => 8,
        (Some("done"), _) => 1,
        (Some(_), _) if answer["running"] == true => 9,
        (Some(_), _) => 8,
        _ => 0,
    }
}

/// Numbers are added, but for how long and how fast until when; truths hold where one holds.
fn combine(fields: &mut Map<String, Value>, key: &str, values: &[&Value]) {
    let numbers: Vec<f64> = values.iter().filter_map(|value| value.as_f64()).collect();
    if values.iter().any(|value| value.is_boolean()) {
        fields.insert(key.to_owned(), values.iter().any(|value| **value == true).into());
    } else if matches!(key, "seconds" | "eta_seconds") {
        let longest = numbers.iter().copied().max_by(f64::total_cmp);
        fields.insert(key.to_owned(), longest.map_or(Value::Null, Value::from));
    } else if !numbers.is_empty() {
        let whole: u64 = values.iter().filter_map(|value| value.as_u64()).sum();
        let exact = values.iter().all(|value| value.is_u64() || value.is_null());
        fields.insert(key.to_owned(), if exact { whole.into() } else { numbers.iter().sum::<f64>().into() });
    } else if values.iter().any(|value| value.is_object()) {
        let parts: Vec<Answer> = values.iter().map(|value| (String::new(), (*value).clone())).collect();
        fields.insert(key.to_owned(), merged("", &parts));
    }
}

fn listed(answers: &[Answer], key: &str) -> Value {
    let all = answers.iter().flat_map(|(name, answer)| {
        let items = answer[key].as_array().cloned().unwrap_or_default();
        items.into_iter().map(move |item| with(&item, "directory", name))
    });
    all.collect()
}

fn with(value: &Value, key: &str, word: &str) -> Value {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.insert(key.to_owned(), word.into());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(verb: &str, one: Value, other: Value) -> Value {
        merged(verb, &[("data".into(), one), ("wal".into(), other)])
    }

    #[test]
    fn a_sync_is_on_both_nodes_when_it_is_in_all_directories() {
        assert_eq!(
            both("sync", json!({ "schema": 1, "nodes": 2 }), json!({ "schema": 1, "nodes": 1 })),
            json!({ "schema": 1, "nodes": 1 })
        );
    }

    #[test]
    fn the_worst_state_is_the_state_and_figures_add_up() {
        let state = |state: &str, sent: u64, resync: Value| json!({ "schema": 1, "state": state, "reason": state, "resync": resync, "verify": null, "counters": { "sequence": sent } });
        let whole = both("status", state("PRIM", 3, Value::Null), state("ALONE", 4, json!({ "bytes_total": 5 })));
        assert_eq!((&whole["state"], &whole["reason"], &whole["counters"]["sequence"]), (&json!("ALONE"), &json!("ALONE"), &json!(7)));
        assert_eq!(whole["resync"], json!({ "bytes_total": 5 }));
        assert_eq!(whole["by_directory"][1]["directory_name"], "wal");
        assert_eq!(whole["by_directory"][0]["state"], "PRIM");
    }

    #[test]
    fn a_verify_runs_while_one_runs_and_finds_what_any_finds() {
        let look = |phase: &str, running: bool, count: u64, left: Value| {
            let found: Vec<Value> = (0..count).map(|number| json!({ "path": number.to_string() })).collect();
            json!({ "phase": phase, "running": running, "difference_count": count, "left_count": left, "eta_seconds": null, "differences": found })
        };
        let whole = both("verify-look", look("done", false, 2, Value::Null), look("compare", true, 1, Value::Null));
        assert_eq!((&whole["running"], &whole["phase"], &whole["difference_count"]), (&json!(true), &json!("compare"), &json!(3)));
        assert_eq!((&whole["left_count"], &whole["differences"][2]["directory"]), (&Value::Null, &json!("wal")));
        let ended = both("verify-look", look("stopped", false, 0, Value::Null), look("done", false, 1, json!(0)));
        assert_eq!((&ended["running"], &ended["phase"], &ended["left_count"]), (&json!(false), &json!("stopped"), &json!(0)));
    }

    #[test]
    fn kept_trees_say_where_they_are() {
        let kept = |id: &str| json!({ "schema": 1, "kept": [{ "id": id }] });
        let whole = both("kept", kept("a"), kept("b"));
        assert_eq!(whole["kept"], json!([{ "id": "a", "directory": "data" }, { "id": "b", "directory": "wal" }]));
        let nothing = both("kept", json!({ "schema": 1, "kept": [] }), kept("b"));
        assert_eq!(nothing["kept"][0]["id"], "b");
    }

    #[test]
    fn a_rate_is_shared() {
        assert_eq!(shared(&json!({ "max_rate": 10, "repair": true }), 3), json!({ "max_rate": 3, "repair": true }));
        assert_eq!(shared(&json!({ "max_rate": 1 }), 3)["max_rate"], 1);
        assert_eq!(shared(&json!({ "max_rate": 0 }), 3)["max_rate"], 0);
        assert_eq!(shared(&json!({ "full": true }), 3), json!({ "full": true }));
        assert_eq!(shared(&Value::Null, 3), Value::Null);
    }

    #[test]
    fn estimates_add_up() {
        let estimate = |files: u64, everything: bool| json!({ "everything": everything, "files": files });
        let whole = both("estimate", estimate(2, false), estimate(3, true));
        assert_eq!((&whole["files"], &whole["everything"]), (&json!(5), &json!(true)));
    }
}
