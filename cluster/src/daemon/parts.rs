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
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// The application, on this node. `engine`: the process that holds the directory by right.
pub fn application(node: &Arc<Node>, module: &Arc<Module>, engine: Arc<AtomicU32>) -> Spec {
    let (board, name) = (node.board.clone(), module.name.clone());
    Spec {
        environment: environment(node, module),
        folder: module.folder.clone(),
        application: module.application.clone(),
        run: node.home.run.clone(),
        systemd: Systemd::detect(),
        spared: Arc::new(move || vec![engine.load(SeqCst), std::process::id()]),
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
