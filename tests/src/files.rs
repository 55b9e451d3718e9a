//! Files for tests to replicate.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

/// Copies everything below `from`, as it is, to a new directory.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).expect("create the copy");
    let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(from.join(".")).arg(to).status();
    assert!(copied.expect("run cp").success());
}

/// Fills `root` with one of everything that is to be kept.
pub fn varied_tree(root: &Path) {
    let write = |name: &str, content: &[u8]| fs::write(root.join(name), content).expect("write a file");
    fs::create_dir_all(root.join("deep/er")).expect("create directories");
    fs::create_dir(root.join("empty")).expect("create a directory");
    for name in ["plain", "deep/er/file", "xattr", "acl", "link-a", "name with blanks\nand a newline"] {
        write(name, name.as_bytes());
    }
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"not \xff utf-8")), "x").expect("write a file");
    write(&"n".repeat(255), b"long name");
    write("big", &pattern(1 << 20));
    fs::hard_link(root.join("link-a"), root.join("link-b")).expect("link");
    symlink("plain", root.join("symlink")).expect("link");
    sparse(&root.join("sparse"), 1 << 20);
    fs::set_permissions(root.join("acl"), PermissionsExt::from_mode(0o640)).expect("chmod");
    fs::set_permissions(root.join("big"), PermissionsExt::from_mode(0o4755)).expect("chmod");
    chown(root.join("deep"), Some(1234), Some(4321)).expect("chown");
    lchown(root.join("symlink"), Some(1234), Some(4321)).expect("chown");
    let at = |name: &str| root.join(name).into_os_string();
    run("mkfifo", [at("fifo")]);
    run("mknod", [at("null"), "c".into(), "1".into(), "3".into()]);
    run("setfattr", ["-n".into(), "user.one".into(), "-v".into(), "1".into(), at("xattr")]);
    run("setfacl", ["-m".into(), "u:77:r,g:88:rw".into(), at("acl")]);
    run("setfacl", ["-d".into(), "-m".into(), "u:77:rwx".into(), at("deep")]);
}

/// A file of `size` bytes with data in its first 4 KiB and in its middle only.
fn sparse(path: &Path, size: u64) {
    let file = fs::File::create(path).expect("create a file");
    file.set_len(size).expect("size a file");
    file.write_all_at(&pattern(4096), 0).expect("write");
    file.write_all_at(&pattern(4096), size / 2).expect("write");
}

/// Bytes that differ from block to block.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i / 4096 + i % 251) as u8).collect()
}

fn run(program: &str, words: impl IntoIterator<Item = std::ffi::OsString>) {
    let status = Command::new(program).args(words).status();
    assert!(status.is_ok_and(|s| s.success()), "{program} failed: were the packages of tests/setup installed?");
}
