//! Carries what the heartbeats bring to whom it concerns.

use super::mirror::Input;
use super::node::Node;
use crate::heartbeat::Change;
use crate::net::beats::BeatEvent;
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::Duration;

/// Between looks at dependencies.
const LOOK: Duration = Duration::from_millis(500);

/// Starts the threads that carry. They end with the process.
pub fn carry(node: &Arc<Node>, happened: Receiver<BeatEvent>) -> std::io::Result<()> {
    let carrying = node.clone();
    std::thread::Builder::new().name("events".into()).spawn(move || {
        loop {
            match happened.recv_timeout(LOOK) {
                Ok(event) => one(&carrying, event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            super::modules::look_at_dependencies(&carrying);
        }
    })?;
    Ok(())
}

fn one(node: &Node, event: BeatEvent) {
    match event {
        BeatEvent::Change { node: peer, change } => {
            let name = node.cluster.name_of(peer);
            match change {
                Change::Presence(presence) => {
                    tracing::info!(peer = name, ?presence, "the other node");
                    node.tell_mirrors(peer, || Input::Presence(presence));
                }
                Change::Link(network, state) => tracing::info!(peer = name, network, ?state, "a network to the other node"),
                Change::Restarted => {
                    tracing::info!(peer = name, "its daemon has started anew");
                    node.couriers.forgotten(peer);
                }
                Change::Rebooted => tracing::warn!(peer = name, "it has started anew"),
                Change::Facts(_) => {}
            }
        }
        BeatEvent::Steady { node: peer, steady } => node.tell_mirrors(peer, || Input::Steady(steady)),
        BeatEvent::Stall(stall) => {
            tracing::warn!(late_ms = stall.late.as_millis() as u64, "this process did not run for a while: what it knows of others is old");
        }
        BeatEvent::Farm { from, bytes } => super::solo::farm_beat(node, from, &bytes),
    }
}
