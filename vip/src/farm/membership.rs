//! Who is in the farm and what each does: pure. Beats and the time come in, plans and beats go out.
//!
//! The lowest server that lives makes maps, everybody adopts the newest it hears of (see [`super::beat::Map`]).
//! What must hold: a server never takes new connections in a bucket that another living one might still take
//! (*the old owner drops first, then the new one accepts*); a server that has just started takes nothing before
//! it is in a map; two halves of a split farm each go on by themselves, and become one when they hear each other.

use super::beat::{Beat, BeatError, Drain, Former, Mac, Map, Seat, Stamp, VERSION};
use super::limits;
use super::members::{Member, Members};
use super::plan::{Known, Plan, remember};
use super::settings::Settings;
use super::share::Shares;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Load the rules of this plan, then call [`Membership::loaded`].
    Load(Plan),
    /// Send this to all other servers.
    Send(Beat),
}

/// What is known of another server.
#[derive(Clone, Debug, Default)]
struct Peer {
    heard: Option<Duration>,
    run: u64,
    past_runs: VecDeque<u64>,
    number: u64,
    joining: bool,
    leaving: bool,
    up: bool,
    hears: Members,
    lowest: Option<Member>,
    loaded: Stamp,
    macs: Vec<Mac>,
    refused: Option<String>,
}

/// A server in another's map.
#[derive(Clone, Copy, Debug)]
struct Vouched {
    stamp: Stamp,
    run: u64,
    serving: bool,
    until: Duration,
}

/// How this server sees another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// In the farm.
    Member,
    /// Heard, not yet in the map.
    Joining,
    /// It says that it stops.
    Leaving,
    /// Heard, but it does not hear this server.
    OneWay,
    /// Its beats are refused.
    Refused,
    /// Not heard.
    Lost,
}

/// The state machine of one server.
#[derive(Debug)]
pub struct Membership {
    settings: Settings,
    shares: Shares,
    me: Member,
    run: u64,
    macs: Vec<Mac>,
    peers: BTreeMap<Member, Peer>,
    map: Option<Map>,
    /// When it was adopted.
    adopted: Duration,
    former: Vec<Former>,
    /// Since which epoch the present runs are in the farm, the earliest that any map said.
    joined: BTreeMap<(Member, u64), u64>,
    drains: BTreeMap<Member, Drain>,
    up: bool,
    joining: bool,
    leaving: bool,
    started: Duration,
    last_tick: Duration,
    next_beat: Duration,
    number: u64,
    /// Servers that one which has just been connected counts on, until when: they had no time to be heard here.
    vouched: BTreeMap<Member, Vouched>,
    /// Since when newer maps leave this server out.
    left_out: Option<Duration>,
    /// What the filter does, as far as was reported.
    loaded: Option<Plan>,
    /// The last plan, and what it was made from: making one goes through all buckets.
    planned: Option<(Map, Vec<Former>, Known, Plan)>,
}

impl Membership {
    /// Server `me`, which starts now. `run` must differ from that of its earlier runs; `macs` are its MAC
    /// addresses for the virtual addresses, in their order; `settings` are checked ones.
    pub fn new(settings: Settings, me: Member, run: u64, macs: Vec<Mac>, now: Duration) -> Membership {
        let peers = settings.everybody().without(me).iter().map(|member| (member, Peer::default())).collect();
        Membership {
            shares: settings.shares(),
            settings,
            me,
            run,
            macs,
            peers,
            map: None,
            adopted: now,
            former: Vec::new(),
            joined: BTreeMap::new(),
            drains: BTreeMap::new(),
            up: false,
            joining: true,
            leaving: false,
            started: now,
            last_tick: now,
            next_beat: now,
            number: 0,
            vouched: BTreeMap::new(),
            left_out: None,
            loaded: None,
            planned: None,
        }
    }

    /// Takes in a beat. An error changes nothing but what [`Membership::view`] says of the sender.
    pub fn hear(&mut self, beat: Beat, now: Duration) -> Result<(), BeatError> {
        beat.check(self.settings.servers.len(), self.macs.len())?;
        let Some(peer) = self.peers.get_mut(&beat.from) else {
            return Err(BeatError::Refused(beat.from, "this server has the same name"));
        };
        if beat.digest != self.settings.digest() {
            let why = "its configuration of this farm differs";
            peer.refused = Some(why.to_owned());
            return Err(BeatError::Refused(beat.from, why));
        }
        if !peer.is_newer(&beat, now) {
            return Ok(());
        }
        let was_connected = self.connected(beat.from, now);
        let Some(peer) = self.peers.get_mut(&beat.from) else { return Ok(()) };
        let news = peer.take(&beat, now);
        let connected = self.connected(beat.from, now);
        for drain in &beat.drains {
            self.learn(*drain);
        }
        if let Some(map) = beat.map.filter(|_| connected) {
            if !was_connected {
                self.vouch(&map, now);
            }
            self.adopt(map, now);
        }
        if news || connected != was_connected {
            self.next_beat = now;
        }
        Ok(())
    }

