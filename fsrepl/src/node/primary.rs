//! A primary with its replication: what is alive while the directory is mounted.

use super::identity::{Identity, Role, boot_id};
use super::mount::{failed, open_hidden, unmount, volume};
use super::options::{Ack, MountOptions, Outcome};
use super::private::PrivateTree;
use super::privilege::LowLatency;
use super::registry::Registry;
use super::status::Status;
use super::stop::{Stop, Wake};
use super::supervise::{self, First, Shared};
use super::{answers, control, underneath};
use crate::apply::Outlet;
use crate::arbiter::AlwaysConsents;
use crate::fuse;
use crate::id::ObjectId;
use crate::journal::{self, Journal};
use crate::limits::{LEAVE_TIMEOUT, MOUNT_LOOK};
use crate::objects::Kind;
use crate::op::kind;
use crate::replica::primary::{Mode, Primary};
use crate::report::{Data, Event, Failure, FailureKind, Reporter, State, StateLine};
use crossbeam::channel::bounded;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use uuid::Uuid;

pub(super) fn run(options: &MountOptions, tree: &PrivateTree, stop: &Stop, report: Reporter) -> Outcome {
    let registry = Registry::new(&options.places.state);
    let found = Identity::load(tree)?;
    registry.check(tree.path(), found.as_ref().map(|identity| identity.set))?;
    let identity = may_lead(options, found)?;
    let lost_power = identity.lost_power(&boot_id().map_err(|why| failed(&options.dir, why))?);
    if lost_power && options.alone {
        tracing::warn!(
            "this machine went down while both replicas were equal: what was acknowledged and not yet flushed may be missing here and be on \
             the other node only; it goes on with what is here, as asked"
        );
    }
    let (loss_sender, losses) = bounded(16);
    let primary = Arc::new(Primary::new(options.ack == Ack::Disk, loss_sender));
    let hidden = open_hidden(tree)?;
    // It leads with the data as it is.
    super::putback::drop_kept(None, &hidden);
    let span = underneath::note_start(&hidden).map_err(|why| failed(&options.dir, why))?;
    let (journal, born) = open_journal(&hidden).map_err(|why| failed(&options.dir, why))?;
    let journal = Arc::new(journal);
    let mut volume = volume(options, tree, Some(&hidden))?;
    volume.objects.settle(&hidden).map_err(|why| failed(&options.dir, why))?;
    // Ids are never given twice: the marks of an earlier run speak of the objects of that run.
    volume.objects.table.reserve(ObjectId(born.0 + 1));
    volume.journal = Some(journal.clone());
    volume.outlet = Some(primary.clone() as Arc<dyn Outlet>);
    let waiting = StateLine {
        state: State::Wait,
        data: Data::Uptodate,
        reason: "connecting to the secondary".into(),
        reason_code: "connecting".into(),
    };
    let shared = Arc::new(Shared {
        options: options.clone(),
        volume: Arc::new(volume),
        primary,
        journal,
        root: tree.duplicate().map_err(|why| failed(&options.dir, why))?,
        identity: Mutex::new(identity),
        arbiter: options.clustered.as_ref().map_or_else(|| Arc::new(AlwaysConsents) as _, |clustered| clustered.arbiter.clone()),
        holding: Mutex::new(None),
        renewing: Mutex::new(None),
        fenced: AtomicBool::new(false),
        status: Status::new(report.clone(), waiting),
        progress: Mutex::new(None),
        ending: AtomicBool::new(false),
        full_wanted: AtomicBool::new(false),
        incarnation: Uuid::new_v4(),
        lost_power: AtomicBool::new(lost_power),
        checkpoint_due: AtomicBool::new(false),
        mounted: AtomicBool::new(false),
        serving: AtomicBool::new(options.alone || options.clustered.is_some()),
        retry: Default::default(),
        bulk: Mutex::default(),
        verify: Default::default(),
    });
    shared.store_identity(|identity| identity.role = Role::Primary)?;
    registry.remember(&options.name, tree.path(), shared.identity.lock().set)?;
    let answering = shared.clone();
    let control = control::Control::start(&options.places.run, &options.name, move |verb, args| answers::primary(&answering, verb, args))?;
    if let Some(span) = span {
        let looking = shared.clone();
        let look = move || look_underneath(&looking, span);
        if let Err(why) = std::thread::Builder::new().name("underneath".into()).spawn(look) {
            tracing::warn!(%why, "nobody looks for changes made while nothing was mounted");
        }
    }
    let outcome = serve(&shared, tree, stop, &report, losses);
    if outcome.is_ok() {
        underneath::note_stop(&hidden).map_err(|why| failed(&options.dir, why))?;
    }
    drop(control);
    outcome
}

/// What was changed while nothing was mounted is marked, and a session begins that heals it.
fn look_underneath(shared: &Arc<Shared>, span: underneath::Span) {
    let found = underneath::look(&shared.volume.objects, span, &shared.ending, |id, kind| {
        let op = shared.journal.begin();
        let marked = op.mark_attrs(id).and_then(|()| match kind {
            Kind::Directory => op.mark_entries(id),
            _ => op.mark_extent(id, 0, u64::MAX),
        });
        if let Err(why) = marked {
            tracing::error!(%why, %id, "a change made underneath cannot be marked");
        }
    });
    match found {
        Ok(found) if found.changed > 0 => {
            tracing::warn!(changed = found.changed, paths = ?found.paths, "changed while nothing was mounted: brought to the secondary now");
            shared.primary.drop_peer("the directory was changed while nothing was mounted", "changed_underneath");
        }
        Ok(found) => tracing::debug!(seen = found.seen, "nothing was changed while nothing was mounted"),
        Err(why) => tracing::warn!(%why, "the look for changes made while nothing was mounted ended early"),
    }
}

