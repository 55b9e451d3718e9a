//! A disk of its own for each host: a file with a file system in it, mounted inside the host only.
//!
//! The hosts share no file system this way, and removing 200,000 files is removing two.

use super::hosts::Host;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Room for the ledger, a journal, and whatever an engine keeps.
const BASE: u64 = 1 << 30;
/// How long a dead host's disk is waited for.
const RELEASE_LOOKS: usize = 500;
const RELEASE_PAUSE: Duration = Duration::from_millis(20);
/// Room for a file of the tree and a copy.
const PER_FILE: u64 = 12 * 1024;

/// Mounts a new disk at `point`. `false` where there are no loop devices: then `point` shows the directory `instead`.
pub fn attach_or(host: &Host, image: &Path, instead: &Path, point: &Path, files: u32) -> bool {
    if attach(host, image, point, files) {
        return true;
    }
    let _ = fs::create_dir_all(instead);
    succeeds(host.command("mount").arg("--bind").arg(instead).arg(point));
    false
}

/// Mounts a disk that was made before: the host was away.
pub fn again(host: &Host, image: &Path, instead: &Path, point: &Path) -> bool {
    if !image.exists() {
        return succeeds(host.command("mount").arg("--bind").arg(instead).arg(point));
    }
    // The kernel lets go of a dead host's mounts in its own time, and a disk must not be mounted twice.
    let free = || answer(Command::new("losetup").arg("--associated").arg(image)).is_none();
    (0..RELEASE_LOOKS).any(|_| {
        free() || {
            std::thread::sleep(RELEASE_PAUSE);
            false
        }
    }) && mount(host, image, point)
}

fn attach(host: &Host, image: &Path, point: &Path, files: u32) -> bool {
    let size = BASE + u64::from(files) * PER_FILE;
    let made = File::create(image).and_then(|file| file.set_len(size)).is_ok() && format(image, files);
    let mounted = made && mount(host, image, point);
    if !mounted {
        let _ = fs::remove_file(image);
    }
    mounted
}

fn mount(host: &Host, image: &Path, point: &Path) -> bool {
    // Direct: otherwise each fsync inside flushes whatever is dirty in the whole image.
    let Some(device) = answer(host.command("losetup").args(["--direct-io=on", "--find", "--show"]).arg(image)) else {
        return false;
    };
    let mounted = succeeds(host.command("mount").args(["-t", "ext4", &device]).arg(point));
    // Takes effect when the host's mounts are gone.
    succeeds(host.command("losetup").args(["--detach", &device]));
    mounted
}

fn answer(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|answer| !answer.is_empty())
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
