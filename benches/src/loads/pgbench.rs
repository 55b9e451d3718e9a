//! PostgreSQL with its standard transaction: a whole application, beside its own synchronous replication.

use super::{Load, Needs};
use crate::columns::{Column, Rig};
use crate::options::Regime;
use crate::peers::postgres::Database;
use crate::stats::{Aim, Bound, Metric, Readings, Reference, Round};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::time::Duration;

const TPS: &str = "transactions";
const AT: [(u64, &str); 4] = [(0, "mean at 0 ms"), (1, "mean at 1 ms"), (2, "mean at 2 ms"), (5, "mean at 5 ms")];

/// See the module.
#[derive(Default)]
pub struct Pgbench {
    distance: bool,
    databases: BTreeMap<Column, Database>,
}

impl Pgbench {
    /// Through a delaying relay.
    pub fn over_distance() -> Pgbench {
        Pgbench { distance: true, ..Pgbench::default() }
    }
}

impl Load for Pgbench {
    fn about(&self) -> &'static str {
        if self.distance {
            "pgbench as before, mean latency of a transaction, hosts 0, 1, 2, 5 ms apart; floor: ours at 0 ms + one round trip"
        } else {
            "pgbench, 4 clients, scale 10; peer: PostgreSQL's own synchronous streaming replication"
        }
    }

    fn metrics(&self) -> &'static [Metric] {
        if self.distance { &const { [at(0), at(1), at(2), at(3)] } } else { &[Metric { name: TPS, unit: "tps" }] }
    }

    fn aims(&self) -> &'static [Aim] {
        if self.distance { &const { [apart(1), apart(2), apart(3)] } } else { &NEAR }
    }

    fn columns(&self) -> &'static [Column] {
        if self.distance { &[Column::Ours, Column::Peer] } else { &[Column::Plain, Column::Fuse, Column::Ours, Column::Peer] }
    }

    fn needs(&self) -> Needs {
        Needs { relay: self.distance, ..Needs::default() }
    }

    fn prepare(&mut self, rig: &mut Rig, column: Column) -> Result<()> {
        let mut database = Database::start(rig, column)?;
        database.bench(rig.size(5, 1))?; // fills its caches
        self.databases.insert(column, database);
        Ok(())
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        let database = self.databases.get_mut(&column).context("the database is made in prepare")?;
        database.checkpoint()?;
        rig.settle()?;
        if !self.distance {
            return Ok(Readings::from([(TPS, database.bench(rig.size(15, 3))?.tps)]));
        }
        let mut readings = Readings::new();
        for (round_trip, metric) in AT {
            rig.set_round_trip(Duration::from_millis(round_trip));
            readings.insert(metric, database.bench(rig.size(8, 3))?.latency_ms);
        }
        rig.set_round_trip(Duration::ZERO);
        Ok(readings)
    }

    fn floor(&self, round: &Round) -> Option<Readings> {
        let near = round.get(&Column::Ours)?.get(AT[0].1)?;
        Some(AT.into_iter().map(|(round_trip, metric)| (metric, near + round_trip as f64)).collect())
    }

    fn finish(&mut self) {
        self.databases.clear();
    }
}

const NEAR: [Aim; 3] = [
    Aim::ours(TPS, Reference::To(Column::Peer), Bound::AtLeast(1.1)),
    Aim { regimes: &[Regime::AsIs], ..Aim::ours(TPS, Reference::To(Column::Plain), Bound::AtLeast(0.6)) },
    Aim { regimes: &[Regime::LowLatency], ..Aim::ours(TPS, Reference::To(Column::Plain), Bound::AtLeast(0.7)) },
];

const fn at(index: usize) -> Metric {
    Metric { name: AT[index].1, unit: "ms" }
}

const fn apart(index: usize) -> Aim {
    Aim::ours(AT[index].1, Reference::To(Column::Floor), Bound::AtMost(1.1))
}
