//! The end of what does not stop: first what was started here, then everything that holds the module's directories.

use crate::module::limits;
use crate::module::output::{Log, say};
use crate::module::process::{Identity, Stat, session, signal_one, signal_session};
use fsrepl::node::holders::{Holder, How, holders};
use rustix::process::Signal;
use std::path::PathBuf;
use std::thread;

/// Kills the sessions of `leaders` and what holds `directories`, but nobody in `spared`, this process and the first one.
/// Each is named in the log. Gives back who is still there after [`limits::KILL_ROUNDS`] rounds.
pub fn sweep(leaders: &[Identity], directories: &[PathBuf], spared: &dyn Fn() -> Vec<u32>, log: &Log) -> Vec<Holder> {
    let mut pause = limits::KILL_PAUSE;
    let mut named = Vec::new();
    let mut left = Vec::new();
    for _ in 0..limits::KILL_ROUNDS {
        left = round(leaders, directories, spared, log, &mut named);
        if left.is_empty() {
            break;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(limits::KILL_PAUSE_MAX);
    }
    left
}

fn round(
    leaders: &[Identity],
    directories: &[PathBuf],
    spared: &dyn Fn() -> Vec<u32>,
    log: &Log,
    named: &mut Vec<Identity>,
) -> Vec<Holder> {
    let spared = spared();
    let mut found = Vec::new();
    for &leader in leaders {
        found.extend(session(leader).into_iter().map(member));
        signal_session(leader, Signal::KILL);
    }
    let foreign = |holder: &Holder| holder.pid != 1 && holder.pid != std::process::id() && !spared.contains(&holder.pid);
    for holder in directories.iter().flat_map(|directory| holders(directory)).filter(foreign) {
        // What has ended since holds nothing.
        let Some(stat) = Stat::read(holder.pid).filter(|stat| !stat.over()) else { continue };
        let process = Identity { pid: stat.pid, start: stat.start };
        if !named.contains(&process) {
            say(log, format!("kills {holder}: it holds what the module replicates"));
            named.push(process);
        }
        signal_one(process, Signal::KILL);
        if found.iter().all(|other: &Holder| other.pid != holder.pid) {
            found.push(holder);
        }
    }
    found
}

fn member(stat: Stat) -> Holder {
    let place = std::fs::read_link(format!("/proc/{}/cwd", stat.pid)).unwrap_or_default();
    Holder { pid: stat.pid, command: stat.name, how: How::WorkingDirectory(place) }
}
