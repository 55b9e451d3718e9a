//! A farm of three servers on a switch: how it spreads, what the filter costs, and what clients see of deaths.

mod clients;
mod lan;
mod servers;

use super::Load;
use crate::columns::{Column, Needs, Rig};
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::{Context, Result, ensure};
use clients::{Asking, Long, Saw, attempt, once, rate, rate_with};
use servers::{PORT, Servers, VIP, name};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

const SERVERS: usize = 3;
/// The clients' host, after the servers.
const CLIENT: usize = SERVERS;
const LONG: usize = 40;

const SPREAD: &str = "furthest from even";
const PREDICTED: &str = "predicted, part of all";
const CONNECTIONS: &str = "new connections with one request";
const REQUESTS: &str = "requests on four connections";
const KILLED_RESET: &str = "server killed: others broken or moved";
const KILLED_TAKEN: &str = "server killed: its share answered in";
const RETURNED: &str = "server returns: broken or moved";
const DRAINED: &str = "server drained: broken or moved";
const ARP_RESET: &str = "ARP owner killed: others broken or moved";
const ARP_STALL: &str = "ARP owner killed: longest stall of others";

/// See the module.
#[derive(Default)]
pub struct FarmLoad {
    servers: Option<Servers>,
}

impl Load for FarmLoad {
    fn about(&self) -> &'static str {
        "three servers behind one address: spread, new connections through the filter, deaths under long connections"
    }

    fn metrics(&self) -> &'static [Metric] {
        &const {
            [
                Metric { name: SPREAD, unit: "" },
                Metric { name: PREDICTED, unit: "" },
                Metric { name: CONNECTIONS, unit: "/s" },
                Metric { name: REQUESTS, unit: "/s" },
                Metric { name: KILLED_RESET, unit: "" },
                Metric { name: KILLED_TAKEN, unit: "s" },
                Metric { name: RETURNED, unit: "" },
                Metric { name: DRAINED, unit: "" },
                Metric { name: ARP_RESET, unit: "" },
                Metric { name: ARP_STALL, unit: "s" },
            ]
        }
    }

    fn aims(&self) -> &'static [Aim] {
        &const {
            [
                Aim::ours(SPREAD, Reference::Itself, Bound::AtMost(0.05)),
                Aim::ours(PREDICTED, Reference::Itself, Bound::AtLeast(1.0)),
                Aim::ours(CONNECTIONS, Reference::To(Column::Plain), Bound::AtLeast(0.75)),
                Aim::ours(REQUESTS, Reference::To(Column::Plain), Bound::AtLeast(0.75)),
                Aim::ours(KILLED_RESET, Reference::Itself, Bound::AtMost(0.0)),
                Aim::ours(KILLED_TAKEN, Reference::Itself, Bound::AtMost(1.2)),
                Aim::ours(RETURNED, Reference::Itself, Bound::AtMost(0.0)),
                Aim::ours(DRAINED, Reference::Itself, Bound::AtMost(0.0)),
                Aim::ours(ARP_RESET, Reference::Itself, Bound::AtMost(0.0)),
                Aim::ours(ARP_STALL, Reference::Itself, Bound::AtMost(1.2)),
            ]
        }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Plain, Column::Ours]
    }

    fn needs(&self) -> Needs {
        Needs { no_engines: true, ..Needs::default() }
    }

    fn prepare(&mut self, _: &mut Rig, _: Column) -> Result<()> {
        if self.servers.is_none() {
            self.servers = Some(Servers::start(SERVERS, 1)?);
        }
        Ok(())
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        let servers = self.servers.as_mut().context("it was prepared")?;
        let to = match column {
            // A server that answers no ARP for the farm, by its own address.
            Column::Plain => SocketAddr::new("10.9.0.3".parse()?, PORT),
            _ => vip()?,
        };
        let time = rig.size(Duration::from_secs(3), Duration::from_millis(300));
        let client = servers.lan.hosts[CLIENT].clone();
        let mut readings = Readings::new();
        readings.insert(CONNECTIONS, rate(&client, time, || once(to).map(drop))?);
        readings.insert(REQUESTS, rate_with(&client, time, || Asking::new(to), Asking::ask)?);
        if column == Column::Ours {
            readings.extend(spread(servers, rig.size(3_000, 300))?);
            readings.extend(deaths(servers)?);
        }
        Ok(readings)
    }

    fn finish(&mut self) {
        self.servers = None;
    }
}

fn vip() -> Result<SocketAddr> {
    Ok(SocketAddr::new(VIP.parse()?, PORT))
}

