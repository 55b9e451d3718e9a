//! Measures how soon a client reaches the new node after the takeover of an address alone, with two nodes and a client on
//! a switch (network namespaces). As root: `cargo run --release -p vip --example takeover [ROUNDS]`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use support::{Host, Net, run, wanted};
use vip::manager::Wanted;

const INSIDE: &str = "UNDERSTUDY_TAKEOVER";
const ROUNDS: usize = 20;
/// What is aimed at, every time, after the address was added.
const AIM: Duration = Duration::from_millis(100);

/// What became of the node that had the address.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// It gave it up.
    Released,
    /// Its cable was pulled.
    Unplugged,
    /// Its daemon died; its kernel has the address and answers.
    Answering,
}

#[derive(Default)]
struct Figures {
    acquire: Vec<Duration>,
    reach: Vec<Duration>,
}

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_some() {
        return measure();
    }
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new("unshare").arg("--net").arg(this).args(std::env::args().skip(1)).env(INSIDE, "1").status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "cannot start `unshare`: {why}; install util-linux");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> ExitCode {
    let rounds = std::env::args().nth(1).map_or(Some(ROUNDS), |count| count.parse().ok()).filter(|rounds| *rounds > 0);
    let Some(rounds) = rounds else {
        let _ = writeln!(std::io::stderr(), "the number of rounds is expected");
        return ExitCode::from(2);
    };
    let net = Net::new(2);
    let _answering: Vec<_> = net.nodes.iter().map(Host::answer).collect();
    let mut out = std::io::stdout().lock();
    let mut missed = false;
    let _ =
        writeln!(out, "milliseconds: median, largest of {rounds}; aim: reached within {} of acquire's return, every time", AIM.as_millis());
    for before in [Before::Released, Before::Unplugged, Before::Answering] {
        for address in [wanted("10.0.0.100/24"), wanted("fd00::64/64")] {
            let mut figures = Figures::default();
            for round in 0..rounds {
                takeover(&net, before, &address, round % 2, &mut figures);
            }
            missed |= figures.reach.iter().any(|reach| *reach > AIM);
            let _ = writeln!(
                out,
                "{:<10} {:<14} acquire {}   then reached after {}",
                format!("{before:?}").to_lowercase(),
                address.to_string(),
                summary(figures.acquire),
                summary(figures.reach)
            );
        }
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn takeover(net: &Net, before: Before, address: &Wanted, from: usize, figures: &mut Figures) {
    let (old, new) = (&net.nodes[from], &net.nodes[1 - from]);
    let ip = address.ip.to_string();
    let holder = old.manager();
    holder.manager.acquire("pg", std::slice::from_ref(address)).expect("the first node takes it");
    net.client.reaches(&ip, &old.name, Instant::now());
    match before {
        Before::Released => holder.manager.release("pg").expect("it is given up"),
        Before::Unplugged => drop(run(&["ip", "link", "set", &old.name, "down"])),
        Before::Answering => {}
    }
    drop(holder);
    let taker = new.manager();
    let begun = Instant::now();
    taker.manager.acquire("pg", std::slice::from_ref(address)).expect("the second node takes it");
    let added = Instant::now();
    figures.acquire.push(added - begun);
    figures.reach.push(net.client.reaches(&ip, &new.name, added));
    taker.manager.release("pg").expect("it is given up");
    if !matches!(before, Before::Released) {
        let nothing = old.ip(&format!("address del {address} dev eth0"));
        debug_assert!(nothing.is_empty());
    }
    if matches!(before, Before::Unplugged) {
        run(&["ip", "link", "set", &old.name, "up"]);
        support::until("the port works", || run(&["ip", "-d", "link", "show", &old.name]).contains("state forwarding"));
    }
}

fn summary(mut all: Vec<Duration>) -> String {
    all.sort();
    let ms = |at: usize| all[at].as_secs_f64() * 1000.0;
    format!("{:5.1} {:5.1}", ms(all.len() / 2), ms(all.len() - 1))
}
