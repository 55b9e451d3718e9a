//! The primary is gone for good in the middle of a resync: the secondary is torn between two states. The older one was
//! kept and is put back; it is what it was, also when the secondary died or lost its power in between, and a later
//! resync ends with equal copies.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tests::disk::Disk;
use tests::engine::{PATIENCE, command, wait_for};
use tests::files::{copy_tree, pattern, varied_tree};
use tests::lab::{Lab, scenario};
use tests::pair::Pair;
use tests::tree::{Ignore, differences};

const LIMIT: Duration = Duration::from_secs(240);
/// What is large enough for a resync to be caught in it.
const FILES: usize = 12;
const SIZE: usize = 1 << 20;

/// What happens to the secondary before the old state is put back.
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    Nothing,
    Killed,
    PowerCut,
}

fn prepare(lab: &Arc<Lab>, kind: &str) -> (Pair, Disk) {
    let (a, b) = (lab.host("a"), lab.host("b"));
    let disk = Disk::new(&b, kind, 512);
    let (dir_a, dir_b) = (a.dir.join("data"), disk.at().join("data"));
    let mut pair = Pair::on(lab, a, b, dir_a, dir_b);
    pair.start();
    let root = pair.mounted();
    varied_tree(&root);
    fs::create_dir_all(root.join("large/deep")).expect("mkdir");
    for n in 0..FILES {
        fs::write(root.join(format!("large/{n}")), pattern(SIZE)).expect("write");
    }
    for n in 0..20 {
        fs::write(root.join(format!("large/deep/{n}")), format!("small {n}")).expect("write");
    }
    pair.sync();
    (pair, disk)
}

