//! Suites of others on the mount: pjdfstest (names, attributes, permissions) and fsx (contents,
//! mappings). They pass on the plain directory, so they must pass on the mount.

use std::fs;
use std::path::Path;
use std::time::Duration;
use tests::hosts::Host;
use tests::lab::{scenario, tool};
use tests::pair::Pair;
use tests::rng::seed;

const LIMIT: Duration = Duration::from_secs(300);

/// Users that every Debian has stand in for the suite's own.
const PJDFSTEST: &str = r#"
[features]
posix_fallocate = {}
utimensat = {}
utime_now = {}
rename_ctime = {}
[settings]
naptime = 0.05
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"#;

const FSX: &str = r#"
flen = 262144
[opsize]
max = 65536
[weights]
close_open = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 1
truncate = 3
fsync = 0.2
fdatasync = 0.2
posix_fallocate = 1
punch_hole = 3
sendfile = 1
copy_file_range = 3
"#;

/// Runs the suite at a short path: the names of its sockets must fit into 108 bytes.
fn pjdfstest(host: &Host, dir: &Path) {
    let short = Path::new("/mnt");
    host.run([Path::new("mount"), Path::new("--bind"), dir, short]);
    pjdfstest_at(host, short);
    host.run([Path::new("umount"), short]);
}

fn pjdfstest_at(host: &Host, dir: &Path) {
    let config = host.dir.join("pjdfstest.toml");
    fs::write(&config, PJDFSTEST).expect("write");
    let output = host.try_run([tool("pjdfstest").as_path(), Path::new("-c"), &config, Path::new("-p"), dir]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let summary = text.lines().find(|line| line.starts_with("Summary:")).unwrap_or_else(|| panic!("no summary: {text}"));
    let failed: Vec<_> = text.lines().filter(|line| line.trim_end().ends_with("FAILED")).collect();
    assert!(output.status.success() && summary.contains(" 0 failed"), "{summary}\n{}\n", failed.join("\n"));
    eprintln!("pjdfstest on {}: {summary}", dir.display());
}

fn fsx(host: &Host, dir: &Path, seed: u64) {
    let config = host.dir.join("fsx.toml");
    fs::write(&config, FSX).expect("write");
    let artifacts = host.dir.join("fsx");
    fs::create_dir_all(&artifacts).expect("create");
    let seed = (seed & 0x7fff_ffff).to_string();
    let file = dir.join("fsx-file");
    let mut command = host.command(tool("fsx"));
    command.args(["-N", "10000", "-S", &seed, "-f"]).arg(config).arg("-P").arg(&artifacts).arg(file);
    let output = command.output().expect("run fsx");
    let log = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "fsx -S {seed}: {log}");
}

#[test]
fn the_suites_pass_on_a_plain_directory() {
    scenario("posix-plain", LIMIT, |lab| {
        let host = lab.host("a");
        let dir = host.dir.join("plain");
        fs::create_dir(&dir).expect("create");
        pjdfstest(&host, &dir);
        fsx(&host, &dir, seed("fsx"));
    });
}

#[test]
fn pjdfstest_on_the_mount() {
    scenario("pjdfstest", LIMIT, |lab| {
        let pair = Pair::in_sync(lab);
        pjdfstest(&pair.a, &pair.dir_a);
        pair.finish();
    });
}

#[test]
fn fsx_on_the_mount() {
    scenario("fsx", LIMIT, |lab| {
        let pair = Pair::in_sync(lab);
        fsx(&pair.a, &pair.dir_a, seed("fsx"));
        pair.finish();
    });
}
