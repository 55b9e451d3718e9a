//! Servers by number, and sets of them.

use super::limits::MEMBERS;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A server's number: its place among the farm's servers in the order of their names. The same on every node.
pub type Member = u8;

/// A set of servers.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Members(u32);

impl Members {
    /// Nobody.
    pub const NONE: Members = Members(0);

    /// The first `count`.
    pub fn first(count: usize) -> Members {
        (0..count.min(MEMBERS)).map(|n| n as Member).collect()
    }

    /// Is `member` in it?
    pub fn has(self, member: Member) -> bool {
        usize::from(member) < MEMBERS && self.0 & (1 << member) != 0
    }

    /// With `member`.
    #[must_use]
    pub fn with(self, member: Member) -> Members {
        if usize::from(member) < MEMBERS { Members(self.0 | 1 << member) } else { self }
    }

    /// Without `member`.
    #[must_use]
    pub fn without(self, member: Member) -> Members {
        if usize::from(member) < MEMBERS { Members(self.0 & !(1 << member)) } else { self }
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Members) -> Members {
        Members(self.0 & other.0)
    }

    /// Nobody?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many.
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// In order of numbers.
    pub fn iter(self) -> impl Iterator<Item = Member> {
        (0..MEMBERS as Member).filter(move |member| self.has(*member))
    }

    /// The lowest number.
    pub fn lowest(self) -> Option<Member> {
        self.iter().next()
    }
}

impl FromIterator<Member> for Members {
    fn from_iter<I: IntoIterator<Item = Member>>(members: I) -> Members {
        members.into_iter().fold(Members::NONE, Members::with)
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}
