//! A replica on a node: starting, guarding, reporting, ending.

pub mod options;
