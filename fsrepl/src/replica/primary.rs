//! The primary's side of the ordered connection, run to completion: the thread that applied an operation
//! seals and sends it, then becomes the connection's reader and completes everybody's acknowledgements until
//! none is expected. Nothing is handed to another thread on the way of a write.
//!
//! What must hold: sequence numbers, frame counters and the bytes in the socket are in one order, so all
//! three happen under the one lock of [`Stream`]. Requests are completed outside of it.

use super::flight::Flight;
pub use super::mode::Mode;
use super::mode::{Action, Event};
use crate::apply::{Done, Outlet};
use crate::id::{ObjectId, Seq};
use crate::limits::{FRAME_PAYLOAD, STREAM_BATCH};
use crate::op::{self, Op, kind};
use crate::uring::Link;
use crate::wire::{FrameReader, Header, Recv, Sealer, WireError};
use crossbeam::channel::Sender;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A link as a source of bytes.
pub struct Source(pub Arc<dyn Link>);

impl Recv for Source {
    fn recv(&self, into: &mut [u8]) -> io::Result<usize> {
        self.0.recv(into)
    }
}

struct Stream {
    mode: Mode,
    epoch: u32,
    seq: Seq,
    /// The highest number given when the session began.
    before: Seq,
    link: Option<Arc<dyn Link>>,
    sealer: Sealer,
    out: Vec<u8>,
    /// Ends of operations that wait for the arbiter.
    held: Vec<Done>,
    /// The loss could not be recorded, or the arbiter refuses: operations end with this.
    refused: Option<rustix::io::Errno>,
}

impl Stream {
    /// Follows the table; what cannot happen changes nothing and is a fault of ours.
    fn step(&mut self, event: Event) -> Action {
        let Some((next, action)) = self.mode.after(event) else {
            tracing::error!(mode = ?self.mode, ?event, "impossible in this mode");
            debug_assert!(false, "{:?} in {:?}", event, self.mode);
            return Action::Go;
        };
        self.mode = next;
        action
    }
}

