//! The primary's connection to its secondary, for as long as the engine lives: connect, resync, mirror, and
//! when the secondary is lost, record that durably before anything is acknowledged without it.

mod alone;

use super::connect::{Bulk, Connected, Fault, Opening, connect};
use super::faults;
use super::identity::{Identity, boot_id};
use super::options::MountOptions;
use super::status::Status;
use super::stop::Wake;
use crate::apply::{Outlet, Volume};
use crate::arbiter::Arbiter;
use crate::bell::Bell;
use crate::id::ObjectId;
use crate::journal::Journal;
use crate::limits::{
    BUSY_PATIENCE, CHECKPOINT_PATIENCE, LAZY_TIMES, RECONNECT_FIRST, RECONNECT_MOST, RESYNC_STUCK, RESYNC_STUCK_PAUSE, RETRY_IS_NEWS,
};
use crate::objects::Lazy;
use crate::op::{Op, kind};
use crate::replica::hello::{Compare, Refusal};
use crate::replica::primary::{Lost, Mode, PEER_FAILED, Primary};
use crate::replica::pulse::{Pulse, Verdict as Beat};
use crate::report::{Data, Failure, FailureKind, State};
use crate::resync::{Doing, Plan, Progress, Sync, Watch};
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Between looks of the reader that serves when no request does.
const BACKSTOP: Duration = Duration::from_millis(20);
/// Longest wait for bytes on an idle connection: then it is looked whether there is a new one.
const BACKSTOP_IDLE: Duration = Duration::from_millis(500);
/// Why a replica gives up a secondary that follows.
const DIRECTORY_LOST: &str = "another directory of the module goes on without the secondary";
/// Code of a loss: the resync stood still.
const STUCK: &str = "resync_stuck";

/// What the threads of a primary share.
pub(super) struct Shared {
    pub options: MountOptions,
    pub volume: Arc<Volume>,
    pub primary: Arc<Primary>,
    pub journal: Arc<Journal>,
    pub root: OwnedFd,
    pub identity: Mutex<Identity>,
    pub arbiter: Arc<dyn Arbiter>,
    /// All replies are held, since then and for this reason.
    pub holding: Mutex<Option<(Instant, String)>>,
    /// A replica of the same module went on from this generation without its secondary: this one does too.
    pub renewing: Mutex<Option<Uuid>>,
    /// This node may no longer serve: nothing is acknowledged.
    pub fenced: AtomicBool,
    pub status: Status,
    pub progress: Mutex<Option<Arc<Progress>>>,
    pub ending: AtomicBool,
    /// Of this process.
    pub incarnation: Uuid,
    /// This machine went down while the pair was in sync, and the other side has not been seen since.
    pub lost_power: AtomicBool,
    /// A checkpoint is due at once.
    pub checkpoint_due: AtomicBool,
    /// The operator wants the next session to compare everything.
    pub full_wanted: AtomicBool,
    /// The directory is mounted.
    pub mounted: AtomicBool,
    /// The application may use the directory: from here on this node never waits for the secondary.
    pub serving: AtomicBool,
    /// Rings when the secondary is worth another try, and when this node stops.
    pub retry: Bell,
    /// The connection for questions, between a resync and the end of its session, while nobody asks.
    pub bulk: Mutex<Option<Bulk>>,
    /// What `verify` does, or has found last.
    pub verify: super::verify::Slot,
}

/// What the first contact brought.
pub(super) enum First {
    /// The secondary follows: the application may start.
    Agreed,
}

impl Shared {
    /// Changes the identity, on disk before in memory.
    pub fn store_identity(&self, change: impl FnOnce(&mut Identity)) -> Result<(), Failure> {
        let mut identity = self.identity.lock();
        let mut next = identity.clone();
        change(&mut next);
        next.store(&self.root)?;
        *identity = next;
        drop(identity);
        self.status.changed();
        Ok(())
    }

    /// This node may no longer serve: everything that waits, and all that comes, is answered with an error.
    pub fn fence(&self) {
        self.fenced.store(true, SeqCst);
        self.primary.fence(rustix::io::Errno::IO);
        self.primary.drop_peer("this node may no longer serve", "fenced");
    }

    /// The session in which the pair is a mirror, if it is one.
    pub(super) fn mirrored(&self) -> Option<u32> {
        let attached = self.primary.attached();
        attached.filter(|_| self.primary.mode() == Mode::Mirror)
    }

    pub fn end(&self) {
        self.ending.store(true, SeqCst);
        self.retry.ring();
        self.verify.stop();
        self.primary.drop_peer("this node stops", "stopping");
    }

