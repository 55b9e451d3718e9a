//! The engines have little memory and much to write: I/O on the mount goes on.

use crate::LIMIT;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use tests::files::pattern;
use tests::lab::scenario;
use tests::pair::Pair;

/// What an engine may use, page cache included; the aim under load is below 200 MB without it.
const BYTES: u64 = 256 << 20;
/// What is written: more than fits into the limit.
const WRITTEN: u64 = 600 << 20;

/// A control group for memory, version 1 or 2; removed on drop.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Group> {
        let name = format!("understudy-test-{}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let (parent, limit) =
            if root.join("memory").exists() { (root.join("memory"), "memory.limit_in_bytes") } else { (root.into(), "memory.max") };
        let group = Group(parent.join(name));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(limit), BYTES.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes have ended, or nearly: the kernel says busy until then.
        tests::engine::wait_for(LIMIT, || fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn low_memory() {
    scenario("low-memory", LIMIT, |lab| {
        let group = Group::new();
        let mut pair = Pair::prepare(lab);
        pair.wrapper = match &group {
            Some(Group(path)) => {
                let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", path.display());
                vec!["sh".into(), "-c".into(), script, "sh".into()]
            }
            // Where control groups cannot be made, a limit on private memory is the next best thing.
            None => vec!["prlimit".into(), format!("--data={BYTES}")],
        };
        eprintln!("limited by {}", if group.is_some() { "a control group" } else { "prlimit" });
        pair.start();
        let mark = pair.primary().mark();
        let mut file = File::create(pair.mounted().join("big")).expect("create");
        let block = pattern(1 << 20);
        for _ in 0..WRITTEN >> 20 {
            file.write_all(&block).expect("write");
        }
        file.sync_all().expect("fsync");
        assert_eq!(pair.primary().said_since(mark), [], "the pair fell out of sync");
        drop(file);
        pair.finish();
        drop(group);
    });
}
