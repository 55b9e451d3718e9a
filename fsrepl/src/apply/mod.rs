//! Changing the local file system: the same objects on the primary, where an application asks
//! ([`Volume`]), and on the secondary, where the outcome arrives ([`remote`]).

mod data;
mod dirs;
mod exclude;
pub mod identity;
mod meta;
mod names;
pub mod remote;
mod volume;

pub use data::Place;
pub(crate) use data::flush;
pub use dirs::{DirEntry, read_directory};
pub use exclude::Exclude;
pub(crate) use meta::own;
pub use meta::{Wish, read_xattrs, xattr_names};
pub use names::New;
pub(crate) use names::describe;
pub use volume::{Caller, Cursors, Done, Ongoing, Outlet, Volume};

/// Where identity, change tracking and kept trees live: in the root of the replicated directory, never
/// visible through the mount.
pub const HIDDEN: &str = ".understudy";
