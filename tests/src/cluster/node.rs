//! One node: its host, its daemon, and what is done to them.

use super::control;
use super::{MODULE, SECOND, setup};
use crate::engine::{PATIENCE, wait_for};
use crate::hosts::{Host, kill, nic};
use crate::lab::understudy;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// For an order to a daemon: the module's thread may be ending a session.
const ORDER: Duration = Duration::from_secs(30);

/// A node.
pub struct Node {
    /// Its name, as in `cluster.toml`.
    pub name: &'static str,
    /// Its machine.
    pub host: Host,
    /// The replicated directories, the same paths on both hosts.
    pub data: Vec<PathBuf>,
    /// Boots so far: another one is another boot id.
    pub boots: u32,
    daemon: Option<Child>,
}

impl Node {
    /// A node on a host that is up and has its network.
    pub fn new(name: &'static str, host: Host, data: &[PathBuf], boots: u32) -> Node {
        for place in ["config", "state", "run"] {
            fs::create_dir_all(host.dir.join(place)).expect("create the node's places");
        }
        for place in data {
            let own = host.dir.join(place.file_name().expect("a directory has a name"));
            fs::create_dir_all(&own).expect("create what is replicated");
            // The same path on both nodes, another directory.
            host.run([Path::new("mount"), Path::new("--bind"), &own, place]);
        }
        Node { name, host, data: data.to_owned(), boots, daemon: None }
    }

    /// Writes its configuration.
    pub fn configure(&self, setup: &setup::Setup, places: &setup::Places) {
        setup::write(setup, places);
        for number in 0..setup.modules {
            for directory in setup::directories(setup, &self.all_bare(), number) {
                fs::create_dir_all(directory).expect("create what is replicated");
            }
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.host.dir.join(name)
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub fn start_daemon(&mut self) {
        let path = self.host.dir.with_file_name(format!("{}-daemon.log", self.name));
        let log = fs::File::options().create(true).append(true).open(&path).expect("open the daemon's log");
        let ready = || fs::read_to_string(&path).unwrap_or_default().lines().filter(|&line| line == "ready").count();
        let before = ready();
        let mut command = self.host.command(understudy());
        command.env("NO_COLOR", "1").env("UNDERSTUDY_TEST_BOOT_ID", format!("{}-{}", self.name, self.boots));
        for place in ["config", "state", "run"] {
            command.arg(format!("--{place}")).arg(self.place(place));
        }
        command.args(["daemon", "--node", self.name]).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("share the log")).stderr(log);
        self.daemon = Some(command.spawn().expect("run nsenter"));
        assert!(wait_for(PATIENCE, || (ready() > before).then_some(())).is_some(), "{}: the daemon does not start", self.name);
    }

    /// Asks the daemon.
    pub fn ask(&self, verb: &str, args: &Value) -> Result<Value, String> {
        control::call(&self.place("run/node"), "daemon", verb, args, ORDER)
    }

    /// A command of the node's operator, which must succeed; what it prints.
    pub fn operate<S: AsRef<str>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let places = ["config", "state", "run"].map(|name| [format!("--{name}"), self.place(name).display().to_string()]);
        let words = words.into_iter().map(|word| word.as_ref().to_owned());
        self.host.run(std::iter::once(understudy().display().to_string()).chain(words).chain(places.concat()))
    }

    /// An order about the module, which must be carried out.
    pub fn order(&self, verb: &str, mut args: Value) -> Value {
        args["module"] = json!(MODULE);
        self.ask(verb, &args).unwrap_or_else(|why| panic!("{}: {verb}: {why}", self.name))
    }

    /// The same on this node only.
    pub fn order_here(&self, verb: &str) -> Value {
        self.order(verb, json!({ "node": self.name }))
    }

    /// What the daemon shows of the module; null while it does not answer.
    pub fn shown(&self) -> Value {
        self.ask("status", &json!({ "module": MODULE })).map_or(Value::Null, |status| status["modules"][0].clone())
    }

