//! Everything that the demo makes, and that has to be gone at its end.

use super::app::App;
use super::hosts::Host;
use super::node::{MODULE, Node, Places};
use super::show::Show;
use super::{Interrupt, failed, wires};
use crate::args::DemoArgs;
use crate::engine;
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Where the witness listens.
const WITNESS: &str = "10.99.2.9:7409";

/// Fields are dropped in this order: hosts before files.
pub struct Stage {
    pub nodes: [Node; 2],
    /// Switches, witness, clients.
    pub outside: Host,
    witness: Option<Child>,
    pub places: Places,
    pub interrupt: Interrupt,
    work: tempfile::TempDir,
}

impl Stage {
    pub fn set(args: &DemoArgs) -> Result<Stage, Failure> {
        let interrupt = Interrupt::listen()?;
        let exe = std::env::current_exe().map_err(failed("cannot find this program"))?;
        // /tmp is memory on many systems; the data belongs on a disk.
        let base = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let work = tempfile::Builder::new().prefix("understudy-demo-").tempdir_in(&base).map_err(failed("cannot make a work directory"))?;
        let disk = work.path().join("disk");
        let data = disk.join("data");
        let places = Places { exe, config: work.path().join("config"), disk, data, files: args.files, keep: args.keep };
        // A database's user has to reach its directory.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(work.path(), open).map_err(failed("cannot make a work directory"))?;
        for directory in [&places.config, &places.disk, &work.path().join("keys")] {
            fs::create_dir_all(directory).map_err(failed("cannot make the demo's directories"))?;
        }
        let outside = Host::start("outside", &places.exe, args.keep)?;
        wires::switches(&outside)?;
        let first = Node::make(work.path().join("node1"), 0, &places, &outside)?;
        let second = Node::make(work.path().join("node2"), 1, &places, &outside)?;
        let mut stage = Stage { nodes: [first, second], outside, witness: None, places, interrupt, work };
        stage.configure(&args.profile)?;
        stage.start_witness()?;
        Ok(stage)
    }

    fn configure(&self, profile: &str) -> Outcome {
        engine::keygen(&self.places.config.join("cluster.key"))?;
        engine::keygen(&self.places.config.join("witness.key"))?;
        let cannot = failed("cannot write the demo's configuration");
        fs::copy(self.places.config.join("witness.key"), self.path("keys").join("demo.key")).map_err(cannot)?;
        fs::write(self.places.config.join("cluster.toml"), cluster_toml(profile)).map_err(cannot)
    }

    /// The module's folder.
    pub fn module(&self, app: App) -> Outcome {
        let folder = self.places.config.join("modules").join(MODULE);
        let cannot = failed("cannot write the demo's module");
        fs::create_dir_all(&folder).map_err(cannot)?;
        for file in app.files(&self.places)? {
            let path = folder.join(&file.path);
            fs::write(&path, &file.bytes).map_err(cannot)?;
            let mode = if file.executable { 0o755 } else { 0o644 };
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(cannot)?;
        }
        Ok(())
    }

    /// The module's patterns of what is not replicated.
    pub fn excluded(&self) -> Result<Vec<String>, Failure> {
        let file = self.places.config.join("modules").join(MODULE).join("module.toml");
        let text = fs::read_to_string(file).map_err(failed("cannot read the demo's module"))?;
        let module: toml::Table = text.parse().map_err(|why| failed("cannot read the demo's module")(std::io::Error::other(why)))?;
        let patterns =
            module.get("replicate").and_then(|all| all.get(0)).and_then(|one| one.get("exclude")).and_then(|list| list.as_array());
        Ok(patterns.into_iter().flatten().filter_map(|pattern| pattern.as_str().map(str::to_owned)).collect())
    }

    fn start_witness(&mut self) -> Outcome {
        let cannot = failed("cannot start the witness");
        let log = fs::File::create(self.path("witness.log")).map_err(cannot)?;
        let mut command = self.outside.command(&self.places.exe);
        command.arg("--state").arg(self.path("witness")).args(["witness", "--listen", WITNESS, "--keys"]).arg(self.path("keys"));
        self.witness = Some(command.stdout(Stdio::null()).stderr(log).spawn().map_err(cannot)?);
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// A part of the demo, inside a host.
    pub fn part(&self, host: &Host, part: &str) -> Command {
        let mut command = host.command(&self.places.exe);
        command.args(["demo-part", part]);
        command
    }

    /// Leaves everything as it is.
    pub fn keep(mut self, show: &Show) {
        let work = self.work.path().display().to_string();
        let exe = self.places.exe.display().to_string();
        show.say("\nEverything still runs, in hosts of this machine. Look around:");
        for node in &self.nodes {
            let pid = node.host.pid();
            show.say(format!("  {}     nsenter -t {pid} -a sh             its data: {}", node.name(), self.places.data.display()));
            show.say(format!("            log {work}/{}/daemon.log, run directory {}", node.name(), node.run().display()));
        }
        show.say(format!("  outside   nsenter -t {} -a sh             witness, clients, switches", self.outside.pid()));
        show.say(format!("  config    {}   program {exe}", self.places.config.display()));
        let pids: Vec<String> =
            [&self.nodes[0].host, &self.nodes[1].host, &self.outside].iter().map(|host| host.pid().to_string()).collect();
        show.say(format!("Remove all:  kill -9 {}; sleep 2; rm -r {work}", pids.join(" ")));
        self.nodes.iter_mut().for_each(|node| node.host.keep());
        self.outside.keep();
        self.work.disable_cleanup(true);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Kept ones go on: a process that is dropped is not ended.
        if let Some(witness) = self.witness.as_mut().filter(|_| !self.places.keep) {
            let _ = witness.kill();
            let _ = witness.wait();
        }
    }
}

fn cluster_toml(profile: &str) -> String {
    let node = |number: usize| {
        let (first, second) = (wires::address(0, number), wires::address(1, number));
        format!("[[node]]\nname = \"node{}\"\naddresses = [\"{first}\", \"{second}\"]\n\n", number + 1)
    };
    let quorum = format!("[quorum]\nkind = \"witness\"\naddress = \"{WITNESS}\"\nkey_file = \"witness.key\"\n");
    format!("schema = 1\nname = \"demo\"\nkey_file = \"cluster.key\"\nprofile = \"{profile}\"\n\n{}{}{quorum}", node(0), node(1))
}

/// A failure of the demo's own promise.
pub fn broken(what: &str, why: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Failed, what, why, "report this: it must not happen; `understudy demo --keep` leaves everything to look at")
}
