//! Both engines are stopped and started in every order, with changes in between; after each round
//! they are in sync and equal, and files have the inode numbers that they had, unless the primary was killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tests::lab::scenario;
use tests::pair::Pair;

const LIMIT: Duration = Duration::from_secs(240);

fn stop(pair: &mut Pair, primary_first: bool, kill: bool) {
    let (mut primary, mut secondary) = (pair.primary.take().expect("runs"), pair.secondary.take().expect("runs"));
    let end = |engine: &mut tests::engine::Engine| if kill { engine.kill() } else { engine.stop() };
    if primary_first {
        end(&mut primary);
        end(&mut secondary);
    } else {
        let mark = primary.mark();
        end(&mut secondary);
        primary.wait_since(mark, "ALONE", tests::engine::PATIENCE, |said| said.is_state("ALONE"));
        fs::write(pair.mounted().join("alone"), format!("{primary_first} {kill}")).expect("write alone");
        end(&mut primary);
    }
}

fn start(pair: &mut Pair, primary_first: bool) {
    if primary_first {
        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_since(0, "WAIT", tests::engine::PATIENCE, |said| said.is_state("WAIT"));
        pair.secondary = Some(pair.receive().spawn());
    } else {
        pair.secondary = Some(pair.receive().spawn());
        pair.secondary().wait_ready();
        pair.primary = Some(pair.mount().spawn());
    }
    pair.secondary().wait_ready();
    pair.primary().wait_ready();
    pair.wait_in_sync();
}

/// Of everything in the mounted directory, as applications see them.
fn inode_numbers(pair: &Pair) -> BTreeMap<OsString, u64> {
    let entries = fs::read_dir(pair.mounted()).expect("list").map(|entry| entry.expect("list"));
    entries.map(|entry| (entry.file_name(), entry.metadata().expect("stat").ino())).collect()
}

#[test]
fn restart_orders() {
    scenario("restart-orders", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        for round in 0..8 {
            let [stop_primary_first, start_primary_first, kill] = [1, 2, 4].map(|bit| round & bit != 0);
            fs::write(pair.mounted().join(format!("round{round}")), vec![round; 100_000]).expect("write");
            fs::write(pair.mounted().join("same"), vec![round; 3000]).expect("write");
            let numbers = inode_numbers(&pair);
            stop(&mut pair, stop_primary_first, kill);
            start(&mut pair, start_primary_first);
            eprintln!("round {round}: in sync");
            if !kill {
                let after = inode_numbers(&pair);
                let kept = numbers.iter().all(|(name, number)| after.get(name) == Some(number));
                assert!(kept, "inode numbers changed:\n{numbers:?}\n{after:?}");
            }
            pair.must_be_equal();
        }
        pair.finish();
    });
}