/// Whether this node's data may be served at all.
fn may_lead(options: &MountOptions, found: Option<Identity>) -> Result<Identity, Failure> {
    let begin = options.clustered.as_ref().map(|clustered| &clustered.begin);
    let Some(identity) = found else {
        let mut first = Identity::create(&options.name);
        first.current = begin.map_or(first.current, |begin| begin.generation);
        return Ok(first);
    };
    // Outdated data that nothing newer followed may lead again; the cluster knows. Half a copy takes an operator's word.
    if begin.is_some_and(|begin| begin.accepted || identity.data == Data::Outdated) {
        return Ok(Identity { data: Data::Uptodate, ..identity });
    }
    let refused = |why: &str| {
        let cure = format!(
            "let the node with the whole data send; to go on with what is here and lose the rest, remove {}/.understudy first",
            options.dir.display()
        );
        Err(Failure::new(FailureKind::Refused, format!("cannot serve {}", options.dir.display()), why, cure))
    };
    match (identity.data, identity.current.is_nil()) {
        (Data::Inconsistent, _) | (_, true) => refused("a resync of this copy was not finished: it is neither old nor new"),
        (Data::Outdated, false) => refused("this copy is outdated: the other node went on without it"),
        (Data::Uptodate, false) => Ok(identity),
    }
}

/// The dirty log, and the highest object id that an earlier run has surely given.
fn open_journal(hidden: &rustix::fd::OwnedFd) -> std::io::Result<(Journal, ObjectId)> {
    let (journal, recovered) = Journal::open(hidden, journal::Limits::default())?;
    if let Some(lost) = recovered.full_compare_reason {
        tracing::info!(?lost, "no change tracking from before: the first sync compares everything");
    }
    Ok((journal, recovered.birth_floor))
}

fn serve(
    shared: &Arc<Shared>,
    tree: &PrivateTree,
    stop: &Stop,
    report: &Reporter,
    losses: crossbeam::channel::Receiver<crate::replica::primary::Lost>,
) -> Outcome {
    let options = &shared.options;
    let _low_latency =
        if options.low_latency { LowLatency::hold().map_err(|why| tracing::warn!(%why, "cannot hold low latency")).ok() } else { None };
    let (first_sender, first) = bounded(1);
    match &options.clustered {
        Some(clustered) => shared.begin(&clustered.begin)?,
        None if options.alone => shared.go_alone("started alone, as asked", "started_alone")?,
        None => {}
    }
    let supervisor = supervise::start(shared.clone(), losses, first_sender, stop.sender()).map_err(|why| failed(&options.dir, why))?;
    if !options.alone && options.clustered.is_none() {
        // The application may start as soon as the secondary has agreed to follow.
        loop {
            if let Some(wake) = stop.wait(Duration::from_millis(20)) {
                shared.end();
                let _ = supervisor.join();
                return match wake {
                    Wake::Terminate => Ok(()),
                    Wake::Fatal(failure) => Err(failure),
                };
            }
            if let Ok(First::Agreed) = first.try_recv() {
                break;
            }
        }
    }
    shared.serving.store(true, SeqCst);
    let mut mounted = fuse::mount(shared.volume.clone(), tree.path()).map_err(|why| failed(&options.dir, why))?;
    shared.mounted.store(true, SeqCst);
    shared.status.changed();
    report(Event::Ready);
    shared.status.repeat();
    let mut fatal = None;
    loop {
        match stop.wait(MOUNT_LOOK) {
            Some(Wake::Terminate) => break,
            Some(Wake::Fatal(failure)) => {
                fatal = Some(failure);
                if options.clustered.is_none() {
                    break;
                }
                // Without the mount an application that still runs would find the bare directory, and its writes there
                // would be acknowledged: the mount stays, and answers with errors, until the daemon has stopped it.
                shared.fence();
            }
            None if mounted.is_over() => break,
            None => {}
        }
    }
    let unmounted = unmount(&mut mounted, tree.path(), stop, report);
    let left = unmounted.and_then(|()| leave(shared));
    shared.end();
    let _ = supervisor.join();
    fatal.map_or(left, Err)
}

/// The last words of a session: everything on both disks, and no change left to track.
fn leave(shared: &Arc<Shared>) -> Outcome {
    shared.volume.objects.write_old_times(0);
    let here = crate::sys::syncfs(shared.volume.objects.root());
    let (sender, answered) = bounded(1);
    let mirrored = shared.primary.mode() == Mode::Mirror;
    let table = &shared.volume.objects.table;
    let birth = ObjectId(table.birth_floor().0 - 1);
    shared.primary.request(kind::LEAVE, (birth, 0), sender);
    // Read by the backstop: whoever helps waits for the secondary's disk however long it takes.
    let there = answered.recv_timeout(LEAVE_TIMEOUT);
    let still = shared.primary.mode() == Mode::Mirror;
    here.map_err(|why| failed(&shared.options.dir, why))?;
    let (highest, _) = shared.primary.progress();
    let (stable, floor) = if mirrored && still && matches!(there, Ok(Ok(()))) { (highest, birth) } else { (0, table.floor()) };
    let stable = match table.commit(floor) {
        Ok(()) => stable,
        Err(why) => {
            // A full disk must not keep anybody from leaving: the marks stay.
            tracing::warn!(%why, "the table of objects could not be written: some inode numbers will change");
            0
        }
    };
    shared.store_identity(|identity| identity.in_sync_open = false)?;
    super::faults::point("left-before-journal");
    shared.journal.close_clean(stable, birth).map_err(|why| failed(&shared.options.dir, why))
}
