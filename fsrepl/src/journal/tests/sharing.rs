//! What marks cost, and what threads share.

use super::*;

#[test]
fn hot_marks_and_young_objects_write_nothing() {
    let (journal, recorder) = recorded(64, 100);
    let op = journal.begin();
    op.mark_extent(ObjectId(5), 0, 4096).unwrap();
    op.mark_entries(ObjectId(5)).unwrap();
    op.finish(1);
    let before = (recorder.writes(), journal.counters().flushes);
    for n in 0..10_000 {
        let op = journal.begin();
        op.mark_extent(ObjectId(5), n * 100, 100).unwrap();
        op.mark_entries(ObjectId(5)).unwrap();
        op.mark_attrs(ObjectId(101 + n)).unwrap();
        op.mark_extent(ObjectId(101 + n), 0, 4096).unwrap();
        op.finish(2 + n);
    }
    assert_eq!((recorder.writes(), journal.counters().flushes), before);
    assert_eq!(journal.counters().hot_hits, 20_000);
    assert!(recorder.recover().dirty.covers(attrs(10_100)));
}

#[test]
fn threads_that_mark_together_share_flushes() {
    let (journal, recorder) = recorded(4096, 1 << 20);
    recorder.0.lock().slow = true;
    std::thread::scope(|scope| {
        for t in 0..8u64 {
            let journal = &journal;
            scope.spawn(move || (0..40).for_each(|n| touch(journal, 1 + t * 40 + n, 1)));
        }
    });
    let found = recorder.recover().dirty;
    assert!((1..=320).all(|n| found.covers(attrs(n))));
    assert!(recorder.writes() <= 160, "{} writes for 320 marks", recorder.writes());
}

#[test]
fn a_mark_is_cleared_only_behind_its_last_user() {
    let (journal, recorder) = recorded(16, 1 << 20);
    journal.in_sync(0);
    let slow = journal.begin();
    slow.mark_attrs(ObjectId(1)).unwrap();
    touch(&journal, 2, 1);
    journal.cut(ObjectId(1 << 20));
    journal.stable(1).unwrap();
    assert!(recorder.recover().dirty.covers(attrs(1)), "its operation has no number yet");
    slow.finish(2);
    for n in 0..20 {
        journal.checkpoint(2 + n, ObjectId(1 << 20)).unwrap();
    }
    assert!(journal.dirty().is_empty());
    assert!(recorder.recover().dirty.is_empty());
}

#[test]
fn alone_nothing_is_cleared() {
    let (journal, _recorder) = recorded(64, 1 << 20);
    touch(&journal, 1, 1);
    (0..20).for_each(|_| journal.checkpoint(9, ObjectId(1 << 20)).unwrap());
    assert!(journal.dirty().covers(attrs(1)));
    journal.in_sync(9);
    (0..20).for_each(|_| journal.checkpoint(9, ObjectId(1 << 20)).unwrap());
    assert!(journal.dirty().is_empty());
}

#[test]
fn everything_gives_way_to_fine_marks_once_in_sync() {
    let everything = DirtySet::everything();
    let (journal, mut log) = Journal::prepare(64, &everything, Vec::new());
    let recorder = Recorder::default();
    recorder.0.lock().base = log.fill();
    log.set_disk(Box::new(recorder.clone()));
    *journal.log.lock() = log;
    touch(&journal, ObjectId::FIRST.0, 1);
    // Objects above 0 are young until the floor rises.
    assert_eq!(recorder.writes(), 0);
    journal.in_sync(1);
    journal.cut(ObjectId(1000));
    touch(&journal, 20, 2);
    assert_eq!(recorder.writes(), 1, "from the cut on, old objects get marks of their own");
    journal.stable(2).unwrap();
    let found = recorder.recover();
    assert_eq!(found.birth_floor, ObjectId(1000));
    assert_eq!(found.dirty.keys().collect::<Vec<_>>(), [attrs(20)]);
}

