//! Are two directories equal, in everything that is promised?
//!
//! Compared: names, types, content, modes, owners, mtime to the nanosecond, extended attributes
//! with ACLs, hard-link structure, symlink targets, device numbers, inode flags, holes. Not
//! compared: atime, ctime, btime, inode numbers, sizes of directories, allocation, and the
//! product's own hidden directory. Shares no code with the product.

mod content;
mod scan;

pub use scan::{Entry, Kind};
use scan::{Name, show};
use std::collections::BTreeMap;
use std::path::Path;

/// Nobody reads more differences than this.
const MOST: usize = 100;

/// What a comparison leaves out; everything is compared by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignore {
    /// For two trees that were changed one after the other.
    pub mtime: bool,
    /// For file systems that lay out files differently.
    pub holes: bool,
}

/// What differs between two trees, a line each; empty if they are equal.
pub fn differences(left: &Path, right: &Path, ignore: &Ignore) -> Vec<String> {
    let mut found = Found::default();
    let trees = [left, right].map(|root| {
        scan::scan(root).unwrap_or_else(|e| {
            found.say(format!("{}: {e}", root.display()));
            scan::Tree::default()
        })
    });
    if found.lines.is_empty() {
        compare(&trees[0], &trees[1], ignore, &mut found);
    }
    found.lines
}

#[derive(Default)]
struct Found {
    lines: Vec<String>,
}

impl Found {
    fn say(&mut self, line: String) {
        if self.lines.len() < MOST {
            self.lines.push(line);
        }
    }
}

fn compare(left: &scan::Tree, right: &scan::Tree, ignore: &Ignore, found: &mut Found) {
    for name in left.entries.keys().filter(|name| !right.entries.contains_key(*name)) {
        found.say(format!("{}: only on the left", show(name)));
    }
    for name in right.entries.keys().filter(|name| !left.entries.contains_key(*name)) {
        found.say(format!("{}: only on the right", show(name)));
    }
    for (name, l) in &left.entries {
        if let Some(r) = right.entries.get(name) {
            compare_entries(name, l, r, ignore, found);
        }
    }
    compare_links(left, right, found);
    compare_contents(left, right, ignore, found);
}

fn compare_entries(name: &Name, l: &Entry, r: &Entry, ignore: &Ignore, found: &mut Found) {
    let mut differ = |what: &str, l: String, r: String| {
        if l != r {
            found.say(format!("{}: {what}: {l} | {r}", show(name)));
        }
    };
    differ("type", format!("{:?}", l.kind), format!("{:?}", r.kind));
    differ("mode", format!("{:o}", l.mode), format!("{:o}", r.mode));
    differ("owner", format!("{}:{}", l.uid, l.gid), format!("{}:{}", r.uid, r.gid));
    differ("links", l.links.to_string(), r.links.to_string());
    differ("flags", format!("{:#x}", l.flags), format!("{:#x}", r.flags));
    differ("target", format!("{:?}", l.target), format!("{:?}", r.target));
    differ("device", l.rdev.to_string(), r.rdev.to_string());
    differ("size", l.size.to_string(), r.size.to_string());
    differ("xattrs", format!("{:?}", l.xattrs), format!("{:?}", r.xattrs));
    if !ignore.mtime {
        differ("mtime", format!("{}.{:09}", l.mtime.0, l.mtime.1), format!("{}.{:09}", r.mtime.0, r.mtime.1));
    }
}

/// Names that are one object on one side must be one object on the other.
fn compare_links(left: &scan::Tree, right: &scan::Tree, found: &mut Found) {
    for (these, those, side) in [(left, right, "left"), (right, left, "right")] {
        let mut first: BTreeMap<(u64, u64), &Name> = BTreeMap::new();
        for (name, entry) in these.entries.iter().filter(|(_, e)| e.kind != Kind::Directory) {
            let known = *first.entry(entry.inode).or_insert(name);
            let (Some(a), Some(b)) = (those.entries.get(known), those.entries.get(name)) else { continue };
            if a.inode != b.inode {
                found.say(format!("{}: hard link of {} only on the {side}", show(name), show(known)));
            }
        }
    }
}

fn compare_contents(left: &scan::Tree, right: &scan::Tree, ignore: &Ignore, found: &mut Found) {
    let mut done = std::collections::BTreeSet::new();
    for (name, l) in &left.entries {
        let Some(r) = right.entries.get(name) else { continue };
        let both_files = l.kind == Kind::File && r.kind == Kind::File;
        // Hard links of one object hold one content; it is read once.
        if !both_files || l.size != r.size || !done.insert((l.inode, r.inode)) {
            continue;
        }
        match content::compare(left, right, name, ignore.holes) {
            Ok(lines) => lines.into_iter().for_each(|line| found.say(format!("{}: {line}", show(name)))),
            Err(e) => found.say(format!("{}: cannot be compared: {e}", show(name))),
        }
    }
}

#[cfg(test)]
mod controls;
