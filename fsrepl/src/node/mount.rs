//! The primary: from the command line to a mounted, replicated directory, and back.

use super::identity::hidden_directory;
use super::options::{MountOptions, Outcome};
use super::private::PrivateTree;
use super::stop::{Stop, Wake};
use super::{holders, mounts, privilege, stale};
use crate::apply::{Exclude, Volume};
use crate::fuse::{self, Mounted};
use crate::limits::{COPIES_PATIENCE, LAZY_TIMES};
use crate::objects::Objects;
use crate::report::{Event, Failure, FailureKind, Reporter};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Runs a primary until it is told to end.
pub fn run(options: MountOptions, report: Reporter) -> Outcome {
    let tree = take_over(&options.dir, &report)?;
    let stop = Stop::listen().map_err(|why| failed(&options.dir, why))?;
    if let Err(why) = privilege::drop_sys_resource() {
        tracing::warn!(%why, "quotas and reserved blocks are not held: the capability could not be dropped");
    }
    if options.passthrough {
        return passthrough(&options, &tree, &stop, &report);
    }
    super::primary::run(&options, &tree, &stop, report)
}

/// What both engines do before anything else: allowed to run, alone on the directory, with a way of their own
/// to its files.
pub(super) fn take_over(dir: &Path, report: &Reporter) -> Result<PrivateTree, Failure> {
    privilege::check(true)?;
    for removed in stale::clean(dir)? {
        report(Event::Notice(removed));
    }
    refuse_busy(dir)?;
    let tree = PrivateTree::open(dir)?;
    privilege::protect();
    Ok(tree)
}

pub(super) fn failed(dir: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(
        FailureKind::Failed,
        format!("cannot replicate {}", dir.display()),
        why.to_string(),
        "see the log for what happened before",
    )
}

fn refuse_busy(dir: &Path) -> Result<(), Failure> {
    let holders = holders::holders(dir);
    if holders.is_empty() {
        return Ok(());
    }
    let why = format!("it is in use by {}", holders::describe(&holders));
    let cure = "stop them first: what they have open would not be replicated";
    Err(Failure::new(FailureKind::Refused, format!("cannot take over {}", dir.display()), why, cure))
}

fn passthrough(options: &MountOptions, tree: &PrivateTree, stop: &Stop, report: &Reporter) -> Outcome {
    let volume = Arc::new(volume(options, tree, None)?);
    let mut mounted = fuse::mount(volume.clone(), tree.path()).map_err(|why| failed(&options.dir, why))?;
    report(Event::Ready);
    while stop.wait(LAZY_TIMES).is_none() && !mounted.is_over() {
        volume.objects.write_old_times(LAZY_TIMES.as_millis() as u64);
    }
    unmount(&mut mounted, tree.path(), stop, report)?;
    volume.objects.write_old_times(0);
    Ok(())
}

/// With `hidden`, ids are kept there from one run to the next.
pub(super) fn volume(options: &MountOptions, tree: &PrivateTree, hidden: Option<&OwnedFd>) -> Result<Volume, Failure> {
    let exclude = Exclude::new(&options.exclude)
        .map_err(|why| Failure::new(FailureKind::Usage, "cannot use --exclude", why, "for example --exclude '/tmp/**'"))?;
    let root = tree.duplicate().map_err(|why| failed(&options.dir, why))?;
    let objects = match hidden {
        Some(hidden) => Objects::open(root, hidden).map_err(|why| failed(&options.dir, why))?,
        None => Objects::new(root).map_err(|why| failed(&options.dir, why))?,
    };
    Ok(Volume {
        objects,
        exclude,
        journal: None,
        outlet: None,
        arrivals: parking_lot::Mutex::default(),
        cursors: Default::default(),
        ongoing: Default::default(),
    })
}

/// Takes the mount away once nobody uses it. While it is in use, says by whom; told again to end, it
/// detaches: who still uses it gets errors when this process ends.
pub(super) fn unmount(mounted: &mut Mounted, dir: &Path, stop: &Stop, report: &Reporter) -> Outcome {
    let mut told = String::new();
    let device = device_of(dir);
    loop {
        match mounted.unmount(false) {
            Ok(()) => break,
            // Unmounted by hand.
            Err(Errno::INVAL) => break,
            Err(Errno::BUSY) => {}
            Err(why) => return Err(failed(dir, why)),
        }
        let users = holders::holders(dir);
        let named = !users.is_empty();
        let users = holders::describe(&users);
        // Whoever cannot be named (a request that is being answered) is mostly gone at the next look.
        if named && users != told {
            report(Event::Notice(format!("{} is still in use by {users}: stop them, or signal again to cut them off", dir.display())));
            told = users;
        }
        if let Some(Wake::Terminate) = stop.wait(Duration::from_millis(200)) {
            mounted.unmount(true).map_err(|why| failed(dir, why))?;
            let who = if named { told } else { "a process that could not be identified".into() };
            let why = format!("it was in use by {who}");
            return Err(Failure::new(FailureKind::Failed, format!("{} was cut off", dir.display()), why, "restart what used it"));
        }
    }
    end_copies(mounted, dir, device.as_deref(), stop, report)?;
    mounted.join().map_err(|why| failed(dir, why))
}

/// The file system that is mounted on `dir`.
fn device_of(dir: &Path) -> Option<String> {
    let mounts = mounts::list().ok()?;
    mounts::stack(&mounts, dir).ok()?.last().filter(|top| top.kind == stale::FUSE_KIND).map(|top| top.device.clone())
}

/// The mount is gone here. Other mount namespaces (containers, services with mounts of their own) may have got copies of it
/// when they were made: those nobody uses must not keep the engine from ending.
fn end_copies(mounted: &mut Mounted, dir: &Path, device: Option<&str>, stop: &Stop, report: &Reporter) -> Outcome {
    let Some(device) = device else { return Ok(()) };
    let mut told = false;
    while !mounted.is_over_within(COPIES_PATIENCE) {
        let users = holders::holders_of(device);
        if users.is_empty() {
            tracing::info!("copies of the mount in other mount namespaces are ended: nobody uses them");
            return mounted.abort(device).map_err(|why| failed(dir, why));
        }
        if !told {
            let users = holders::describe(&users);
            let words = "stop them, or signal again to cut them off";
            report(Event::Notice(format!("{} is still in use in another mount namespace by {users}: {words}", dir.display())));
            told = true;
        }
        if let Some(Wake::Terminate) = stop.wait(Duration::from_millis(200)) {
            mounted.abort(device).map_err(|why| failed(dir, why))?;
            let why = format!("it was in use by {}", holders::describe(&users));
            return Err(Failure::new(FailureKind::Failed, format!("{} was cut off", dir.display()), why, "restart what used it"));
        }
    }
    Ok(())
}

pub(super) fn open_hidden(tree: &PrivateTree) -> Result<OwnedFd, Failure> {
    hidden_directory(tree).map_err(|why| failed(tree.path(), why))
}
