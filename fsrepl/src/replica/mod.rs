//! The ordered connection of a pair: [`primary`] numbers, sends and completes operations, [`secondary`]
//! applies and acknowledges them.

mod flight;
pub mod hello;
pub mod mode;
pub mod primary;
pub mod pulse;
pub mod secondary;
