//! Somebody changes the secondary's files beneath its engine: `verify` finds what, and nothing else, whatever the
//! application does meanwhile; a repair heals it.

use crate::LIMIT;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tests::engine::command;
use tests::files::pattern;
use tests::hosts::Host;
use tests::lab::scenario;
use tests::pair::Pair;
use tests::rng::seed;
use tests::storm::{Shape, Storm, grow};

const SHAPE: Shape = Shape { outer: 6, inner: 4, files: 20, big: 16 << 20, allocate: false };
const THREADS: usize = 3;

/// Runs it and gives its exit code and what it said.
fn verify(host: &Host, words: &[&str]) -> (Option<i32>, Value) {
    let output = command(host).args(["verify", "pair", "--json"]).args(words).output().expect("run nsenter");
    let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| String::from_utf8_lossy(&output.stderr).into());
    (output.status.code(), said)
}

/// What was found, as `kind path`, sorted.
fn found(said: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = said["differences"].as_array().unwrap_or_else(|| panic!("no list in {said}"));
    let mut found: Vec<String> = listed.iter().map(|one| format!("{} {}", word(&one["kind"]), word(&one["path"]))).collect();
    found.sort();
    found
}

/// The secondary's files, beneath the cover that its engine has put over them.
fn beneath(pair: &Pair) -> PathBuf {
    let above = pair.dir_b.parent().expect("it lies in the host's directory");
    let under = above.join("beneath");
    pair.b.run([Path::new("mkdir"), Path::new("-p"), &under]);
    pair.b.run([Path::new("mount"), Path::new("--bind"), above, &under]);
    pair.b.view(&under.join(pair.dir_b.file_name().expect("it has a name")))
}

/// One byte, with the time put back: only the content tells.
fn corrupt(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("open it");
    let time = file.metadata().and_then(|meta| meta.modified()).expect("look at it");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("write");
    file.set_modified(time).expect("put its time back");
}

/// A change of the names in a directory, with its time put back.
fn keep_time(dir: &Path, change: impl FnOnce()) {
    let time = fs::metadata(dir).and_then(|meta| meta.modified()).expect("look at it");
    change();
    File::open(dir).and_then(|dir| dir.set_modified(time)).expect("put its time back");
}

#[test]
fn verify_finds_what_was_changed_beneath_and_repairs_it() {
    scenario("verify", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        pair.secondary = Some(pair.receive().spawn());
        pair.secondary().wait_ready();
        pair.primary = Some(pair.mount().args(["--exclude", "/d/local/**"]).spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        let mount = pair.mounted();
        fs::create_dir_all(mount.join("d/e")).expect("mkdir");
        fs::create_dir_all(mount.join("d/local/inner")).expect("mkdir");
        fs::write(mount.join("d/local/inner/file"), "only here").expect("write");
        for name in ["bytes", "gone", "mode", "kept", "e/xattr"] {
            fs::write(mount.join("d").join(name), pattern(200_000)).expect("write");
        }
        rustix::fs::setxattr(mount.join("d/e/xattr"), "user.colour", b"red", rustix::fs::XattrFlags::empty()).expect("setxattr");
        pair.sync();
        let (code, said) = verify(&pair.a, &[]);
        assert_eq!((code, said["difference_count"].as_u64()), (Some(0), Some(0)), "{said}");
        let files = beneath(&pair).join("d");
        corrupt(&files.join("bytes"), 150_000);
        keep_time(&files, || {
            fs::remove_file(files.join("gone")).expect("remove");
            fs::write(files.join("stranger"), "nobody's").expect("write");
        });
        fs::set_permissions(files.join("mode"), PermissionsExt::from_mode(0o751)).expect("chmod");
        rustix::fs::setxattr(files.join("e/xattr"), "user.colour", b"blue", rustix::fs::XattrFlags::empty()).expect("setxattr");
        let wanted = ["attributes /d/e/xattr", "attributes /d/mode", "content /d/bytes", "extra /d/stranger", "missing /d/gone"];
        for words in [&[][..], &["--direct"]] {
            let (code, said) = verify(&pair.a, words);
            assert_eq!((code, found(&said)), (Some(5), wanted.map(String::from).to_vec()), "{said}");
            let bytes = said["differences"].as_array().and_then(|all| all.iter().find(|one| one["kind"] == "content")).expect("found");
            assert_eq!(bytes["ranges"], serde_json::json!([[147_456, 4096]]), "{said}");
        }
        let (code, _) = verify(&pair.b, &[]);
        assert_eq!(code, Some(3), "only the primary can tell");
        // What it says of a repair is what it had found; what is left says whether it helped.
        let (code, said) = verify(&pair.a, &["--repair"]);
        assert_eq!((code, found(&said), said["left_count"].as_u64()), (Some(5), wanted.map(String::from).to_vec(), Some(0)), "{said}");
        pair.wait_in_sync();
        let (code, said) = verify(&pair.a, &[]);
        assert_eq!((code, said["difference_count"].as_u64()), (Some(0), Some(0)), "{said}");
        pair.lose_secondary();
        let (code, _) = verify(&pair.a, &[]);
        assert_eq!(code, Some(3), "there is nothing to compare with");
        pair.secondary_returns();
        fs::remove_dir_all(mount.join("d/local/inner")).expect("remove");
        pair.finish();
    });
}

#[test]
fn verify_beneath_a_storm_finds_nothing_but_what_is_wrong() {
    scenario("verify-storm", 2 * LIMIT, |lab| {
        let seed = seed("verify-storm");
        let mut pair = Pair::prepare(lab);
        grow(&pair.dir_a, SHAPE, seed);
        fs::create_dir(pair.dir_a.join("calm")).expect("mkdir");
        fs::write(pair.dir_a.join("calm/victim"), pattern(300_000)).expect("write");
        pair.start();
        let storm = Storm::start(&pair.mounted(), SHAPE, THREADS, seed);
        let mut rechecked = 0;
        for _ in 0..6 {
            let (code, said) = verify(&pair.a, &[]);
            assert_eq!((code, said["difference_count"].as_u64()), (Some(0), Some(0)), "{said}");
            rechecked += said["rechecked"].as_u64().unwrap_or(0);
        }
        assert!(rechecked > 0, "the storm was so calm that nothing ever seemed to differ");
        // The control: it does see what is wrong.
        corrupt(&beneath(&pair).join("calm/victim"), 70_000);
        let (code, said) = verify(&pair.a, &[]);
        assert_eq!((code, found(&said)), (Some(5), vec!["content /calm/victim".to_owned()]), "{said}");
        let (code, said) = verify(&pair.a, &["--repair"]);
        assert_eq!((code, said["left_count"].as_u64()), (Some(5), Some(0)), "{said}");
        storm.stop();
        pair.wait_in_sync();
        pair.finish();
    });
}
