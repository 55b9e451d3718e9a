//! Firebird, the real server.

use crate::LIMIT;
use crate::rig::{Rig, word};
use std::fs;
use std::path::Path;
use tests::lab::scenario;

const DATABASE: &str = "/var/lib/firebird/3.0/data/shop.fdb";

/// A host with Firebird's directories of its own, as a fresh installation has them.
fn story(name: &str, body: impl FnOnce(Rig<'_>) + Send + 'static) {
    scenario(name, LIMIT, |lab| {
        let host = lab.host("a");
        for dir in ["/var/lib/firebird", "/etc/firebird"] {
            let own = host.dir.join(Path::new(dir).strip_prefix("/").unwrap());
            fs::create_dir_all(own.parent().unwrap()).unwrap();
            host.run(["cp", "-a", dir, word(&own)]);
            host.run(["mount", "--bind", word(&own), dir]);
        }
        host.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp"]);
        let mut rig = Rig::new(&host, "firebird");
        // The user, and the database, are made through the files: no server is needed for it.
        let make = format!(
            "set -e; printf \"CREATE OR ALTER USER sysdba PASSWORD 'secret';\\n\" | \
             isql-fb -q -user sysdba /var/lib/firebird/3.0/system/security3.fdb; \
             printf \"CREATE DATABASE '{DATABASE}'; CREATE TABLE t (n INT); COMMIT; INSERT INTO t VALUES (7); COMMIT;\\n\" | isql-fb -q -user sysdba; \
             printf 'ISC_USER=sysdba\\nISC_PASSWORD=secret\\n' > /etc/firebird/3.0/SYSDBA.password"
        );
        host.run(["install", "-d", "-o", "firebird", "-g", "firebird", "-m", "770", "/tmp/firebird"]);
        host.run(["sh", "-c", &make]);
        host.run(["chown", "-R", "firebird:firebird", "/var/lib/firebird/3.0", "/tmp/firebird"]);
        rig.set("FB_DATABASES", DATABASE);
        rig.replicated(&[Path::new("/var/lib/firebird/3.0/data"), Path::new("/var/lib/firebird/3.0/system")]);
        body(rig);
    });
}

fn sql(rig: &Rig<'_>, statement: &str) -> String {
    let words =
        format!("printf 'SET HEADING OFF;\\n{statement};\\n' | isql-fb -q -bail -user sysdba -password secret localhost:{DATABASE}");
    rig.host.run(["sh", "-c", &words]).trim().to_owned()
}

#[test]
fn starts_is_checked_is_forced_recovers_and_stops() {
    story("module-firebird", |rig| {
        rig.call("check-sql").must_fail().saying("does not run");
        rig.call("start").must().saying("Firebird is ready").silent_about("WARNING");
        rig.call("check-sql").must();
        rig.call("start").must().saying("running already");
        assert_eq!(sql(&rig, "SELECT n FROM t"), "7");
        sql(&rig, "INSERT INTO t VALUES (8); COMMIT");
        rig.force().must();
        rig.must_not_run("firebird");
        rig.call("start").must();
        assert_eq!(sql(&rig, "SELECT MAX(n) FROM t"), "8");
        rig.call("stop").must();
        rig.must_not_run("firebird");
        rig.call("stop").must().saying("does not run");
    });
}

#[test]
fn a_server_that_hangs_fails_its_check_and_can_be_forced() {
    story("module-firebird-hangs", |mut rig| {
        rig.set("CHECK_SECONDS", "1");
        rig.call("start").must();
        rig.signal("STOP", &rig.processes("firebird"));
        rig.call("check-sql").must_fail().saying("did not answer");
        rig.force().must();
        rig.must_not_run("firebird");
    });
}

#[test]
fn dangerous_settings_and_other_places_are_reported() {
    story("module-firebird-dangerous", |mut rig| {
        rig.host.run(["gfix", "-write", "async", "-user", "sysdba", DATABASE]);
        let aliases = "/etc/firebird/3.0/databases.conf";
        rig.host.run(["sh", "-c", &format!("echo 'other = /srv/other/other.fdb' >> {aliases}")]);
        let said = rig.call("start").must();
        said.saying("DANGEROUS SETTING forced writes").saying("gfix -write sync").saying("is in /srv/other, which is not replicated");
        rig.call("stop").must();
        rig.set("STRICT", "yes");
        rig.call("start").must_fail();
        rig.must_not_run("firebird");
    });
}
