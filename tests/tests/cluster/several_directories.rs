//! A module of two directories, whose application changes both in turn: what is in one depends on what was acknowledged in
//! the other. The judge of the ledger sees both as one tree, so a change without the one before it is found.

use crate::stories::{host_goes_and_returns, moves_to_the_other};
use crate::{LIMIT, WORK};
use rustix::process::Signal;
use std::time::Duration;
use tests::cluster::till::read_all;
use tests::cluster::{Setup, Site};
use tests::hosts::kill;
use tests::lab::scenario;
use tests::ledger::check_final;

const TWO: Setup = Setup { directories: 2, ..Setup::USUAL };
const LONG: Duration = Duration::from_secs(240);

fn generations(site: &Site, which: usize) -> Vec<String> {
    let shown = site.nodes[which].shown();
    let all = shown["directory_states"].as_array().cloned().unwrap_or_default();
    all.iter().map(|one| one["generation"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Takeover, return, handover and back.
fn the_host_of_the_primary_is_gone(name: &'static str, setup: Setup) {
    scenario(name, LONG, move |lab| {
        let mut site = Site::in_sync(lab, setup);
        let (clients, watch) = (site.clients(name), site.watch());
        host_goes_and_returns(&mut site, &clients, &watch, |site| {
            let both = generations(site, 1);
            assert!(both.len() == 2 && both[0] == both[1], "directories at different generations: {both:?}");
        });
        clients.wait_by("b", 100, WORK);
        site.nodes[1].order_here("swap");
        site.wait_roles(0);
        clients.wait_by("a", 100, WORK);
        site.judge(0, clients, Some(watch));
    });
}

#[test]
fn the_prefix_holds_across_both() {
    the_host_of_the_primary_is_gone("c-two-gone", TWO);
}

#[test]
fn with_a_witness() {
    the_host_of_the_primary_is_gone("c-two-witness", Setup { witness: true, ..TWO });
}

/// What the other node has is looked at before anything runs on it.
#[test]
fn what_the_secondary_has_is_one_point_of_the_history() {
    scenario("c-two-prefix", LIMIT, |lab| {
        let mut site = Site::in_sync(lab, TWO);
        let clients = site.clients("c-two-prefix");
        clients.wait_by("a", 500, WORK);
        site.power_off(0);
        site.power_off(1);
        let notes = clients.stop();
        check_final(&notes, &read_all(&site.nodes[1].all_bare(), tests::cluster::site::THREADS)).must_be_clean();
    });
}

#[test]
fn an_engine_that_is_killed_is_the_modules() {
    moves_to_the_other("c-two-engine", TWO, |_, site| site.nodes[0].kill("second engine"));
}

/// One directory loses its secondary, and the other node cannot even say that it gives way: the primary goes on alone in both,
/// and the other node does not lead with what it has, whatever becomes of the primary.
#[test]
fn without_one_session_the_secondary_does_not_lead() {
    scenario("c-two-session", LONG, |lab| {
        let mut site = Site::in_sync(lab, Setup { witness: true, ..TWO });
        let clients = site.clients("c-two-session");
        clients.wait_by("a", 200, WORK);
        let before = generations(&site, 0);
        kill(site.nodes[1].second_engine().expect("it runs"), Signal::STOP);
        site.nodes[0].wait_phase("Alone", WORK);
        clients.wait_by("a", 200, WORK);
        let after = generations(&site, 0);
        assert!(after[0] == after[1] && after[0] != before[0], "before {before:?}, after {after:?}");
        site.power_off(0);
        site.nodes[1].wait("told that it may not", WORK, |shown| shown["state"] == "WAIT");
        if let Some(engine) = site.nodes[1].second_engine() {
            kill(engine, Signal::CONT);
        }
        site.power_on(0);
        site.wait_roles(0);
        clients.wait_by("a", 100, WORK);
        assert_eq!(clients.tally().by.len(), 1, "only the primary acknowledged: {:?}", clients.tally().by);
        site.judge(0, clients, None);
    });
}

/// The same with the other node's consent: its second engine is killed, and the module follows again as a whole.
#[test]
fn a_secondary_follows_again_as_a_whole() {
    scenario("c-two-second", LIMIT, |lab| {
        let site = Site::in_sync(lab, TWO);
        let clients = site.clients("c-two-second");
        clients.wait_by("a", 200, WORK);
        let before = generations(&site, 0);
        site.nodes[1].kill("second engine");
        site.nodes[0].wait("at another generation", WORK, |_| {
            let now = generations(&site, 0);
            now.len() == 2 && now[0] == now[1] && now[0] != before[0]
        });
        site.wait_roles(0);
        assert_eq!(generations(&site, 0), generations(&site, 1));
        clients.wait_by("a", 200, WORK);
        site.judge(0, clients, None);
    });
}

/// The daemon is gone and the other one takes over both engines as it finds them.
#[test]
fn a_daemon_that_returns_finds_both_engines() {
    scenario("c-two-daemon", LIMIT, |lab| {
        let mut site = Site::in_sync(lab, TWO);
        let clients = site.clients("c-two-daemon");
        clients.wait_by("a", 200, WORK);
        let engines = (site.nodes[0].engine(), site.nodes[0].second_engine());
        site.nodes[0].kill_daemon();
        clients.wait_by("a", 100, WORK);
        site.nodes[0].start_daemon();
        site.wait_roles(0);
        assert_eq!((site.nodes[0].engine(), site.nodes[0].second_engine()), engines);
        site.judge(0, clients, None);
    });
}
