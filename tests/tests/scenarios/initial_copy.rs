//! The directory holds data of every kind already: it is all copied, behind the application's work.

use crate::{LIMIT, THREADS, WORK};
use std::fs;
use tests::files::varied_tree;
use tests::lab::scenario;
use tests::ledger::{Run, check_final, read_all};
use tests::pair::Pair;
use tests::rng::seed;

#[test]
fn initial_copy() {
    scenario("initial-copy", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        varied_tree(&pair.dir_a.join("tree"));
        for n in 0..3000 {
            fs::write(pair.dir_a.join(format!("tree/deep/er/{n}")), format!("file {n}")).expect("write");
        }
        pair.secondary = Some(pair.receive().spawn());
        pair.secondary().wait_ready();
        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_ready();
        let run = Run::start(&pair.mounted(), THREADS, seed("initial-copy"), false);
        pair.wait_in_sync();
        run.wait_acknowledged(200, WORK);
        let notes = run.stop();
        pair.sync();
        check_final(&notes, &read_all(&pair.replica(), THREADS)).must_be_clean();
        assert!(!pair.mounted().join(".understudy").exists(), "the hidden directory shows");
        assert!(!fs::read_dir(pair.mounted()).expect("list").flatten().any(|e| e.file_name() == ".understudy"));
        pair.finish();
    });
}
