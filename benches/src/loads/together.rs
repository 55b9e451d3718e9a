//! Many modules write, and the host of all of them is gone: when the last one is served by the other node.

use super::Load;
use crate::columns::{Column, Needs, Rig};
use crate::stats::{Aim, Metric, Readings};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::cluster::Site;
use tests::lab::Lab;

const MODULES: usize = 32;
/// In short.
const FEW: usize = 4;
const LIMIT: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_millis(100);

const FIRST: &str = "host gone: the first module writes on the other node";
const LAST: &str = "host gone: the last module writes on the other node";
const AGAIN: &str = "host returns: until all can fail over again";

/// See the module.
#[derive(Default)]
pub struct Together {
    all: Option<(Arc<Lab>, Site, usize)>,
}

impl Load for Together {
    fn about(&self) -> &'static str {
        "32 modules write, each with an application and an address, and fail over together; no acknowledged write is lost"
    }

    fn metrics(&self) -> &'static [Metric] {
        &const { [Metric { name: FIRST, unit: "s" }, Metric { name: LAST, unit: "s" }, Metric { name: AGAIN, unit: "s" }] }
    }

    fn aims(&self) -> &'static [Aim] {
        &[]
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Ours]
    }

    fn needs(&self) -> Needs {
        Needs::CLUSTER
    }

    fn most_rounds(&self) -> u32 {
        // Registers of the ledger begin anew with the site.
        1
    }

    fn prepare(&mut self, rig: &mut Rig, _: Column) -> Result<()> {
        let modules = rig.size(MODULES, FEW);
        let (lab, site) = super::failover::many("together", modules, LIMIT)?;
        self.all = Some((lab, site, modules));
        Ok(())
    }

    fn run(&mut self, _: &mut Rig, _: Column) -> Result<Readings> {
        let (lab, site, modules) = self.all.as_mut().context("it was prepared")?;
        super::failover::said(lab, || {
            let clients: Vec<_> = (0..*modules).map(|number| site.clients_of(number, PATIENCE)).collect();
            clients.iter().for_each(|clients| clients.wait_by("a", 20, LIMIT));
            clients.iter().for_each(tests::cluster::Clients::mark);
            let began = Instant::now();
            site.power_off(0);
            clients.iter().for_each(|clients| clients.wait_by("b", 1, LIMIT));
            let times = clients.iter().map(|clients| (clients.tally().first["b"] - began).as_secs_f64());
            let (first, last) = times.fold((f64::MAX, 0.0_f64), |(first, last), time| (first.min(time), last.max(time)));
            let returned = Instant::now();
            site.power_on(0);
            site.wait_all_on(1);
            let again = returned.elapsed().as_secs_f64();
            for (number, clients) in clients.into_iter().enumerate() {
                site.must_hold_of(1, number, &clients.stop());
            }
            Readings::from([(FIRST, first), (LAST, last), (AGAIN, again)])
        })
    }

    fn finish(&mut self) {
        self.all = None;
    }
}
