//! One thing each.