fn spread(servers: &Servers, count: usize) -> Result<Vec<(&'static str, f64)>> {
    let (host, to) = (servers.lan.hosts[CLIENT].clone(), vip()?);
    let asked: Vec<(SocketAddr, String)> = std::thread::spawn(move || host.enter().and_then(|()| (0..count).map(|_| once(to)).collect()))
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let mut counts: BTreeMap<&str, usize> = (1..=SERVERS).map(|number| (["n1", "n2", "n3"][number - 1], 0)).collect();
    let mut predicted = 0;
    for (client, server) in &asked {
        predicted += usize::from(servers.whose(1, *client)?.as_ref() == Some(server));
        *counts.entry(server).or_default() += 1;
    }
    let even = count as f64 / SERVERS as f64;
    let furthest = counts.values().map(|count| (*count as f64 / even - 1.0).abs()).fold(0.0, f64::max);
    Ok(vec![(SPREAD, furthest), (PREDICTED, predicted as f64 / count as f64)])
}

/// Broken or moved, of those that were not at `dead`.
fn harmed(saw: &[Saw], dead: &str) -> f64 {
    saw.iter()
        .filter(|saw| saw.servers.first().is_some_and(|first| first != dead))
        .filter(|saw| saw.broken || saw.servers.len() > 1)
        .count() as f64
}

fn deaths(servers: &mut Servers) -> Result<Vec<(&'static str, f64)>> {
    let client = servers.lan.hosts[CLIENT].clone();
    let arp = number_of_arp(servers, 1)?;
    let other = (1..=SERVERS).find(|number| *number != arp).context("there are three")?;
    let third = (1..=SERVERS).rfind(|number| *number != arp && *number != other).context("there are three")?;
    let ports = ports_of(servers, arp, &name(other))?;
    let long = Long::start(&client, vip()?, LONG)?;

    long.take();
    let start = Instant::now();
    servers.power_off(other)?;
    let taken = until_answered(&client, ports, start)?;
    servers.wait_serving(arp, SERVERS - 1)?;
    let killed = harmed(&long.take(), &name(other));
    let younger = Long::start(&client, vip()?, LONG)?;

    back(servers, other, arp)?;
    settle();
    let returned = harmed(&long.take(), &name(other)) - killed + harmed(&younger.take(), "");

    servers.ask(arp, {
        let name = name(third);
        move |farm, now| farm.drain(&name, true, now)
    })??;
    servers.wait_serving(arp, SERVERS - 1)?;
    settle();
    let drained = harmed(&younger.take(), "") + harmed(&long.take(), &name(other)) - killed;

    servers.power_off(arp)?;
    servers.wait_serving(other, SERVERS - 2)?;
    settle();
    let saw = younger.take();
    let lost = name(arp);
    let stall = saw.iter().filter(|saw| saw.servers.first() != Some(&lost)).map(|saw| saw.stall).max().unwrap_or_default();
    let arp_killed = harmed(&saw, &lost);

    servers.ask(other, {
        let name = name(third);
        move |farm, now| farm.drain(&name, false, now)
    })??;
    back(servers, arp, other)?;
    long.stop();
    younger.stop();
    Ok(vec![
        (KILLED_RESET, killed),
        (KILLED_TAKEN, taken.as_secs_f64()),
        (RETURNED, returned),
        (DRAINED, drained),
        (ARP_RESET, arp_killed),
        (ARP_STALL, stall.as_secs_f64()),
    ])
}

fn back(servers: &mut Servers, number: usize, asked: usize) -> Result<()> {
    servers.lan.cable(number, true)?;
    servers.boot(number)?;
    servers.wait_serving(asked, SERVERS)
}

/// Time for every long connection to be answered again, or to break.
fn settle() {
    std::thread::sleep(Duration::from_millis(1_500));
}

fn number_of_arp(servers: &Servers, asked: usize) -> Result<usize> {
    let status = servers.ask(asked, |farm, now| farm.status(now))?;
    let at = status.servers.iter().position(|server| server.answers_arp).context("nobody answers ARP")?;
    Ok(at + 1)
}

/// Ports of the client that belong to the share of `server`.
fn ports_of(servers: &Servers, asked: usize, server: &str) -> Result<Vec<u16>> {
    let ip: IpAddr = format!("10.9.0.{}", CLIENT + 1).parse()?;
    let mut ports = Vec::new();
    for port in 10_000..11_000 {
        if servers.whose(asked, SocketAddr::new(ip, port))?.as_deref() == Some(server) {
            ports.push(port);
        }
    }
    ensure!(ports.len() > 100, "{server} has {} of 1,000 ports", ports.len());
    Ok(ports)
}

/// Tries one port after the other, each for a short time.
fn until_answered(client: &lan::Host, ports: Vec<u16>, start: Instant) -> Result<Duration> {
    let client = client.clone();
    let to = SocketAddrV4::new(VIP.parse()?, PORT);
    let trying = std::thread::spawn(move || {
        client.enter()?;
        let answered = ports.into_iter().any(|port| attempt(to, port, Duration::from_millis(50)).is_ok());
        ensure!(answered, "the dead server's share was never answered");
        Ok(start.elapsed())
    });
    trying.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
