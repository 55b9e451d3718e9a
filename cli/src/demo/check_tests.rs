//! The checker against the application: right when nothing is lost, and it must find every loss.

use super::check::{self, Findings};
use super::{check_tree, ledger, tree};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

struct Ran {
    tmp: tempfile::TempDir,
}

impl Ran {
    /// Two workers, `each` operations each.
    fn new(each: u64) -> Ran {
        let ran = Ran { tmp: tempfile::tempdir().expect("a directory") };
        let record = fs::File::create(ran.path("record")).expect("made");
        ledger::run(&ran.path("ledger"), 2, ledger::Until::Operations(each), record).expect("it runs");
        ran
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    fn check(&self) -> Findings {
        let mut findings = Findings::default();
        check::ledger(&self.path("ledger"), &self.path("record"), &mut findings).expect("readable");
        findings
    }

    /// The record without its last `A` line of worker 0: that operation becomes one in flight.
    fn forget_last_acknowledgement(&self) {
        let record = fs::read_to_string(self.path("record")).expect("a record");
        let mut lines: Vec<&str> = record.lines().collect();
        let last = lines.iter().rposition(|line| line.starts_with("A 0 ")).expect("an acknowledgement");
        lines.remove(last);
        fs::write(self.path("record"), lines.join("\n") + "\n").expect("written");
    }

    fn overwrite(&self, file: &str, place: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.path("ledger").join(file)).expect("there");
        file.write_all_at(bytes, place).expect("written");
    }
}

#[test]
fn nothing_lost() {
    let findings = Ran::new(2000).check();
    assert_eq!((findings.acknowledged, findings.found, findings.lost), (4000, 4000, 0));
    assert!(findings.good() && findings.present > 1000, "{findings:?}");
    assert!(findings.in_flight.is_empty());
}

#[test]
fn control_a_lost_append_is_found() {
    let ran = Ran::new(500);
    let log = ran.path("ledger/log-1");
    let length = fs::metadata(&log).expect("there").len();
    OpenOptions::new().write(true).open(log).expect("there").set_len(length - 1).expect("cut");
    let findings = ran.check();
    assert_eq!((findings.lost, findings.found + 1), (1, findings.acknowledged));
    assert!(!findings.good() && findings.problems.len() == 1, "{findings:?}");
}

#[test]
fn control_an_altered_append_in_the_middle_is_found() {
    let ran = Ran::new(500);
    ran.overwrite("log-0", 40, b"x");
    assert_eq!(ran.check().lost, 1);
}

#[test]
fn control_a_slot_with_an_older_record_is_found() {
    let ran = Ran::new(20);
    let slots = fs::read(ran.path("ledger/slots-0")).expect("there");
    // Its place right, but another operation's record: what was acknowledged there is not.
    ran.overwrite("slots-0", 0, &slots[61 * 4096..][..4096]);
    let findings = ran.check();
    assert_eq!(findings.lost, 1, "{findings:?}");
}

#[test]
fn control_a_lost_publication_is_found() {
    let ran = Ran::new(20);
    fs::remove_file(ran.path("ledger/doc-1-0")).expect("there");
    assert_eq!(ran.check().lost, 1);
}

#[test]
fn control_an_acknowledgement_that_never_happened_is_found() {
    let ran = Ran::new(20);
    let mut record = fs::read_to_string(ran.path("record")).expect("a record");
    record += "S 0 20 append 99999 200 00000000000000000000000000000000\nA 0 20 1000\n";
    fs::write(ran.path("record"), record).expect("written");
    let findings = ran.check();
    assert_eq!((findings.acknowledged, findings.lost), (41, 1));
}

#[test]
fn what_was_in_flight_may_be_whole_torn_or_absent() {
    // Operation 6 of each worker is the first append.
    let ran = Ran::new(7);
    ran.forget_last_acknowledgement();
    let findings = ran.check();
    assert!(findings.good() && findings.acknowledged == 13, "{findings:?}");
    assert!(findings.in_flight[0].ends_with("is there, whole"), "{findings:?}");
    let log = OpenOptions::new().write(true).open(ran.path("ledger/log-0")).expect("there");
    log.set_len(10).expect("cut");
    let findings = ran.check();
    assert!(findings.good() && findings.in_flight[0].ends_with("in part"), "{findings:?}");
}

#[test]
fn a_torn_publication_is_a_loss_even_in_flight() {
    // Operation 169 publishes document 0 for the second time.
    let ran = Ran::new(170);
    ran.forget_last_acknowledgement();
    assert!(ran.check().good());
    ran.overwrite("doc-0-0", 100, b"torn");
    let findings = ran.check();
    assert_eq!(findings.lost, 1, "{findings:?}");
}

#[test]
fn a_record_that_makes_no_sense_is_refused() {
    let ran = Ran::new(3);
    fs::write(ran.path("record"), "A 0 5 1\n").expect("written");
    assert!(check::ledger(&ran.path("ledger"), &ran.path("record"), &mut Findings::default()).is_err());
}

#[test]
fn the_tree_is_compared_whole() {
    let tmp = tempfile::tempdir().expect("a directory");
    let (root, manifest) = (tmp.path().join("tree"), tmp.path().join("manifest"));
    tree::build(&root, 1234, &manifest).expect("built");
    let compare = || {
        let mut findings = Findings::default();
        check_tree::compare(&root, &manifest, &mut findings).expect("readable");
        findings
    };
    assert!(compare().good());
    fs::write(root.join("000/03/file-0000300"), "other").expect("written");
    fs::write(root.join("000/extra"), "more").expect("written");
    let findings = compare();
    assert_eq!((findings.files, findings.files_equal, findings.files_unknown), (1234, 1233, 1));
    assert!(!findings.good() && findings.problems.len() == 2, "{findings:?}");
}

#[test]
fn control_a_lost_transaction_is_found() {
    let digest = "0".repeat(32);
    let record = format!(
        "H 0 node1\nS 0 0 transaction 0 0 {digest}\nA 0 0 5\nS 0 1 transaction 0 0 {digest}\nA 0 1 5\nS 0 2 transaction 0 0 {digest}\nX 0\n"
    );
    let compare = |there: &[(u32, u64)]| {
        let mut findings = Findings::default();
        check::rows(&record, &there.iter().copied().collect(), &mut findings).expect("a record");
        findings
    };
    let all = compare(&[(0, 0), (0, 1), (0, 2)]);
    assert!(all.good() && all.acknowledged == 2 && all.in_flight[0].ends_with("is there"), "{all:?}");
    let lost = compare(&[(0, 1), (1, 0)]);
    assert_eq!((lost.acknowledged, lost.found, lost.lost), (2, 1, 1));
    assert!(!lost.good());
}
