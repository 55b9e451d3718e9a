//! What a module's thread is made of: its application and its checks, told what they need to know.

use super::mirror::Input;
use super::modules::environment;
use super::node::Node;
use crate::config::Module;
use crate::module::application::{self, Spec};
use crate::module::checks::{self, Setup};
use crate::module::environment::Context;
use crate::module::systemd::Systemd;
use crossbeam::channel::Sender;
use parking_lot::Mutex;
use std::sync::Arc;

/// The application, on this node. `engines`: the processes that hold the directories by right.
pub fn application(node: &Arc<Node>, module: &Arc<Module>, engines: Arc<Mutex<Vec<u32>>>) -> Spec {
    let (board, name) = (node.board.clone(), module.name.clone());
    Spec {
        environment: environment(node, module),
        folder: module.folder.clone(),
        application: module.application.clone(),
        run: node.home.run.clone(),
        systemd: Systemd::detect(),
        spared: Arc::new(move || engines.lock().iter().copied().chain([std::process::id()]).collect()),
        log: Arc::new(move |line| board.output(&name, &line)),
    }
}

/// Where its events go.
pub fn app_report(inputs: &Sender<Input>) -> application::Report {
    let inputs = inputs.clone();
    Arc::new(move |event| drop(inputs.send(Input::App(event))))
}

/// What checks need to know.
pub fn checks(node: &Arc<Node>, module: &Arc<Module>) -> Setup {
    let (board, name, others) = (node.board.clone(), module.name.clone(), node.board.clone());
    Setup {
        environment: environment(node, module),
        folder: module.folder.clone(),
        context: Arc::new(move || {
            let state = board.own(&name).map_or_else(String::new, |shown| shown.state);
            Context::new(&state, &state, "check")
        }),
        systemd: Systemd::detect(),
        module: Arc::new(move |other| match others.own(other) {
            Some(shown) if shown.serves => Ok(()),
            Some(shown) => Err(format!("{other} is {}: {}", shown.state, shown.reason)),
            None => Err(format!("{other} does not run on this node")),
        }),
    }
}

/// Where their events go.
pub fn check_report(inputs: &Sender<Input>) -> checks::Report {
    let inputs = inputs.clone();
    Arc::new(move |event| drop(inputs.send(Input::Check(event))))
}
