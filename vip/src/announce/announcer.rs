//! The shell around schedule and decoder: one thread and two packet sockets for each interface.

use super::rival::{Claim, claim};
use super::schedule::{Due, Schedule};
use super::socket::{Kind, PacketSocket};
use super::{frames, question};
use crate::interface::Interface;
use pnet_base::MacAddr;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest frame that says anything here: a neighbour's message with some options.
const FRAME: usize = 512;
/// Frames of one socket before the schedule is looked at again: a flood delays no announcement.
const BATCH: usize = 64;
/// A rival that stays is told of again after this.
pub const REPORT_AGAIN: Duration = Duration::from_secs(60);
/// Rivals of one address that are told apart; a flood of invented ones is not remembered.
const RIVALS: usize = 16;
/// After a socket failed, so that a failure that stays does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Somebody else claims an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    /// The address.
    pub ip: IpAddr,
    /// Who.
    pub mac: MacAddr,
    /// It was announced here when he was heard; false: only asked for.
    pub announced: bool,
}

/// Is told of rivals, in the announcer's thread: it must return soon and must not call the announcer.
pub type OnRival = Box<dyn Fn(Rival) + Send>;

/// Who we are on this network.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    /// Where our addresses are.
    mac: MacAddr,
    /// Nobody with one of these is a rival.
    own: Vec<MacAddr>,
    /// To ask from.
    link_local: Option<Ipv6Addr>,
}

/// One address.
#[derive(Default)]
struct Entry {
    /// None: only listened for.
    schedule: Option<Schedule>,
    /// When each rival was last told of.
    rivals: BTreeMap<MacAddr, Instant>,
    last: Option<MacAddr>,
}

struct State {
    identity: Identity,
    entries: BTreeMap<IpAddr, Entry>,
    stop: bool,
    /// The last send failed: told once.
    failing: bool,
}

struct Shared {
    name: String,
    arp: PacketSocket,
    neighbor: PacketSocket,
    wake: OwnedFd,
    state: Mutex<State>,
    heard: Condvar,
}

