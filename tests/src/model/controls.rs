//! Two plain directories agree; one that lacks something is found out.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use super::{Launch, Side, first_disagreement, generate, must_agree};
use crate::lab::{Lab, hand};
use crate::rng::{Rng, seed};
use crate::tree::{Ignore, differences};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn fresh(roots: [&Path; 2], hand: &Path, n: &mut u32) -> [Side; 2] {
    *n += 1;
    let launch: Launch<'_> = &|program: &Path| Command::new(program);
    roots.map(|root| {
        let dir = root.join(format!("run{n}"));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        Side::start(launch, hand, &dir)
    })
}

fn readable_hand(lab: &Lab) -> PathBuf {
    let copy = lab.dir.join("hand");
    fs::copy(hand(), &copy).unwrap();
    copy
}

#[test]
fn two_plain_directories_agree() {
    let lab = Lab::new("model-plain");
    let hand = readable_hand(&lab);
    let roots = [lab.dir.join("one"), lab.dir.join("two")];
    roots.iter().for_each(|root| fs::create_dir(root).unwrap());
    let ops = generate(&mut Rng::new(seed("model")), 3000);
    let mut n = 0;
    must_agree(&ops, || fresh([&roots[0], &roots[1]], &hand, &mut n));
    let ignore = Ignore { mtime: true, ..Ignore::default() };
    assert_eq!(differences(&roots[0], &roots[1], &ignore), [""; 0]);
    let names = fs::read_dir(roots[0].join("run1")).unwrap().count();
    assert!(names > 1, "the operations left nothing behind");
}

#[test]
fn a_file_system_that_lacks_something_is_found() {
    let lab = Lab::new("model-control");
    let hand = readable_hand(&lab);
    let plain = lab.dir.join("plain");
    fs::create_dir(&plain).unwrap();
    // Memory file systems know no FALLOC_FL_COLLAPSE_RANGE and link counts differ in nothing else.
    let memory = PathBuf::from(format!("/dev/shm/understudy-{}", std::process::id()));
    fs::create_dir_all(&memory).unwrap();
    let ops = generate(&mut Rng::new(1), 3000);
    let mut n = 0;
    let found = first_disagreement(&ops, || fresh([&plain, &memory], &hand, &mut n));
    fs::remove_dir_all(&memory).unwrap();
    eprintln!("found, as it must be: {}", found.expect("tmpfs and ext4 differ"));
}
