//! The thread behind [`super::Manager`]: the shell around [`super::judge`].

use super::judge::{self, Watched};
use super::record::{self, Recorded};
use super::wanted::{Held, Wanted};
use super::{ASK_BOUND, Event, VipError, reset};
use crate::address::Address;
use crate::announce::{Announcer, Rival};
use crate::interface::{Interface, Snapshot};
use crate::netlink::Netlink;
use futures_util::StreamExt;
use rtnetlink::MulticastGroup;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;

/// Looked at even when the kernel says nothing: a notice may have been lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two looks: a storm of notices about others costs a bounded time.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What the daemon's threads ask for.
pub(super) enum Command {
    Acquire { module: String, wanted: Vec<Wanted>, answer: Sender<Result<Vec<Held>, VipError>> },
    Release { module: String, answer: Sender<Result<(), VipError>> },
    Held { answer: Sender<Vec<Held>> },
}

/// One held address.
struct Entry {
    module: String,
    address: Address,
    reset_connections: bool,
    announced: bool,
    watched: Watched,
    /// A failure to put it back was told.
    told: bool,
}

/// Whose an address is, for who hears rivals.
type Owners = Arc<Mutex<BTreeMap<IpAddr, String>>>;

pub(super) struct Worker {
    netlink: Netlink,
    record: PathBuf,
    events: SyncSender<Event>,
    entries: Vec<Entry>,
    /// By number of interface.
    announcers: BTreeMap<u32, Announcer>,
    owners: Owners,
}

/// One wanted address and where it goes.
struct Place {
    wanted: Wanted,
    interface: Interface,
}

impl Entry {
    fn held(&self) -> Held {
        Held {
            module: self.module.clone(),
            ip: self.address.ip,
            prefix: self.address.prefix,
            interface: self.address.interface.clone(),
            announced: self.announced,
            lost: self.watched.lost,
        }
    }

    fn recorded(&self) -> Recorded {
        let Address { ip, prefix, interface } = self.address.clone();
        Recorded { module: self.module.clone(), ip, prefix, interface }
    }
}

impl Worker {
    pub(super) fn new(record: PathBuf, events: SyncSender<Event>) -> Result<Worker, VipError> {
        let netlink = Netlink::open().map_err(VipError::Look)?;
        Ok(Worker { netlink, record, events, entries: Vec::new(), announcers: BTreeMap::new(), owners: Owners::default() })
    }

