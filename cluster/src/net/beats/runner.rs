//! The thread. It never waits for anything but its sockets and its clock: locks are only tried, events go to a list when nobody takes them.

use super::farm::{Packet, Window};
use super::{BEAT, BeatEvent, FARM, LinkView, Origin, Shared, View};
use crate::heartbeat::{Beat, Change, Peer, Profile, Stall};
use crate::net::quiet::Quiet;
use crate::net::{Keys, limits};
use crate::{Moment, NodeId};
use crossbeam::channel::{Sender, TrySendError};
use fsrepl::wire::KeyRing;
use fsrepl::wire::datagram::{DatagramError, DatagramOpener, DatagramSealer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// More than any datagram of ours.
const BUFFER: usize = 2048;

struct Other {
    peer: Peer,
    steady: bool,
    window: Window,
}

pub struct Runner {
    shared: Arc<Shared>,
    profile: Profile,
    me: NodeId,
    keys: Keys,
    ring: KeyRing,
    opener: DatagramOpener,
    others: BTreeMap<NodeId, Other>,
    start: Instant,
    sender: Sender<BeatEvent>,
    waiting: VecDeque<BeatEvent>,
    nonsense: Quiet,
    unsent: Quiet,
}

impl Runner {
    pub fn new(shared: Arc<Shared>, profile: Profile, origin: Origin, keys: Keys, sender: Sender<BeatEvent>) -> Runner {
        let other = |(&node, routes): (&NodeId, &Vec<_>)| {
            let networks = u8::try_from(routes.len()).unwrap_or(u8::MAX);
            let peer = Peer::new(node, networks, profile, origin.epoch, origin.boot, Duration::ZERO);
            (node, Other { peer, steady: false, window: Window::default() })
        };
        let others = shared.outlet.routes.iter().map(other).collect();
        let ring = keys.ring();
        let opener = DatagramOpener::new(ring.clone());
        let (start, waiting) = (Instant::now(), VecDeque::new());
        let (nonsense, unsent) = (Quiet::default(), Quiet::default());
        Runner { shared, profile, me: origin.me, keys, ring, opener, others, start, sender, waiting, nonsense, unsent }
    }

    pub fn run(mut self, woken: &UnixStream) {
        // Of this thread alone. Without the privilege it runs as all others do.
        let _ = rustix::process::setpriority_process(None, -20);
        let mut due = Instant::now();
        while !self.shared.ended.load(Ordering::SeqCst) {
            let now = Instant::now();
            if now >= due {
                // What was sent to us while we did not run is heard before anybody is judged.
                self.receive_all();
                self.tick();
                due = if now >= due + self.profile.pulse { now } else { due } + self.profile.pulse;
            } else {
                self.wait(woken, due - now);
                self.receive_all();
            }
            self.tell_waiting();
        }
    }

    fn now(&self) -> Moment {
        self.start.elapsed()
    }

    fn wait(&self, woken: &UnixStream, longest: Duration) {
        let mut fds: Vec<PollFd<'_>> = self.shared.outlet.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        fds.push(PollFd::new(woken, PollFlags::IN));
        let timeout = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
        // Interrupted or not: the loop looks at everything anyway.
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn receive_all(&mut self) {
        let mut buffer = [0; BUFFER];
        for socket in 0..self.shared.outlet.sockets.len() {
            for _ in 0..limits::DATAGRAMS_AT_ONCE {
                match self.shared.outlet.sockets[socket].recv_from(&mut buffer) {
                    Ok((length, from)) => {
                        if let Err(why) = self.receive(socket, &mut buffer[..length])
                            && let Some(unsaid) = self.nonsense.say()
                        {
                            tracing::warn!(%from, unsaid, "a datagram was not taken: {why}");
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
    }

    fn receive(&mut self, socket: usize, datagram: &mut [u8]) -> Result<(), DatagramError> {
        let (kind, plain) = self.opener.open(self.me.0, datagram)?;
        match kind {
            BEAT => {
                let beat = Beat::decode(plain).map_err(|_| DatagramError::Stranger)?;
                self.beat(socket, &beat);
            }
            FARM => {
                let packet = Packet::decode(plain).ok_or(DatagramError::Stranger)?;
                let Some(other) = self.others.get_mut(&packet.from) else { return Err(DatagramError::Stranger) };
                if other.window.take(packet.epoch, packet.seq) {
                    let event = BeatEvent::Farm { from: packet.from, bytes: packet.bytes.to_vec() };
                    // Behind a reader that does not keep up they are lost, as on a network.
                    if self.waiting.len() < limits::EVENTS_KEPT {
                        self.waiting.push_back(event);
                    }
                }
            }
            _ => return Err(DatagramError::Stranger),
        }
        Ok(())
    }

    /// A beat counts for the network whose socket it came to, so that one network cannot speak for another one.
    fn beat(&mut self, socket: usize, beat: &Beat) {
        let right_place = self.shared.outlet.route(beat.from, usize::from(beat.network)).is_some_and(|route| route.socket == socket);
        let now = self.now();
        if let Some(other) = self.others.get_mut(&beat.from).filter(|_| right_place) {
            other.window.begin(beat.epoch);
            let changes = other.peer.receive(beat, now);
            for change in changes {
                self.changed(beat.from, change);
            }
        }
    }

    /// Of versions the last one counts, so a reader that does not keep up finds one of each node.
    fn changed(&mut self, node: NodeId, change: Change) {
        if matches!(change, Change::Facts(_)) {
            let outdated = |event: &BeatEvent| matches!(event, BeatEvent::Change { node: of, change: Change::Facts(_) } if *of == node);
            self.waiting.retain(|event| !outdated(event));
        }
        self.waiting.push_back(BeatEvent::Change { node, change });
    }

    fn tick(&mut self) {
        self.rekey();
        let now = self.now();
        let mut stalled: Option<Stall> = None;
        let mut views = BTreeMap::new();
        for (&node, other) in &mut self.others {
            let (changes, stall) = other.peer.tick(now);
            stalled = [stalled, stall].into_iter().flatten().max_by_key(|stall| stall.late);
            self.waiting.extend(changes.into_iter().map(|change| BeatEvent::Change { node, change }));
            let steady = other.peer.steady(now);
            if std::mem::replace(&mut other.steady, steady) != steady {
                self.waiting.push_back(BeatEvent::Steady { node, steady });
            }
            let links = other.peer.links().map(|(network, state, silence)| LinkView { network, state, silence }).collect();
            views.insert(node, View { presence: other.peer.presence(), links });
        }
        if let Some(stall) = stalled {
            tracing::warn!(late = ?stall.late, suspect = stall.suspect, "this process did not run for a while");
            self.waiting.push_back(BeatEvent::Stall(stall));
        }
        if let Some(mut shared) = self.shared.views.try_lock() {
            *shared = views;
        }
        self.speak();
    }

    fn speak(&mut self) {
        let facts = self.shared.facts.load(Ordering::Relaxed);
        let outlet = &self.shared.outlet;
        for (&node, other) in &mut self.others {
            for network in 0..outlet.routes.get(&node).map_or(0, Vec::len) {
                let Some(route) = outlet.route(node, network) else { continue };
                let Some(beat) = other.peer.beat(self.me, network as u8, facts) else { continue };
                if let Err(error) = outlet.send(BEAT, node, route, &beat.encode())
                    && let Some(unsaid) = self.unsent.say()
                {
                    tracing::warn!(%error, unsaid, "a heartbeat to {} could not be sent", route.to);
                }
            }
        }
    }

    /// Keys may have been replaced since the last pulse.
    fn rekey(&mut self) {
        let ring = self.keys.ring();
        if ring == self.ring {
            return;
        }
        match DatagramSealer::new(&ring) {
            Ok(sealer) => {
                *self.shared.outlet.sealer.write() = Arc::new(sealer);
                self.opener.replace(ring.clone());
                self.ring = ring;
            }
            Err(error) => tracing::error!(%error, "the new keys cannot be used for heartbeats yet"),
        }
    }

    fn tell_waiting(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => self.waiting.clear(),
            }
        }
    }
}
