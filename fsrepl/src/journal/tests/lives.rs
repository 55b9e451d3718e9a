//! Whole lives of a journal on a disk that forgets: random operations, checkpoints, failing writes, and power cuts
//! between and in the middle of writes, from one run to the next. The model knows which changes the two
//! replicas may not share, and nothing of slots, epochs or records.

use super::disk::{Dice, Lie, SimDisk, blocks};
use super::*;

/// Lives in one run of the test. `UNDERSTUDY_SOAK=N` runs N times as many.
const LIVES: u64 = 2000;
/// Where nothing is said: a run that fails must fail again.
const USUAL: u64 = 20_261_123;

/// A change of the tree that the peer may lack.
struct Due {
    key: Key,
    /// Which operation made it.
    op: u64,
    /// `None` while it has no number.
    seq: Option<Seq>,
}

#[derive(Default)]
struct Model {
    due: Vec<Due>,
    /// Notes of which one must be found: the last that was acknowledged, and what was tried after it.
    notes: Vec<Vec<u8>>,
    broken: Option<String>,
    judged: u64,
}

impl Model {
    fn judge(&mut self, when: &str, found: &Recovered) {
        self.judged += 1;
        let complain = if let Some(why) = found.full_compare_reason {
            Some(format!("taken for damage: {why}"))
        } else if let Some(due) = self.due.iter().find(|due| !found.dirty.covers(due.key)) {
            Some(format!("{:?} is not marked (floor {:?})", due.key, found.birth_floor))
        } else if !self.notes.contains(&found.note) {
            Some("the note is none of those that may be there".to_owned())
        } else {
            None
        };
        if let Some(why) = complain {
            self.broken.get_or_insert(format!("{when}: {why}"));
        }
    }

    /// Both disks hold everything up to `stable`.
    fn settle(&mut self, stable: Seq) {
        self.due.retain(|due| due.seq.is_none_or(|seq| seq > stable));
    }
}

struct Life {
    model: Arc<Mutex<Model>>,
    dice: Dice,
    seq: Seq,
    stable: Seq,
    in_sync: bool,
    born: u64,
    ops: u64,
    /// A clean end with nothing left to heal was reached.
    spotless: bool,
}

/// Plays one life; what went wrong, if anything did, and how often it was looked at.
fn live(seed: u64, lie: Option<Lie>, share: u64) -> (Option<String>, u64) {
    let mut dice = Dice::new(seed);
    // Mostly so few slots that marks are coarsened all the time, now and then so many that writes get long.
    let slots = if dice.one_in(8) { 100 + dice.below(300) } else { 16 + dice.below(64) };
    let limits = Limits { slots: slots as usize };
    let model = Arc::new(Mutex::new(Model { notes: vec![Vec::new()], ..Model::default() }));
    let ids = if dice.one_in(4) { 9000 } else { 200 };
    let born = 40 + dice.below(ids);
    let mut log = first_log(limits, born);
    let mut life = Life { model: model.clone(), dice, seq: 0, stable: 0, in_sync: false, born, ops: 0, spotless: true };
    for _ in 0..1 + life.dice.below(4) {
        log = life.run(log, limits, lie, share);
        let model = model.lock();
        if model.broken.is_some() {
            break;
        }
    }
    let mut model = model.lock();
    (model.broken.take(), model.judged)
}

/// A log in which nothing is marked, as a pair in sync has it.
fn first_log(limits: Limits, floor: u64) -> Option<Vec<u8>> {
    let (_, mut log) = Journal::prepare(limits.slots(), &DirtySet::new([], ObjectId(floor)), Vec::new());
    Some(log.fill().iter().flat_map(|block| block.0).collect())
}

