//! Changing the local file system: the same objects on the primary, where an application asks
//! ([`Volume`]), and on the secondary, where the outcome arrives ([`remote`]).

mod data;
mod dirs;
mod exclude;
pub mod identity;
mod meta;
mod names;
mod volume;

pub use dirs::{DirEntry, read_directory};
pub use exclude::Exclude;
pub use data::Place;
pub use meta::{Wish, read_xattrs, xattr_names};
pub use names::New;
pub use volume::{Caller, Done, Outlet, Volume};

/// Where identity, change tracking and kept trees live: in the root of the replicated directory, never
/// visible through the mount.
pub const HIDDEN: &str = ".understudy";
