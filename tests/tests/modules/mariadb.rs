//! MariaDB, the real server; and MySQL's scripts, with MariaDB in the place of MySQL.

use crate::LIMIT;
use crate::rig::{Rig, directory, word};
use std::fs;
use std::path::PathBuf;
use tests::hosts::Host;
use tests::lab::scenario;

struct Database<'a> {
    rig: Rig<'a>,
    data: PathBuf,
}

impl<'a> Database<'a> {
    fn new(host: &'a Host, template: &str) -> Database<'a> {
        let data = directory(host, "data", "mysql");
        let temporary = directory(host, "temporary", "mysql");
        host.run(["chmod", "755", word(&host.dir)]);
        // Servers of two hosts may have one PID, and with it the same names in a common /tmp.
        let own = format!("TMPDIR={}", temporary.display());
        let install = [
            "env",
            &own,
            "mariadb-install-db",
            "--no-defaults",
            "--user=mysql",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ];
        host.run(install.map(str::to_owned).into_iter().chain([format!("--datadir={}", data.display())]));
        let mut database = Database { rig: Rig::new(host, template), data };
        database.rig.set("MYSQL_DATA", word(&database.data));
        database.rig.set("MYSQL_SOCKET", "/run/mysqld/mysqld.sock");
        database.rig.set("MYSQL_CONFIG", word(&host.dir.join("my.cnf")));
        database.rig.replicated(&[&database.data.clone()]);
        database.configure(&format!("skip-networking\ninnodb_buffer_pool_size = 32M\ntmpdir = {}\n", temporary.display()));
        database
    }

    fn configure(&self, lines: &str) {
        let path = self.rig.host.dir.join("my.cnf");
        let before = fs::read_to_string(&path).unwrap_or_else(|_| "[mysqld]\n".to_owned());
        fs::write(path, before + lines).unwrap();
    }

    fn sql(&self, statement: &str) -> String {
        let words = ["mariadb", "--no-defaults", "--user=root", "-BN", "--socket=/run/mysqld/mysqld.sock", "-e", statement];
        self.rig.host.run(words).trim().to_owned()
    }
}

fn story(name: &str, template: &'static str, body: impl FnOnce(Database<'_>) + Send + 'static) {
    scenario(name, LIMIT, move |lab| {
        let host = lab.host("a");
        body(Database::new(&host, template));
    });
}

fn whole_life(database: &Database<'_>, process: &str) {
    let rig = &database.rig;
    rig.call("check-sql").must_fail();
    rig.call("start").must().saying("is ready").silent_about("WARNING");
    rig.must_run(process);
    rig.call("check-sql").must();
    rig.call("start").must().saying("running already");
    database.sql("CREATE DATABASE w; CREATE TABLE w.t (n INT) ENGINE=InnoDB; INSERT INTO w.t VALUES (7)");
    rig.force().must().saying("has stopped");
    rig.must_not_run(process);
    fs::write(database.data.join("old.pid"), "1\n").unwrap();
    rig.call("start").must();
    assert!(!database.data.join("old.pid").exists());
    assert_eq!(database.sql("SELECT n FROM w.t"), "7");
    rig.call("stop").must();
    rig.must_not_run(process);
    rig.call("stop").must().saying("does not run");
}

#[test]
fn starts_is_checked_is_forced_recovers_and_stops() {
    story("module-mariadb", "mariadb", |database| whole_life(&database, "mariadbd"));
}

#[test]
fn mysql_with_a_stand_in() {
    // Debian's MariaDB answers to MySQL's names as well.
    story("module-mysql", "mysql", |database| whole_life(&database, "mysqld"));
}

#[test]
fn a_server_that_hangs_fails_its_check_and_can_be_forced() {
    story("module-mariadb-hangs", "mariadb", |mut database| {
        database.rig.set("CHECK_SECONDS", "1");
        database.rig.call("start").must();
        database.rig.signal("STOP", &database.rig.processes("mariadbd"));
        database.rig.call("check-sql").must_fail().saying("did not answer 'SELECT 1' within 1 s");
        database.rig.force().must();
        database.rig.must_not_run("mariadbd");
        database.rig.call("start").must();
        database.rig.call("check-sql").must();
    });
}

#[test]
fn it_can_be_forced_when_its_data_is_cut_off() {
    story("module-mariadb-cut-off", "mariadb", |database| {
        database.rig.call("start").must();
        database.rig.host.run(["mount", "-t", "tmpfs", "tmpfs", word(&database.data)]);
        database.rig.force().must();
        database.rig.must_not_run("mariadbd");
    });
}

#[test]
fn dangerous_settings_are_reported_or_refused() {
    story("module-mariadb-dangerous", "mariadb", |mut database| {
        let logs = directory(database.rig.host, "logs", "mysql");
        database.configure("innodb_flush_log_at_trx_commit = 2\ninnodb_doublewrite = OFF\nsync_binlog = 0\n");
        database.configure(&format!("log_bin = {}/bin\n", logs.display()));
        let said = database.rig.call("start").must();
        let said = said.saying("DANGEROUS SETTING innodb_flush_log_at_trx_commit = 2").saying("DANGEROUS SETTING innodb_doublewrite = OFF");
        let said = said.saying("DANGEROUS SETTING sync_binlog = 0");
        said.saying(&format!("the binary log is in {}, which is not replicated", logs.display()));
        database.sql("CREATE DATABASE w; CREATE TABLE w.fragile (n INT) ENGINE=MyISAM");
        database.rig.call("start").must().saying("w.fragile");
        database.rig.call("stop").must();
        database.rig.set("STRICT", "yes");
        database.rig.call("start").must_fail().saying("4 problem(s)");
        database.rig.must_not_run("mariadbd");
    });
}

#[test]
fn tables_elsewhere_are_named() {
    story("module-mariadb-elsewhere", "mariadb", |mut database| {
        let elsewhere = directory(database.rig.host, "elsewhere", "mysql");
        database.rig.call("start").must();
        database.sql(&format!("CREATE DATABASE w; CREATE TABLE w.t (n INT) ENGINE=InnoDB DATA DIRECTORY='{}'", elsewhere.display()));
        database.rig.call("stop").must();
        database.rig.call("start").must().saying("which is not replicated").saying(word(&elsewhere));
        database.rig.call("stop").must();
        let data = database.data.clone();
        database.rig.replicated(&[&data, &elsewhere]);
        database.rig.call("start").must().silent_about("not replicated");
    });
}

#[test]
fn a_refused_login_is_told_from_a_dead_server() {
    story("module-mariadb-login", "mariadb", |mut database| {
        database.rig.call("start").must();
        database.sql("ALTER USER root@localhost IDENTIFIED BY 'secret'");
        database.rig.call("check-sql").must_fail().saying("refuses the login").saying("MYSQL_LOGIN");
        let login = database.rig.host.dir.join("login");
        fs::write(&login, "[client]\nuser = root\npassword = secret\n").unwrap();
        database.rig.set("MYSQL_LOGIN", word(&login));
        database.rig.call("check-sql").must();
        database.rig.call("stop").must();
    });
}
