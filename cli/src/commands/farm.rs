//! `understudy farm`: which server a client's connections go to.

use crate::args::{FarmArgs, FarmCommand, Global};
use crate::{node, output};
use fsrepl::node::options::Outcome;
use serde_json::{Value, json};

pub fn run(args: &FarmArgs, global: &Global) -> Outcome {
    let FarmCommand::Whose { client, module } = &args.command;
    let answer = node::ask(global, "whose", &json!({ "client": client, "module": module }), node::ANSWER)?;
    if global.json {
        output::line(&answer.to_string());
    } else {
        let rules = answer["rules"].as_array().cloned().unwrap_or_default();
        rules.iter().for_each(|rule| output::line(&output::one_line(&words(rule))));
    }
    Ok(())
}

fn words(rule: &Value) -> String {
    let word = |key: &str| rule[key].as_str().unwrap_or("?");
    let server = match rule["server"].as_str() {
        Some(server) => format!("goes to {server}"),
        None => "goes nowhere: nobody serves, or the rule looks at the client's port and none was given".into(),
    };
    format!("{} ({} {}): {server}", word("rule"), word("protocol"), rule["port"])
}
