//! Runs one bench: every round measures each column once, in an order that rotates from round to round.

use crate::columns::{Column, Rig, Setting};
use crate::loads::Load;
use crate::stats::{Round, Series};
use anyhow::{Context, Result};

/// The columns that are measured: what the bench knows and the command line wants. The floor is computed.
pub fn columns(load: &dyn Load, setting: &Setting) -> Vec<Column> {
    load.columns().iter().copied().filter(|column| setting.options.wants(*column)).collect()
}

/// Measures all rounds of `load`.
pub fn measure(name: &str, load: &mut dyn Load, setting: &Setting) -> Result<Series> {
    let columns = columns(load, setting);
    let mut rig = Rig::new(setting, name, &columns, load.needs())?;
    let count = setting.options.rounds.unwrap_or_else(|| load.rounds(setting.options.quick)).min(load.most_rounds());
    let series = rounds(name, load, &mut rig, &columns, count);
    load.finish();
    series
}

fn rounds(name: &str, load: &mut dyn Load, rig: &mut Rig, columns: &[Column], count: u32) -> Result<Series> {
    for column in columns {
        eprintln!("{name}: preparing {}", column.name());
        load.prepare(rig, *column).with_context(|| format!("{name}, preparing {}", column.name()))?;
    }
    let mut series = Series::default();
    for number in 0..count {
        let mut round = Round::new();
        for turn in 0..columns.len() {
            let column = columns[(turn + number as usize) % columns.len()];
            eprintln!("{name}: round {} of {count}, {}", number + 1, column.name());
            rig.settle()?;
            let readings = load.run(rig, column).with_context(|| format!("{name}, {}", column.name()))?;
            rig.check(column)?;
            round.insert(column, readings);
        }
        if let Some(floor) = load.floor(&round) {
            round.insert(Column::Floor, floor);
        }
        series.push(round);
    }
    Ok(series)
}
