//! Both sides of a resync in one thread: what one sends the other applies, late or at once, and operations of an
//! application come in between. Whether the trees are equal is judged by code that shares nothing with the engine.

pub(crate) mod act;
pub(crate) mod compare;
pub(crate) mod pair;
mod random;
mod stories;