impl Life {
    /// One run, from opening to a power cut or a clean end; gives what is on the disk then.
    fn run(&mut self, log: Option<Vec<u8>>, limits: Limits, lie: Option<Lie>, share: u64) -> Option<Vec<u8>> {
        let found = blocks(log.clone()).and_then(|blocks| parse(&blocks));
        let found = Recovered::from_loaded(found);
        self.model.lock().judge("at the start", &found);
        if self.spotless && !(found.dirty.is_empty() && found.birth_floor.0 >= self.born) {
            self.model.lock().broken.get_or_insert("a spotless end left marks".to_owned());
        }
        self.model.lock().notes = vec![found.note];
        let disk = SimDisk::new(log, self.dice.clone());
        self.dice.roll();
        let judging = self.model.clone();
        let judge = move |log: Result<Vec<Block>, Lost>| {
            let found = Recovered::from_loaded(log.and_then(|blocks| parse(&blocks)));
            judging.lock().judge("in the middle of a call", &found);
        };
        {
            let mut world = disk.0.lock();
            world.judge = Some((Box::new(judge), share));
            world.lie = lie;
            world.cut_in = self.dice.one_in(2).then(|| self.dice.below(60));
        }
        (self.seq, self.stable, self.in_sync) = (0, 0, false);
        // Numbers begin again: what an earlier run left is healed by a resync in this one.
        self.model.lock().due.iter_mut().for_each(|due| due.seq = Some(0));
        if let Ok((journal, _)) = Journal::open_in(&disk, limits) {
            self.spotless = false;
            self.work(&journal, &disk);
        }
        disk.cut()
    }

    fn work(&mut self, journal: &Journal, disk: &SimDisk) {
        let mut flying = Vec::new();
        for _ in 0..self.dice.below(120) {
            if disk.is_off() {
                break;
            }
            self.step(journal, disk, &mut flying);
            let dirty = journal.dirty();
            let mut model = self.model.lock();
            if let Some(due) = model.due.iter().find(|due| !dirty.covers(due.key)) {
                let why = format!("{:?} is not marked in memory", due.key);
                model.broken.get_or_insert(why);
            }
        }
        flying.into_iter().for_each(|op| self.land(op));
        if !disk.is_off() && self.dice.one_in(2) {
            self.close(journal, disk);
        }
    }

    fn step<'a>(&mut self, journal: &'a Journal, disk: &SimDisk, flying: &mut Vec<(Op<'a>, u64)>) {
        match self.dice.below(40) {
            0..=19 => {
                if let Some(op) = self.change(journal) {
                    self.land(op);
                }
            }
            20..=22 => flying.extend(self.change(journal)),
            23..=24 if !flying.is_empty() => {
                let op = flying.remove(self.dice.below(flying.len() as u64) as usize);
                self.land(op);
            }
            25..=28 => {
                let lag = if self.dice.one_in(3) { self.dice.below(20) } else { 0 };
                self.stable = self.stable.max(self.seq.saturating_sub(lag));
                if self.in_sync {
                    self.model.lock().settle(self.stable);
                }
                let _ = journal.stable(self.stable);
            }
            29..=31 => journal.cut(ObjectId(self.born)),
            32 => {
                self.in_sync = false;
                journal.alone();
            }
            33 | 34 => {
                self.in_sync = true;
                let at = self.seq;
                self.model.lock().due.iter_mut().for_each(|due| due.seq = due.seq.map(|seq| seq.max(at)));
                journal.in_sync(at);
            }
            35 | 36 => self.born += 1 + self.dice.below(30),
            37 => {
                let note: Vec<u8> = (0..self.dice.below(300)).map(|_| self.dice.roll() as u8).collect();
                self.model.lock().notes.push(note.clone());
                if journal.set_note(&note).is_ok() {
                    self.model.lock().notes = vec![note];
                }
            }
            38 => disk.0.lock().fails = true,
            _ => {}
        }
    }

