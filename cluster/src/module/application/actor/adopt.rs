//! After a restart of the daemon: what another one started.

use super::{Actor, Purpose, Stage};
use crate::config::Launch;
use crate::module::application::Record;
use crate::module::process::Process;
use std::time::Instant;

/// What is there.
pub(super) enum Found {
    Nothing,
    Up,
    Broken(String),
    Process(Process, Purpose, &'static str),
}

impl Actor {
    pub(super) fn adopt(&mut self) -> Found {
        let path = self.spec.file("app.json");
        let record = match Record::read(&path) {
            Ok(Some(record)) if self.stage == Stage::Down => record,
            Ok(_) => return Found::Nothing,
            Err(error) => return Found::Broken(format!("the record of what runs ({}) cannot be read: {error}", path.display())),
        };
        self.leader = record.leader;
        let process = record.leader.and_then(Process::adopt);
        match (self.launch(), process) {
            (Some(Launch::Run(_)), Some(process)) => Found::Process(process, Purpose::Main, "the application"),
            (Some(Launch::Run(_)), None) => Found::Broken("the application ended while no daemon watched it".to_owned()),
            (Some(Launch::Scripts { .. }), Some(process)) if !record.started => Found::Process(process, Purpose::Start, "the start script"),
            (Some(Launch::Scripts { .. }), _) if !record.started => {
                Found::Broken("the start script ended while no daemon watched it".to_owned())
            }
            (Some(Launch::Scripts { .. } | Launch::Unit(_)), _) => Found::Up,
            (None, _) => Found::Nothing,
        }
    }

    pub(super) fn go_on(&mut self, found: Found) {
        match found {
            Found::Nothing => {}
            Found::Broken(why) => self.failed(why),
            Found::Up => {
                self.enter(Stage::Up);
                self.wake = self.is_unit().then(Instant::now);
            }
            Found::Process(process, purpose, name) => {
                self.enter(if purpose == Purpose::Main { Stage::Up } else { Stage::Starting });
                if let Err(why) = self.watch(process, purpose, name.to_owned()) {
                    self.failed(why);
                }
            }
        }
    }
}