#[test]
fn the_floor_does_not_pass_over_operations_under_way() {
    let (journal, recorder) = recorded(64, 10);
    journal.in_sync(0);
    let op = journal.begin();
    op.mark_attrs(ObjectId(50)).unwrap();
    journal.cut(ObjectId(100));
    journal.stable(1000).unwrap();
    assert!(recorder.recover().dirty.covers(attrs(50)));
    op.finish(7);
    journal.stable(6).unwrap();
    assert!(recorder.recover().dirty.covers(attrs(50)));
    journal.stable(7).unwrap();
    assert!(!recorder.recover().dirty.covers(attrs(50)));
    assert_eq!(recorder.recover().birth_floor, ObjectId(100));
}

#[test]
fn a_full_table_gets_coarser_and_loses_nothing() {
    let (journal, recorder) = recorded(64, u64::MAX);
    for n in 0..3000u64 {
        let op = journal.begin();
        op.mark_extent(ObjectId(1 + n * 37 % 5000), n % 7 * limits::JOURNAL_EXTENT, 1).unwrap();
        op.mark_entries(ObjectId(1 + n * 7919)).unwrap();
        op.finish(n + 1);
    }
    assert!(journal.counters().coarsenings > 0);
    assert!(journal.counters().slots_used <= 64);
    let found = recorder.recover().dirty;
    for n in 0..3000u64 {
        assert!(found.covers(Key::extent(ObjectId(1 + n * 37 % 5000), n % 7)));
        assert!(found.covers(Key::object(Aspect::Entries, ObjectId(1 + n * 7919))));
    }
}

#[test]
fn a_storm_marks_neighbours_together() {
    let (journal, recorder) = recorded(limits::JOURNAL_SLOTS, u64::MAX);
    (1..=100_000).for_each(|n| touch(&journal, n, n));
    assert!(recorder.writes() < 1600, "{} flushes", recorder.writes());
    let found = recorder.recover().dirty;
    assert!((1..=100_000).all(|n| found.covers(attrs(n))));
}

#[test]
fn a_failing_device_refuses_marks_and_recovers() {
    let (journal, recorder) = recorded(64, u64::MAX);
    touch(&journal, 1, 1);
    recorder.0.lock().fails_from = Some(1);
    let op = journal.begin();
    assert!(op.mark_attrs(ObjectId(2)).is_err());
    assert!(op.mark_attrs(ObjectId(2)).is_err(), "it did not become hot by failing");
    recorder.0.lock().fails_from = None;
    op.mark_attrs(ObjectId(3)).unwrap();
    op.finish(2);
    let found = recorder.recover();
    assert_eq!(found.full_compare_reason, None);
    assert!((1..=3).all(|n| found.dirty.covers(attrs(n))));
}

#[test]
fn a_panic_under_way_stops_clearing() {
    let (journal, _recorder) = recorded(64, u64::MAX);
    journal.in_sync(0);
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let op = journal.begin();
        op.mark_attrs(ObjectId(1)).unwrap();
        panic!("a handler dies");
    }));
    assert!(died.is_err());
    (0..20).for_each(|n| journal.checkpoint(n, ObjectId(1)).unwrap());
    assert!(journal.dirty().covers(attrs(1)));
}

/// Marking threads against checkpoints: what an operation under way has marked stays marked.
#[test]
fn checkpoints_beside_writers() {
    let (journal, recorder) = recorded(128, u64::MAX);
    journal.in_sync(0);
    let seq = AtomicU64::new(0);
    let left = AtomicU64::new(4);
    std::thread::scope(|scope| {
        for t in 0..4u64 {
            let (journal, seq, left) = (&journal, &seq, &left);
            scope.spawn(move || {
                for n in 0..3000u64 {
                    let object = 1 + (n * 31 + t * 17) % 400;
                    let op = journal.begin();
                    op.mark_attrs(ObjectId(object)).unwrap();
                    assert!(journal.dirty().covers(attrs(object)));
                    op.finish(seq.fetch_add(1, SeqCst) + 1);
                }
                left.fetch_sub(1, SeqCst);
            });
        }
        while left.load(SeqCst) > 0 {
            journal.checkpoint(seq.load(SeqCst), ObjectId(u64::MAX)).unwrap();
        }
    });
    journal.close_clean(seq.load(SeqCst), ObjectId(u64::MAX)).unwrap();
    let found = recorder.recover();
    assert!(found.clean && found.dirty.is_empty());
}
