//! The ledger's checks must pass on a tree that kept everything and fail on each kind of loss.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use super::work::Notes;
use super::*;
use crate::lab::Lab;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const THREADS: usize = 3;
const LIMIT: Duration = Duration::from_secs(20);

/// A run on a plain directory; its notes and its tree.
fn plain_run(name: &str) -> (Arc<Lab>, PathBuf, Notes) {
    let lab = Lab::new(name);
    let root = lab.dir.join("plain");
    fs::create_dir(&root).unwrap();
    let run = Run::start(&root, THREADS, crate::rng::seed(name), false);
    run.wait_acknowledged(3000, LIMIT);
    (lab, root, run.stop())
}

#[test]
fn a_plain_directory_keeps_everything() {
    let (_lab, root, notes) = plain_run("ledger-plain");
    let verdict = check_final(&notes, &read_all(&root, THREADS));
    verdict.must_be_clean();
    assert!(verdict.acknowledged >= 3000, "{}", verdict.acknowledged);
}

#[test]
fn a_live_plain_directory_is_in_order() {
    let lab = Lab::new("ledger-live");
    let run = Run::start(&lab.dir, THREADS, crate::rng::seed("live"), false);
    for n in 1..50 {
        run.wait_acknowledged(n * 50, LIMIT);
        let seen = read_all(&lab.dir, THREADS);
        check_live(&run.notes(), &seen).must_be_clean();
    }
    run.stop();
}

fn must_fail(name: &str, damage: impl Fn(&Path, &Notes)) {
    let (_lab, root, notes) = plain_run(name);
    damage(&root, &notes);
    let verdict = check_final(&notes, &read_all(&root, THREADS));
    assert!(!verdict.lost.is_empty() || !verdict.disorder.is_empty(), "the damage was not found");
}

fn rewrite(root: &Path, register: Register, version: u64) {
    use std::os::unix::fs::FileExt;
    let Register::Slot(_, slot) = register else { unreachable!() };
    let file = fs::File::options().write(true).open(state::path(root, register)).unwrap();
    file.write_all_at(&state::encode(register, version, SLOT), (slot * SLOT) as u64).unwrap();
}

#[test]
fn an_older_slot_is_found() {
    must_fail("ledger-slot", |root, notes| {
        let register = Register::Slot(0, 3);
        rewrite(root, register, notes[&register].len() as u64 - 1);
    });
}

#[test]
fn a_slot_from_the_future_is_found() {
    must_fail("ledger-future", |root, notes| {
        let register = Register::Slot(0, 3);
        rewrite(root, register, notes[&register].len() as u64 + 1);
    });
}

#[test]
fn a_shorter_log_is_found() {
    must_fail("ledger-log", |root, _| {
        let file = fs::File::options().write(true).open(state::path(root, Register::Log(1))).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    });
}

#[test]
fn a_lost_or_torn_name_is_found() {
    let published = |root: &Path| (0..NAMES).map(|n| state::path(root, Register::Name(2, n))).find(|p| p.exists()).unwrap();
    must_fail("ledger-name", |root, _| fs::remove_file(published(root)).unwrap());
    must_fail("ledger-torn", |root, _| {
        fs::File::options().write(true).open(published(root)).unwrap().set_len(4096).unwrap();
    });
}

#[test]
fn a_gap_is_found_though_nothing_was_acknowledged_last() {
    // Slot B was written after slot A had been acknowledged. B without A breaks the prefix.
    let (a, b) = (Register::Slot(0, 0), Register::Slot(1, 0));
    let done = |issued| Op { issued, acknowledged: issued + 1, removes: false };
    let notes = Notes::from([(a, vec![done(1), done(3)]), (b, vec![done(5)])]);
    let gap = [(a, Seen::Version(1)), (b, Seen::Version(1))];
    let cut = [(a, Seen::Version(1)), (b, Seen::Version(0))];
    // The reader looked at A first: A may have caught up by the time it saw B.
    assert!(check_live(&notes, &gap).disorder.is_empty());
    assert!(check_live(&notes, &cut).disorder.is_empty());
    let gap = [(b, Seen::Version(1)), (a, Seen::Version(1))];
    assert_eq!(check_live(&notes, &gap).disorder.len(), 1);
    assert_eq!(check_final(&notes, &gap).disorder.len(), 1);
}
