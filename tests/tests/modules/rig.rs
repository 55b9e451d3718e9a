//! A module's folder on a host, as `understudy module create` writes it, and its scripts, called as the daemon calls them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tests::engine::wait_for;
use tests::hosts::Host;

/// One module on one host.
pub struct Rig<'a> {
    pub host: &'a Host,
    folder: PathBuf,
    /// Stand-ins of commands, found before the real ones.
    bin: PathBuf,
    variables: Vec<(String, String)>,
}

/// What a script did.
#[derive(Debug)]
pub struct Said {
    pub good: bool,
    /// Both streams.
    pub text: String,
}

impl Said {
    #[track_caller]
    pub fn must(self) -> Said {
        assert!(self.good, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn must_fail(self) -> Said {
        assert!(!self.good, "succeeded: {}", self.text);
        self
    }

    #[track_caller]
    pub fn saying(self, what: &str) -> Said {
        assert!(self.text.contains(what), "not said: {what}\n{}", self.text);
        self
    }

    #[track_caller]
    pub fn silent_about(self, what: &str) -> Said {
        assert!(!self.text.contains(what), "said: {what}\n{}", self.text);
        self
    }
}

impl<'a> Rig<'a> {
    /// The folder of `template`, with what it shares.
    pub fn new(host: &'a Host, template: &str) -> Rig<'a> {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules");
        let (folder, bin) = (host.dir.join("module"), host.dir.join("bin"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&bin).unwrap();
        for from in [modules.join(template), modules.join("shared")] {
            for entry in fs::read_dir(&from).unwrap_or_else(|e| panic!("{}: {e}", from.display())).flatten() {
                fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
            }
        }
        // The host is a machine that has just booted: nobody has made what belongs into /run.
        host.run(["mount", "-t", "tmpfs", "tmpfs", "/run"]);
        let mut rig = Rig { host, folder, bin, variables: Vec::new() };
        rig.set("UNDERSTUDY_MODULE", "tried");
        rig.set("APP_LOG", &host.dir.join("application.log").display().to_string());
        rig
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn replicated(&mut self, directories: &[&Path]) {
        let words: Vec<_> = directories.iter().map(|dir| dir.display().to_string()).collect();
        self.set("UNDERSTUDY_DIRECTORIES", &words.join(":"));
    }

    /// Runs a script to its end. It also has to let go of its output: a server that kept it would hang the daemon.
    pub fn call(&self, script: &str) -> Said {
        self.call_with(script, &[])
    }

    /// `stop`, as it is called when the clean one took too long.
    pub fn force(&self) -> Said {
        self.call_with("stop", &["UNDERSTUDY_FORCE=1"])
    }

    fn call_with(&self, script: &str, more: &[&str]) -> Said {
        let mut command = self.host.command("env");
        command.arg(format!("PATH={}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.bin.display()));
        command.arg(format!("STAND_IN={}", self.state().display()));
        command.args(self.variables.iter().map(|(name, value)| format!("{name}={value}"))).args(more);
        let output = command.arg(self.folder.join(script)).current_dir("/").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        eprintln!("--- {script} {more:?}: {}\n{text}", output.status);
        Said { good: output.status.success(), text }
    }

    /// Puts a stand-in for a command before the real one; it keeps what it has to remember in `$STAND_IN`.
    pub fn stand_in(&self, command: &str, script: &str) {
        self.program(&self.bin.join(command), script);
    }

    /// Writes an executable shell script anywhere.
    pub fn program(&self, path: &Path, script: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::create_dir_all(self.state()).unwrap();
        let head = format!("#!/bin/sh\nSTAND_IN={}\necho \"$(basename \"$0\") $*\" >> \"$STAND_IN/calls\"\n", self.state().display());
        fs::write(path, head + script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        // Scripts give up their rights before they run some of them.
        fs::set_permissions(self.state(), fs::Permissions::from_mode(0o777)).unwrap();
        let calls = self.state().join("calls");
        if !calls.exists() {
            fs::write(&calls, "").unwrap();
            fs::set_permissions(&calls, fs::Permissions::from_mode(0o666)).unwrap();
        }
    }

    /// Where stand-ins keep what they remember.
    pub fn state(&self) -> PathBuf {
        self.host.dir.join("stand-in")
    }

    /// What the stand-ins were asked, and forgets it.
    pub fn calls(&self) -> String {
        let calls = self.state().join("calls");
        let text = fs::read_to_string(&calls).unwrap();
        fs::write(&calls, "").unwrap();
        text
    }

    /// PIDs, as the host counts, of the living processes of that name. One that is collected between the two looks at it lives
    /// no more: the state must have been read.
    pub fn processes(&self, name: &str) -> Vec<i32> {
        let words = format!(
            "for p in /proc/[0-9]*; do read -r n < $p/comm && [ \"$n\" = {name} ] && grep -qs '^State:.[^ZX]' $p/status && echo ${{p#/proc/}}; done; true"
        );
        let output = self.host.try_run(["sh", "-c", &words]);
        String::from_utf8_lossy(&output.stdout).lines().map(|line| line.parse().unwrap()).collect()
    }

    /// Waits for it: between a start and the first look a shell becomes the program.
    #[track_caller]
    pub fn must_run(&self, name: &str) {
        let runs = wait_for(crate::PATIENCE, || (!self.processes(name).is_empty()).then_some(()));
        assert!(runs.is_some(), "{name} does not run");
    }

    /// Nothing of that name is left, as soon as what was told to end has ended.
    #[track_caller]
    pub fn must_not_run(&self, name: &str) {
        if wait_for(crate::PATIENCE, || self.processes(name).is_empty().then_some(())).is_some() {
            return;
        }
        let listing = self.host.try_run(["ps", "-eo", "pid,ppid,sid,stat,etimes,args"]);
        panic!("{name} runs:\n{}", String::from_utf8_lossy(&listing.stdout));
    }

    /// Sends a signal to processes of the host.
    pub fn signal(&self, signal: &str, pids: &[i32]) {
        let words = pids.iter().map(i32::to_string);
        self.host.run(["kill".to_owned(), format!("-{signal}")].into_iter().chain(words));
    }
}

/// A directory that belongs to `user`.
pub fn directory(host: &Host, name: &str, user: &str) -> PathBuf {
    let dir = host.dir.join(name);
    host.run(["install", "-d", "-m", "700", "-o", user, dir.to_str().unwrap()]);
    dir
}

/// `path` as a word of a command.
pub fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}
