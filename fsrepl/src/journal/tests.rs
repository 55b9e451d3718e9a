//! The marks against power cuts: whatever was not flushed may be lost, nothing marked may be.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use super::record::{BLOCK, Block};
use super::ring::{Disk, parse};
use super::*;
use proptest::prelude::*;
use std::sync::Arc;

mod crash;
mod disk;
mod file;
mod lives;
mod sharing;

/// What the device was told, in order, so that a test can cut the power anywhere.
#[derive(Default)]
struct Tape {
    base: Vec<Block>,
    writes: Vec<(u64, Vec<Block>)>,
    /// Writes from this one on fail.
    fails_from: Option<usize>,
    /// Every write first waits for this: a slow device.
    slow: bool,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Tape>>);

impl Disk for Recorder {
    fn write(&mut self, first: u64, blocks: &[Block]) -> io::Result<()> {
        let mut tape = self.0.lock();
        if tape.slow {
            MutexGuard::unlocked(&mut tape, || std::thread::sleep(std::time::Duration::from_millis(2)));
        }
        if tape.fails_from.is_some_and(|n| tape.writes.len() >= n) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        tape.writes.push((first, blocks.to_vec()));
        Ok(())
    }
}

impl Recorder {
    fn writes(&self) -> usize {
        self.0.lock().writes.len()
    }

    /// Blocks of one write; 0 behind the last.
    fn blocks(&self, write: usize) -> usize {
        self.0.lock().writes.get(write).map_or(0, |(_, blocks)| blocks.len())
    }

    /// The device after `whole` writes, and of the next one those sectors for which `kept` says so.
    fn after(&self, whole: usize, mut kept: impl FnMut() -> bool) -> Vec<Block> {
        let tape = self.0.lock();
        let mut blocks = tape.base.clone();
        for (i, (first, data)) in tape.writes.iter().enumerate().take(whole + 1) {
            for (n, block) in data.iter().enumerate() {
                for sector in (0..BLOCK).step_by(512) {
                    if i < whole || kept() {
                        let to = &mut blocks[*first as usize + n].0[sector..sector + 512];
                        to.copy_from_slice(&block.0[sector..sector + 512]);
                    }
                }
            }
        }
        blocks
    }

    fn recover(&self) -> Recovered {
        Recovered::from_loaded(parse(&self.after(self.writes(), || true)))
    }
}

/// A journal with nothing marked on a recording disk.
fn recorded(slots: usize, floor: u64) -> (Journal, Recorder) {
    let none = DirtySet::new([], ObjectId(floor));
    let (journal, mut log) = Journal::prepare(slots, &none, Vec::new());
    let recorder = Recorder::default();
    recorder.0.lock().base = log.fill();
    log.set_disk(Box::new(recorder.clone()));
    *journal.log.lock() = log;
    (journal, recorder)
}

fn touch(journal: &Journal, object: u64, seq: Seq) {
    let op = journal.begin();
    op.mark_attrs(ObjectId(object)).unwrap();
    op.finish(seq);
}

fn attrs(object: u64) -> Key {
    Key::object(Aspect::Attrs, ObjectId(object))
}

/// EIO used to count as "nothing changed", and the next checkpoint cleared the mark of a half-written file.
#[test]
fn after_an_error_of_the_disk_nothing_is_cleared() {
    let (journal, _) = recorded(64, 1000);
    journal.in_sync(1);
    let op = journal.begin();
    op.mark_attrs(ObjectId(7)).unwrap();
    op.doubt();
    drop(op);
    for seq in 2..2 + 2 * limits::JOURNAL_IDLE_CUTS {
        touch(&journal, 9, seq);
        journal.checkpoint(seq, ObjectId(1000)).unwrap();
    }
    assert!(journal.dirty().covers(attrs(7)));
}
