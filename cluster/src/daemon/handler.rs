//! What other nodes ask and tell.

use super::board::Other;
use super::mirror::Input;
use super::node::Node;
use super::operator;
use super::snapshot::Shown;
use crate::net::{Caller, Message};
use crossbeam::channel::bounded;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest that a consent takes: a session has to end, and the disk has to have it.
const CONSENT: Duration = Duration::from_secs(25);

/// Answers one request.
pub fn answer(node: &Arc<Node>, caller: &Caller, bytes: &[u8]) -> Vec<u8> {
    Message::answer(bytes, |message| one(node, caller, message))
}

fn one(node: &Arc<Node>, caller: &Caller, message: Message) -> Message {
    match message {
        Message::Ask { module, question } => {
            let unknown = || Message::error("unknown_module", format!("{} does not run {module}", node.name()));
            let Some(handle) = node.module(&module) else { return unknown() };
            let next = question.next;
            let (sender, answered) = bounded(1);
            let _ = handle.inputs.send(Input::Question(Box::new(question), sender));
            match answered.recv_timeout(CONSENT) {
                Ok(Some(answer)) => Message::Answer { next, answer },
                _ => Message::error("not_now", "the question cannot be answered now"),
            }
        }
        Message::Word { module, generation, session, word } => {
            if let Some(handle) = node.module(&module) {
                let _ = handle.inputs.send(Input::Word(generation, session, word));
            }
            Message::Done
        }
        Message::Facts { program, config_digest, modules, digests, .. } => {
            if let Some(from) = caller.node {
                take_facts(node, from, program, config_digest, &modules, digests);
            }
            Message::Done
        }
        Message::Operator { verb, args } => {
            let args = serde_json::from_str(&args).unwrap_or_default();
            match operator::here(node, &verb, &args) {
                Ok(value) => Message::Result(value.to_string()),
                Err(failure) => {
                    Message::Failure { exit: failure.kind.exit_code(), what: failure.what, why: failure.why, cure: failure.cure }
                }
            }
        }
        _ => Message::error("no_request", "that is an answer, not a request"),
    }
}

fn take_facts(
    node: &Node,
    from: crate::NodeId,
    version: String,
    config_digest: String,
    modules: &BTreeMap<String, String>,
    digests: BTreeMap<String, String>,
) {
    let mut shown = BTreeMap::new();
    for (name, text) in modules {
        let Ok(one) = serde_json::from_str::<Shown>(text) else { continue };
        if let (Some(facts), Some(handle)) = (&one.facts, node.module(name))
            && handle.peer_of(node.me) == Some(from)
        {
            let _ = handle.inputs.send(Input::Peer(Box::new(facts.clone())));
        }
        shown.insert(name.clone(), one);
    }
    node.board.heard(from, Other { at: Instant::now(), version, config_digest, modules: shown, digests });
}
