//! The hosts are what scenarios take them for: separate machines whose links can be cut, whose
//! power can go, and which leave nothing behind.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use rustix::process::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::engine::wait_for;
use tests::hosts::{Host, kill, only_child};
use tests::lab::scenario;

const LIMIT: Duration = Duration::from_secs(60);

/// Asks for a TCP connection from `host`; bash can do that everywhere.
fn connects(host: &Host, to: SocketAddr) -> bool {
    let words = format!("exec 3<>/dev/tcp/{}/{}", to.ip(), to.port());
    host.try_run(["timeout", "1", "bash", "-c", &words]).status.success()
}

/// Something that listens on every address of `host`.
fn listen(host: &Host) -> std::process::Child {
    let words = "use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 9, LocalPort => 9000, ReuseAddr => 1) or die; \
                 $| = 1; print \"up\\n\"; while (my $c = $s->accept) { close $c }";
    let mut child = host.command("perl").args(["-e", words]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    child
}

#[test]
fn links_carry_until_they_are_cut() {
    scenario("links", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let link = lab.link(&a, &b);
        let (mut at_a, mut at_b) = (listen(&a), listen(&b));
        assert!(connects(&a, link.second_socket(9000)) && connects(&b, link.first_socket(9000)));

        b.deafen(link.second.0);
        assert!(!connects(&a, link.second_socket(9000)), "b still hears a");
        b.undeafen(link.second.0);
        assert!(connects(&a, link.second_socket(9000)));

        a.set_link(link.first.0, false);
        assert!(!connects(&b, link.first_socket(9000)));
        a.set_link(link.first.0, true);
        let back = wait_for(Duration::from_secs(10), || connects(&b, link.first_socket(9000)).then_some(()));
        assert!(back.is_some());
        drop((a, b));
        let _ = (at_a.wait(), at_b.wait());
    });
}

#[test]
fn one_direction_can_be_cut_alone() {
    scenario("one-way", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let link = lab.link(&a, &b);
        let counted = |host: &Host| -> u64 { host.run(["cat", "/sys/class/net/eth0/statistics/rx_packets"]).trim().parse().unwrap() };
        // sysfs shows the namespace it was mounted in; mount one of the host's own.
        b.run(["mount", "-t", "sysfs", "sysfs", "/sys"]);
        a.deafen(link.first.0);
        let before = counted(&b);
        assert!(!connects(&a, link.second_socket(9000)));
        assert!(counted(&b) > before, "a's packets reach b though a hears nothing");
    });
}

#[test]
fn hosts_have_names_mounts_and_processes_of_their_own() {
    scenario("own", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        assert!(a.run(["hostname"]).starts_with(&format!("us-{}-", std::process::id())));
        assert_ne!(a.run(["hostname"]), b.run(["hostname"]));
        a.run([Path::new("mount"), Path::new("-t"), Path::new("tmpfs"), Path::new("x"), &a.dir]);
        std::fs::write(a.view(&a.dir).join("here"), "").unwrap();
        assert!(!a.dir.join("here").exists() && !b.view(&a.dir).join("here").exists());
        assert!(b.run(["ps", "-e"]).lines().count() < 5, "b sees processes of others");
    });
}

#[test]
fn power_off_ends_every_process() {
    scenario("power", LIMIT, |lab| {
        let mut a = lab.host("a");
        let mut stubborn = a.command("bash").args(["-c", "trap '' TERM; setsid sleep 1000 & sleep 1000"]).spawn().unwrap();
        let inside = wait_for(LIMIT, || only_child(stubborn.id())).unwrap();
        a.power_off();
        assert!(!a.is_up());
        let _ = stubborn.wait();
        assert!(!Path::new(&format!("/proc/{inside}")).exists());
    });
}

#[test]
fn a_host_ends_with_its_test() {
    // A test process that is killed: the pipe to the host's first process closes with it.
    let hand = tests::lab::hand();
    let script = format!("sleep 1000 | unshare --pid --fork --kill-child --uts {} init us-orphan", hand.display());
    let mut test = Command::new("bash").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 3];
    std::io::Read::read_exact(test.stdout.as_mut().unwrap(), &mut line).unwrap();
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", test.id())).unwrap();
    let children: Vec<i32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    kill(children[0], Signal::KILL);
    let ended = wait_for(LIMIT, || test.try_wait().unwrap());
    assert!(ended.is_some(), "the host outlived the pipe");
}

#[test]
fn small_disks_fill_up() {
    scenario("disk", LIMIT, |lab| {
        let a = lab.host("a");
        for kind in ["ext4", "xfs"] {
            let disk = a.small_disk(kind, kind, if kind == "xfs" { 320 } else { 16 });
            let file = a.view(&disk).join("big");
            let error = std::fs::write(file, vec![1; 400 << 20]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        }
    });
}

#[test]
#[should_panic(expected = "deadline")]
fn a_stuck_scenario_is_ended() {
    scenario("stuck", Duration::from_secs(2), |lab| {
        let a = lab.host("a");
        a.run(["sleep", "1000"]);
    });
}
