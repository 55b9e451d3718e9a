//! systemd, where it runs: units are started and asked by `systemctl`, and what scripts start gets a scope of its own, so
//! that the end of the daemon's unit is not the end of the application.

use super::limits;
use super::process::{Plan, Ran, shortened};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// It is there when systemd is the init of this machine or container.
const RUNS: &str = "/run/systemd/system";
/// Where the scopes are.
const SLICE: &str = "understudy-applications.slice";

/// The programs by which systemd is told and asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Systemd {
    /// `systemctl`
    pub systemctl: PathBuf,
    /// `systemd-run`
    pub systemd_run: PathBuf,
}

impl Systemd {
    /// Of this machine, if systemd runs here.
    pub fn detect() -> Option<Systemd> {
        let here = Path::new(RUNS).is_dir();
        here.then(|| Systemd { systemctl: "systemctl".into(), systemd_run: "systemd-run".into() })
    }

    /// `systemctl VERB… UNIT`
    pub fn control(&self, verb: &[&str], unit: &str) -> Vec<OsString> {
        let mut command = vec![self.systemctl.clone().into_os_string(), "--no-ask-password".into()];
        command.extend(verb.iter().map(OsString::from));
        // A unit's name may begin with a dash.
        command.extend(["--".into(), unit.into()]);
        command
    }

    /// `command` in a scope of its own. It keeps its process number: systemd-run becomes the program.
    pub fn scoped(&self, module: &str, action: &str, command: Vec<OsString>) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![self.systemd_run.clone().into_os_string()];
        words.extend(["--scope", "--quiet", "--collect", "--no-ask-password"].map(OsString::from));
        words.push(format!("--slice={SLICE}").into());
        words.push(format!("--unit={}", scope(module, action)).into());
        words.push("--".into());
        words.extend(command);
        words
    }

    /// Kills what is left in the scope of what was started, if anything is: processes that left their session as well.
    pub fn kill_scope(&self, module: &str) {
        let command = self.control(&["kill", "--signal=SIGKILL"], &scope(module, "start"));
        // There is no such scope any more in most cases, and that is a failure to systemctl.
        let _ = Plan { command, folder: "/".into(), ..Plan::default() }.run(None, limits::UNIT_ANSWER);
    }

    /// How a unit stands.
    pub fn ask(&self, unit: &str, limit: Duration) -> Result<UnitState, String> {
        let command = self.control(&["show", "--property=LoadState,ActiveState,SubState,Result"], unit);
        let ran = Plan { command, folder: "/".into(), ..Plan::default() }.run(None, limit)?;
        match &ran {
            Ran { ended: Some(end), .. } if end.well() => UnitState::parse(&ran.output).ok_or_else(|| odd(unit, &ran.output)),
            Ran { ended: Some(end), output } => Err(format!("systemctl show {unit} {end}: {}", shortened(output, limits::SHOWN))),
            Ran { ended: None, .. } => Err(format!("systemd does not answer about {unit} within {}", humantime::format_duration(limit))),
        }
    }
}

fn odd(unit: &str, output: &str) -> String {
    format!("systemctl says of {unit} what is not understood: {}", shortened(output, limits::SHOWN))
}

/// The scope of what a module starts. Only that of `start` has a name that stays: other scripts may outlive their caller.
fn scope(module: &str, action: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    match action {
        "start" => format!("understudy-{module}.scope"),
        _ => format!("understudy-{module}-{action}-{}-{}.scope", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)),
    }
}

/// How a unit stands, in systemd's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `reloading`, `activating`, `deactivating`, `inactive`, `failed`
    pub active: String,
    /// `running`, `exited`, `auto-restart`, …
    pub sub: String,
    /// `success`, `exit-code`, `signal`, `oom-kill`, …
    pub result: String,
}

impl UnitState {
    fn parse(text: &str) -> Option<UnitState> {
        let mut state = UnitState::default();
        for (name, value) in text.lines().filter_map(|line| line.trim().split_once('=')) {
            match name {
                "LoadState" => value.clone_into(&mut state.load),
                "ActiveState" => value.clone_into(&mut state.active),
                "SubState" => value.clone_into(&mut state.sub),
                "Result" => value.clone_into(&mut state.result),
                _ => {}
            }
        }
        (!state.active.is_empty()).then_some(state)
    }

    /// It runs.
    pub fn up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    /// It has ended; on the way is neither up nor over.
    pub fn over(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed" | "maintenance")
    }

    /// For a sentence.
    pub fn words(&self) -> String {
        match (self.load.as_str(), self.result.as_str()) {
            ("not-found", _) => "is unknown to systemd".to_owned(),
            (_, "" | "success") => format!("is {} ({})", self.active, self.sub),
            (_, result) => format!("is {} ({}, {result})", self.active, self.sub),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let up = UnitState::parse("LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\n").unwrap();
        assert!(up.up() && !up.over());
        assert_eq!(up.words(), "is active (running)");
        let failed = UnitState::parse("Result=exit-code\nActiveState=failed\nSubState=failed\nNew=1").unwrap();
        assert!(failed.over() && !failed.up());
        assert_eq!(failed.words(), "is failed (failed, exit-code)");
        assert_eq!(UnitState::parse("nonsense"), None);
    }

    #[test]
    fn only_the_scope_of_start_has_a_name_that_stays() {
        assert_eq!(scope("db", "start"), "understudy-db.scope");
        assert_ne!(scope("db", "stop"), scope("db", "stop"));
    }
}
