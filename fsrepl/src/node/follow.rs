//! Following a primary: who is let in, what is recorded when, and what is known when it is gone.

mod admit;
mod restore;

use super::change::Change;
use super::identity::{Identity, boot_id};
use super::options::ReceiveOptions;
use super::putback;
use super::registry::Registry;
use super::status::Status;
use super::underneath;
use crate::apply::Exclude;
use crate::id::ObjectId;
use crate::journal::{self, Aspect, Journal, Key};
use crate::kept;
use crate::limits::{HANDSHAKE_TIMEOUT, LAZY_TIMES, RESYNC_MARKS, RETRY_IS_NEWS, SEAL_PATIENCE};
use crate::objects::{Kind, Lazy, Objects};
use crate::op::{self, Answer, Query, Question, Said, kind};
use crate::replica::hello::{Compare, Hello, Refusal};
use crate::replica::primary::Source;
use crate::replica::pulse::{Pulse, Verdict as Beat};
use crate::replica::secondary::{Keeper, Session};
use crate::report::{Data, Reporter, State, StateLine};
use crate::resync::digest;
use crate::uring::{self, Link, Use};
use crate::verify;
use crate::wire::{self, Channel, Established, FrameReader, HandshakeError, Header};
use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The primary that is being followed.
struct Current {
    session: Uuid,
    sender: Identity,
    from: SocketAddr,
    exclude: Vec<String>,
    timeout: Duration,
    incarnation: Uuid,
    floor: ObjectId,
    compare: Compare,
    /// What this node changed alone is given up.
    loses: bool,
    /// There once the connection is established.
    live: Option<Arc<Session>>,
    /// The connection on which it asks: it ends with the session, however silently the primary went.
    bulk: Option<Arc<dyn Link>>,
}

/// A secondary.
pub(super) struct Follower {
    pub options: ReceiveOptions,
    dir: PathBuf,
    root: OwnedFd,
    hidden: OwnedFd,
    /// What this node changed when it led, or lacks of a resync that was not finished.
    journal: Mutex<Arc<Journal>>,
    /// Marks of changes made underneath that no session has asked for yet.
    underneath: Mutex<Vec<Key>>,
    identity: Mutex<Option<Identity>>,
    registry: Registry,
    pub status: Status,
    current: Mutex<Option<Current>>,
    /// The objects of this replica, once a session needs them: sessions come one after the other.
    objects: Mutex<Option<Arc<Objects>>>,
    /// What to say of the resync that runs.
    resync: Mutex<Option<String>>,
    /// Why the last session ended before the pair was in sync.
    failing: Mutex<Option<String>>,
    /// Whom this node does not talk to, and why: told once.
    unwanted: Mutex<Option<(IpAddr, String)>>,
    pub(super) ending: AtomicBool,
    left: AtomicBool,
    /// The state from before a resync is being put back: nobody is let in meanwhile.
    putting_back: AtomicBool,
    /// Nobody is let in any more: the old session may not go on where another history begins.
    sealed: AtomicBool,
}

impl Follower {
    pub fn new(
        options: ReceiveOptions,
        dir: PathBuf,
        (root, hidden): (OwnedFd, OwnedFd),
        journal: Journal,
        identity: Option<Identity>,
        registry: Registry,
        report: Reporter,
    ) -> Arc<Follower> {
        let data = identity.as_ref().map_or(Data::Inconsistent, |identity| identity.data);
        let line = StateLine { state: State::Wait, data, reason: "waiting for the primary".into(), reason_code: "waiting".into() };
        Arc::new(Follower {
            options,
            dir,
            root,
            hidden,
            journal: Mutex::new(Arc::new(journal)),
            underneath: Mutex::default(),
            identity: Mutex::new(identity),
            registry,
            status: Status::new(report, line),
            current: Mutex::new(None),
            objects: Mutex::new(None),
            resync: Mutex::new(None),
            failing: Mutex::new(None),
            unwanted: Mutex::new(None),
            ending: AtomicBool::new(false),
            left: AtomicBool::new(false),
            putting_back: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
        })
    }

