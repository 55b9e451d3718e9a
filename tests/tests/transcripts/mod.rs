//! The main cases as stories beside this file. `UNDERSTUDY_BLESS=1 cargo test -p tests --test simulation transcripts` writes them
//! anew; whoever does so reads what has changed.

use cluster::failover::{Accept, Command};
use cluster::quorum::Kind;
use std::path::Path;
use tests::sim::{Fault, Ms, Proc, Story};

const LONG: Ms = 10_000_000;

#[track_caller]
fn check(name: &str, title: &str, story: &Story) {
    let told = story.text(title);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(format!("{name}.txt"));
    if std::env::var_os("UNDERSTUDY_BLESS").is_some() {
        std::fs::write(&path, &told).expect("the story can be written");
    }
    assert!(story.sound(), "{told}");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == told, "{} tells another story now (UNDERSTUDY_BLESS=1 writes it):\n{told}", path.display());
}

fn off(node: usize, back: Ms) -> Fault {
    Fault::Off { node, loses: true, put_back: false, back }
}

fn cut(length: Ms) -> Fault {
    Fault::Cut { networks: 3, directions: 3, length }
}

#[test]
fn first_start() {
    let mut story = Story::from_nothing(Kind::Witness);
    story.run(1_000);
    check("first_start", "Two nodes without data; the operator names the good side.", &story);
}

#[test]
fn secondary_lost() {
    let mut story = Story::new(Kind::Witness);
    story.strike(off(1, 8_000)).run(15_000);
    check("secondary_lost", "The secondary loses its power and comes back.", &story);
}

#[test]
fn primary_lost() {
    let mut story = Story::new(Kind::Witness);
    story.strike(off(0, 10_000)).run(20_000);
    check("primary_lost", "The primary loses its power and comes back.", &story);
}

#[test]
fn primary_paused() {
    let mut story = Story::new(Kind::Witness);
    story.strike(Fault::Pause { node: 0, process: None, length: 8_000 }).run(20_000);
    check("primary_paused", "The primary stands still and wakes up after the takeover.", &story);
}

#[test]
fn engine_killed() {
    let mut story = Story::new(Kind::Witness);
    story.strike(Fault::Kill { node: 0, process: Proc::Engine }).run(10_000);
    check("engine_killed", "The primary's engine is killed, its host lives.", &story);
}

#[test]
fn isolated_with_each_quorum() {
    for (name, kind) in [("witness", Kind::Witness), ("tiebreaker", Kind::Tiebreaker), ("none", Kind::None)] {
        let mut story = Story::new(kind);
        story.strike(cut(10_000)).run(25_000);
        let title = format!("All networks between the nodes are cut for ten seconds; quorum: {name}.");
        check(&format!("isolated_{name}"), &title, &story);
    }
}

#[test]
fn primary_isolated_from_all() {
    let mut story = Story::new(Kind::Witness);
    story.strike(cut(15_000)).strike(Fault::CutThird { nodes: 1, directions: 3, length: 15_000 }).run(30_000);
    check("primary_isolated", "The primary is cut off from the secondary and from the witness.", &story);
}

#[test]
fn double_power_cut() {
    let title = "Both nodes lose their power";
    for (name, first, second, how) in [
        ("together", 5_000, 5_000, "they come back together."),
        ("primary_first", 5_000, 30_000, "the last primary comes back first."),
        ("secondary_first", 30_000, 5_000, "the last secondary comes back first."),
    ] {
        let mut story = Story::new(Kind::Witness);
        story.strike(Fault::BothOff { first, second }).run(40_000);
        check(&format!("power_cut_{name}"), &format!("{title}; {how}"), &story);
    }
}

#[test]
fn power_cut_and_only_the_primary_returns() {
    let mut story = Story::new(Kind::Witness);
    story.strike(Fault::BothOff { first: 5_000, second: LONG }).run(20_000);
    story.order(0, Command::Promote(None)).run(1_000).order(0, Command::Promote(Some(Accept::Outdated))).run(5_000);
    check("power_cut_primary_only", "Both nodes lose their power; only the last primary comes back, and the operator decides.", &story);
}

#[test]
fn stale_node_first() {
    let mut story = Story::new(Kind::Witness);
    story.strike(off(1, 20_000)).run(5_000).strike(off(0, 30_000)).run(50_000);
    check("stale_first", "The secondary goes, then the primary; the stale secondary comes back first and waits.", &story);
}

#[test]
fn swap() {
    let mut story = Story::new(Kind::Witness);
    story.order(0, Command::Swap).run(3_000).order(0, Command::Swap).run(2_000);
    check("swap", "A planned swap; the second order is for a node that is not the primary any more.", &story);
}

#[test]
fn leave_and_leave() {
    let mut story = Story::new(Kind::Witness);
    story.strike(Fault::StopAll).run(3_000);
    story.order(1, Command::Start).run(8_000).order(0, Command::Start).run(5_000);
    check("leave_leave", "Both are stopped in order; the last secondary is started first.", &story);
}

#[test]
fn secondary_stopped() {
    let mut story = Story::new(Kind::Witness);
    story.order(1, Command::Stop).run(3_000).order(1, Command::Start).run(3_000);
    check("secondary_stopped", "The secondary is stopped in order and started again.", &story);
}

#[test]
fn failback() {
    let mut story = Story::with_failback(Kind::Witness);
    story.strike(off(0, 10_000)).run(90_000);
    check("failback", "The preferred node is lost, comes back, and leads again when all was well for a minute.", &story);
}

#[test]
fn flapping() {
    let mut story = Story::new(Kind::Witness);
    story.strike(Fault::Flap { period: 1_300, times: 4, directions: 3 }).run(25_000);
    check("flapping", "All networks come and go every 1.3 s: the application stays where it is.", &story);
}

#[test]
fn one_way() {
    let mut story = Story::new(Kind::Witness);
    story.strike(Fault::Cut { networks: 3, directions: 1, length: 8_000 }).run(16_000);
    check("one_way", "The secondary hears nothing from the primary; the other way works.", &story);
}

#[test]
fn witness_lost() {
    let mut story = Story::new(Kind::Witness);
    story.strike(Fault::ThirdOff { blank: false, length: 20_000 }).run(8_000);
    story.strike(off(1, LONG)).run(6_000);
    check("witness_lost_then_secondary", "The witness is away, then the secondary is lost: the primary goes on.", &story);
    let mut story = Story::new(Kind::Witness);
    story.strike(Fault::ThirdOff { blank: false, length: 30_000 }).run(8_000);
    story.strike(off(0, 15_000)).run(25_000);
    check("witness_lost_then_primary", "The witness is away, then the primary is lost: the secondary waits for it.", &story);
}

#[test]
fn witness_blank() {
    let mut story = Story::new(Kind::Witness);
    story.strike(Fault::ThirdOff { blank: true, length: 1_000 }).run(6_000);
    story.strike(off(0, LONG)).run(6_000);
    check("witness_blank", "The witness has lost its disk, is told anew, and then the primary is lost.", &story);
    let mut story = Story::new(Kind::Witness);
    story.strike(off(1, LONG)).strike(Fault::ThirdOff { blank: true, length: 500 }).run(4_000).strike(off(0, 3_000)).run(15_000);
    check("witness_blank_then_alone", "The witness has lost its disk while no pair was in sync.", &story);
}