    /// Marks, and changes the tree if that succeeded. The operation has no number yet.
    fn change<'a>(&mut self, journal: &'a Journal) -> Option<(Op<'a>, u64)> {
        let op = journal.begin();
        let mut keys = Vec::new();
        for _ in 0..1 + self.dice.below(3) {
            let object = ObjectId(1 + self.dice.below(self.born));
            let (key, marked) = match self.dice.below(3) {
                0 => {
                    let extent = self.dice.below(6);
                    (Key::extent(object, extent), op.mark_extent(object, extent * limits::JOURNAL_EXTENT + 5, 10))
                }
                1 => (Key::object(Aspect::Entries, object), op.mark_entries(object)),
                _ => (attrs(object.0), op.mark_attrs(object)),
            };
            marked.ok()?;
            keys.push(key);
        }
        self.ops += 1;
        let number = self.ops;
        self.model.lock().due.extend(keys.into_iter().map(|key| Due { key, op: number, seq: None }));
        Some((op, number))
    }

    fn land(&mut self, (op, number): (Op<'_>, u64)) {
        self.seq += 1;
        let seq = self.seq;
        self.model.lock().due.iter_mut().filter(|due| due.op == number).for_each(|due| due.seq = Some(seq));
        op.finish(seq);
    }

    fn close(&mut self, journal: &Journal, disk: &SimDisk) {
        let stable = if self.dice.one_in(3) { self.stable } else { self.seq };
        if self.in_sync {
            self.model.lock().settle(stable);
        }
        let closed = journal.close_clean(stable, ObjectId(self.born));
        let quiet = self.in_sync && stable >= self.seq;
        self.spotless = closed.is_ok() && quiet && !disk.is_off();
        if self.spotless {
            assert!(self.model.lock().due.is_empty());
        }
    }
}

fn seed() -> u64 {
    let seed = match std::env::var("UNDERSTUDY_SEED").as_deref() {
        Err(_) => USUAL,
        Ok("random") => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
        Ok(number) => number.parse().unwrap(),
    };
    eprintln!("journal lives: repeat with UNDERSTUDY_SEED={seed}");
    seed
}

/// Many lives from `first` on, in all processors; the first that goes wrong.
fn lives(first: u64, count: u64, lie: Option<Lie>, share: u64) -> (Option<(u64, String)>, u64) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let wrong = Mutex::new(None);
    let judged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (wrong, judged) = (&wrong, &judged);
            scope.spawn(move || {
                for n in (thread..count).step_by(threads as usize) {
                    if wrong.lock().is_some() {
                        return;
                    }
                    let seed = first.wrapping_add(n);
                    let (broken, looked) = live(seed, lie, share);
                    judged.fetch_add(looked, SeqCst);
                    if let Some(why) = broken {
                        wrong.lock().get_or_insert((seed, why));
                    }
                }
            });
        }
    });
    (wrong.into_inner(), judged.into_inner())
}

#[test]
fn no_life_loses_a_mark() {
    let soak = std::env::var("UNDERSTUDY_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let first = seed();
    // A few looked at in every call, many looked at now and then.
    let (wrong, judged) = lives(first, LIVES / 40 * soak, None, 1);
    assert_eq!(wrong, None, "the life with that seed");
    let (wrong, more) = lives(first.wrapping_add(1 << 32), LIVES * soak, None, 60);
    assert_eq!(wrong, None, "the life with that seed");
    assert!(judged + more > LIVES, "only {judged} + {more} power cuts were looked at");
}

/// Each flush is there for a reason: without it a mark is lost or the log is taken for damaged.
#[test]
fn without_any_one_flush_marks_are_lost() {
    for lie in [Lie::Write, Lie::File, Lie::Names] {
        let (wrong, judged) = lives(USUAL, 400, Some(lie), 2);
        assert!(wrong.is_some(), "nobody noticed in {judged} power cuts that {lie:?} was not flushed");
    }
}

/// A write that failed shared its number with the one that took its place, and sectors of both, left by a power cut,
/// passed for one record, or for damage.
#[test]
fn a_failed_write_and_the_next_attempt_are_told_apart() {
    for seed in 0..200 {
        let disk = SimDisk::new(first_log(Limits { slots: 64 }, 1000), Dice::new(seed));
        let (journal, _) = Journal::open_in(&disk, Limits { slots: 64 }).unwrap();
        (1..=60).for_each(|n| touch(&journal, n, n));
        disk.0.lock().fails = true;
        assert!(journal.begin().mark_attrs(ObjectId(100)).is_err());
        disk.0.lock().cut_in = Some(0);
        let op = journal.begin();
        assert!(op.mark_attrs(ObjectId(110)).is_err() && op.mark_extent(ObjectId(120), 0, 1).is_err());
        let found = Recovered::from_loaded(blocks(disk.cut()).and_then(|blocks| parse(&blocks)));
        assert_eq!(found.full_compare_reason, None, "seed {seed}");
        assert!((1..=60).all(|n| found.dirty.covers(attrs(n))), "seed {seed}");
    }
}
