//! (a) One 4 KiB request and its 64-byte acknowledgement, one at a time.

use std::sync::Arc;
use std::time::Instant;

use fsrepl::uring::{Link, RingLink};
use rustix::thread::gettid;

use crate::hosts::Hosts;
use crate::peer::{Acks, Peer};
use crate::regime::{self, Regime};
use crate::variant::{End, TRIPS, ring};
use crate::{Outcome, median, p50_p99};

const ROUNDS: usize = 15;
const TRIPS_A_ROUND: usize = 1500;
const REQUEST: usize = 4096;

struct Client {
    link: Arc<dyn Link>,
    one_enter: Option<Arc<RingLink>>,
    sent: u64,
    acks: Acks,
    peer: Peer,
}

impl Client {
    fn new(hosts: &Hosts, near_end: End, far_end: End) -> Outcome<Self> {
        let (near, far) = hosts.connect()?;
        let peer = Peer::start(far_end.link(far)?, REQUEST)?;
        let (link, one_enter): (Arc<dyn Link>, _) = if near_end == End::OneEnter {
            let link = Arc::new(ring(near)?);
            (Arc::clone(&link) as _, Some(link))
        } else {
            (near_end.link(near)?, None)
        };
        Ok(Self { link, one_enter, sent: 0, acks: Acks::new(), peer })
    }

    fn trip(&mut self, request: &[u8]) -> Outcome<()> {
        self.sent += 1;
        let mut acknowledged = if let Some(link) = &self.one_enter {
            self.acks.more(|into| link.send_then_recv(request, into))?
        } else {
            self.link.send_all(request)?;
            self.acks.more(|into| self.link.recv(into))?
        };
        while acknowledged < self.sent {
            acknowledged = self.acks.more(|into| self.link.recv(into))?;
        }
        Ok(())
    }

    fn round(&mut self, regime: Regime) -> Outcome<(f64, f64)> {
        let _entered = regime.enter(&[gettid(), self.peer.thread])?;
        let request = vec![1; REQUEST];
        let mut samples = Vec::with_capacity(TRIPS_A_ROUND);
        for _ in 0..TRIPS_A_ROUND {
            let start = Instant::now();
            self.trip(&request)?;
            samples.push(start.elapsed().as_secs_f64() * 1e6);
        }
        Ok(p50_p99(&mut samples))
    }
}

pub fn run(hosts: &Hosts) -> Outcome<()> {
    println!("(a) 4 KiB -> 64 B round trip, µs; ratio of p50 to plain calls on both ends\n");
    println!("| primary's end | secondary's end | regime | p50 | best p50 | p99 | ratio |\n|---|---|---|---|---|---|---|");
    let mut clients = Vec::new();
    for (near, far) in TRIPS {
        clients.push(Client::new(hosts, near, far)?);
    }
    for regime in regime::ALL {
        let rounds = rounds(&mut clients, regime)?;
        for (index, (near, far)) in TRIPS.iter().enumerate() {
            let column = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> { rounds.iter().map(|round| pick(&round[index])).collect() };
            let ratios: Vec<f64> = rounds.iter().map(|round| round[index].0 / round[0].0).collect();
            println!(
                "| {} | {} | {} | {:.1} | {:.1} | {:.1} | {:.2} |",
                near.name(),
                far.name(),
                regime.name(),
                median(&column(|round| round.0)),
                column(|round| round.0).into_iter().fold(f64::INFINITY, f64::min),
                median(&column(|round| round.1)),
                median(&ratios)
            );
        }
    }
    Ok(())
}

/// The p50 and p99 of every client, round after round.
fn rounds(clients: &mut [Client], regime: Regime) -> Outcome<Vec<Vec<(f64, f64)>>> {
    (0..ROUNDS).map(|_| clients.iter_mut().map(|client| client.round(regime)).collect()).collect()
}
