//! Where an object is, in words for an operator.

use crate::apply::{Volume, identity, read_directory};
use crate::id::ObjectId;
use crate::objects::Kind;
use rustix::fd::AsFd;
use rustix::fd::AsRawFd;

/// Path from the top of the directory; the id where nobody knows it.
pub fn of(volume: &Volume, id: ObjectId) -> String {
    identity::as_root();
    let objects = &volume.objects;
    let found = objects.table.look(id, |entry| (entry.kind, entry.parent, entry.inode));
    let path = found.and_then(|(kind, parent, inode)| match kind {
        Kind::Directory => directory(volume, id),
        _ => {
            let dir = objects.for_reading(parent).ok().filter(|dir| dir.kind == Kind::Directory)?;
            let name = read_directory(&dir).ok()?.into_iter().find(|entry| entry.inode == inode)?.name;
            Some(below(&directory(volume, parent)?, &name.to_string_lossy()))
        }
    });
    path.unwrap_or_else(|| format!("object {id}"))
}

/// Path of a name in a directory.
pub fn name_in(volume: &Volume, dir: ObjectId, name: &[u8]) -> String {
    let above = directory(volume, dir).unwrap_or_else(|| format!("directory {dir}"));
    below(&above, &String::from_utf8_lossy(name))
}

fn below(dir: &str, name: &str) -> String {
    if dir == "/" { format!("/{name}") } else { format!("{dir}/{name}") }
}

/// As the kernel sees it on the private mount, whose root is the replicated directory.
fn directory(volume: &Volume, id: ObjectId) -> Option<String> {
    if id == ObjectId::ROOT {
        return Some("/".into());
    }
    let live = volume.objects.for_reading(id).ok()?;
    let link = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    let (path, root) = (link(live.as_fd().as_raw_fd())?, link(volume.objects.root().as_raw_fd())?);
    let within = path.strip_prefix(&root).unwrap_or(&path);
    Some(format!("/{}", within.to_string_lossy().trim_start_matches('/')))
}
