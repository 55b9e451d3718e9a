//! Random operations by several users give the same results and errnos on the mount as on a plain
//! directory; afterwards the plain directory, the mount and the replica are equal.

use rustix::fs::{FallocateFlags, IFlags, fallocate, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::lab::{Lab, hand, scenario};
use tests::model::{Op, Side, generate, must_agree};
use tests::pair::Pair;
use tests::rng::{Rng, seed};
use tests::tree::{Ignore, differences};

const LIMIT: Duration = Duration::from_secs(300);
/// Operations of one run.
const OPERATIONS: usize = 1500;
const RUNS: u32 = 6;

/// Fresh directories of the same name, one plain and one in the mount, with actors of each user.
fn fresh(pair: &Pair, plain: &Path, hand: &Path, n: u32) -> [Side; 2] {
    let name = format!("run{n}");
    let make = |parent: &Path| {
        let dir = parent.join(&name);
        fs::create_dir(&dir).expect("create");
        fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).expect("chmod");
    };
    make(plain);
    make(&pair.mounted());
    let on_plain = |program: &Path| Command::new(program);
    let on_mount = |program: &Path| pair.a.command(program);
    [Side::start(&on_plain, hand, &plain.join(&name)), Side::start(&on_mount, hand, &pair.dir_a.join(&name))]
}

fn readable_hand(lab: &Lab) -> PathBuf {
    let copy = lab.dir.join("hand");
    fs::copy(hand(), &copy).expect("copy the hand");
    copy
}

/// What a run does with space: of space that is allocated and not written, what SEEK_DATA says depends on the
/// page cache, so holes are looked at only where nothing is allocated.
#[derive(Clone, Copy, PartialEq)]
enum Space {
    Holes,
    Allocated,
}

impl Space {
    fn fits(self, op: Op) -> Op {
        let punch = (FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE).bits();
        match (self, op) {
            (Space::Holes, Op::Allocate { slot, mode, .. }) if mode != punch => Op::StatOpen { slot },
            (Space::Allocated, Op::Seek { slot, .. }) => Op::StatOpen { slot },
            (_, op) => op,
        }
    }
}

#[test]
fn random_operations_agree() {
    agree("model", Space::Holes);
}

#[test]
fn random_operations_agree_in_allocated_space() {
    agree("model-allocated", Space::Allocated);
}

fn agree(name: &'static str, space: Space) {
    scenario(name, LIMIT, move |lab| {
        let pair = Pair::in_sync(lab);
        let hand = readable_hand(lab);
        let plain = lab.dir.join("plain");
        fs::create_dir(&plain).expect("create");
        let mut rng = Rng::new(seed(name));
        let mut n = 0;
        for _ in 0..RUNS {
            let ops: Vec<_> = generate(&mut rng, OPERATIONS).into_iter().map(|(user, op)| (user, space.fits(op))).collect();
            must_agree(&ops, || {
                n += 1;
                fresh(&pair, &plain, &hand, n)
            });
        }
        let holes = Ignore { holes: space == Space::Allocated, ..Ignore::default() };
        pair.must_be_equal_but(&holes);
        // Times of the clock differ between one directory and the other; those that were set are
        // compared as results.
        let ignore = Ignore { mtime: true, ..holes };
        let found: Vec<_> = differences(&plain, &pair.mounted(), &ignore).into_iter().filter(|line| !line.starts_with(".:")).collect();
        assert!(found.is_empty(), "plain directory and mount differ:\n{}", found.join("\n"));
        pair.finish_but(&holes);
    });
}

/// What the kernel's FUSE does not pass on gives the error of a file system that lacks it, and changes nothing.
#[test]
fn modes_of_fallocate_that_fuse_lacks() {
    scenario("fallocate", LIMIT, |lab| {
        let pair = Pair::in_sync(lab);
        let file = fs::File::create(pair.mounted().join("file")).expect("create");
        file.set_len(1 << 20).expect("size a file");
        for flags in [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE] {
            assert_eq!(fallocate(&file, flags, 4096, 4096), Err(Errno::OPNOTSUPP));
        }
        assert_eq!(file.metadata().expect("stat").len(), 1 << 20);
        drop(file);
        pair.finish();
    });
}

/// A descriptor from before a file was locked: what is refused on the primary does not reach the secondary.
#[test]
fn refused_writes_to_locked_files() {
    scenario("locked-files", LIMIT, |lab| {
        let pair = Pair::in_sync(lab);
        for flag in [IFlags::IMMUTABLE, IFlags::APPEND] {
            let file = fs::File::create(pair.mounted().join(format!("file-{}", flag.bits()))).expect("create");
            file.write_all_at(b"content", 0).expect("write");
            let before = ioctl_getflags(&file).expect("flags");
            ioctl_setflags(&file, before | flag).expect("lock");
            for _ in 0..3 {
                assert!(file.write_all_at(b"other", 0).is_err());
                assert!(file.set_len(3).is_err());
            }
            pair.must_be_equal();
            ioctl_setflags(&file, before).expect("unlock");
            file.write_all_at(b"other", 0).expect("write again");
        }
        pair.finish();
    });
}