    /// Ends the session for good and lets nobody in until this engine starts anew: what the old session still sends is
    /// dropped. What was applied is on the disk afterwards.
    pub fn seal(&self) -> Result<(), String> {
        self.sealed.store(true, SeqCst);
        let until = Instant::now() + SEAL_PATIENCE;
        loop {
            let current = self.current.lock();
            let Some(present) = current.as_ref() else { break };
            if let Some(session) = &present.live {
                session.hang_up_because("another history begins".into(), "sealed");
            }
            drop(current);
            if Instant::now() > until {
                return Err("the session does not end".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(objects) = &*self.objects.lock() {
            objects.write_old_times(0);
        }
        crate::sys::syncfs(&self.root).map_err(|why| why.to_string())
    }

    /// Changes the identity on request of the cluster. What another session or generation was meant for is refused.
    pub fn change(&self, change: &Change) -> Result<Identity, String> {
        if change.ends_session() {
            self.seal()?;
        }
        self.store_checked(change)?;
        let line = self.status.get().0;
        self.status.set(line.state, self.data(), line.reason, &line.reason_code);
        self.identity.lock().clone().ok_or_else(|| "no identity yet".into())
    }

    fn store_checked(&self, change: &Change) -> Result<(), String> {
        let fits = self.identity.lock().as_ref().is_some_and(|identity| change.fits(identity));
        if !fits {
            return Err("it was meant for another session or generation".into());
        }
        self.store(|identity| change.apply(identity))
    }

    /// Nobody is let in any more.
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(SeqCst)
    }

    /// The identity, if there is one.
    pub fn identity(&self) -> Option<Identity> {
        self.identity.lock().clone()
    }

    /// A primary is connected.
    pub fn has_session(&self) -> bool {
        self.current.lock().as_ref().is_some_and(|current| current.live.as_ref().is_some_and(|live| !live.is_over()))
    }

    /// Address of the primary, if one is connected.
    pub fn peer(&self) -> Option<String> {
        self.current.lock().as_ref().map(|current| current.from.to_string())
    }

    /// The hidden directory of this replica.
    pub fn hidden(&self) -> &OwnedFd {
        &self.hidden
    }

    /// Generation of the data here.
    pub fn generation(&self) -> Option<Uuid> {
        self.identity.lock().as_ref().map(|identity| identity.current)
    }

    /// Highest operation applied, objects known.
    pub fn figures(&self) -> (u64, usize) {
        let live = self.current.lock().as_ref().and_then(|current| current.live.clone());
        live.map_or((0, 0), |session| (session.applied(), session.objects().table.len()))
    }

    fn data(&self) -> Data {
        self.identity.lock().as_ref().map_or(Data::Inconsistent, |identity| identity.data)
    }

    fn store(&self, change: impl FnOnce(&mut Identity)) -> Result<(), String> {
        let mut identity = self.identity.lock();
        let Some(present) = identity.as_ref() else { return Err("no identity yet".into()) };
        let mut next = present.clone();
        change(&mut next);
        next.store(&self.root).map_err(|failure| failure.to_string())?;
        *identity = Some(next);
        Ok(())
    }

    /// Stops following in order: the primary goes on without this node, which is outdated from then on.
    pub fn end(&self) {
        self.ending.store(true, SeqCst);
        let live = self.current.lock().as_ref().and_then(|current| current.live.clone());
        let Some(session) = live else { return };
        session.fail("the secondary was stopped");
        // The primary closes the connection when it has recorded that it goes on alone.
        let until = Instant::now() + Duration::from_secs(2);
        while self.current.lock().is_some() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        session.hang_up();
        if session.was_in_sync() && !self.left.load(SeqCst) {
            self.record_outdated();
        }
    }

    /// The primary was told that this node does not follow any more: it goes on without it.
    fn record_outdated(&self) {
        if let Err(why) = self.store(|identity| identity.data = Data::Outdated) {
            tracing::error!(%why, "could not record that this copy is outdated");
        }
    }

    fn objects(&self) -> io::Result<Arc<Objects>> {
        let mut place = self.objects.lock();
        if let Some(objects) = &*place {
            return Ok(objects.clone());
        }
        let objects = Arc::new(Objects::open(self.root.try_clone()?, &self.hidden)?);
        // Only what a killed primary left there matters here.
        objects.settle(&self.hidden)?;
        *place = Some(objects.clone());
        Ok(objects)
    }

    fn serve_ordered(self: &Arc<Follower>, stream: TcpStream, established: Established) -> io::Result<()> {
        let link = uring::open(stream, Use::OrderedSecondary)?;
        let objects = self.objects()?;
        let (timeout, exclude, from, loses) = {
            let current = self.current.lock();
            let Some(current) = current.as_ref() else { return Ok(()) };
            self.common_ids(&objects, current)?;
            (current.timeout, current.exclude.clone(), current.from, current.loses)
        };
        putback::keep_on(&objects, &self.hidden);
        let journal = self.journal.lock().clone();
        let session = Session::new(objects, link.clone(), established.sealer, self.clone(), Some(journal));
        match self.current.lock().as_mut() {
            Some(current) => current.live = Some(session.clone()),
            None => return Ok(()),
        }
        self.left.store(false, SeqCst);
        *self.resync.lock() = Some(format!("resync from {}", from.ip()));
        if self.failing.lock().is_none() {
            self.tell_resync();
        }
        let exclude = Exclude::new(&exclude).map_err(io::Error::other)?;
        let pulse = start_pulse(self.clone(), session.clone(), timeout)?;
        let times = start_times(session.clone())?;
        if loses && let Err(why) = self.keep_changes(&session) {
            session.fail(&why);
        }
        let ended = session.serve(FrameReader::new(Source(link), established.opener), &self.hidden, exclude);
        let _ = pulse.join();
        let _ = times.join();
        let (reason, code) = if self.left.load(SeqCst) {
            ("the primary stopped".to_owned(), "primary_left")
        } else {
            session.cause().unwrap_or_else(|| (format!("lost the primary: {ended}"), "primary_lost"))
        };
        if session.has_failed() && session.was_in_sync() && !self.left.load(SeqCst) {
            self.record_outdated();
        }
        let mut resync = self.resync.lock();
        let failed = resync.take().map(|_| reason.clone());
        let before = std::mem::replace(&mut *self.failing.lock(), failed.clone());
        if !self.left.load(SeqCst) && (failed.is_none() || before != failed) {
            tracing::warn!(reason, "the session ended");
        }
        self.status.set(State::Wait, self.data(), reason, code);
        Ok(())
    }

    /// The objects that both sides know by the same ids: none before a first copy; those up to the common floor
    /// where another run of the primary may have given higher ids to something else.
    fn common_ids(&self, objects: &Objects, current: &Current) -> io::Result<()> {
        if current.compare != Compare::Changed {
            objects.clear()?;
        } else if objects.table.incarnation() != current.incarnation {
            objects.forget_above(current.floor.min(self.floor(objects)))?;
        }
        objects.table.set_incarnation(current.incarnation);
        Ok(())
    }

    /// Up to here this node's ids are surely those of its peer.
    fn floor(&self, objects: &Objects) -> ObjectId {
        self.journal.lock().dirty().birth_floor.min(objects.table.floor())
    }

    /// Changes that this node made alone are given up: they are copied aside first. Once: after a session that
    /// began, they are mixed with the primary's.
    fn keep_changes(&self, session: &Session) -> Result<(), String> {
        let generation = self.generation().unwrap_or_default();
        let done = kept::list(&self.hidden).map_err(|why| why.to_string())?.iter().any(|tree| tree.generation == generation);
        if done {
            return Ok(());
        }
        let budget = kept::Budget::of_free_space(&self.root).map_err(|why| why.to_string())?;
        let dirty = self.journal.lock().dirty();
        let reason = "both nodes went on alone, and this one's changes were given up";
        match kept::keep_changes(session.objects(), &self.hidden, &dirty, (generation, reason), budget) {
            Ok(Some(tree)) => {
                tracing::warn!(
                    id = tree.id,
                    files = tree.files,
                    bytes = tree.bytes,
                    "what only this node had is kept: see `understudy kept`"
                );
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(why) => Err(format!(
                "what only this node has cannot be kept aside ({why}); make room, remove kept trees (`understudy kept`), or, to lose it, \
                 remove .understudy in its directory and start it with --discard-local"
            )),
        }
    }

    /// What was changed here while no engine held the directory is marked, and undone by the next session.
    pub fn look_underneath(&self, span: underneath::Span) {
        let mut keys = Vec::new();
        let looked = self.objects().map_err(|why| why.to_string()).and_then(|objects| {
            let mark = |id, kind| match kind {
                Kind::Directory => keys.extend([Key::object(Aspect::Entries, id), Key::object(Aspect::Attrs, id)]),
                _ => keys.extend([Key::object(Aspect::Content, id), Key::object(Aspect::Attrs, id)]),
            };
            underneath::look(&objects, span, &self.ending, mark).map_err(|why| why.to_string())
        });
        let found = match looked {
            Ok(found) if found.changed > 0 => found,
            Ok(_) => return,
            Err(why) => return tracing::warn!(why, "the look for changes made while nobody held the directory ended early"),
        };
        tracing::warn!(changed = found.changed, paths = ?found.paths, "changed while nobody held the directory: undone by the next session");
        // Held: a session that becomes in sync meanwhile empties the marks, these included.
        let journal = self.journal.lock();
        *self.underneath.lock() = keys.clone();
        if let Err(why) = journal.begin().mark_keys(keys.into_iter()) {
            tracing::error!(%why, "changes made underneath cannot be marked");
        }
        drop(journal);
        if let Some(session) = self.current.lock().as_ref().and_then(|current| current.live.clone()) {
            session.hang_up_because("the directory was changed while nobody held it".into(), "changed_underneath");
        }
    }

    /// Part of the marks of this node, from number `from` on.
    fn marks(&self, from: u64) -> Said {
        let dirty = self.journal.lock().dirty();
        if from == 0 {
            // From here on the session knows them.
            self.underneath.lock().clear();
        }
        let floor = self.objects().map_or(ObjectId(0), |objects| objects.table.floor());
        let mut keys = dirty.to_wire();
        keys.sort_unstable();
        let rest: Vec<_> = keys.into_iter().skip(from as usize).collect();
        let more = rest.len() > RESYNC_MARKS;
        Said::Marks { keys: rest.into_iter().take(RESYNC_MARKS).collect(), birth_floor: dirty.birth_floor.min(floor), more }
    }

    /// Ids below are taken here.
    fn next_id(&self) -> ObjectId {
        self.objects().map_or(ObjectId(0), |objects| objects.table.birth_floor())
    }

    /// Says that a resync runs, if it still does.
    fn tell_resync(&self) {
        let resync = self.resync.lock();
        if let Some(reason) = resync.as_ref() {
            self.status.set(State::Second, Data::Inconsistent, reason.clone(), "resync");
        }
    }

    fn serve_bulk(&self, stream: TcpStream, established: Established) -> io::Result<()> {
        let link = uring::open(stream, Use::Bulk)?;
        if let Some(current) = self.current.lock().as_mut() {
            current.bulk = Some(link.clone());
        }
        let outcome = self.answer_questions(&link, established);
        // Whoever waits for an answer must not wait for the end of the session.
        link.shutdown();
        outcome
    }

    fn answer_questions(&self, link: &Arc<dyn Link>, established: Established) -> io::Result<()> {
        let mut reader = FrameReader::new(Source(link.clone()), established.opener);
        let mut sealer = established.sealer;
        let mut out = Vec::new();
        loop {
            while let Some(frame) = reader.next().map_err(io::Error::other)? {
                if frame.header.kind != kind::QUERY {
                    return Err(io::Error::other("a frame that is no question"));
                }
                let query: Query = op::decode(frame.body).map_err(io::Error::other)?;
                let Some(session) = self.reached(frame.header.after.get()) else { return Ok(()) };
                let said = match &query.question {
                    Question::Digests { block, pieces } => Said::Digests(digest::answer(session.objects(), *block, pieces)),
                    Question::Stats(ids) => Said::Stats(digest::stats(session.objects(), ids)),
                    Question::Marks(from) => self.marks(*from),
                    Question::Made => Said::Made(session.made()),
                    Question::Details(ids) => Said::Details(verify::details(session.objects(), ids)),
                    Question::Entries { dir, after } => Said::Entries(verify::entries(session.objects(), *dir, after)),
                    Question::Blocks { direct, block, pieces } => {
                        Said::Blocks(digest::answer_from(session.objects(), *direct, *block, pieces))
                    }
                    Question::Data(id, from) => Said::Data(verify::data(session.objects(), *id, *from)),
                };
                let answer = Answer { number: query.number, said };
                out.clear();
                sealer.seal(&mut Header::new(kind::ANSWER), &op::encode(&answer), &[], &mut out).map_err(io::Error::other)?;
                link.send_all(&out)?;
            }
            match reader.fill() {
                Err(wire::WireError::Closed) => return Ok(()),
                other => other.map_err(io::Error::other)?,
            };
        }
    }

    /// The session, once it has applied everything up to `seq`.
    fn reached(&self, seq: u64) -> Option<Arc<Session>> {
        loop {
            let session = self.current.lock().as_ref()?.live.clone();
            if let Some(session) = session.filter(|session| session.applied() >= seq) {
                return Some(session);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    pub(super) fn connection(self: &Arc<Follower>, stream: TcpStream, from: SocketAddr) {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let mut mine = None;
        let answer = |channel: Channel, hello: &[u8]| {
            let answer = self.respond(from, channel, hello);
            mine = match op::decode(hello) {
                Ok(Hello::Ordered { session, .. }) if answer.is_ok() => Some(session),
                _ => None,
            };
            answer.map_err(|refusal| refusal.to_text())
        };
        let outcome = match wire::accept(&stream, &self.options.auth, deadline, answer) {
            Ok(established) if established.channel == Channel::Ordered => self.serve_ordered(stream, established),
            Ok(established) => self.serve_bulk(stream, established),
            Err(HandshakeError::Refusing(text)) => {
                self.refused(from, &Refusal::from_text(&text));
                Ok(())
            }
            Err(why) => {
                self.turn_away(from, &why.to_string());
                Ok(())
            }
        };
        if let Err(why) = outcome {
            tracing::warn!(%from, %why, "a connection ended");
        }
        // Only its own session: the next one may be in place already.
        let ended = self.current.lock().take_if(|current| Some(current.session) == mine);
        if ended.is_some() {
            // The state was told while the session was still there.
            self.status.changed();
        }
        if let Some(bulk) = ended.and_then(|current| current.bulk) {
            bulk.shutdown();
        }
    }
}

impl Keeper for Follower {
    fn in_sync(&self, floor: ObjectId) -> Result<(), String> {
        let (sender, from) = {
            let current = self.current.lock();
            let current = current.as_ref().ok_or("the session is over")?;
            (current.sender.clone(), current.from)
        };
        // Nothing is marked from here on; before the identity, which says that the marks count since now.
        let equal = Journal::create_equal(&self.hidden, journal::Limits::default(), floor).map_err(|why| why.to_string())?;
        let mut journal = self.journal.lock();
        // Found after this session had asked for the marks: for the next one.
        let found = std::mem::take(&mut *self.underneath.lock());
        equal.begin().mark_keys(found.into_iter()).map_err(|why| why.to_string())?;
        *journal = Arc::new(equal);
        drop(journal);
        let boot = boot_id().unwrap_or_default();
        self.store(|identity| {
            identity.adopt(&sender);
            identity.checkpoint = sender.checkpoint + 1;
            identity.now_in_sync(boot);
            identity.last_sync = Some(super::answers::rfc3339(std::time::SystemTime::now()));
        })?;
        putback::drop_kept(self.objects.lock().as_deref(), &self.hidden);
        *self.unwanted.lock() = None;
        let mut resync = self.resync.lock();
        *resync = None;
        self.status.set(State::Second, Data::Uptodate, format!("in sync with {}", from.ip()), "in_sync");
        Ok(())
    }

    fn checkpoint(&self, floor: ObjectId, number: u32) -> Result<(), String> {
        let journal = self.journal.lock().clone();
        journal.raise_floor(floor).map_err(|why| why.to_string())?;
        self.store(|identity| identity.checkpoint = u64::from(number))
    }

    fn left(&self, floor: ObjectId) -> Result<(), String> {
        self.left.store(true, SeqCst);
        let journal = self.journal.lock().clone();
        journal.raise_floor(floor).map_err(|why| why.to_string())?;
        self.store(|identity| identity.in_sync_open = false)
    }
}

fn start_pulse(follower: Arc<Follower>, session: Arc<Session>, timeout: Duration) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("pulse".into()).spawn(move || {
        let mut told = false;
        let mut pulse = Pulse::answering(timeout, session.now());
        loop {
            let (heard, sent) = session.heard_and_sent();
            if session.wait_over(pulse.pause(session.now(), heard, sent)) {
                return;
            }
            if !told && session.now() > RETRY_IS_NEWS {
                told = true;
                follower.tell_resync();
            }
            let (heard, sent) = session.heard_and_sent();
            match pulse.tick(session.now(), heard, sent) {
                Beat::Well => {}
                Beat::Speak => drop(session.acknowledge()),
                Beat::Lost(silence) => {
                    let reason = format!("the primary has been silent for {:.1} s", silence.as_secs_f32());
                    return session.hang_up_because(reason, "primary_silent");
                }
            }
        }
    })
}

/// Writes decided modification times while the session lives.
fn start_times(session: Arc<Session>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("times".into()).spawn(move || {
        let mut lazy = Lazy::after(session.applied());
        let mut pause = LAZY_TIMES;
        while !session.wait_over(pause) {
            pause = lazy.tidy(session.objects(), session.applied());
        }
    })
}
