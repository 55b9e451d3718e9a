//! The log as a file: reopening, damage, figures.

use super::*;
use std::os::unix::fs::FileExt;
use std::{fs, path};

const SMALL: Limits = Limits { slots: 256 };

fn directory() -> (tempfile::TempDir, fs::File) {
    let dir = tempfile::tempdir().unwrap();
    let handle = fs::File::open(dir.path()).unwrap();
    (dir, handle)
}

fn log(dir: &tempfile::TempDir) -> path::PathBuf {
    dir.path().join("dirty-log")
}

fn scribble(dir: &tempfile::TempDir, at: u64) {
    let file = fs::File::options().read(true).write(true).open(log(dir)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// A log that was closed with nothing marked.
fn closed() -> (tempfile::TempDir, fs::File) {
    let (dir, handle) = directory();
    let journal = Journal::create(&handle, SMALL).unwrap();
    journal.in_sync(0);
    journal.close_clean(0, ObjectId(1000)).unwrap();
    (dir, handle)
}

#[test]
fn a_new_log_knows_nothing() {
    let (_dir, handle) = directory();
    let (_, found) = Journal::open(&handle, SMALL).unwrap();
    assert_eq!(found.full_compare_reason, Some(Lost::Missing));
    assert!(found.dirty.is_everything() && !found.clean);
    let (_, again) = Journal::open(&handle, SMALL).unwrap();
    assert_eq!(again.full_compare_reason, None);
    assert!(again.dirty.is_everything() && !again.clean);
}

#[test]
fn clean_is_clean_once() {
    let (_dir, handle) = closed();
    let (journal, found) = Journal::open(&handle, SMALL).unwrap();
    assert!(found.clean && found.dirty.is_empty());
    assert_eq!(found.birth_floor, ObjectId(1000));
    touch(&journal, 5, 1);
    drop(journal);
    let (_, found) = Journal::open(&handle, SMALL).unwrap();
    assert!(!found.clean);
    assert!(found.dirty.covers(attrs(5)) && !found.dirty.covers(attrs(6)));
}

#[test]
fn closed_while_alone_keeps_the_marks() {
    let (_dir, handle) = closed();
    let (journal, _) = Journal::open(&handle, SMALL).unwrap();
    touch(&journal, 5, 1);
    journal.close_clean(1, ObjectId(2000)).unwrap();
    let op = journal.begin();
    assert!(op.mark_attrs(ObjectId(5)).is_err(), "a closed journal marks nothing");
    drop(op);
    let (_, found) = Journal::open(&handle, SMALL).unwrap();
    assert!(found.clean && found.dirty.covers(attrs(5)));
    assert_eq!(found.birth_floor, ObjectId(1000));
}

#[test]
fn marks_outlive_several_runs_and_a_smaller_table() {
    let (_dir, handle) = closed();
    for run in 0..5u64 {
        let (journal, found) = Journal::open(&handle, SMALL).unwrap();
        assert!((0..run * 40).all(|n| found.dirty.covers(attrs(1 + n))));
        (0..40).for_each(|n| touch(&journal, 1 + run * 40 + n, 1));
    }
    let (journal, _) = Journal::open(&handle, Limits { slots: 16 }).unwrap();
    drop(journal);
    let (_, found) = Journal::open(&handle, SMALL).unwrap();
    assert!((0..200).all(|n| found.dirty.covers(attrs(1 + n))));
    assert!(!found.dirty.covers(Key::object(Aspect::Content, ObjectId(5))));
}

#[test]
fn one_superblock_is_enough_and_none_is_not() {
    let (dir, handle) = closed();
    let end = fs::metadata(log(&dir)).unwrap().len();
    scribble(&dir, 30);
    assert_eq!(Recovered::from_loaded(ring::load(&ring::Directory(&handle))).full_compare_reason, None);
    scribble(&dir, end - BLOCK as u64 + 30);
    let (_, found) = Journal::open(&handle, SMALL).unwrap();
    assert_eq!(found.full_compare_reason, Some(Lost::Superblocks));
    assert!(found.dirty.is_everything() && !found.clean);
}

#[test]
fn damage_anywhere_in_the_ring_is_never_clean() {
    let (dir, handle) = closed();
    let end = fs::metadata(log(&dir)).unwrap().len();
    for at in (BLOCK as u64..end - BLOCK as u64).step_by(509) {
        scribble(&dir, at);
        let found = Recovered::from_loaded(ring::load(&ring::Directory(&handle)));
        assert_eq!(found.full_compare_reason, Some(Lost::Records), "byte {at}");
        assert!(found.dirty.is_everything() && !found.clean);
        scribble(&dir, at);
    }
    assert!(Recovered::from_loaded(ring::load(&ring::Directory(&handle))).clean);
}

#[test]
fn a_shortened_or_foreign_file_is_lost() {
    let (dir, handle) = closed();
    let file = fs::File::options().write(true).open(log(&dir)).unwrap();
    let end = file.metadata().unwrap().len();
    file.set_len(end - BLOCK as u64).unwrap();
    assert!(Recovered::from_loaded(ring::load(&ring::Directory(&handle))).full_compare_reason.is_some());
    file.set_len(100).unwrap();
    assert_eq!(Recovered::from_loaded(ring::load(&ring::Directory(&handle))).full_compare_reason, Some(Lost::Size));
    // Records of another log with the same shape do not pass for its own.
    let (other, other_handle) = closed();
    let (mine, mine_handle) = closed();
    let record = fs::read(log(&other)).unwrap()[3 * BLOCK..4 * BLOCK].to_vec();
    fs::File::options().write(true).open(log(&mine)).unwrap().write_all_at(&record, 3 * BLOCK as u64).unwrap();
    assert!(Recovered::from_loaded(ring::load(&ring::Directory(&other_handle))).clean);
    assert_eq!(Recovered::from_loaded(ring::load(&ring::Directory(&mine_handle))).full_compare_reason, Some(Lost::Records));
}

#[test]
fn the_note_is_kept() {
    let (_dir, handle) = closed();
    let (journal, found) = Journal::open(&handle, SMALL).unwrap();
    assert!(found.note.is_empty());
    journal.set_note(b"in sync, open").unwrap();
    drop(journal);
    let (journal, found) = Journal::open(&handle, SMALL).unwrap();
    assert_eq!(found.note, b"in sync, open");
    assert_eq!(journal.note(), b"in sync, open");
    assert!(journal.set_note(&[0; limits::JOURNAL_NOTE + 1]).is_err());
}

#[test]
fn works_without_direct_writes() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let handle = fs::File::open(dir.path()).unwrap();
    let journal = Journal::create(&handle, SMALL).unwrap();
    journal.in_sync(0);
    journal.checkpoint(0, ObjectId(100)).unwrap();
    journal.stable(0).unwrap();
    touch(&journal, 5, 1);
    drop(journal);
    assert!(Journal::open(&handle, SMALL).unwrap().1.dirty.covers(attrs(5)));
}

/// `cargo test --release -p fsrepl journal -- --ignored --nocapture figures`
#[test]
#[ignore = "prints figures"]
#[allow(clippy::print_stdout)]
fn figures() {
    use std::time::Instant;
    let (_dir, handle) = directory();
    let journal = Journal::create(&handle, Limits::default()).unwrap();
    journal.in_sync(0);
    journal.checkpoint(0, ObjectId(1 << 40)).unwrap();
    journal.stable(0).unwrap();
    let cold = |n: u64| {
        let start = Instant::now();
        (0..n).for_each(|i| {
            let op = journal.begin();
            op.mark_extent(ObjectId(16 + i), 0, 4096).unwrap();
            op.finish(1);
        });
        start.elapsed().as_secs_f64() * 1e6 / n as f64
    };
    println!("cold mark, one thread: {:.1} us", cold(1000));
    let hot = |threads: u64, young: bool| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for t in 0..threads {
                let journal = &journal;
                scope.spawn(move || {
                    for i in 0..2_000_000u64 {
                        let op = journal.begin();
                        let id = if young { 1 << 41 } else { 16 + (i + t * 100) % 1000 };
                        op.mark_extent(ObjectId(id), 0, 4096).unwrap();
                        op.finish(i);
                    }
                });
            }
        });
        start.elapsed().as_secs_f64() * 1e9 / 2e6
    };
    println!("hot mark with begin and finish: {:.0} ns, two threads {:.0} ns", hot(1, false), hot(2, false));
    println!("young object with begin and finish: {:.0} ns", hot(1, true));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for t in 0..8u64 {
            let journal = &journal;
            scope.spawn(move || (0..500).for_each(|i| touch(journal, 1_000_000 * (t + 1) + 300 * i, 1)));
        }
    });
    println!("cold mark, eight threads: {:.1} us each", start.elapsed().as_secs_f64() * 1e6 / 4000.0);
    println!("{:?}", journal.counters());
    let start = Instant::now();
    drop(Journal::open(&handle, Limits::default()).unwrap());
    println!("open: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
}