    /// What is due at `now`. Call it after every beat that came in, and at least once in a pulse.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        self.forgive_own_pause(now);
        self.settle(now);
        if self.leads(now) {
            self.lead(now);
        }
        let mut actions = Vec::new();
        if let Some(plan) = self.plan(now).cloned()
            && self.loaded.as_ref() != Some(&plan)
        {
            actions.push(Action::Load(plan));
        }
        if now >= self.next_beat {
            actions.push(Action::Send(self.beat(now)));
            self.next_beat = now + limits::PULSE;
        }
        actions
    }

    /// The rules of `plan` are in force.
    pub fn loaded(&mut self, plan: Plan, now: Duration) {
        if self.loaded.as_ref().is_none_or(|old| old.stamp != plan.stamp) {
            self.next_beat = now;
        }
        self.loaded = Some(plan);
    }

    /// Is the application here ready and open? Without it this server gets no new connections.
    pub fn set_up(&mut self, up: bool, now: Duration) {
        if self.up != up {
            self.up = up;
            self.next_beat = now;
        }
    }

    /// An operator's word: server `member` gets no new connections, or gets them again. All servers learn it.
    pub fn drain(&mut self, member: Member, drained: bool, now: Duration) {
        let number = self.drains.get(&member).map_or(0, |drain| drain.number);
        self.learn(Drain { member, number: number.saturating_add(1), drained });
        self.next_beat = now;
    }

    /// This server is about to stop: the beat that says so.
    pub fn leave(&mut self, now: Duration) -> Beat {
        self.leaving = true;
        self.beat(now)
    }

    /// The map that is followed.
    pub fn map(&self) -> Option<&Map> {
        self.map.as_ref()
    }

    /// The plan whose rules are loaded.
    pub fn in_force(&self) -> Option<&Plan> {
        self.loaded.as_ref()
    }

    /// Does an operator want no new connections on `member`?
    pub fn is_drained(&self, member: Member) -> bool {
        self.drains.get(&member).is_some_and(|drain| drain.drained)
    }

    /// How this server sees `member`, and why its beats are refused.
    pub fn view(&self, member: Member, now: Duration) -> (View, Option<&str>) {
        if member == self.me {
            let seated = self.map.as_ref().is_some_and(|map| self.seated(map));
            return (
                if self.leaving {
                    View::Leaving
                } else if seated {
                    View::Member
                } else {
                    View::Joining
                },
                None,
            );
        }
        let Some(peer) = self.peers.get(&member) else { return (View::Lost, None) };
        let in_map = self.map.as_ref().and_then(|map| map.seat(member)).is_some_and(|seat| seat.run == peer.run);
        let view = match peer {
            Peer { refused: Some(why), .. } => return (View::Refused, Some(why)),
            _ if !self.hears(member, now) => View::Lost,
            Peer { leaving: true, .. } => View::Leaving,
            Peer { hears, .. } if !hears.has(self.me) => View::OneWay,
            _ if in_map => View::Member,
            _ => View::Joining,
        };
        (view, None)
    }

    fn learn(&mut self, drain: Drain) {
        let known = self.drains.entry(drain.member).or_insert(Drain { number: 0, ..drain });
        // Of two words given at once on two servers, "drain" holds on all.
        if (drain.number, drain.drained) > (known.number, known.drained) {
            *known = drain;
        }
    }

    fn hears(&self, member: Member, now: Duration) -> bool {
        let heard = self.peers.get(&member).and_then(|peer| peer.heard);
        heard.is_some_and(|heard| now.saturating_sub(heard) < self.settings.lost_after)
    }

    /// Beats pass in both directions, and it does not stop.
    fn connected(&self, member: Member, now: Duration) -> bool {
        self.hears(member, now) && self.peers.get(&member).is_some_and(|peer| peer.hears.has(self.me) && !peer.leaving)
    }

    fn all_connected(&self, now: Duration) -> Members {
        self.peers.keys().copied().filter(|member| self.connected(*member, now)).collect()
    }

    /// When two halves find each other, not all of them are heard at once; none is to be left out meanwhile.
    fn vouch(&mut self, map: &Map, now: Duration) {
        let until = now + self.settings.lost_after;
        for seat in map.seats.iter().filter(|seat| seat.member != self.me) {
            let serving = map.serving.has(seat.member);
            // An older map may know an older run.
            if self.vouched.get(&seat.member).is_none_or(|known| known.stamp <= map.stamp || known.until <= now) {
                self.vouched.insert(seat.member, Vouched { stamp: map.stamp, run: seat.run, serving, until });
            }
        }
    }

    /// The same for those whom another server has just let in: they are to be heard here before they can be lost.
    fn vouch_for_new(&mut self, map: &Map, now: Duration) {
        if map.stamp.by.0 == self.me {
            return;
        }
        let known = |seat: &Seat| self.map.as_ref().and_then(|old| old.seat(seat.member)).is_some_and(|old| old.run == seat.run);
        let mut new = map.clone();
        new.seats.retain(|seat| !known(seat));
        self.vouch(&new, now);
    }

    /// Vouched for, and not heard to leave.
    fn counted_on(&self, member: Member, now: Duration) -> Option<&Vouched> {
        let peer = self.peers.get(&member).filter(|_| self.hears(member, now));
        // What it says itself later counts more; an earlier word may be that of an earlier run.
        let later = |peer: &Peer, vouched: &Vouched| peer.heard.is_some_and(|heard| heard + self.settings.lost_after > vouched.until);
        let denied = |vouched: &Vouched| peer.is_some_and(|peer| if peer.run == vouched.run { peer.leaving } else { later(peer, vouched) });
        self.vouched.get(&member).filter(|vouched| now < vouched.until && !denied(vouched))
    }

    /// After a pause of our own, others are not silent: their beats are still in the socket.
    fn forgive_own_pause(&mut self, now: Duration) {
        let pause = now.saturating_sub(self.last_tick);
        if pause > self.settings.lost_after / 2 {
            for heard in self.peers.values_mut().filter_map(|peer| peer.heard.as_mut()) {
                *heard += pause;
            }
        }
        self.last_tick = now;
    }

    /// A server that has just started listens first: it may be the only one that does not know the map.
    fn settle(&mut self, now: Duration) {
        let alone = || !self.all_connected(now).iter().any(|member| !self.peers[&member].joining);
        let waited = now.saturating_sub(self.started) >= self.settings.lost_after;
        if self.joining && (self.map.as_ref().is_some_and(|map| self.seated(map)) || waited && alone()) {
            self.joining = false;
            self.next_beat = now;
        }
    }

    fn seated(&self, map: &Map) -> bool {
        map.seat(self.me).is_some_and(|seat| seat.run == self.run)
    }

    /// The lowest settled server among this one and its direct connections.
    fn lowest(&self, now: Duration) -> Option<Member> {
        let mine = (!self.joining && !self.leaving).then_some(self.me);
        let settled = self.all_connected(now).iter().filter(|member| !self.peers[member].joining);
        settled.chain(mine).min()
    }

    /// Does this server make maps? Not where one that it talks with talks with a lower one: two servers that
    /// hear others and not each other would make maps against each other for ever.
    fn leads(&self, now: Duration) -> bool {
        let theirs = self.all_connected(now).iter().filter_map(|member| self.peers[&member].lowest);
        !self.joining && !self.leaving && theirs.chain(self.lowest(now)).min() == Some(self.me)
    }

    fn lead(&mut self, now: Duration) {
        let connected = self.all_connected(now).with(self.me);
        let vouched = self.vouched.keys().copied().filter(|member| self.counted_on(*member, now).is_some());
        let live: Members = connected.iter().chain(vouched).collect();
        let counted_on = |member: Member| self.counted_on(member, now).filter(|_| !connected.has(member));
        let serves = |member: &Member| counted_on(*member).map_or_else(|| self.serves(*member), |vouched| vouched.serving);
        let serving: Members = live.iter().filter(serves).collect();
        let old = self.map.clone().unwrap_or_default();
        let arp = old.arp.filter(|member| live.has(*member)).or(serving.lowest()).or(live.lowest());
        let run_of = |member: Member| match counted_on(member) {
            Some(vouched) => vouched.run,
            None if member == self.me => self.run,
            None => self.peers[&member].run,
        };
        let epoch = old.stamp.epoch + 1;
        let seat = |member: Member| {
            let run = run_of(member);
            Seat { member, run, joined: self.joined.get(&(member, run)).copied().unwrap_or(epoch) }
        };
        let seats: Vec<Seat> = live.iter().map(seat).collect();
        if (old.arp, old.serving, &old.seats) == (arp, serving, &seats) || epoch > limits::EPOCH {
            return;
        }
        let stamp = Stamp { epoch, by: Reverse(self.me) };
        self.adopt(Map { stamp, arp, serving, seats, former: self.former.clone() }, now);
    }

    fn serves(&self, member: Member) -> bool {
        let up = if member == self.me { self.up } else { self.peers[&member].up };
        up && !self.is_drained(member) && self.settings.can_serve(member)
    }

    /// Follows `map` when it is newer.
    fn adopt(&mut self, map: Map, now: Duration) {
        remember(&mut self.former, &map, limits::FORMER);
        for seat in &map.seats {
            let known = self.joined.entry((seat.member, seat.run)).or_insert(seat.joined);
            *known = seat.joined.min(*known);
        }
        // Runs that were not heard here yet are known from the map only.
        let (peers, run) = (&self.peers, self.run);
        let current = |member: Member, of: u64| of == peers.get(&member).map_or(run, |peer| peer.run);
        self.joined.retain(|(member, of), _| current(*member, *of) || map.seat(*member).is_some_and(|seat| seat.run == *of));
        if self.map.as_ref().is_none_or(|old| map.stamp > old.stamp) && !self.waits_for_better(&map, now) {
            self.vouch_for_new(&map, now);
            self.map = Some(map);
            self.adopted = now;
            self.left_out = None;
            self.next_beat = now;
        }
    }

    /// A map of the other half of a split farm does not know this server, and gives its connections to others. The
    /// one that makes maps hears this server now, and is given the time to make the next one.
    fn waits_for_better(&mut self, map: &Map, now: Duration) -> bool {
        if self.seated(map) || !self.map.as_ref().is_some_and(|map| self.seated(map)) || self.leads(now) {
            return false;
        }
        let since = *self.left_out.get_or_insert(now);
        now.saturating_sub(since) < self.settings.lost_after
    }

    fn plan(&mut self, now: Duration) -> Option<&Plan> {
        let map = self.map.as_ref()?;
        let known = self.known(map, now);
        let made_from = |planned: &&(Map, Vec<Former>, Known, Plan)| planned.0 == *map && planned.1 == self.former && planned.2 == known;
        if self.planned.as_ref().filter(made_from).is_none() {
            let plan = Plan::new(&self.shares, map, &self.former, self.me, known.clone());
            self.planned = Some((map.clone(), self.former.clone(), known, plan));
        }
        self.planned.as_ref().map(|(.., plan)| plan)
    }

    fn known(&self, map: &Map, now: Duration) -> Known {
        let mut known = Known { seated: self.seated(map), macs: BTreeMap::new(), dropped: Members::NONE };
        // Who is not heard here is heard by the one that made the map, and has had the time to load it.
        let overdue = now.saturating_sub(self.adopted) >= self.settings.lost_after;
        for seat in map.seats.iter().filter(|seat| seat.member != self.me) {
            let peer = self.peers.get(&seat.member).filter(|peer| peer.run == seat.run);
            if let Some(peer) = peer.filter(|peer| peer.macs.len() == self.macs.len()) {
                known.macs.insert(seat.member, peer.macs.clone());
            }
            let loaded = peer.is_some_and(|peer| peer.loaded >= map.stamp);
            if loaded || overdue && !self.hears(seat.member, now) {
                known.dropped = known.dropped.with(seat.member);
            }
        }
        known
    }

    fn beat(&mut self, now: Duration) -> Beat {
        self.number += 1;
        Beat {
            version: VERSION,
            digest: self.settings.digest(),
            from: self.me,
            run: self.run,
            number: self.number,
            joining: self.joining,
            leaving: self.leaving,
            up: self.up,
            hears: self.peers.keys().copied().filter(|member| self.hears(*member, now)).collect(),
            lowest: self.lowest(now),
            loaded: self.loaded.as_ref().map_or(Stamp::default(), |plan| plan.stamp),
            macs: self.macs.clone(),
            drains: self.drains.values().copied().collect(),
            map: self.map.clone(),
        }
    }
}

impl Peer {
    /// While one run is heard, a beat of another one is a late one of an earlier run.
    fn is_newer(&self, beat: &Beat, now: Duration) -> bool {
        if beat.run == self.run {
            return beat.number > self.number;
        }
        let silent = self.heard.is_none_or(|heard| now.saturating_sub(heard) >= limits::RUN_SILENT);
        silent && !self.past_runs.contains(&beat.run)
    }

    /// Is there something in it that must not wait for the next pulse?
    fn take(&mut self, beat: &Beat, now: Duration) -> bool {
        let news = self.heard.is_none() || beat.run != self.run;
        if beat.run != self.run && self.heard.is_some() {
            self.past_runs.push_front(self.run);
            self.past_runs.truncate(limits::PAST_RUNS);
        }
        self.heard = Some(now);
        self.run = beat.run;
        self.number = beat.number;
        self.joining = beat.joining;
        self.leaving = beat.leaving;
        self.up = beat.up;
        self.hears = beat.hears;
        self.lowest = beat.lowest;
        self.loaded = beat.loaded;
        self.macs.clone_from(&beat.macs);
        self.refused = None;
        news
    }
}

#[cfg(test)]
mod tests;
