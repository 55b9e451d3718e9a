//! `[application]`, and what is executable.

use super::module::Context;
use super::parts;
use crate::config::read::{Section, Value};
use crate::config::{Application, Launch};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);
const MAX_RESTARTS: usize = 3;
const RESTART_WINDOW: Duration = Duration::from_secs(24 * 3600);

pub(super) fn read(section: &Section<'_>, context: &Context<'_>) -> Option<Application> {
    let launch = launch(section, context);
    let time = |key, default| section.get(key).map_or(Some(default), |value| value.duration(false));
    let (start_timeout, stop_timeout) = (time("start_timeout", START), time("stop_timeout", STOP));
    let max_restarts = section.get("max_restarts").map_or(Some(MAX_RESTARTS), |value| value.number(0, 1000));
    let restart_window = time("restart_window", RESTART_WINDOW);
    section.finish();
    Some(Application {
        launch: launch?,
        start_timeout: start_timeout?,
        stop_timeout: stop_timeout?,
        max_restarts: max_restarts?,
        restart_window: restart_window?,
    })
}

/// Exactly one of scripts, program and unit.
fn launch(section: &Section<'_>, context: &Context<'_>) -> Option<Launch> {
    let (start, stop) = (section.get("start"), section.get("stop"));
    let (run, unit) = (section.get("run"), section.get("unit"));
    let scripts = start.is_some() || stop.is_some();
    let ways = usize::from(scripts) + usize::from(run.is_some()) + usize::from(unit.is_some());
    let one = "exactly one of: start and stop (scripts), run (a program), unit (of systemd)";
    if ways != 1 {
        section.wrong(if ways == 0 { "nothing to run" } else { "more than one way to run it" }, one);
    }
    // Each is looked at even if there are too many: all mistakes are told at once.
    let start = start.map(|value| script(&value, context.folder));
    let stop = stop.map(|value| script(&value, context.folder));
    let run = run.map(|value| parts::command(&value, context.folder));
    let unit = unit.map(|value| self::unit(&value));
    if ways != 1 {
        return None;
    }
    if let Some(words) = run {
        return words.map(Launch::Run);
    }
    if let Some(unit) = unit {
        return unit.map(Launch::Unit);
    }
    for (key, given) in [("start", &start), ("stop", &stop)] {
        if given.is_none() {
            section.missing(key, "an executable in the module's folder: start and stop go together");
        }
    }
    Some(Launch::Scripts { start: start??, stop: stop?? })
}

/// An executable in the module's folder.
pub(super) fn script(value: &Value<'_>, folder: &Path) -> Option<PathBuf> {
    let path = folder.join(value.checked("the name of an executable in the module's folder", parts::is_below)?);
    match std::fs::metadata(&path) {
        Ok(metadata) if !metadata.is_file() => value.wrong(format!("{}, which is no regular file", path.display()), "a script"),
        Ok(metadata) if metadata.mode() & 0o100 == 0 => {
            value.wrong(
                format!("{}, which is not executable", path.display()),
                format!("an executable file (chmod 755 {})", path.display()),
            );
        }
        Ok(_) => return Some(path),
        Err(error) => value.wrong(format!("no {} ({error})", path.display()), "an executable file in the module's folder"),
    }
    None
}

/// A unit's name with its type.
pub(super) fn unit(value: &Value<'_>) -> Option<String> {
    value.checked("the name of a unit with its type, such as \"postgresql.service\"", |text| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
        let typed = text.rsplit_once('.').is_some_and(|(name, kind)| !name.is_empty() && !kind.is_empty());
        text.len() <= 255 && !text.starts_with('-') && text.chars().all(plain) && typed
    })
}
