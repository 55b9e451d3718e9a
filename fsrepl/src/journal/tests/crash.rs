//! Random histories, cut at every write with any subset of its sectors kept.

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Mark and change: aspect, object, extent.
    Change(u8, u64, u64),
    /// Mark, change, but stay without a number until `Land`.
    TakeOff(u64),
    Land,
    /// Everything up to now is on both disks.
    Stable,
    /// Everything up to the last but so many is on both disks.
    Lagging(u64),
    Cut,
    Alone,
    InSync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u8..3, 1u64..120, 0u64..40).prop_map(|(a, o, e)| Step::Change(a, o, e)),
        3 => (1u64..120).prop_map(Step::TakeOff),
        2 => Just(Step::Land),
        2 => Just(Step::Stable),
        1 => (1u64..20).prop_map(Step::Lagging),
        3 => Just(Step::Cut),
        1 => Just(Step::Alone),
        1 => Just(Step::InSync),
    ]
}

/// A change of the tree that the replicas may not share: made after so many writes of the log,
/// stable on both (or healed) after so many.
struct Due {
    key: Key,
    seq: Option<Seq>,
    from: usize,
    until: Option<usize>,
}

struct Run {
    recorder: Recorder,
    due: Vec<Due>,
}

/// Plays the history; the model of what must be marked knows nothing of slots or epochs.
fn play(steps: &[Step], slots: usize, floor: u64) -> Run {
    let (journal, recorder) = recorded(slots, floor);
    let (mut seq, mut in_sync, mut due) = (0, true, Vec::<Due>::new());
    let mut flying: Vec<(Op<'_>, usize)> = Vec::new();
    let mut stable = 0;
    journal.in_sync(0);
    for step in steps {
        let settle = |due: &mut Vec<Due>, stable: Seq| {
            let now = recorder.writes();
            for d in due.iter_mut().filter(|d| d.until.is_none() && d.seq.is_some_and(|s| s <= stable)) {
                d.until = Some(now);
            }
        };
        match step {
            Step::Change(aspect, object, extent) => {
                let op = journal.begin();
                let key = mark(&op, *aspect, *object, *extent);
                seq += 1;
                due.push(Due { key, seq: Some(seq), from: recorder.writes(), until: None });
                op.finish(seq);
            }
            Step::TakeOff(object) => {
                let op = journal.begin();
                let key = mark(&op, 2, *object, 0);
                flying.push((op, due.len()));
                due.push(Due { key, seq: None, from: recorder.writes(), until: None });
            }
            Step::Land => {
                if let Some((op, at)) = flying.pop() {
                    seq += 1;
                    due[at].seq = Some(seq);
                    op.finish(seq);
                }
            }
            Step::Stable | Step::Lagging(_) => {
                let lag = if let Step::Lagging(n) = step { *n } else { 0 };
                stable = stable.max(seq.saturating_sub(lag));
                if in_sync {
                    settle(&mut due, stable);
                    journal.stable(stable).unwrap();
                }
            }
            Step::Cut => journal.cut(ObjectId(floor + seq % 40)),
            Step::Alone => {
                in_sync = false;
                journal.alone();
            }
            Step::InSync => {
                in_sync = true;
                journal.in_sync(seq);
            }
        }
    }
    drop(flying);
    Run { recorder, due }
}

fn mark(op: &Op<'_>, aspect: u8, object: u64, extent: u64) -> Key {
    let object = ObjectId(object);
    match aspect {
        0 => {
            op.mark_extent(object, extent * limits::JOURNAL_EXTENT + 5, 10).unwrap();
            Key::extent(object, extent)
        }
        1 => {
            op.mark_entries(object).unwrap();
            Key::object(Aspect::Entries, object)
        }
        _ => {
            op.mark_attrs(object).unwrap();
            Key::object(Aspect::Attrs, object)
        }
    }
}

/// The first change that a cut leaves unmarked; `lost` writes before the cut never reached the
/// device although it said so.
fn unmarked(run: &Run, lost: usize, seed: u64) -> Option<String> {
    let mut random = seed | 1;
    for cut in 0..=run.recorder.writes() {
        for density in [0, 1, 2, 3] {
            let blocks = run.recorder.after(cut.saturating_sub(lost), || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                density == 3 || (random >> 33) % 3 < density
            });
            let found = Recovered::from_loaded(parse(&blocks));
            if found.full_compare_reason.is_some() {
                return Some(format!("cut {cut}: taken for damage"));
            }
            for due in run.due.iter().filter(|d| d.from <= cut && d.until.is_none_or(|u| cut < u)) {
                if !found.dirty.covers(due.key) {
                    return Some(format!("cut {cut}: {:?} is not marked", due.key));
                }
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn no_cut_loses_a_mark(
        steps in prop::collection::vec(step(), 1..250), slots in 16usize..80, seed: u64,
    ) {
        let run = play(&steps, slots, 60);
        prop_assert_eq!(unmarked(&run, 0, seed), None);
    }
}

#[test]
fn without_the_flush_before_the_change_marks_are_lost() {
    let steps: Vec<_> = (0..50).map(|n| Step::Change(2, 1 + n, 0)).collect();
    let run = play(&steps, 64, 60);
    assert_eq!(unmarked(&run, 0, 7), None);
    assert!(unmarked(&run, 1, 7).is_some(), "the test must see a device that lies");
}

#[test]
fn the_ring_wraps_with_cuts_inside() {
    let mut steps = Vec::new();
    for n in 0..600 {
        steps.push(Step::Change((n % 3) as u8, 1 + n * 7 % 59, n % 40));
        if n % 9 == 0 {
            steps.extend([Step::Stable, Step::Cut]);
        }
    }
    let run = play(&steps, 200, 60);
    assert!(run.recorder.writes() > 3 * record::ring_len(200), "{}", run.recorder.writes());
    assert_eq!(unmarked(&run, 0, 11), None);
}

#[test]
fn a_large_write_torn_anywhere_is_no_damage() {
    let (journal, recorder) = recorded(4096, 0);
    journal.announced.store(u64::MAX, SeqCst);
    for n in 0..4096 {
        touch(&journal, 300 * (n + 1), 0);
    }
    let before = recorder.writes();
    // The table is full: one mark more merges many, in several records at once.
    touch(&journal, 7, 0);
    assert!(recorder.0.lock().writes[before..].iter().any(|(_, blocks)| blocks.len() > 1));
    let due = (0..4096)
        .map(|n| Due { key: attrs(300 * (n + 1)), seq: None, from: before, until: None })
        .chain([Due { key: attrs(7), seq: None, from: recorder.writes(), until: None }])
        .collect();
    let mut run = Run { recorder, due };
    let mut tape = std::mem::take(&mut *run.recorder.0.lock());
    let rest = tape.writes.split_off(before);
    run.recorder.0.lock().writes = tape.writes;
    run.recorder.0.lock().base = tape.base;
    let base = run.recorder.after(before, || true);
    *run.recorder.0.lock() = Tape { base, writes: rest, ..Tape::default() };
    run.due.iter_mut().for_each(|d| d.from -= before);
    for seed in 0..40 {
        assert_eq!(unmarked(&run, 0, seed), None);
    }
}