/// Everything that a resync has to do something about.
fn change(root: &Path) {
    for n in 0..FILES {
        let file = fs::File::options().write(true).open(root.join(format!("large/{n}"))).expect("open");
        use std::os::unix::fs::FileExt;
        file.write_all_at(&vec![n as u8 ^ 0x5a; SIZE / 2], SIZE as u64 / 4).expect("write");
        file.set_len(SIZE as u64 - 5000 * n as u64).expect("truncate");
    }
    for n in 0..5 {
        fs::remove_file(root.join(format!("large/deep/{n}"))).expect("remove");
        fs::write(root.join(format!("new {n}")), pattern(9000)).expect("write");
    }
    fs::rename(root.join("large/deep/7"), root.join("moved")).expect("rename");
    fs::remove_file(root.join("large/deep/8")).expect("remove");
    fs::create_dir(root.join("large/deep/8")).expect("another type");
    fs::write(root.join("large/deep/8/in it"), "new").expect("write");
    fs::rename(root.join("large/deep/9"), root.join("large/deep/8/9")).expect("rename");
    fs::hard_link(root.join("large/deep/10"), root.join("another name")).expect("link");
    fs::set_permissions(root.join("large/deep/11"), fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::rename(root.join("large/deep"), root.join("elsewhere")).expect("rename");
    symlink("elsewhere", root.join("large/deep")).expect("symlink");
}

/// What the secondary says of the state that it keeps.
fn kept(pair: &Pair) -> Value {
    let output = command(&pair.b).args(["kept", "pair", "--json"]).output().expect("run nsenter");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    value["consistent"][0].clone()
}

/// The resync runs, and has changed something; then the primary is gone.
fn cut_off(pair: &mut Pair) {
    pair.secondary = Some(pair.receive().spawn());
    pair.secondary().wait_ready();
    pair.primary = Some(pair.mount().args(["--resync-max-rate", "1MiB/s"]).spawn());
    let caught = wait_for(PATIENCE, || kept(pair)["bytes"].as_u64().filter(|bytes| *bytes > 2 << 20));
    assert!(caught.is_some(), "nothing is kept: {}; {}", kept(pair), pair.secondary().stderr());
    pair.primary.take().expect("runs").kill();
    pair.secondary().wait_state("WAIT", "inconsistent");
}

fn put_back(pair: &Pair, arguments: &[&str]) -> std::process::Output {
    command(&pair.b).args(["kept", "pair", "restore"]).args(arguments).output().expect("run nsenter")
}

fn the_primary_is_gone_for_good(name: &'static str, kind: &'static str, meanwhile: Meanwhile) {
    scenario(name, LIMIT, move |lab| {
        let (mut pair, mut disk) = prepare(lab, kind);
        let mark = pair.primary().mark();
        pair.secondary.take().expect("runs").stop();
        pair.wait_alone_since(mark);
        change(&pair.mounted());
        pair.primary.take().expect("runs").stop();
        // On the same disk: xfs shows ACLs by other names as well.
        let before = |pair: &Pair| pair.replica().with_file_name("before");
        copy_tree(&pair.replica(), &before(&pair));
        pair.b.run(["sync"]);

        cut_off(&mut pair);
        let torn = differences(&before(&pair), &pair.replica(), &Ignore::default());
        assert!(!torn.is_empty(), "the resync changed nothing");
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Killed => {
                pair.secondary.take().expect("runs").kill();
                pair.secondary = Some(pair.receive().spawn());
                pair.secondary().wait_ready();
            }
            Meanwhile::PowerCut => {
                let image = disk.image(&pair.b);
                pair.secondary.take().expect("runs").kill();
                disk.boot(&pair.b, image);
                pair.secondary = Some(pair.receive().env("UNDERSTUDY_TEST_BOOT_ID", "another").spawn());
                pair.secondary().wait_ready();
            }
        }
        let asked = put_back(&pair, &["--dry-run"]);
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        let done = put_back(&pair, &[]);
        assert!(done.status.success(), "{}; {}", String::from_utf8_lossy(&done.stderr), pair.secondary().stderr());
        pair.secondary().wait_state("WAIT", "outdated");
        let found = differences(&before(&pair), &pair.replica(), &Ignore::default());
        assert!(found.is_empty(), "what was put back is not what it was:\n{}", found.join("\n"));
        // Nothing is left to put back, and that is said.
        let again = put_back(&pair, &[]);
        assert_eq!(again.status.code(), Some(3), "{}", String::from_utf8_lossy(&again.stderr));

        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        assert!(kept(&pair).is_null(), "the old state is kept although both are equal: {}", kept(&pair));
        pair.finish();
    });
}

#[test]
fn on_ext4() {
    the_primary_is_gone_for_good("put-back", "ext4", Meanwhile::Nothing);
}

#[test]
fn on_xfs_with_reflinks() {
    the_primary_is_gone_for_good("put-back-xfs", "xfs", Meanwhile::Nothing);
}

#[test]
fn on_ext4_and_the_secondary_was_killed() {
    the_primary_is_gone_for_good("put-back-kill", "ext4", Meanwhile::Killed);
}

#[test]
fn on_ext4_and_the_secondary_lost_its_power() {
    the_primary_is_gone_for_good("put-back-cut", "ext4", Meanwhile::PowerCut);
}

#[test]
fn on_xfs_and_the_secondary_lost_its_power() {
    the_primary_is_gone_for_good("put-back-cut-x", "xfs", Meanwhile::PowerCut);
}

/// The budget is too small: that is said, the resync goes on and ends.
#[test]
fn without_room_the_resync_goes_on() {
    scenario("put-back-budget", LIMIT, |lab| {
        let (mut pair, _disk) = prepare(lab, "ext4");
        let mark = pair.primary().mark();
        pair.secondary.take().expect("runs").stop();
        pair.wait_alone_since(mark);
        change(&pair.mounted());
        pair.secondary = Some(pair.receive().args(["--keep-budget", "1MiB"]).spawn());
        pair.secondary().wait_ready();
        pair.wait_in_sync();
        let log = pair.secondary().stderr();
        assert!(log.contains("the last consistent state is not kept any more"), "{log}");
        pair.finish();
    });
}
