//! Other programs that keep a second copy.

pub mod postgres;
