//! PostgreSQL, the real server.

use crate::LIMIT;
use crate::rig::{Rig, directory, word};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tests::hosts::Host;
use tests::lab::scenario;

const AS: [&str; 5] = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"];

struct Database<'a> {
    rig: Rig<'a>,
    data: PathBuf,
}

impl<'a> Database<'a> {
    fn new(host: &'a Host) -> Database<'a> {
        let data = directory(host, "data", "postgres");
        // The way to the data must be open for its user.
        host.run(["chmod", "755", word(&host.dir)]);
        let database = Database { rig: Rig::new(host, "postgresql"), data };
        database.run("initdb", &["-D", word(&database.data), "-A", "trust", "--no-instructions"]);
        database.configure("listen_addresses = ''\nshared_buffers = 16MB\n");
        let mut database = database;
        database.rig.set("PG_DATA", word(&database.data));
        database.rig.replicated(&[&database.data.clone()]);
        database
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let find = format!("set -- /usr/lib/postgresql/*/bin/{program}; echo \"$1\"");
        let program = self.rig.host.run(["sh", "-c", &find]).trim().to_owned();
        self.rig.host.run(AS.iter().copied().chain([program.as_str()]).chain(arguments.iter().copied()))
    }

    fn configure(&self, lines: &str) {
        let mut file = fs::File::options().append(true).open(self.data.join("postgresql.conf")).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
    }

    fn sql(&self, statement: &str) -> String {
        self.run("psql", &["-X", "-q", "-A", "-t", "-h", "/var/run/postgresql", "-d", "postgres", "-c", statement]).trim().to_owned()
    }

    fn control(&self) -> String {
        self.run("pg_controldata", &["-D", word(&self.data)])
    }

    fn postmaster(&self) -> i32 {
        fs::read_to_string(self.data.join("postmaster.pid")).unwrap().lines().next().unwrap().parse().unwrap()
    }
}

fn story(name: &str, body: impl FnOnce(Database<'_>) + Send + 'static) {
    scenario(name, LIMIT, |lab| {
        let host = lab.host("a");
        body(Database::new(&host));
    });
}

#[test]
fn starts_is_checked_is_forced_recovers_and_stops() {
    story("module-postgresql", |database| {
        let rig = &database.rig;
        rig.call("check-sql").must_fail().saying("not running");
        rig.call("start").must().saying("PostgreSQL is ready").silent_about("WARNING");
        rig.call("check-sql").must();
        rig.call("start").must().saying("running already");
        database.sql("CREATE TABLE t (n INT)");
        database.sql("INSERT INTO t VALUES (7)");
        rig.force().must().saying("has stopped");
        rig.must_not_run("postgres");
        assert!(database.control().contains("in production"), "a forced stop leaves work for recovery");
        rig.call("start").must();
        assert_eq!(database.sql("SELECT n FROM t"), "7");
        rig.call("stop").must().saying("stopping PostgreSQL (fast)").silent_about("are ended");
        rig.must_not_run("postgres");
        assert!(database.control().contains("shut down"), "{}", database.control());
        rig.call("stop").must().saying("does not run");
    });
}

#[test]
fn a_clean_stop_does_not_wait_for_clients() {
    story("module-postgresql-clients", |database| {
        database.rig.call("start").must();
        let mut client = database.rig.host.command(AS[0]);
        client.args(&AS[1..]).args(["psql", "-X", "-h", "/var/run/postgresql", "-d", "postgres", "-c"]);
        client.arg("BEGIN; CREATE TABLE u (n INT); SELECT pg_sleep(600)");
        let mut client = client.stderr(std::process::Stdio::null()).spawn().unwrap();
        let busy = || database.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
        assert!(tests::engine::wait_for(crate::PATIENCE, || busy().then_some(())).is_some(), "the client does not work");
        database.rig.call("stop").must();
        database.rig.must_not_run("postgres");
        assert!(!client.wait().unwrap().success());
    });
}

#[test]
fn a_server_that_hangs_fails_its_check_and_can_be_forced() {
    story("module-postgresql-hangs", |mut database| {
        database.rig.set("CHECK_SECONDS", "1");
        database.rig.call("start").must();
        database.rig.signal("STOP", &database.rig.processes("postgres"));
        database.rig.call("check-sql").must_fail().saying("did not answer 'SELECT 1' within 1 s");
        database.rig.force().must();
        database.rig.must_not_run("postgres");
        database.rig.call("start").must();
        database.rig.call("check-sql").must();
    });
}

#[test]
fn dangerous_settings_are_reported_or_refused() {
    story("module-postgresql-dangerous", |mut database| {
        database.configure("fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n");
        let said = database.rig.call("start").must();
        let said = said.saying("DANGEROUS SETTING fsync = off").saying("DANGEROUS SETTING full_page_writes = off");
        said.saying("DANGEROUS SETTING synchronous_commit = off").saying("postgresql.conf");
        database.rig.call("stop").must();
        database.rig.set("STRICT", "yes");
        database.rig.call("start").must_fail().saying("3 problem(s)").saying("not started");
        database.rig.must_not_run("postgres");
        database.configure("fsync = on\nfull_page_writes = on\nsynchronous_commit = on\n");
        database.rig.call("start").must().silent_about("DANGEROUS");
        // Of one user: seen by asking the server.
        database.sql("ALTER USER postgres SET synchronous_commit = off");
        database.rig.call("start").must().saying("DANGEROUS SETTING of a user or database");
    });
}

#[test]
fn what_lies_elsewhere_is_named() {
    story("module-postgresql-elsewhere", |mut database| {
        let (space, wal) = (directory(database.rig.host, "space", "postgres"), database.rig.host.dir.join("wal"));
        database.rig.call("start").must();
        database.sql(&format!("CREATE TABLESPACE s LOCATION '{}'", space.display()));
        database.rig.call("stop").must();
        let inside = database.data.join("pg_wal");
        database.rig.host.run(["mv", word(&inside), word(&wal)]);
        std::os::unix::fs::symlink(&wal, &inside).unwrap();
        let said = database.rig.call("start").must();
        said.saying(&format!("the write-ahead log is in {}, which is not replicated", wal.display()))
            .saying(&format!("is in {}, which is not replicated", space.display()));
        database.rig.call("stop").must();
        let data = database.data.clone();
        database.rig.replicated(&[&data, &space, &wal]);
        database.rig.call("start").must().silent_about("not replicated");
    });
}

#[test]
fn what_a_crash_left_does_not_keep_it_from_starting() {
    story("module-postgresql-leftovers", |database| {
        let rig = &database.rig;
        rig.call("start").must();
        rig.signal("KILL", &[database.postmaster()]);
        // Its processes may go on: they hold the shared memory.
        rig.call("start").must().saying("PostgreSQL is ready");
        rig.force().must();
        // Another node's past: a PID that somebody else has here, and files of sorts.
        let sleeper = rig.host.command("setpriv").args(&AS[1..]).args(["sleep", "600"]).spawn().unwrap();
        let there = tests::engine::wait_for(crate::PATIENCE, || rig.processes("sleep").first().copied()).unwrap();
        fs::write(database.data.join("postmaster.pid"), format!("{there}\n{}\n", database.data.display())).unwrap();
        let sorts = database.data.join("base/pgsql_tmp");
        fs::create_dir_all(&sorts).unwrap();
        fs::write(sorts.join("pgsql_tmp1.0"), "x").unwrap();
        rig.call("start").must();
        assert!(!sorts.join("pgsql_tmp1.0").exists());
        rig.must_run("sleep");
        rig.call("stop").must();
        rig.signal("KILL", &[there]);
        let _ = { sleeper }.wait();
    });
}

#[test]
fn progress_is_told_while_it_starts() {
    story("module-postgresql-progress", |mut database| {
        database.rig.set("PROGRESS", "0");
        database.rig.call("start").must().saying("PostgreSQL is not ready yet after").saying("PostgreSQL is ready");
    });
}

#[test]
fn it_can_be_forced_when_its_data_is_cut_off() {
    story("module-postgresql-cut-off", |database| {
        database.rig.call("start").must();
        // Nothing of the directory is seen any more.
        database.rig.host.run(["mount", "-t", "tmpfs", "tmpfs", word(&database.data)]);
        database.rig.call("stop").must_fail().saying("holds no PostgreSQL data");
        database.rig.must_run("postgres");
        database.rig.force().must();
        database.rig.must_not_run("postgres");
    });
}

#[test]
fn errors_say_what_to_do() {
    story("module-postgresql-errors", |mut database| {
        database.configure("shared_buffers = nonsense\n");
        database.rig.call("start").must_fail().saying("configuration is not accepted").saying("shared_buffers");
        database.rig.set("PG_DATA", "/nowhere");
        database.rig.call("start").must_fail().saying("/nowhere holds no PostgreSQL data").saying("initdb");
        database.rig.set("PG_DATA", word(Path::new("")));
        database.rig.call("start").must_fail().saying("PG_DATA is not set");
    });
}
