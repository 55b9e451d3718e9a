//! A disk of its own for each host: a file with a file system in it, mounted inside the host only.
//!
//! The hosts share no file system this way, and removing 200,000 files is removing two.

use super::hosts::Host;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// Room for the ledger, a journal, and whatever an engine keeps.
const BASE: u64 = 1 << 30;
/// Room for a file of the tree and a copy.
const PER_FILE: u64 = 12 * 1024;

/// Mounts a new disk at `point`. `false`, with nothing left behind, where there are no loop devices:
/// then the host's data is in the directory itself.
pub fn attach(host: &Host, image: &Path, point: &Path, files: u32) -> bool {
    let size = BASE + u64::from(files) * PER_FILE;
    let made = File::create(image).and_then(|file| file.set_len(size)).is_ok() && format(image, files);
    let mounted = made && succeeds(host.command("mount").args(["-t", "ext4", "-o", "loop"]).args([image, point]));
    if !mounted {
        let _ = fs::remove_file(image);
    }
    mounted
}

fn format(image: &Path, files: u32) -> bool {
    let inodes = (u64::from(files) * 5 / 4 + 50_000).to_string();
    let options = ["-q", "-F", "-m", "0", "-N", &inodes, "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"];
    succeeds(Command::new("mkfs.ext4").args(options.map(OsStr::new)).arg(image))
}

fn succeeds(command: &mut Command) -> bool {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}