/// Announces addresses on one interface and hears who else claims them. Ends, silently, when it is dropped.
pub struct Announcer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Announcer {
    /// On an Ethernet `interface`. `own`: the node's Ethernet addresses; `link_local`: the interface's.
    pub fn open(interface: &Interface, own: Vec<MacAddr>, link_local: Option<Ipv6Addr>, on_rival: OnRival) -> io::Result<Announcer> {
        let mac = interface.mac.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "it is no Ethernet interface"))?;
        let shared = Arc::new(Shared {
            name: interface.name.clone(),
            arp: PacketSocket::open(interface, Kind::Arp)?,
            neighbor: PacketSocket::open(interface, Kind::Neighbor)?,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            state: Mutex::new(State { identity: Identity { mac, own, link_local }, entries: BTreeMap::new(), stop: false, failing: false }),
            heard: Condvar::new(),
        });
        let in_thread = shared.clone();
        let thread = std::thread::Builder::new().name("vip-announce".into()).spawn(move || in_thread.run(&on_rival))?;
        Ok(Announcer { shared, thread: Some(thread) })
    }

    /// Asks who has `ip` and listens from now on.
    pub fn ask(&self, ip: IpAddr) {
        let mut state = self.shared.lock();
        state.entries.entry(ip).or_default().last = None;
        self.shared.send(&mut state, ip, Due::AnnounceAndAsk, false);
    }

    /// The rivals heard since `addresses` were asked for; waits until `deadline` unless each has one.
    pub fn answers(&self, addresses: &[IpAddr], deadline: Instant) -> Vec<(IpAddr, MacAddr)> {
        let heard = |state: &State| -> Vec<(IpAddr, MacAddr)> {
            addresses.iter().filter_map(|ip| Some((*ip, state.entries.get(ip)?.last?))).collect()
        };
        let mut state = self.shared.lock();
        loop {
            let found = heard(&state);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.len() == addresses.len() || left.is_zero() {
                return found;
            }
            state = self.shared.heard.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Announces `ip` at once, before this returns, and then by the schedule; from its beginning when it is announced already.
    pub fn announce(&self, ip: IpAddr) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let mut schedule = Schedule::new(now);
        let due = schedule.take(now);
        state.entries.entry(ip).or_default().schedule = Some(schedule);
        self.shared.send(&mut state, ip, due, true);
        drop(state);
        self.shared.wake();
    }

    /// No word about `ip` any more.
    pub fn withdraw(&self, ip: IpAddr) {
        self.shared.lock().entries.remove(&ip);
    }

    /// Whether any address is announced or listened for.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().entries.is_empty()
    }

    /// The interface as it is now. With another Ethernet address everything is announced anew.
    pub fn update(&self, mac: MacAddr, own: Vec<MacAddr>, link_local: Option<Ipv6Addr>) {
        let mut state = self.shared.lock();
        let moved = state.identity.mac != mac;
        state.identity = Identity { mac, own, link_local };
        if moved {
            let now = Instant::now();
            state.entries.values_mut().filter_map(|entry| entry.schedule.as_mut()).for_each(|schedule| *schedule = Schedule::new(now));
            drop(state);
            self.shared.wake();
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // It panics only where `on_rival` does, which has been seen on stderr.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only when its counter is full: then the thread wakes anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn run(&self, on_rival: &OnRival) {
        loop {
            let next = {
                let state = self.lock();
                if state.stop {
                    return;
                }
                state.entries.values().filter_map(|entry| Some(entry.schedule.as_ref()?.next())).min()
            };
            self.wait(next);
            for socket in [&self.arp, &self.neighbor] {
                self.listen(socket, on_rival);
            }
            self.send_due();
        }
    }

    fn wait(&self, next: Option<Instant>) {
        let left = next.map(|next| next.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut all = [self.wake.as_fd(), self.arp.as_fd(), self.neighbor.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        // A signal is as good as a wake-up.
        let _ = poll(&mut all, left.as_ref());
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    fn listen(&self, socket: &PacketSocket, on_rival: &OnRival) {
        let mut buffer = [0; FRAME];
        for _ in 0..BATCH {
            match socket.receive(&mut buffer) {
                Ok(Some(frame)) => {
                    if let Some(rival) = claim(frame).and_then(|claim| self.judge(claim, Instant::now())) {
                        on_rival(rival);
                    }
                }
                Ok(None) => return,
                Err(why) => {
                    // The interface went down or away; the socket works again when it is up.
                    tracing::debug!(interface = self.name, "cannot listen: {why}");
                    std::thread::sleep(AFTER_FAILURE);
                    return;
                }
            }
        }
    }

    /// Answers a rival; gives him when he is to be told of.
    fn judge(&self, claim: Claim, now: Instant) -> Option<Rival> {
        let mut state = self.lock();
        if state.identity.own.contains(&claim.mac) || state.identity.mac == claim.mac {
            return None;
        }
        let entry = state.entries.get_mut(&claim.ip)?;
        let announced = entry.schedule.is_some();
        if let Some(schedule) = &mut entry.schedule {
            schedule.again(now);
        }
        entry.last = Some(claim.mac);
        entry.rivals.retain(|_, told| now.duration_since(*told) < REPORT_AGAIN);
        let tell = entry.rivals.len() < RIVALS && !entry.rivals.contains_key(&claim.mac);
        if tell {
            entry.rivals.insert(claim.mac, now);
        }
        self.heard.notify_all();
        tell.then_some(Rival { ip: claim.ip, mac: claim.mac, announced })
    }

    fn send_due(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        let due: Vec<(IpAddr, Due)> =
            state.entries.iter_mut().filter_map(|(ip, entry)| Some((*ip, entry.schedule.as_mut()?.take(now)))).collect();
        for (ip, due) in due {
            if due != Due::Nothing {
                self.send(&mut state, ip, due, true);
            }
        }
    }

    /// Sends what is due. What cannot be sent is lost: the schedule has more, and the interface is watched by others.
    fn send(&self, state: &mut State, ip: IpAddr, due: Due, announce: bool) {
        let identity = &state.identity;
        let mut all = if announce { frames(ip, identity.mac) } else { Vec::new() };
        if due == Due::AnnounceAndAsk {
            all.push(question(ip, identity.mac, identity.link_local));
        }
        let socket = if ip.is_ipv4() { &self.arp } else { &self.neighbor };
        let outcome: io::Result<()> = all.iter().try_for_each(|frame| socket.send(frame));
        if let Err(why) = &outcome
            && !state.failing
        {
            tracing::warn!(interface = self.name, "cannot announce {ip}: {why}");
        }
        state.failing = outcome.is_err();
    }
}