    fn opening(&self) -> Opening {
        let floor = self.journal.dirty().birth_floor.min(self.volume.objects.table.floor());
        Opening { incarnation: self.incarnation, floor, lost_power: self.lost_power.load(SeqCst) }
    }

    fn is_ending(&self) -> bool {
        self.ending.load(SeqCst)
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

/// Starts the supervisor and the threads beside it. `first` is told when the secondary agrees for the first
/// time; `wake` is told what the engine cannot go on after.
pub(super) fn start(
    shared: Arc<Shared>,
    losses: Receiver<Lost>,
    first: Sender<First>,
    wake: Sender<Wake>,
) -> std::io::Result<JoinHandle<()>> {
    let housekeeping = shared.clone();
    thread("housekeeping", move || housekeep(&housekeeping))?;
    let backstop = shared.clone();
    thread("backstop", move || {
        let mut before = 0;
        while !backstop.is_ending() {
            // Where nothing was sent there is nothing that waits for an answer.
            let (seq, _) = backstop.primary.progress();
            if seq == before {
                backstop.primary.wait_readable(BACKSTOP_IDLE);
            } else {
                std::thread::sleep(BACKSTOP);
            }
            before = seq;
            if backstop.primary.attached().is_some() {
                // Not without a pause: somebody else may be reading what is there.
                backstop.primary.read_within(Duration::from_millis(1));
            }
        }
    })?;
    thread("supervisor", move || {
        let mut supervisor =
            Supervisor { shared, losses, first: Some(first), epoch: 0, began: Instant::now(), failing: None, stuck: 0, kept: false };
        if let Err(failure) = supervisor.run() {
            let shared = &supervisor.shared;
            shared.primary.refuse(rustix::io::Errno::IO);
            if shared.serving.load(SeqCst) {
                // Until nobody has anything open any more, this is what `status` tells.
                shared.status.set(State::Wait, Data::Uptodate, format!("ending: {failure}"), "failed");
            }
            let _ = wake.send(Wake::Fatal(failure));
        }
    })
}

/// Writes decided times, and now and then makes both disks flush so that marks can be cleared.
fn housekeep(shared: &Arc<Shared>) {
    let mut checkpoint = Instant::now();
    let (mut last, mut lazy) = (0, Lazy::after(0));
    let mut pause = LAZY_TIMES;
    while !shared.is_ending() {
        std::thread::sleep(pause);
        let (seq, _) = shared.primary.progress();
        pause = lazy.tidy(&shared.volume.objects, seq);
        let due = shared.checkpoint_due.swap(false, SeqCst);
        if due || checkpoint.elapsed() >= faults::checkpoint_every() && seq != last {
            checkpoint = Instant::now();
            last = seq;
            take_checkpoint(shared);
        }
    }
}

/// Only what both disks have may be relied on later: marks are cleared, and the floor of ids rises, when the same
/// session was a mirror all the time.
fn take_checkpoint(shared: &Arc<Shared>) {
    let table = &shared.volume.objects.table;
    let birth = ObjectId(table.birth_floor().0 - 1);
    shared.journal.cut(birth);
    let mirrored = shared.mirrored();
    let (seq, _) = shared.primary.progress();
    // A time that exists only in memory would be behind the watermark and on no disk.
    shared.volume.objects.write_old_times(0);
    let (sender, answered) = bounded(1);
    let number = shared.identity.lock().checkpoint + 1;
    shared.primary.request(kind::SYNC_ALL, (birth, number as u32), sender);
    let here = crate::sys::syncfs(&shared.root);
    shared.primary.help();
    let there = answered.recv_timeout(CHECKPOINT_PATIENCE);
    let both = matches!(there, Ok(Ok(()))) && mirrored.is_some() && shared.mirrored() == mirrored;
    faults::point("checkpoint");
    // Alone, ids are kept as well: applications see them as inode numbers.
    let kept = here.map_err(Into::into).and_then(|()| table.commit(if both { birth } else { table.floor() }));
    faults::point("checkpoint-committed");
    if both && let Err(why) = shared.store_identity(|identity| identity.checkpoint = number) {
        tracing::error!(%why, "the checkpoint could not be counted");
    }
    let trimmed = kept.and_then(|()| if both { shared.journal.stable(seq) } else { Ok(()) });
    if let Err(why) = trimmed {
        tracing::error!(%why, "change tracking could not be trimmed");
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    losses: Receiver<Lost>,
    first: Option<Sender<First>>,
    epoch: u32,
    began: Instant,
    /// Why the last resync failed: trying again is no news until it takes longer.
    failing: Option<String>,
    /// Resyncs in a row that stood still.
    stuck: u32,
    /// What an earlier run left in memory is on this disk.
    kept: bool,
}

impl Supervisor {
    fn run(&mut self) -> Result<(), Failure> {
        let mut pause = RECONNECT_FIRST;
        while !self.shared.is_ending() {
            if self.shared.renewal_due() {
                self.shared.go_alone(DIRECTORY_LOST, "directory_lost")?;
            }
            let identity = self.shared.identity.lock().clone();
            match connect(&self.shared.options, &identity, self.shared.opening()) {
                Ok(connected) => {
                    let began = Instant::now();
                    self.session(connected)?;
                    if began.elapsed() > Duration::from_secs(10) {
                        pause = RECONNECT_FIRST;
                    }
                }
                Err(Fault::Unreachable(reason)) => self.not_now(&reason, "unreachable"),
                Err(Fault::Refused(refusal)) => self.refused(refusal)?,
            }
            // Once more at once; then the operator has been told, and it is not tried again and again.
            let rest = if self.stuck > 1 { RESYNC_STUCK_PAUSE } else { pause };
            pause = if self.called(rest) { RECONNECT_FIRST } else { (pause * 2).min(RECONNECT_MOST) };
        }
        Ok(())
    }

    /// Rests so long, or until the secondary is said to be there; whether it was.
    fn called(&self, rest: Duration) -> bool {
        let called = self.shared.retry.wait(rest);
        if called && !self.shared.is_ending() {
            self.shared.retry.mute();
        }
        called
    }

    fn not_now(&self, reason: &str, code: &str) {
        if self.shared.serving.load(SeqCst) {
            tracing::debug!(reason, "no secondary");
        } else {
            self.shared.status.set(State::Wait, Data::Uptodate, format!("waiting for the secondary: {reason}"), code);
        }
    }

    /// Before the application has started, a refusal ends the start; later it is only said.
    fn refused(&self, refusal: Refusal) -> Result<(), Failure> {
        if refusal.code == "session" {
            // It ended between its two connections: the next attempt makes another one.
            self.not_now(&refusal.reason, &refusal.code);
            return Ok(());
        }
        let busy = refusal.code == "busy" && self.began.elapsed() < BUSY_PATIENCE;
        if self.shared.serving.load(SeqCst) {
            let reason = format!("the secondary refuses: {}; {}", refusal.reason, refusal.cure);
            self.shared.status.set(State::Alone, Data::Uptodate, reason, &refusal.code);
            return Ok(());
        }
        if busy {
            self.not_now(&refusal.reason, &refusal.code);
            return Ok(());
        }
        let what = format!("cannot replicate {}", self.shared.options.dir.display());
        Err(Failure::new(FailureKind::Refused, what, format!("the secondary refuses: {}", refusal.reason), refusal.cure))
    }

    /// One session from the handshake to the loss of the secondary.
    fn session(&mut self, connected: Connected) -> Result<(), Failure> {
        self.epoch += 1;
        let shared = self.shared.clone();
        *shared.bulk.lock() = None;
        let (link, sealer, reader) = connected.ordered;
        shared.primary.attach(self.epoch, link, sealer, reader);
        if shared.is_ending() {
            // It was told to end while it connected: nobody else ends this session.
            shared.primary.drop_peer("this node stops", "stopping");
        }
        if shared.renewal_is_wanted() {
            // It was told while it connected.
            shared.primary.drop_peer(DIRECTORY_LOST, "directory_lost");
        }
        shared.volume.objects.table.reserve(connected.welcome.next);
        shared.store_identity(|identity| identity.session = connected.welcome.session)?;
        let reason = format!("resync of the secondary: {}", connected.welcome.reason);
        self.start_pulse(reason.clone());
        if let Some(first) = self.first.take() {
            // What is written from now on is tracked and not acknowledged by the secondary: it is inconsistent
            // by its own record until the resync ends.
            let _ = first.send(First::Agreed);
        }
        let progress = Arc::new(Progress::default());
        if self.failing.is_none() {
            shared.status.set(State::Alone, Data::Uptodate, reason, "resync");
        }
        self.keep_what_was_followed(&shared);
        *shared.progress.lock() = Some(progress.clone());
        let in_sync = self.resync(&shared, &progress, connected.bulk, connected.welcome.compare);
        *shared.progress.lock() = None;
        if let Some(in_sync) = in_sync {
            self.wait_for_mirror(&shared, &in_sync)?;
        }
        let doing = *progress.doing.lock();
        self.after_loss(&shared, doing)
    }

    /// What this node was sent while it followed is marked on the sender alone, whose marks end with the resync: it has to
    /// be on this disk before. Once in a run: what this run changes it marks itself. Ends the session where the disk refuses.
    fn keep_what_was_followed(&mut self, shared: &Shared) {
        if self.kept {
            return;
        }
        match crate::sys::syncfs(&shared.root) {
            Ok(()) => self.kept = true,
            Err(why) => shared.primary.drop_peer(format!("this node's disk cannot be flushed: {why}"), "disk"),
        }
    }

    /// Runs the resync; gives the channel on which the secondary's last word comes.
    fn resync(&self, shared: &Arc<Shared>, progress: &Progress, mut bulk: Bulk, compare: Compare) -> Option<Receiver<()>> {
        bulk.bind(shared.primary.clone(), self.epoch);
        let plan = match self.plan(shared, &mut bulk, compare) {
            Ok(plan) => plan,
            Err(why) => {
                shared.primary.drop_peer(format!("what the secondary changed cannot be learnt: {why}"), "resync_failed");
                return None;
            }
        };
        let (sender, in_sync) = bounded(1);
        let closing = std::cell::Cell::new(false);
        let finish = || {
            let sender = sender.clone();
            let quiet = || shared.volume.arrivals.lock().is_empty();
            let floor = shared.volume.objects.table.birth_floor().0 - 1;
            if !closing.get() {
                // Before the secondary may record that it has everything: from then on it may be asked to lead.
                let boot = boot_id().unwrap_or_default();
                if let Err(why) = shared.store_identity(|identity| identity.close_in(boot)) {
                    shared.primary.drop_peer(format!("this node cannot record what it is about to do: {why}"), "disk");
                    return false;
                }
                closing.set(true);
            }
            shared.primary.complete(
                &Op { flags: crate::op::STABLE, offset: floor, ..Op::new(kind::SYNC_DONE, ObjectId::ROOT) },
                quiet,
                Box::new(move |result| {
                    if result.is_ok() {
                        let _ = sender.try_send(());
                    }
                }),
            )
        };
        let mut sync = Sync::new(&shared.volume, &shared.primary, progress, self.epoch, plan);
        sync.max_rate = shared.options.resync_max_rate;
        match sync.run(&mut bulk, finish) {
            Ok(()) => {
                *shared.bulk.lock() = Some(bulk);
                Some(in_sync)
            }
            Err(why) => {
                shared.primary.drop_peer(format!("the resync cannot go on: {why}"), "resync_failed");
                // The last word was not said, so the secondary cannot have recorded anything.
                let open = closing.get() && shared.primary.mode() == Mode::Alone;
                if open && let Err(why) = shared.store_identity(Identity::open_again) {
                    tracing::error!(%why, "cannot record that this node is alone again");
                }
                None
            }
        }
    }

    /// What this session has to look at. Read after the session has begun: an operation that marked before is in the
    /// set; one that marks later is sent by itself, because it gets its number in this session.
    fn plan(&self, shared: &Arc<Shared>, bulk: &mut Bulk, compare: Compare) -> Result<Plan, String> {
        if shared.full_wanted.swap(false, SeqCst) {
            tracing::info!("everything is compared, as asked");
            return Ok(Plan::everything());
        }
        match compare {
            Compare::Content => Ok(Plan::everything()),
            Compare::Attributes => Ok(Plan { hash: false, ..Plan::everything() }),
            Compare::Changed => {
                let here = shared.journal.dirty();
                let there = bulk.marks()?;
                let plan = Plan::changed(&here.above(shared.volume.objects.table.floor()), &there);
                tracing::debug!(marks = plan.dirty.len(), everything = plan.dirty.is_everything(), "what changed is compared");
                Ok(plan)
            }
        }
    }

    fn wait_for_mirror(&self, shared: &Arc<Shared>, in_sync: &Receiver<()>) -> Result<(), Failure> {
        shared.primary.help();
        let (began, mut told) = (Instant::now(), false);
        loop {
            if in_sync.recv_timeout(Duration::from_millis(20)).is_ok() {
                break;
            }
            if !told && began.elapsed() > RETRY_IS_NEWS {
                // What it flushes is its whole file system, whoever else writes there.
                told = true;
                let reason = "resync of the secondary: everything is sent, its disk is being flushed";
                shared.status.set(State::Alone, Data::Uptodate, reason, "resync");
            }
            if shared.primary.attached().is_none() {
                return Ok(());
            }
        }
        // A loss also ends what waited for the secondary: then it was no agreement.
        if shared.primary.attached() != Some(self.epoch) {
            return Ok(());
        }
        faults::point("in-sync-before-identity");
        let boot = boot_id().unwrap_or_default();
        shared.store_identity(|identity| {
            identity.checkpoint += 1;
            identity.now_in_sync(boot);
        })?;
        shared.lost_power.store(false, SeqCst);
        faults::point("in-sync-before-journal");
        let (seq, _) = shared.primary.progress();
        shared.journal.in_sync(seq);
        // What the resync has healed is marked until both disks are known to have it.
        shared.checkpoint_due.store(true, SeqCst);
        let to = shared.options.peer().unwrap_or_default();
        shared.status.set(State::Prim, Data::Uptodate, format!("in sync with {to}"), "in_sync");
        Ok(())
    }

    fn after_loss(&mut self, shared: &Arc<Shared>, doing: Doing) -> Result<(), Failure> {
        let Ok(mut lost) = self.losses.recv() else { return Ok(()) };
        if shared.is_ending() {
            // Nobody can write any more, and the secondary has recorded all there is: no new history begins.
            if lost.holding {
                shared.primary.release();
            }
            return Ok(());
        }
        if let ("connection_lost" | "peer_closed", Some(words)) = (lost.code, shared.primary.last_words()) {
            (lost.reason, lost.code) = (words, PEER_FAILED);
        }
        if self.failing.as_ref() != Some(&lost.reason) {
            tracing::warn!(reason = lost.reason, code = lost.code, "the secondary is lost");
        }
        self.stuck = if lost.code == STUCK { self.stuck + 1 } else { 0 };
        if self.stuck > 0 {
            // Here and not where it was noticed: looking may wait for the disk.
            let at = doing.words(|id| crate::verify::place_of(&shared.volume, id));
            let next =
                if self.stuck > 1 { format!("tried again every {} s", RESYNC_STUCK_PAUSE.as_secs()) } else { "tried once more".into() };
            lost.reason = format!("{} (while {at}); {next}", lost.reason);
        }
        if self.stuck > 1 {
            tracing::error!(reason = lost.reason, times = self.stuck, "the resync stands still");
        }
        self.failing = (!lost.holding).then(|| lost.reason.clone());
        let unrecorded = {
            let identity = shared.identity.lock();
            !identity.peer_outdated || !identity.alone
        };
        if lost.holding || unrecorded {
            shared.go_alone(&lost.reason, lost.code)?;
        } else {
            shared.status.set(State::Alone, Data::Uptodate, lost.reason.clone(), lost.code);
        }
        if lost.holding {
            shared.primary.release();
        }
        Ok(())
    }

    /// Watches one session's connection from a thread that nothing holds up. A resync that lasts is told, also
    /// where the one before it failed.
    fn start_pulse(&self, resync: String) {
        let (shared, epoch) = (self.shared.clone(), self.epoch);
        let beat = move || {
            let primary = &shared.primary;
            let (began, mut told) = (Instant::now(), false);
            let mut pulse = Pulse::new(shared.options.peer_timeout, primary.now());
            let mut watch = Watch::new(RESYNC_STUCK, primary.now());
            while primary.try_attached(epoch) {
                let (heard, sent) = primary.heard_and_sent();
                std::thread::sleep(pulse.pause(primary.now(), heard, sent));
                if !told && began.elapsed() > RETRY_IS_NEWS {
                    told = true;
                    let progress = shared.progress.lock();
                    if progress.is_some() {
                        shared.status.set(State::Alone, Data::Uptodate, resync.clone(), "resync");
                    }
                }
                let progress = shared.progress.lock().clone();
                let still = progress.and_then(|progress| {
                    let acknowledged = primary.acknowledged();
                    Some((watch.tick(primary.now(), acknowledged, &progress)?, progress.cause(acknowledged)))
                });
                if let Some((still, cause)) = still {
                    primary.drop_peer(format!("the resync has not moved for {:.0} s: {cause}", still.as_secs_f32()), STUCK);
                }
                let (heard, sent) = primary.heard_and_sent();
                match pulse.tick(primary.now(), heard, sent) {
                    Beat::Well => {}
                    Beat::Speak => primary.speak(),
                    Beat::Lost(_) if primary.unread() => {}
                    Beat::Lost(silence) => {
                        let reason = format!("the secondary has been silent for {:.1} s", silence.as_secs_f32());
                        primary.drop_peer(reason, "peer_silent");
                    }
                }
            }
        };
        if let Err(why) = thread("pulse", beat) {
            self.shared.primary.drop_peer(format!("its connection cannot be watched: {why}"), "internal");
        }
    }
}
