//! The table. Rows are tried from top to bottom, and the first one whose phase, event and guard fit is taken. A row on
//! `Look` is taken whenever it holds; one that changes nothing but the reason stays where it is.

mod commands;
mod follow;
mod handover;
mod lead;
mod wait;

use super::action::Action;
use super::event::Trigger;
use super::guard::Guard;
use super::phase::Phase;

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// In any of these.
    pub from: &'static [Phase],
    /// When this happens.
    pub on: Trigger,
    /// And this holds.
    pub when: Guard,
    /// Go there; none: stay.
    pub to: Option<Phase>,
    /// And do this, in this order.
    pub actions: &'static [Action],
    /// In the operator's words; `{peer}`, `{quorum}`, `{why}`, `{word}` and `{check}` are filled in.
    pub because: &'static str,
    /// Stable.
    pub code: &'static str,
}

macro_rules! rows_of {
    ($($from:expr, $on:ident, $when:ident => $to:expr, [$($action:expr),* $(,)?], $because:literal, $code:literal;)*) => {
        &[$($crate::failover::table::Row {
            from: $from,
            on: $crate::failover::event::Trigger::$on,
            when: $crate::failover::guard::$when,
            to: $to,
            actions: &[$($action),*],
            because: $because,
            code: $code,
        }),*]
    };
}
use rows_of;

/// All rows, in order.
pub fn rows() -> Vec<Row> {
    [commands::ROWS, lead::ROWS, handover::ROWS, follow::ROWS, wait::ROWS].concat()
}
