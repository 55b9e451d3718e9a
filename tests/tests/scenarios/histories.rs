//! Random histories of a pair; see `tests::history`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tests::disk::chosen_kind;
use tests::history::{Faults, History, count, limit, seeds};
use tests::lab::{Lab, scenario};

const CHAPTERS: u64 = 4;

fn play(lab: &Arc<Lab>, seed: u64, kind: &str, faults: Faults, chapters: u64) {
    let mut history = History::begin(lab, seed, kind, faults);
    for _ in 0..chapters {
        history.chapter();
    }
    history.end(|_| {});
    lab.clear();
}

fn histories(name: &'static str, usual: u64, faults: Faults) {
    let count = count(usual);
    scenario(name, limit(count), move |lab| {
        for seed in seeds(name, count) {
            play(lab, seed, &chosen_kind(), faults, CHAPTERS);
        }
    });
}

#[test]
fn histories_with_kills_and_cuts() {
    histories("histories-kills", 2, Faults { split: true, ..Faults::default() });
}

#[test]
fn histories_with_power_cuts() {
    histories("histories-power", 3, Faults { power: true, ..Faults::default() });
}

#[test]
fn histories_with_resyncs_that_die_at_points() {
    histories("histories-points", 2, Faults { power: true, points: true, split: true });
}

#[test]
fn histories_on_other_file_systems() {
    scenario("histories-kinds", limit(2), |lab| {
        for (kind, seed) in ["xfs", "btrfs"].into_iter().zip(seeds("histories-kinds", 2)) {
            play(lab, seed, kind, Faults { power: true, ..Faults::default() }, 2);
        }
    });
}

/// The control: one byte of the replica is changed underneath, with its time put back.
#[test]
#[should_panic(expected = "content at byte")]
fn a_history_notices_one_byte() {
    scenario("histories-control", limit(1), |lab| {
        let seed = seeds("histories-control", 1).next().expect("one");
        let history = History::begin(lab, seed, &chosen_kind(), Faults::default());
        history.end(|root| {
            let path = root.join("durable/victim");
            let victim = [path, root.join("calm1/big")].into_iter().find(|path| path.exists()).expect("the tree has a big file");
            let time = File::open(&victim).and_then(|file| file.metadata()).and_then(|meta| meta.modified()).expect("look at it");
            let file = OpenOptions::new().read(true).write(true).open(&victim).expect("open it");
            let mut byte = [0];
            file.read_exact_at(&mut byte, 70_000).expect("read");
            file.write_all_at(&[byte[0] ^ 1], 70_000).expect("write");
            file.set_modified(time).expect("put its time back");
        });
    });
}