    /// Until nobody can command any more.
    pub(super) async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        let mut notices = Notices::open();
        let mut look = Instant::now() + LOOK_EVERY;
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => {
                        self.obey(command).await;
                        continue;
                    }
                    None => return,
                },
                // Before the notices: a storm of them does not put the look off.
                () = tokio::time::sleep_until(look.into()) => {}
                () = notices.next() => {
                    look = look.min((looked + LOOK_PAUSE).max(Instant::now()));
                    continue;
                }
            }
            let again = self.look().await;
            looked = Instant::now();
            look = again.unwrap_or(looked + LOOK_EVERY).min(looked + LOOK_EVERY);
        }
    }

    async fn obey(&mut self, command: Command) {
        // Who asked may have gone: the work is done all the same.
        match command {
            Command::Acquire { module, wanted, answer } => drop(answer.send(self.acquire(&module, wanted).await)),
            Command::Release { module, answer } => drop(answer.send(self.release(&module).await)),
            Command::Held { answer } => drop(answer.send(self.entries.iter().map(Entry::held).collect())),
        }
    }

    async fn acquire(&mut self, module: &str, wanted: Vec<Wanted>) -> Result<Vec<Held>, VipError> {
        let snapshot = self.netlink.snapshot().await.map_err(VipError::Look)?;
        let places = self.places(module, wanted, &snapshot)?;
        let before: Vec<IpAddr> = self.entries.iter().map(|entry| entry.address.ip).collect();
        let fresh: Vec<IpAddr> = places.iter().map(|place| place.wanted.ip).filter(|ip| !before.contains(ip)).collect();
        for place in &places {
            self.note(module, place);
        }
        let outcome = match self.prepare(&places, &snapshot, &fresh) {
            Ok(()) => self.put(&places).await,
            Err(why) => Err(why),
        };
        if let Err(why) = outcome {
            self.undo(&fresh).await;
            return Err(why);
        }
        let ours = |entry: &&Entry| places.iter().any(|place| place.wanted.ip == entry.address.ip);
        let held: Vec<Held> = self.entries.iter().filter(ours).map(Entry::held).collect();
        held.iter().filter(|held| fresh.contains(&held.ip)).for_each(|held| self.tell(Event::Acquired(held.clone())));
        Ok(held)
    }

    /// Where everything goes, or why something goes nowhere; nothing is changed.
    fn places(&self, module: &str, wanted: Vec<Wanted>, snapshot: &Snapshot) -> Result<Vec<Place>, VipError> {
        let mut virtual_ones: Vec<IpAddr> = self.entries.iter().map(|entry| entry.address.ip).collect();
        virtual_ones.extend(wanted.iter().map(|wanted| wanted.ip));
        let place = |wanted: Wanted| {
            let ip = wanted.ip;
            let known = self.entries.iter().find(|entry| entry.address.ip == ip);
            if let Some(other) = known.filter(|entry| entry.module != module) {
                return Err(VipError::Taken { ip, module: other.module.clone() });
            }
            let named = known.map(|entry| entry.address.interface.as_str()).or(wanted.interface.as_deref());
            let interface = snapshot.find(ip, named, &virtual_ones).map_err(|why| VipError::NoInterface { ip, why })?.clone();
            Ok(Place { wanted, interface })
        };
        wanted.into_iter().map(place).collect()
    }

    fn note(&mut self, module: &str, place: &Place) {
        let Place { wanted, interface } = place;
        let watched = Watched { on_loss: wanted.on_loss, lost: None, tried: None };
        let entry = Entry {
            module: module.to_owned(),
            address: Address { ip: wanted.ip, prefix: wanted.prefix, interface: interface.name.clone() },
            reset_connections: wanted.reset_connections,
            announced: interface.mac.is_some(),
            watched,
            told: false,
        };
        match self.entries.iter_mut().find(|known| known.address.ip == wanted.ip) {
            Some(known) => {
                // Where it is and how it was added stays true.
                let address = known.address.clone();
                *known = Entry { address, ..entry };
            }
            None => self.entries.push(entry),
        }
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).insert(wanted.ip, module.to_owned());
    }

    /// All that can fail without a trace: sockets and the record. And the question, whose answers are only reported.
    fn prepare(&mut self, places: &[Place], snapshot: &Snapshot, fresh: &[IpAddr]) -> Result<(), VipError> {
        for place in places {
            self.announcer(&place.interface, snapshot)?;
        }
        for place in places.iter().filter(|place| fresh.contains(&place.wanted.ip)) {
            if let Some(announcer) = self.announcers.get(&place.interface.index) {
                announcer.ask(place.wanted.ip);
            }
        }
        self.write_record()?;
        let deadline = Instant::now() + ASK_BOUND;
        for (index, announcer) in &self.announcers {
            let asked = places.iter().filter(|place| place.interface.index == *index && fresh.contains(&place.wanted.ip));
            let asked: Vec<IpAddr> = asked.map(|place| place.wanted.ip).collect();
            if !asked.is_empty() {
                announcer.answers(&asked, deadline);
            }
        }
        Ok(())
    }

    async fn put(&mut self, places: &[Place]) -> Result<(), VipError> {
        for place in places {
            let Some(entry) = self.entries.iter().find(|entry| entry.address.ip == place.wanted.ip) else { continue };
            let added = entry.address.add_to(&self.netlink, place.interface.index).await;
            added.map_err(|why| VipError::Address { ip: place.wanted.ip, interface: place.interface.name.clone(), why })?;
            if let Some(announcer) = self.announcers.get(&place.interface.index) {
                announcer.announce(place.wanted.ip);
            }
        }
        Ok(())
    }

    /// After a failed takeover: what it added goes again. What cannot be removed stays in the record.
    async fn undo(&mut self, fresh: &[IpAddr]) {
        for ip in fresh {
            let Some(at) = self.entries.iter().position(|entry| entry.address.ip == *ip) else { continue };
            match self.take_off(at).await {
                Ok(()) => drop(self.forget(at)),
                Err(why) => tracing::warn!("{why}"),
            }
        }
        self.drop_idle();
        if let Err(why) = self.write_record() {
            tracing::warn!("{why}");
        }
    }

    async fn release(&mut self, module: &str) -> Result<(), VipError> {
        let mut failure = None;
        let addresses: Vec<IpAddr> = self.entries.iter().filter(|entry| entry.module == module).map(|entry| entry.address.ip).collect();
        for ip in addresses {
            let Some(at) = self.entries.iter().position(|entry| entry.address.ip == ip) else { continue };
            // Before the address goes: without it the kernel sends no RST.
            let reset = self.entries[at].reset_connections.then(|| reset::connections(ip, reset::RESET_BOUND));
            match self.take_off(at).await {
                Ok(()) => {
                    let held = self.forget(at).held();
                    self.tell(Event::Released { held, reset });
                }
                Err(why) => failure = Some(why),
            }
        }
        self.drop_idle();
        let recorded = self.write_record();
        failure.map_or(recorded, Err)
    }

    /// Silences it, then removes it. An interface that is gone has taken it along.
    async fn take_off(&mut self, at: usize) -> Result<(), VipError> {
        let entry = &self.entries[at];
        let (ip, name) = (entry.address.ip, entry.address.interface.clone());
        self.announcers.values().for_each(|announcer| announcer.withdraw(ip));
        let failed = |why| VipError::Address { ip, interface: name.clone(), why };
        let snapshot = self.netlink.snapshot().await.map_err(VipError::Look)?;
        match snapshot.named(&name).filter(|interface| snapshot.has(ip, interface.index)) {
            Some(interface) => entry.address.remove_from(&self.netlink, interface.index).await.map_err(failed),
            None => Ok(()),
        }
    }

    fn forget(&mut self, at: usize) -> Entry {
        let entry = self.entries.remove(at);
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).remove(&entry.address.ip);
        entry
    }

    fn drop_idle(&mut self) {
        self.announcers.retain(|_, announcer| !announcer.is_idle());
    }

    fn write_record(&self) -> Result<(), VipError> {
        record::write(&self.record, self.entries.iter().map(Entry::recorded).collect())
    }

    /// Makes sure that an Ethernet interface has an announcer that knows its present state.
    fn announcer(&mut self, interface: &Interface, snapshot: &Snapshot) -> Result<(), VipError> {
        let Some(mac) = interface.mac else { return Ok(()) };
        let link_local = snapshot.link_local(interface.index);
        if let Some(known) = self.announcers.get(&interface.index) {
            known.update(mac, snapshot.macs(), link_local);
            return Ok(());
        }
        let (events, owners, name) = (self.events.clone(), self.owners.clone(), interface.name.clone());
        let on_rival = move |rival: Rival| {
            let module = owners.lock().unwrap_or_else(PoisonError::into_inner).get(&rival.ip).cloned();
            if let Some(module) = module {
                let Rival { ip, mac, announced } = rival;
                send(&events, Event::RivalSeen { module, ip, interface: name.clone(), mac, held: announced });
            }
        };
        let opened = Announcer::open(interface, snapshot.macs(), link_local, Box::new(on_rival));
        let announcer = opened.map_err(|why| VipError::Announce { interface: interface.name.clone(), why })?;
        self.announcers.insert(interface.index, announcer);
        Ok(())
    }

    /// Compares what is held with what is there. Gives when to look again, if that must be soon.
    async fn look(&mut self) -> Option<Instant> {
        if self.entries.is_empty() {
            return None;
        }
        let snapshot = match self.netlink.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(why) => {
                tracing::warn!("cannot look at this node's interfaces: {why}");
                return None;
            }
        };
        self.announcers.retain(|index, _| snapshot.interfaces.iter().any(|interface| interface.index == *index));
        for interface in &snapshot.interfaces {
            if self.announcers.contains_key(&interface.index) {
                // Cannot fail: it is open already.
                let _ = self.announcer(interface, &snapshot);
            }
        }
        let mut again: Option<Instant> = None;
        for at in 0..self.entries.len() {
            let next = self.watch(at, &snapshot).await;
            again = [again, next].into_iter().flatten().min();
        }
        again
    }

    async fn watch(&mut self, at: usize, snapshot: &Snapshot) -> Option<Instant> {
        let now = Instant::now();
        let entry = &mut self.entries[at];
        let seen = judge::missing(snapshot, entry.address.ip, &entry.address.interface);
        let decision = judge::decide(&entry.watched, seen, now);
        if let Some(reason) = decision.lost {
            entry.watched.lost = Some(reason);
            let held = entry.held();
            self.tell(Event::Lost(held));
        }
        if !decision.restore {
            return decision.again;
        }
        self.entries[at].watched.tried = Some(now);
        match self.restore(at, snapshot).await {
            Ok(()) => {
                let entry = &mut self.entries[at];
                (entry.watched.lost, entry.told) = (None, false);
                let held = entry.held();
                self.tell(Event::Restored(held));
                None
            }
            Err(why) => {
                let entry = &mut self.entries[at];
                let held = entry.held();
                if !std::mem::replace(&mut entry.told, true) {
                    self.tell(Event::RestoreFailed { held, why: why.to_string() });
                }
                Some(now + judge::RESTORE_PAUSE)
            }
        }
    }

    async fn restore(&mut self, at: usize, snapshot: &Snapshot) -> Result<(), VipError> {
        let address = self.entries[at].address.clone();
        let failed = |why| VipError::Address { ip: address.ip, interface: address.interface.clone(), why };
        let Some(interface) = snapshot.named(&address.interface) else { return Ok(()) };
        self.announcer(interface, snapshot)?;
        address.add_to(&self.netlink, interface.index).await.map_err(failed)?;
        if let Some(announcer) = self.announcers.get(&interface.index) {
            announcer.announce(address.ip);
        }
        Ok(())
    }

    fn tell(&self, event: Event) {
        send(&self.events, event);
    }
}

/// Never waits: a listener that hangs must not hold up a takeover.
fn send(events: &SyncSender<Event>, event: Event) {
    if let Err(why) = events.try_send(event) {
        tracing::warn!("nobody takes events about virtual addresses: {why}");
    }
}

/// What the kernel says about links and addresses, unasked.
struct Notices {
    source: Option<Source>,
}

struct Source {
    serving: tokio::task::JoinHandle<()>,
    messages: std::pin::Pin<Box<dyn futures_util::Stream<Item = ()>>>,
}

impl Notices {
    fn open() -> Notices {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let source = match rtnetlink::new_multicast_connection(&groups) {
            Ok((connection, _, messages)) => Some(Source { serving: tokio::spawn(connection), messages: Box::pin(messages.map(drop)) }),
            Err(why) => {
                tracing::warn!("the kernel's notices about addresses cannot be had, they are looked at every {LOOK_EVERY:?}: {why}");
                None
            }
        };
        Notices { source }
    }

    /// After the next one. A source that ended is opened again.
    async fn next(&mut self) {
        if let Some(source) = &mut self.source
            && source.messages.next().await.is_some()
        {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        *self = Notices::open();
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        if let Some(source) = &self.source {
            source.serving.abort();
        }
    }
}
