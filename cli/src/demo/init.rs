//! The first process of a host: gives it its name and an empty `/run`, collects what has ended, and ends with the demo.

use super::failed;
use crate::output;
use fsrepl::node::options::Outcome;
use rustix::process::{WaitOptions, wait};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;
use std::io::Read;
use std::process::{Command, Stdio};

/// What it says when the host is usable.
pub const UP: &str = "up\n";

/// Runs until the demo's end of its input is closed; with `keep` for ever.
pub fn run(name: &str, keep: bool) -> Outcome {
    let cannot = failed("cannot set up a host");
    let mut ended = Signals::new([SIGCHLD]).map_err(cannot)?;
    std::fs::write("/proc/sys/kernel/hostname", name).map_err(cannot)?;
    // Empty after each boot, and nobody else's.
    for words in ["mount -t tmpfs run /run", "ip link set lo up"] {
        let mut words = words.split(' ');
        let status = words.next().map(|program| Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).status());
        if !status.transpose().map_err(cannot)?.is_some_and(|status| status.success()) {
            return Err(cannot(std::io::Error::other("`mount` or `ip` was refused")));
        }
    }
    output::text(UP);
    if !keep {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
    }
    // Whoever lost its parent became a child of this process.
    loop {
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        ended.wait().for_each(drop);
    }
}