    /// The module's state here.
    pub fn state(&self) -> String {
        self.shown()["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until `fits` says so of what is shown.
    pub fn wait(&self, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + limit;
        loop {
            let shown = self.shown();
            if fits(&shown) {
                return shown;
            }
            assert!(Instant::now() < end, "{}: not {what} within {limit:?}: {shown:#}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a state.
    pub fn wait_state(&self, state: &str, limit: Duration) -> Value {
        self.wait(state, limit, |shown| shown["state"] == state)
    }

    /// Waits until the module's phase is this one.
    pub fn wait_phase(&self, phase: &str, limit: Duration) -> Value {
        self.wait(phase, limit, |shown| shown["phase"] == phase)
    }

    fn find(&self, what: &str) -> Option<i32> {
        let all = self.host.processes();
        all.into_iter().find(|(_, line)| line.contains(what)).map(|(pid, _)| pid)
    }

    /// The engine of the module's second directory.
    pub fn second_engine(&self) -> Option<i32> {
        self.find(&format!("{MODULE}:{SECOND}.engine.json"))
    }

    /// The module's engine; of several directories, that of any.
    pub fn engine(&self) -> Option<i32> {
        self.find(" engine ")
    }

    /// The application.
    pub fn application(&self) -> Option<i32> {
        self.find(" till ")
    }

    /// The daemon.
    pub fn daemon(&self) -> Option<i32> {
        self.find(" daemon ")
    }

    /// SIGKILL to one of them, which must be there.
    pub fn kill(&self, which: &str) {
        let pid = match which {
            "engine" => self.engine(),
            "second engine" => self.second_engine(),
            "application" => self.application(),
            "daemon" => self.daemon(),
            _ => None,
        };
        kill(pid.unwrap_or_else(|| panic!("{}: no {which}", self.name)), Signal::KILL);
    }

    /// SIGKILL to the daemon; waits for its end.
    pub fn kill_daemon(&mut self) {
        self.kill("daemon");
        self.wait_daemon();
    }

    /// SIGTERM to the daemon; waits for its end.
    pub fn end_daemon(&mut self) {
        kill(self.daemon().expect("the daemon runs"), Signal::TERM);
        self.wait_daemon();
    }

    fn wait_daemon(&mut self) {
        let mut child = self.daemon.take().expect("the daemon was started");
        assert!(wait_for(PATIENCE, || child.try_wait().expect("wait for a child")).is_some(), "{}: the daemon does not end", self.name);
    }

    /// SIGSTOP to everything on the host but its first process.
    pub fn freeze(&self) {
        // What is started between two looks is stopped at the next.
        for _ in 0..3 {
            self.host.processes().iter().for_each(|&(pid, _)| kill(pid, Signal::STOP));
        }
    }

    /// SIGCONT to everything.
    pub fn thaw(&self) {
        self.host.processes().iter().for_each(|&(pid, _)| kill(pid, Signal::CONT));
        // nsenter stops itself along with its child.
        if let Some(child) = &self.daemon {
            kill(child.id() as i32, Signal::CONT);
        }
    }

    /// The host ends at once; what survives is its disk.
    pub fn power_off(&mut self) {
        self.host.power_off();
        if let Some(mut child) = self.daemon.take() {
            let _ = child.wait();
        }
        let run = self.place("run");
        let _ = fs::remove_dir_all(&run);
    }

    /// The replicated directory (of several, the first) as it is on the disk, beneath any mount.
    pub fn bare(&self) -> PathBuf {
        self.all_bare().swap_remove(0)
    }

    /// The same of all.
    pub fn all_bare(&self) -> Vec<PathBuf> {
        self.data.iter().map(|place| self.host.dir.join(place.file_name().expect("a directory has a name"))).collect()
    }

    /// The replicated directory (of several, the first) as the host sees it.
    pub fn seen(&self) -> PathBuf {
        self.host.view(&self.data[0])
    }

    /// The same of all.
    pub fn all_seen(&self) -> Vec<PathBuf> {
        self.data.iter().map(|place| self.host.view(place)).collect()
    }

    /// Name of its interface of that number.
    pub fn interface(&self, number: u8) -> String {
        nic(number)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.host.power_off();
        if let Some(mut child) = self.daemon.take() {
            let _ = child.wait();
        }
    }
}