/// In words, and stable.
type Reason = (String, &'static str);

/// A connection that somebody who does not hold the stream may have to end.
#[derive(Default)]
struct Shutting {
    why: Option<Reason>,
    link: Option<Arc<dyn Link>>,
}

/// The connection ended: why, and whether the pair was a mirror until then.
#[derive(Clone, Debug)]
pub struct Lost {
    /// In the operator's words.
    pub reason: String,
    /// Stable.
    pub code: &'static str,
    /// Operations are held until the loss is recorded.
    pub holding: bool,
}

/// Counters for status.
#[derive(Default)]
pub struct Counters {
    /// Operations sent.
    pub operations: AtomicU64,
    /// Bytes sent, sealed.
    pub bytes: AtomicU64,
}

/// Replication of one module, seen from the node where the application runs.
pub struct Primary {
    stream: Mutex<Stream>,
    reader: Mutex<Option<FrameReader<Source>>>,
    flight: Mutex<Flight<Done>>,
    expected: AtomicUsize,
    acked: AtomicU64,
    heard: AtomicU64,
    sent: AtomicU64,
    /// Why the link is being shut down, when we do it ourselves; and the link, reachable without the stream.
    shutting: Mutex<Shutting>,
    /// Why the secondary could not go on, in its words.
    told: Mutex<Option<String>>,
    losses: Sender<Lost>,
    /// This node may no longer serve.
    fenced: AtomicBool,
    start: Instant,
    stable: bool,
    /// Figures.
    pub counters: Counters,
}

impl Primary {
    /// Starts alone. `stable` is the `disk` acknowledgement mode; losses of the peer go to `losses`.
    pub fn new(stable: bool, losses: Sender<Lost>) -> Primary {
        Primary {
            stream: Mutex::new(Stream {
                mode: Mode::Alone,
                epoch: 0,
                seq: 0,
                before: 0,
                link: None,
                sealer: Sealer::insecure(),
                out: Vec::new(),
                held: Vec::new(),
                refused: None,
            }),
            reader: Mutex::new(None),
            flight: Mutex::default(),
            expected: AtomicUsize::new(0),
            acked: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            shutting: Mutex::default(),
            told: Mutex::default(),
            losses,
            fenced: AtomicBool::new(false),
            start: Instant::now(),
            stable,
            counters: Counters::default(),
        }
    }

    /// Milliseconds of this replication's own clock.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// When the peer was heard last, and when something was sent last.
    pub fn heard_and_sent(&self) -> (Duration, Duration) {
        (Duration::from_micros(self.heard.load(SeqCst)), Duration::from_micros(self.sent.load(SeqCst)))
    }

    fn clock(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Highest number given, highest number acknowledged.
    pub fn progress(&self) -> (Seq, Seq) {
        (self.stream.lock().seq, self.acked.load(SeqCst))
    }

    /// Highest number given in the present session, 0 if none was.
    pub fn given(&self) -> Seq {
        let stream = self.stream.lock();
        if stream.seq == stream.before { 0 } else { stream.seq }
    }

    /// Highest number acknowledged. Waits for nobody.
    pub fn acknowledged(&self) -> Seq {
        self.acked.load(SeqCst)
    }

    /// The session whose connection is up, if one is.
    pub fn attached(&self) -> Option<u32> {
        let stream = self.stream.lock();
        stream.link.as_ref().map(|_| stream.epoch)
    }

    /// Whether the connection of session `epoch` is up, as far as can be seen without waiting for the stream.
    pub fn try_attached(&self, epoch: u32) -> bool {
        self.stream.try_lock().is_none_or(|stream| stream.link.is_some() && stream.epoch == epoch)
    }

    /// Bytes of the peer that nobody has read yet count as heard.
    pub fn unread(&self) -> bool {
        let link = self.shutting.lock().link.clone();
        link.is_some_and(|link| link.readable(Duration::ZERO).unwrap_or(false))
    }

    /// What is done with operations now.
    pub fn mode(&self) -> Mode {
        self.stream.lock().mode
    }

    /// A connection is there: sync session `epoch` begins. Numbers go on from where they are.
    pub fn attach(&self, epoch: u32, link: Arc<dyn Link>, sealer: Sealer, reader: FrameReader<Source>) -> Seq {
        *self.reader.lock() = Some(reader);
        *self.shutting.lock() = Shutting { why: None, link: Some(link.clone()) };
        *self.told.lock() = None;
        let mut stream = self.stream.lock();
        stream.step(Event::Attached(epoch));
        (stream.epoch, stream.before) = (epoch, stream.seq);
        (stream.link, stream.sealer) = (Some(link), sealer);
        stream.out.clear();
        let now = self.clock();
        self.heard.store(now, SeqCst);
        self.sent.store(now, SeqCst);
        self.acked.store(stream.seq, SeqCst);
        stream.seq
    }

    /// Ends the connection for a reason of our own; whoever uses it finds out at once.
    pub fn drop_peer(&self, reason: impl Into<String>, code: &'static str) {
        let link = {
            let mut shutting = self.shutting.lock();
            let Some(link) = shutting.link.clone() else { return };
            if shutting.why.is_none() {
                shutting.why = Some((reason.into(), code));
            }
            link
        };
        // Without the stream's lock: whoever holds it may be the one that waits for the silent peer.
        link.shutdown();
        self.lose(&mut self.stream.lock(), &link, "the connection ended", "connection_lost");
    }

    /// The connection over `link` is over. Called with the stream locked by whoever notices first; who notices
    /// late may find the next connection in place, and leaves it alone.
    fn lose(&self, stream: &mut Stream, link: &Arc<dyn Link>, reason: &str, code: &'static str) {
        if !stream.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            return;
        }
        stream.link = None;
        link.shutdown();
        let own = std::mem::take(&mut *self.shutting.lock()).why;
        let (reason, code) = own.unwrap_or_else(|| (reason.to_owned(), code));
        stream.out.clear();
        let holding = stream.step(Event::Lost) == Action::Hold;
        if holding {
            let waiting = self.flight.lock().drain();
            self.expected.fetch_sub(waiting.len(), SeqCst);
            stream.held.extend(waiting);
        }
        // The supervisor lives as long as the replication; without it nobody could be told.
        let _ = self.losses.send(Lost { reason, code, holding });
    }

    /// The loss is recorded durably and the arbiter agrees: go on alone, and complete what waited.
    pub fn release(&self) {
        let held = {
            let mut stream = self.stream.lock();
            stream.step(Event::Granted);
            std::mem::take(&mut stream.held)
        };
        for done in held {
            done(Ok(()));
        }
    }

    /// Ends every held and future-held operation with an error: this node may not go on.
    pub fn refuse(&self, why: rustix::io::Errno) {
        let held = {
            let mut stream = self.stream.lock();
            stream.refused = Some(why);
            std::mem::take(&mut stream.held)
        };
        for done in held {
            done(Err(why));
        }
    }

    /// From now on every operation ends with an error, whatever the mode.
    pub fn fence(&self, why: rustix::io::Errno) {
        self.fenced.store(true, SeqCst);
        self.refuse(why);
    }

    /// The last step of a resync: if `quiet` still says that nothing is left to sync, every later operation is
    /// mirrored. `done` ends when the secondary has recorded that it is up to date. False if something was left.
    pub fn complete(&self, op: &Op<'_>, quiet: impl FnOnce() -> bool, done: Done) -> bool {
        let mut stream = self.stream.lock();
        if !matches!(stream.mode, Mode::Syncing(_)) || !quiet() {
            return false;
        }
        stream.step(Event::Synced);
        self.send(&mut stream, op, Some(done), true);
        true
    }

    /// Sends an operation of the resync itself, acknowledged by number only. None when the connection is gone.
    pub fn push(&self, op: &Op<'_>, flush: bool) -> Option<Seq> {
        let mut stream = self.stream.lock();
        stream.link.as_ref()?;
        self.send(&mut stream, op, None, flush);
        stream.link.as_ref().map(|_| stream.seq)
    }

    /// Asks the secondary to have everything up to here on stable storage ([`kind::SYNC_ALL`], [`kind::LEAVE`]);
    /// with the ids up to `floor`, as checkpoint `number` if it is one (else 0); the answer goes to `answer`, at once
    /// where the pair is no mirror. Then [`Outlet::help`].
    pub fn request(&self, kind: u8, (floor, number): (ObjectId, u32), answer: Sender<crate::sys::Sys<()>>) {
        let done: Done = Box::new(move |result| {
            // Nobody waits any more: nothing to tell.
            let _ = answer.try_send(result);
        });
        let mut stream = self.stream.lock();
        if stream.mode != Mode::Mirror {
            drop(stream);
            return done(Ok(()));
        }
        self.send(&mut stream, &Op { flags: op::STABLE, offset: floor.0, aux: number, ..Op::new(kind, ObjectId::ROOT) }, Some(done), true);
    }

    /// Sends what was pushed without being flushed. False when the connection is gone.
    pub fn push_out(&self) -> bool {
        let mut stream = self.stream.lock();
        if !stream.out.is_empty() {
            self.flush(&mut stream);
        }
        stream.link.is_some()
    }

    /// Keeps the connection alive while nothing else is sent. Does not wait for a busy stream: that speaks itself.
    pub fn speak(&self) {
        let Some(mut stream) = self.stream.try_lock() else { return };
        if stream.link.is_none() {
            return;
        }
        let Stream { sealer, out, .. } = &mut *stream;
        if sealer.seal(&mut Header::new(kind::PING), &[], &[], out).is_ok() {
            self.flush(&mut stream);
        }
    }

    /// Numbers, seals and sends one operation.
    fn send(&self, stream: &mut Stream, op: &Op<'_>, done: Option<Done>, flush: bool) {
        stream.seq += 1;
        let seq = stream.seq;
        let stable = op.flags & op::STABLE != 0 || (self.stable && done.is_some());
        let flags = op.flags | if stable { op::STABLE } else { 0 };
        if let Some(done) = done {
            self.flight.lock().enter(seq, stable, done);
            self.expected.fetch_add(1, SeqCst);
        }
        if let Err(why) = self.seal(stream, seq, flags, op) {
            tracing::error!(%why, kind = op.kind, "an operation cannot be sealed");
            if let Some(link) = stream.link.clone() {
                self.lose(stream, &link, "an operation could not be sent", "internal");
            }
            return;
        }
        self.counters.operations.fetch_add(1, SeqCst);
        if flush || stream.out.len() >= STREAM_BATCH {
            self.flush(stream);
        }
    }

    fn seal(&self, stream: &mut Stream, seq: Seq, flags: u8, op: &Op<'_>) -> Result<(), WireError> {
        let after = self.acked.load(SeqCst);
        let mut rest = op.payload;
        let mut offset = op.offset;
        let mut body: &[u8] = &op.body;
        loop {
            let (piece, later) = rest.split_at(rest.len().min(FRAME_PAYLOAD));
            let more = if later.is_empty() { 0 } else { op::MORE };
            let mut header = Header::new(op.kind)
                .order(seq, after)
                .at(op.object.0, offset)
                .mtime(op.mtime.sec, op.mtime.nsec)
                .flags(flags | more)
                .aux(op.aux, 0);
            stream.sealer.seal(&mut header, body, piece, &mut stream.out)?;
            if later.is_empty() {
                return Ok(());
            }
            // The peer opens and applies this piece while the next one is sealed.
            if stream.out.len() >= FRAME_PAYLOAD {
                self.flush(stream);
                if stream.link.is_none() {
                    return Ok(());
                }
            }
            (rest, offset, body) = (later, offset + piece.len() as u64, &[]);
        }
    }

    fn flush(&self, stream: &mut Stream) {
        let Some(link) = stream.link.clone() else { return };
        let sent = link.send_all(&stream.out);
        self.counters.bytes.fetch_add(stream.out.len() as u64, SeqCst);
        stream.out.clear();
        self.sent.store(self.clock(), SeqCst);
        if let Err(why) = sent {
            let reason = match why.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => "the secondary closed the connection".into(),
                _ => format!("sending failed: {why}"),
            };
            self.lose(stream, &link, &reason, "connection_lost");
        }
    }

    /// Reads what is there and completes what it acknowledges.
    fn read_some(&self, reader: &mut FrameReader<Source>) -> Result<(), Stop> {
        reader.fill()?;
        let mut completed = Vec::new();
        let mut ended = None;
        while let Some(frame) = reader.next()? {
            let applied = frame.header.seq.get();
            match frame.header.kind {
                kind::ACK => {
                    let stable = frame.body.chunks_exact(8).map(|seq| Seq::from_le_bytes(seq.try_into().expect("eight bytes")));
                    self.acked.fetch_max(applied, SeqCst);
                    self.flight.lock().acknowledge(applied, stable, &mut completed);
                }
                kind::FAILED => {
                    let failed: op::Failed = op::decode(frame.body).map_err(Stop::Garbled)?;
                    ended = Some(failed.reason);
                }
                other => return Err(Stop::Garbled(format!("a frame of kind {other} from the secondary"))),
            }
        }
        self.heard.store(self.clock(), SeqCst);
        if !completed.is_empty() {
            self.expected.fetch_sub(completed.len(), SeqCst);
            for done in completed {
                done(Ok(()));
            }
        }
        ended.map_or(Ok(()), |reason| Err(Stop::Told(reason)))
    }

    /// Waits until something can be read, at most `patience`, without being the reader.
    pub fn wait_readable(&self, patience: Duration) {
        let link = self.shutting.lock().link.clone();
        match link {
            // Whatever is wrong with it, the reader will find.
            Some(link) => drop(link.readable(patience)),
            None => std::thread::sleep(patience),
        }
    }

    /// Reads once as the connection's reader, if nobody else is and bytes are there within `patience`.
    pub fn read_within(&self, patience: Duration) {
        let outcome = match self.reader.try_lock() {
            Some(mut reader) => match reader.as_mut().map(|source| (source.source().0.readable(patience), source)) {
                Some((Ok(true), source)) => {
                    let outcome = self.read_some(source);
                    self.after_reading(reader, outcome);
                    true
                }
                Some((Ok(false), _)) => true,
                Some((Err(why), _)) => {
                    self.after_reading(reader, Err(Stop::Wire(why.into())));
                    true
                }
                None => false,
            },
            None => false,
        };
        if !outcome {
            std::thread::sleep(patience.min(Duration::from_millis(1)));
        }
        self.help();
    }

    fn after_reading(&self, mut reader: parking_lot::MutexGuard<'_, Option<FrameReader<Source>>>, outcome: Result<(), Stop>) {
        let Err(stop) = outcome else { return };
        let Some(ended) = reader.take() else { return };
        drop(reader);
        let (reason, code) = stop.words();
        if code == PEER_FAILED {
            *self.told.lock() = Some(reason.clone());
        }
        self.lose(&mut self.stream.lock(), &ended.source().0, &reason, code);
    }

    /// What the secondary said before the connection ended, if it did: whoever sends finds the connection closed
    /// before the reason has been read. For the supervisor, after the loss.
    pub fn last_words(&self) -> Option<String> {
        let reader = self.reader.lock().take();
        if let Some(mut reader) = reader {
            // Only the reason matters: what these frames acknowledge is complete or held by now.
            let mut rest = || -> Result<(), Stop> {
                loop {
                    while let Some(frame) = reader.next()? {
                        if frame.header.kind == kind::FAILED {
                            let failed: op::Failed = op::decode(frame.body).map_err(Stop::Garbled)?;
                            return Err(Stop::Told(failed.reason));
                        }
                    }
                    if reader.fill()? == 0 {
                        return Ok(());
                    }
                }
            };
            if let Err(Stop::Told(reason)) = rest() {
                return Some(reason);
            }
        }
        self.told.lock().take()
    }

    /// Waits until the secondary has applied `seq`, reading acknowledgements meanwhile. False when the
    /// connection is gone.
    pub fn wait_applied(&self, seq: Seq) -> bool {
        while self.acked.load(SeqCst) < seq {
            if self.stream.lock().link.is_none() {
                return false;
            }
            self.read_within(Duration::from_millis(20));
        }
        true
    }
}

