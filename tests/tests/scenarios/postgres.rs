//! PostgreSQL on the mount: its host is killed under load, the secondary's directory is started,
//! and every acknowledged transaction is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::engine::wait_for;
use tests::hosts::Host;
use tests::lab::scenario;
use tests::pair::Pair;
use tests::sql::{COUNT, Clients, TABLE, must_hold};

const LIMIT: Duration = Duration::from_secs(240);
const START: Duration = Duration::from_secs(60);

struct Database<'a> {
    host: &'a Host,
    data: &'a Path,
    socket: PathBuf,
    server: Option<Child>,
}

fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is missing: run tests/setup");
    let mut found: Vec<_> = versions.flatten().map(|e| e.path().join("bin").join(name)).filter(|p| p.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("{name} is missing: run tests/setup"))
}

impl<'a> Database<'a> {
    fn new(host: &'a Host, data: &'a Path) -> Database<'a> {
        let socket = host.dir.join("socket");
        fs::create_dir_all(&socket).expect("create");
        host.run([Path::new("chown"), Path::new("postgres:"), &socket]);
        Database { host, data, socket, server: None }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = self.host.command("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups", "--"]).arg(program(name));
        command.env("PGHOST", &self.socket).env("PGUSER", "postgres").env("PGDATABASE", "postgres").env("LC_ALL", "C");
        command.current_dir("/");
        command
    }

    fn must(&self, name: &str, words: &[&str]) -> String {
        let output = self.command(name).args(words).stdin(Stdio::null()).output().expect("run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name} {words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn path(&self) -> &str {
        self.data.to_str().expect("a plain name")
    }

    fn start(&mut self) {
        let log = fs::File::create(self.host.dir.with_extension("postgres.log")).expect("create the log");
        let socket = format!("unix_socket_directories={}", self.socket.display());
        let mut command = self.command("postgres");
        command.args(["-D", self.path(), "-c", "listen_addresses=", "-c", &socket, "-c", "shared_buffers=32MB"]);
        command.args(["-c", "max_wal_size=64MB", "-c", "checkpoint_timeout=30s"]);
        self.server = Some(command.stdin(Stdio::null()).stderr(log).spawn().expect("run postgres"));
        let ready = wait_for(START, || self.command("pg_isready").arg("-q").status().is_ok_and(|s| s.success()).then_some(()));
        assert!(ready.is_some(), "PostgreSQL did not start");
    }

    fn stop(&mut self) {
        self.must("pg_ctl", &["stop", "-D", self.path(), "-m", "fast", "-W"]);
        let _ = self.server.take().expect("runs").wait();
    }

    fn sql(&self, statement: &str) -> String {
        self.must("psql", &["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement])
    }
}

fn initialise(host: &Host, dir: &Path) {
    host.run([Path::new("chown"), Path::new("postgres:"), dir]);
    host.run([Path::new("chmod"), Path::new("700"), dir]);
    let database = Database::new(host, dir);
    database.must("initdb", &["-D", database.path(), "--data-checksums", "-A", "trust", "--no-instructions"]);
}

/// Loads, works until some transactions are acknowledged, then cuts the power by `cut`.
fn work(mut database: Database<'_>, cut: impl FnOnce()) -> Vec<u32> {
    database.start();
    database.sql(TABLE);
    database.must("pgbench", &["-i", "-q", "-s", "2"]);
    let mut load = database.command("pgbench");
    let load = load.args(["-n", "-c", "4", "-T", "120"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut load = load.expect("run pgbench");
    let shell = || {
        let mut shell = database.command("psql");
        shell.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        shell
    };
    let clients = Clients::start(3, shell, |n| format!("\\echo {n}"));
    clients.wait_acknowledged(1500, Duration::from_secs(90));
    cut();
    let acknowledged = clients.after_crash();
    let _ = (load.wait(), database.server.take().expect("runs").wait());
    acknowledged
}

fn prove(mut database: Database<'_>, acknowledged: &[u32]) {
    database.start();
    must_hold(&database.sql(COUNT), acknowledged);
    database.must("pg_amcheck", &["--all", "--install-missing", "--heapallindexed"]);
    database.stop();
    database.must("pg_checksums", &["--check", "-D", database.path()]);
}

#[test]
fn postgres_survives_its_host() {
    scenario("postgres", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        initialise(&pair.a, &pair.dir_a);
        let init = pair.a.first_process();
        let acknowledged = work(Database::new(&pair.a, &pair.dir_a), || {
            tests::hosts::kill(init, rustix::process::Signal::KILL);
        });
        pair.secondary().wait_state("WAIT", "uptodate");
        pair.secondary.take().expect("runs").stop();
        prove(Database::new(&pair.b, &pair.dir_b), &acknowledged);
    });
}

#[test]
fn the_proof_works_on_a_plain_directory() {
    scenario("postgres-plain", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let dir = a.dir.join("data");
        fs::create_dir(&dir).expect("create");
        initialise(&a, &dir);
        let init = a.first_process();
        let acknowledged = work(Database::new(&a, &dir), || tests::hosts::kill(init, rustix::process::Signal::KILL));
        prove(Database::new(&b, &dir), &acknowledged);
    });
}
