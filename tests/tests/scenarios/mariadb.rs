//! MariaDB with InnoDB on the mount: the same story as PostgreSQL's.

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
const START: Duration = Duration::from_secs(90);

struct Database<'a> {
    host: &'a Host,
    data: &'a Path,
    socket: PathBuf,
}

impl<'a> Database<'a> {
    fn new(host: &'a Host, data: &'a Path) -> Database<'a> {
        let places = host.dir.join("mariadb");
        fs::create_dir_all(&places).expect("create");
        host.run([Path::new("chown"), Path::new("mysql:"), &places]);
        Database { host, data, socket: places.join("socket") }
    }

    fn initialise(&self) {
        self.host.run([Path::new("chown"), Path::new("mysql:"), self.data]);
        let mut command = self.host.command("mariadb-install-db");
        command.args(["--no-defaults", "--user=mysql", "--skip-test-db", "--auth-root-authentication-method=normal"]);
        command.arg(format!("--datadir={}", self.data.display())).arg(self.temporary());
        let output = command.output().expect("run mariadb-install-db");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mariadb-install-db: {text}");
    }

    /// Temporary tables are named by process id, which servers in different hosts share: not in one /tmp.
    fn temporary(&self) -> String {
        format!("--tmpdir={}", self.socket.parent().expect("it lies in a directory").display())
    }

    fn start(&self) -> Child {
        let log = fs::File::create(self.host.dir.with_extension("mariadb.log")).expect("create the log");
        let mut command = self.host.command("mariadbd");
        command.args(["--no-defaults", "--user=mysql", "--skip-networking", "--innodb-buffer-pool-size=64M"]);
        command.args(["--innodb-flush-log-at-trx-commit=1", "--innodb-log-file-size=32M", "--innodb-flush-method=O_DIRECT"]);
        command.arg(format!("--datadir={}", self.data.display())).arg(format!("--socket={}", self.socket.display()));
        command.arg(format!("--pid-file={}", self.socket.with_extension("pid").display())).arg(self.temporary());
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("run mariadbd");
        let ready = wait_for(START, || {
            let answer = self.shell().args(["-e", "SELECT 1"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
            answer.is_ok_and(|s| s.success()).then_some(())
        });
        assert!(ready.is_some(), "MariaDB did not start");
        server
    }

    fn shell(&self) -> Command {
        let mut command = self.host.command("mariadb");
        command.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--unbuffered"]);
        command.arg(format!("--socket={}", self.socket.display()));
        command
    }

    fn sql(&self, statement: &str) -> String {
        let output = self.shell().args(["-e", statement]).output().expect("run mariadb");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn work(database: &Database<'_>, cut: impl FnOnce()) -> Vec<u32> {
    database.initialise();
    let mut server = database.start();
    database.sql("CREATE DATABASE work;");
    database.sql(&format!("USE work; {TABLE}"));
    let shell = || {
        let mut shell = database.shell();
        shell.arg("work");
        shell
    };
    let clients = Clients::start(4, shell, |n| format!("SELECT {n};"));
    clients.wait_acknowledged(1500, Duration::from_secs(90));
    cut();
    let acknowledged = clients.after_crash();
    let _ = server.wait();
    acknowledged
}

fn prove(database: &Database<'_>, acknowledged: &[u32]) {
    let mut server = database.start();
    must_hold(&database.sql(&format!("USE work; {COUNT}")), acknowledged);
    let table = database.sql("CHECK TABLE work.ledger EXTENDED;");
    assert!(table.trim_end().ends_with("OK"), "{table}");
    database.sql("SHUTDOWN;");
    let _ = server.wait();
    let file = database.data.join("work/ledger.ibd");
    database.host.run([Path::new("innochecksum"), &file]);
}

#[test]
fn mariadb_survives_its_host() {
    scenario("mariadb", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        let init = pair.a.first_process();
        let acknowledged = work(&Database::new(&pair.a, &pair.dir_a), || {
            tests::hosts::kill(init, rustix::process::Signal::KILL);
        });
        pair.secondary().wait_state("WAIT", "uptodate");
        pair.secondary.take().expect("runs").stop();
        prove(&Database::new(&pair.b, &pair.dir_b), &acknowledged);
    });
}

#[test]
fn the_proof_works_on_a_plain_directory() {
    scenario("mariadb-plain", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let dir = a.dir.join("data");
        fs::create_dir(&dir).expect("create");
        let init = a.first_process();
        let acknowledged = work(&Database::new(&a, &dir), || tests::hosts::kill(init, rustix::process::Signal::KILL));
        prove(&Database::new(&b, &dir), &acknowledged);
    });
}