/// Code of a loss that the secondary itself announced.
pub const PEER_FAILED: &str = "peer_failed";

/// Why reading ended.
enum Stop {
    Wire(WireError),
    Garbled(String),
    Told(String),
}

impl From<WireError> for Stop {
    fn from(why: WireError) -> Stop {
        Stop::Wire(why)
    }
}

impl Stop {
    fn words(self) -> (String, &'static str) {
        match self {
            Stop::Wire(WireError::Closed | WireError::Truncated) => ("the secondary closed the connection".into(), "peer_closed"),
            Stop::Wire(why) => (format!("the connection failed: {why}"), "connection_lost"),
            Stop::Garbled(why) => (format!("the secondary sent something that makes no sense: {why}"), "protocol"),
            Stop::Told(reason) => (reason, PEER_FAILED),
        }
    }
}

impl Outlet for Primary {
    fn submit<'a>(&self, done: Done, make: &dyn Fn(Option<u32>) -> Option<Op<'a>>) -> Seq {
        let mut stream = self.stream.lock();
        if self.fenced.load(SeqCst) {
            let seq = stream.seq;
            drop(stream);
            done(Err(rustix::io::Errno::IO));
            return seq;
        }
        match stream.mode {
            Mode::Mirror => {
                if let Some(op) = make(None) {
                    self.send(&mut stream, &op, Some(done), true);
                    return stream.seq;
                }
            }
            Mode::Syncing(epoch) => {
                if let Some(op) = make(Some(epoch)) {
                    self.send(&mut stream, &op, None, true);
                }
            }
            Mode::Holding => {
                let seq = stream.seq;
                match stream.refused {
                    None => stream.held.push(done),
                    Some(why) => {
                        drop(stream);
                        done(Err(why));
                    }
                }
                return seq;
            }
            Mode::Alone => {}
        }
        let seq = stream.seq;
        drop(stream);
        done(Ok(()));
        seq
    }

    fn help(&self) {
        while self.expected.load(SeqCst) > 0 {
            let Some(mut reader) = self.reader.try_lock() else { return };
            let Some(source) = reader.as_mut() else { return };
            let mut outcome = Ok(());
            while outcome.is_ok() && self.expected.load(SeqCst) > 0 {
                outcome = self.read_some(source);
            }
            self.after_reading(reader, outcome);
            // Whoever came while we were leaving found us in the way: look again.
        }
    }

    fn stable(&self) -> bool {
        self.stable
    }
}
