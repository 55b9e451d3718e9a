//! The comparison must find every kind of difference, and none in a faithful copy.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use super::{Ignore, differences};
use crate::files::varied_tree;
use crate::lab::Lab;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

fn twins(name: &str) -> (std::sync::Arc<Lab>, PathBuf, PathBuf) {
    let lab = Lab::new(name);
    let (left, right) = (lab.dir.join("left"), lab.dir.join("right"));
    fs::create_dir(&left).unwrap();
    varied_tree(&left);
    run(Command::new("cp").arg("-a").arg(&left).arg(&right));
    (lab, left, right)
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

#[test]
fn a_faithful_copy_is_equal() {
    let (_lab, left, right) = twins("equal");
    fs::create_dir(right.join(".understudy")).unwrap();
    copy_mtime(&left, &right);
    assert_eq!(differences(&left, &right, &Ignore::default()), [""; 0]);
}

fn copy_mtime(from: &Path, to: &Path) {
    let time = fs::metadata(from).unwrap().modified().unwrap();
    fs::File::open(to).unwrap().set_modified(time).unwrap();
}

/// Changes the copy, wants the one word in the one line about the one name.
fn must_find(name: &str, what: &str, change: impl Fn(&Path)) {
    let (_lab, left, right) = twins(&format!("control-{}", what.replace(' ', "-")));
    change(&right);
    let found = differences(&left, &right, &Ignore::default());
    let hit = found.iter().any(|line| line.starts_with(&format!("{name}: ")) && line.contains(what));
    assert!(hit, "`{what}` of {name} was not found in {found:?}");
}

#[test]
fn names_are_compared() {
    must_find("new", "only on the right", |root| fs::write(root.join("new"), "").unwrap());
    must_find("deep/er/file", "only on the left", |root| fs::remove_file(root.join("deep/er/file")).unwrap());
    must_find(".understudy-not", "only on the right", |root| fs::write(root.join(".understudy-not"), "").unwrap());
    must_find("deep/.understudy", "only on the right", |root| fs::write(root.join("deep/.understudy"), "").unwrap());
}

#[test]
fn types_and_devices_are_compared() {
    must_find("fifo", "type", |root| {
        fs::remove_file(root.join("fifo")).unwrap();
        fs::write(root.join("fifo"), "").unwrap();
    });
    must_find("null", "device", |root| {
        fs::remove_file(root.join("null")).unwrap();
        run(Command::new("mknod").arg(root.join("null")).args(["c", "1", "5"]));
    });
    must_find("symlink", "target", |root| {
        fs::remove_file(root.join("symlink")).unwrap();
        symlink("elsewhere", root.join("symlink")).unwrap();
    });
}

#[test]
fn attributes_are_compared() {
    must_find("plain", "mode", |root| fs::set_permissions(root.join("plain"), PermissionsExt::from_mode(0o600)).unwrap());
    must_find(".", "mode", |root| fs::set_permissions(root, PermissionsExt::from_mode(0o700)).unwrap());
    must_find("plain", "owner", |root| chown(root.join("plain"), Some(12), None).unwrap());
    must_find("symlink", "owner", |root| lchown(root.join("symlink"), None, Some(12)).unwrap());
    must_find("plain", "mtime", |root| set_mtime_one_ns_later(&root.join("plain")));
    must_find("deep", "mtime", |root| set_mtime_one_ns_later(&root.join("deep")));
    must_find("plain", "flags", |root| run(Command::new("chattr").arg("+d").arg(root.join("plain"))));
}

fn set_mtime_one_ns_later(path: &Path) {
    let meta = fs::metadata(path).unwrap();
    let time = UNIX_EPOCH + Duration::new(meta.mtime() as u64, meta.mtime_nsec() as u32 + 1);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn xattrs_and_acls_are_compared() {
    must_find("plain", "xattrs", |root| run(Command::new("setfattr").args(["-n", "user.more", "-v", "1"]).arg(root.join("plain"))));
    must_find("xattr", "xattrs", |root| run(Command::new("setfattr").args(["-n", "user.one", "-v", "2"]).arg(root.join("xattr"))));
    must_find("acl", "xattrs", |root| run(Command::new("setfacl").args(["-m", "u:77:rwx"]).arg(root.join("acl"))));
    must_find("deep", "xattrs", |root| run(Command::new("setfacl").args(["-d", "-m", "u:78:r"]).arg(root.join("deep"))));
}

#[test]
fn hard_links_are_compared() {
    must_find("link-b", "hard link of link-a", |root| {
        let content = fs::read(root.join("link-b")).unwrap();
        fs::remove_file(root.join("link-b")).unwrap();
        fs::write(root.join("link-b"), content).unwrap();
    });
    must_find("link-a", "links", |root| fs::hard_link(root.join("link-a"), root.join("third")).unwrap());
}

#[test]
fn contents_and_holes_are_compared() {
    must_find("plain", "size", |root| fs::write(root.join("plain"), "longer").unwrap());
    must_find("big", "content at byte 300001", |root| poke(&root.join("big"), 300_001, b"!"));
    must_find("sparse", "content at byte 700000", |root| poke(&root.join("sparse"), 700_000, b"!"));
    must_find("sparse", "a hole at 131072 on the left only", |root| poke(&root.join("sparse"), 131_072, &[0; 65536]));
}

fn poke(path: &Path, at: u64, bytes: &[u8]) {
    fs::File::options().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}
